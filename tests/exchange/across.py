"""From every framework, through an archive, to every other: ``python -m tests.exchange.across [--write]``."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import modelarchive as ma
from tests.conftest import ROOT
from tests.exchange.mxnet import running

DOCUMENT = ROOT / "docs" / "exchange.md"
FOREIGN = ROOT / "tests" / "data" / "foreign"


@dataclass
class Model:
    """A framework's model in an archive, inputs, and what the framework itself gives for them."""

    archive: Path
    inputs: tuple[np.ndarray, ...]
    outputs: list[np.ndarray]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def flat(value: Any) -> list[np.ndarray]:
    """Outputs of any framework, whatever they are nested in."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in flat(item)]
    return [value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)]


def from_torch(make: Callable[[Any], Any], *inputs: np.ndarray) -> Callable[[Path], Model]:
    def source(folder: Path) -> Model:
        import torch

        torch.manual_seed(0)
        module = make(torch.nn).eval()
        given = tuple(torch.from_numpy(each) for each in inputs)
        with torch.no_grad():
            outputs = flat(module(*given))
        ma.save_model(folder / "model.h5", module, inputs=given, durable=False)
        return Model(folder / "model.h5", inputs, outputs)

    return source


def from_keras(make: Callable[[Any], Any], *inputs: np.ndarray) -> Callable[[Path], Model]:
    def source(folder: Path) -> Model:
        import keras

        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        model = make(keras)
        # As they are made, the statistics of normalisation are all 0 and 1, and deep outputs all alike.
        for variable in model.variables:
            low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.3, 0.3)
            variable.assign(rng().uniform(low, high, variable.shape))
        model.save(folder / "model.keras")
        ma.convert(folder / "model.keras", folder / "model.h5", durable=False)
        return Model(folder / "model.h5", inputs, flat(model(*inputs, training=False)))

    return source


def from_mxnet(name: str) -> Callable[[Path], Model]:
    def source(folder: Path) -> Model:
        with np.load(FOREIGN / "mxnet" / f"{name}-io.npz") as io:
            inputs, outputs = (io["x"],), [io["y"]]
        ma.convert(FOREIGN / "mxnet" / f"{name}-symbol.json", folder / "model.h5", durable=False)
        return Model(folder / "model.h5", inputs, outputs)

    return source


def from_onnx(make: Callable[[Any], Any], *inputs: np.ndarray) -> Callable[[Path], Model]:
    """What PyTorch's exporter writes, and ONNX Runtime computes."""

    def source(folder: Path) -> Model:
        import torch

        torch.manual_seed(0)
        module = make(torch.nn).eval()
        given = tuple(torch.from_numpy(each) for each in inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module, given, folder / "model.onnx", dynamic_shapes=[{0: "batch"}] * len(given), verbose=False
            )
        ma.convert(folder / "model.onnx", folder / "model.h5", durable=False)
        return Model(folder / "model.h5", inputs, onnx_outputs(folder / "model.onnx", inputs))

    return source


def from_transformers(family: str, **options: Any) -> Callable[[Path], Model]:
    def source(folder: Path) -> Model:
        import torch
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(vocab_size=50, use_cache=False, **options)
        model = getattr(transformers, f"{family}Model")(config).eval()
        ids = rng().integers(0, 50, (2, 7))
        with torch.no_grad():
            outputs = flat(dict(model(torch.from_numpy(ids))))
        model.save_pretrained(folder / "model")
        ma.convert(folder / "model", folder / "model.h5", durable=False)
        with ma.open(folder / "model.h5") as archive:
            names = [each["name"] for each in archive.architecture["inputs"]]
        # What transformers takes where it is given the words alone.
        more = {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return Model(folder / "model.h5", (ids, *(more[name] for name in names[1:])), outputs)

    return source


def from_gguf(name: str) -> Callable[[Path], Model]:
    """What llama.cpp's converter wrote, and transformers computed before."""

    def source(folder: Path) -> Model:
        with np.load(FOREIGN / "gguf" / f"{name}.npz") as io:
            inputs, outputs = (io["x"],), [io["y"]]
        ma.convert(FOREIGN / "gguf" / f"{name}.gguf", folder / "model.h5", durable=False)
        return Model(folder / "model.h5", inputs, outputs)

    return source


def to_numpy(model: Model, folder: Path) -> list[np.ndarray]:
    return flat(ma.load_model(model.archive)(*model.inputs))


def to_torch(model: Model, folder: Path) -> list[np.ndarray]:
    import torch

    with torch.no_grad():
        return flat(ma.load_model(model.archive, backend="torch")(*map(torch.from_numpy, model.inputs)))


def to_keras(model: Model, folder: Path) -> list[np.ndarray]:
    """Through the file that Keras saves, and loads again."""
    import keras

    ma.convert(model.archive, folder / "out.keras", durable=False)
    loaded = keras.saving.load_model(folder / "out.keras")
    return flat(loaded(model.inputs[0] if len(model.inputs) == 1 else list(model.inputs), training=False))


def to_onnx(model: Model, folder: Path) -> list[np.ndarray]:
    ma.convert(model.archive, folder / "out.onnx", durable=False)
    return onnx_outputs(folder / "out.onnx", model.inputs)


def onnx_outputs(path: Path, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {each.name: array for each, array in zip(session.get_inputs(), inputs, strict=True)})


def to_runtime(model: Model, folder: Path) -> list[np.ndarray]:
    """In memory, without a file of ONNX."""
    return flat(ma.load_model(model.archive, backend="onnxruntime")(*model.inputs))


def to_mxnet(model: Model, folder: Path) -> list[np.ndarray]:
    ma.convert(model.archive, folder / "out-symbol.json", durable=False)
    np.savez(folder / "out-inputs.npz", **{f"x{at}": each for at, each in enumerate(model.inputs)})
    running.outputs(folder)
    with np.load(folder / "out-outputs.npz") as outputs:
        return [outputs[key] for key in outputs]


IMAGES = rng().standard_normal((2, 3, 32, 32), np.float32)
PICTURES = np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1))
SEQUENCES = rng().standard_normal((2, 7, 16), np.float32)


def convolutions(nn: Any) -> Any:
    class Residual(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
            self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)

        def forward(self, x: Any) -> Any:
            return x + self.second(self.first(x))

    pool = (nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), pool[0], Residual(), nn.SiLU(), *pool[1:], nn.Linear(8, 5))


def encoder(nn: Any) -> Any:
    return nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")


def recurrence(nn: Any) -> Any:
    class Classifier(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = nn.LSTM(16, 12, num_layers=2, batch_first=True, bidirectional=True)
            self.output = nn.Linear(24, 3)

        def forward(self, x: Any) -> Any:
            return self.output(self.recurrent(x)[0].mean(1))

    return Classifier()


def keras_recurrence(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input((7, 16))
    y = layers.Bidirectional(layers.LSTM(12, return_sequences=True))(x)
    y = layers.GRU(10)(layers.LayerNormalization()(y))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


def keras_mobile(keras: Any) -> Any:
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=7, classifier_activation=None)


TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
SOURCES: dict[str, Callable[[Path], Model]] = {
    "PyTorch: convolutions, residual": from_torch(convolutions, IMAGES),
    "PyTorch: Transformer encoder": from_torch(encoder, SEQUENCES),
    "PyTorch: bidirectional LSTM": from_torch(recurrence, SEQUENCES),
    "Keras: MobileNetV2": from_keras(keras_mobile, PICTURES),
    "Keras: LSTM and GRU": from_keras(keras_recurrence, SEQUENCES),
    "MXNet: LeNet": from_mxnet("lenet"),
    "MXNet: residual": from_mxnet("resnet"),
    "MXNet: LSTM classifier": from_mxnet("spam"),
    "ONNX: convolutions, residual": from_onnx(convolutions, IMAGES),
    "ONNX: Transformer encoder": from_onnx(encoder, SEQUENCES),
    "Hugging Face: BERT": from_transformers("Bert", **TINY),
    "Hugging Face: GPT-2": from_transformers("GPT2", n_embd=24, n_layer=2, n_head=4, n_positions=16),
    "Hugging Face: Llama": from_transformers("Llama", num_key_value_heads=2, **TINY),
    "GGUF: Llama 3": from_gguf("llama"),
    "GGUF: GPT-2": from_gguf("gpt2"),
}
TARGETS: dict[str, Callable[[Model, Path], list[np.ndarray]]] = {
    "NumPy": to_numpy,
    "PyTorch": to_torch,
    "Keras": to_keras,
    "ONNX": to_onnx,
    "ONNX Runtime": to_runtime,
    "MXNet": to_mxnet,
}


def difference(model: Model, found: list[np.ndarray]) -> float:
    """The largest difference, relative to the largest output."""
    if [each.shape for each in found] != [each.shape for each in model.outputs]:
        raise ValueError(f"shapes {[each.shape for each in found]}, expected {[e.shape for e in model.outputs]}")
    if not all(np.ptp(each) for each in model.outputs):
        raise ValueError("the outputs are all alike, and compare nothing")
    pairs = zip(found, model.outputs, strict=True)
    return max(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs)


def main() -> int:
    """Print the table, and write it into docs/exchange.md with --write; 1 if something is wrong."""
    lines = [f"| | {' | '.join(TARGETS)} |", f"|---|{'---|' * len(TARGETS)}"]
    print("\n".join(lines))
    wrong = 0
    for name, source in SOURCES.items():
        cells = []
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            model = source(folder)
            for target in TARGETS.values():
                try:
                    found = difference(model, target(model, folder))
                    cells.append(f"{found:.0e}" if found else "0")
                    wrong += found > 1e-4
                except ma.ConversionError as error:
                    cells.append("refused: " + ", ".join(dict.fromkeys(what for _, what in error.unsupported)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if "--write" in sys.argv:
        begin, end = "<!-- across -->\n", "<!-- end of across -->"
        before, _, rest = DOCUMENT.read_text("utf-8").partition(begin)
        after = rest.partition(end)[2]
        DOCUMENT.write_text(f"{before}{begin}{chr(10).join(lines)}\n{end}{after}", "utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
