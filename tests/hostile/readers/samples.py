"""Whole files of other systems, small ones, for the fuzzer to change: of every reader, and of none."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tests import ROOT
from tests.exchange.gguf import wire as gguf
from tests.exchange.onnx import wire
from tests.formats import mistakes
from tests.hostile import keras_files
from tests.hostile.readers import checkpoints

FOREIGN = ROOT / "tests" / "data" / "foreign"
#: Of files that are larger there are fewer inputs in a second than there is to learn from them.
_LARGEST = 20_000


@dataclass(frozen=True)
class Sample:
    """A file, or files that belong together.

    Attributes:
        name: What it is called.
        reader: The room of `exchange` that reads it; "none" where it is to be refused.
        path: Which of its files is opened; "" is the folder that they lie in.
        files: Path in the folder -> bytes.
        beside: What is given with it, the configuration of Keras' weights, or the model of an adapter; "" is nothing.
    """

    name: str
    reader: str
    path: str
    files: dict[str, bytes]
    beside: str = ""

    def put(self, folder: Path) -> Path:
        """Write the files into a folder; what is to be opened."""
        for name, data in self.files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return folder / self.path if self.path else folder

    def keep(self, folder: Path) -> None:
        """Write the files, and what they are, to be judged again."""
        (folder / "files").mkdir(parents=True, exist_ok=True)
        self.put(folder / "files")
        record = {"name": self.name, "reader": self.reader, "path": self.path, "beside": self.beside}
        (folder / "sample.json").write_text(json.dumps(record), "utf-8")


def kept(folder: Path) -> Sample:
    """What was kept in a folder."""
    inside = folder / "files"
    files = {str(each.relative_to(inside)): each.read_bytes() for each in sorted(inside.rglob("*")) if each.is_file()}
    return Sample(**json.loads((folder / "sample.json").read_text("utf-8")), files=files)


def samples() -> dict[str, Sample]:
    """All of them, by reader and name."""
    found = [*_arrays(), *_gguf(), *_onnx(), *_keras(), *_torch(), *_folders(), *_checked_in(), *_mistakes()]
    return {f"{each.reader}/{each.name}": each for each in found}


def _one(reader: str, path: str, data: bytes) -> Sample:
    return Sample(path, reader, path, {path: data})


def safetensors(arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file of float32 arrays."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    at = 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + b"".join(array.tobytes() for array in arrays.values())


def _arrays() -> Iterator[Sample]:
    x = np.arange(6, dtype="<f4").reshape(2, 3)
    yield _one("safetensors", "small.safetensors", safetensors({"a.w": x, "a.b": x[0], "none": x[:0]}, {"k": "v"}))
    out = io.BytesIO()
    np.save(out, np.asfortranarray(x))
    yield _one("numpy", "turned.npy", out.getvalue())
    out = io.BytesIO()
    np.savez(out, a=x, b=np.float64(3.5))
    yield _one("numpy", "small.npz", out.getvalue())
    yield _one("vectors", "tabs.vec", b"2 3\nthe 1 2 3\na\t0.5 -1e-3\t4\n")
    yield _one("vectors", "lone.txt", b"word 1.0 2.0\n two words 1 2\n")


def _gguf() -> Iterator[Sample]:
    """Metadata of every type, a network of one layer, and blocks."""
    yield _one("gguf", "small.gguf", gguf.small())
    yield _one("gguf", "network.gguf", gguf.network())
    blocks = np.arange(2 * (18 + 34 + 144), dtype=np.uint16).astype(np.uint8).tobytes()
    infos = [gguf.info("q4", (32, 2), 2), gguf.info("q8", (32, 2), 8, 64), gguf.info("k", (256, 2), 12, 160)]
    data = blocks[:36].ljust(64, b"\0") + blocks[36:104].ljust(96, b"\0") + blocks[104:]
    yield _one("gguf", "blocks.gguf", gguf.whole([], infos, data))
    for name in ("gemma2", "qwen3", "quantised"):
        yield _one("gguf", f"{name}.gguf", (FOREIGN / "gguf" / f"{name}.gguf").read_bytes())
    for at, path in enumerate(("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")):
        yield Sample(f"split {at}", "gguf", path, gguf.split())


def _attribute(name: str, value: int | float | bytes | list[int] | dict[str, bytes]) -> bytes:
    """An attribute of a node: a number, a text, ints, or {"t": a tensor} or {"g": a graph}."""
    head = wire.field(1, name)
    if isinstance(value, dict):
        kind, message = next(iter(value.items()))
        return head + wire.field({"t": 5, "g": 6}[kind], message) + wire.field(20, {"t": 4, "g": 5}[kind])
    if isinstance(value, list):
        return head + b"".join(wire.field(8, each) for each in value) + wire.field(20, 7)
    number, code = {float: (2, 1), int: (3, 2), bytes: (4, 3)}[type(value)]
    return head + wire.field(number, value) + wire.field(20, code)


def _int64(name: str, *values: int) -> bytes:
    return wire.tensor(name, [len(values)], struct.pack(f"<{len(values)}q", *values), code=7)


def _float32(name: str, *shape: int) -> bytes:
    return wire.tensor(name, shape, np.linspace(-1, 1, int(np.prod(shape)), dtype="<f4").tobytes())


def _onnx() -> Iterator[Sample]:
    """Models of a few nodes each: layers, sizes that are computed, branches, functions, recurrences, data outside."""
    node, value = wire.node, wire.value
    x, y = value("x", ["batch", 4]), value("y", ["batch", 3])
    image, out = value("x", ["n", 2, 6, 6]), value("y", [])
    relu = node("Relu", ["h"], ["y"], name="act")
    gemm = node("Gemm", ["x", "w", "b"], ["h"], _attribute("transB", 1), _attribute("alpha", 1.0))
    dense = [_float32("w", 3, 4), _float32("b", 3)]
    yield _model("dense", [gemm, relu], dense, [x], [y])
    conv = node("Conv", ["x", "w"], ["h"], _attribute("kernel_shape", [3, 3]), _attribute("pads", [1, 1, 1, 1]),
                _attribute("strides", [1, 1]), _attribute("group", 1))  # fmt: skip
    pool = node("MaxPool", ["h"], ["p"], _attribute("kernel_shape", [2, 2]), _attribute("ceil_mode", 0))
    resize = node("Resize", ["p", "", "scales"], ["y"], _attribute("mode", b"nearest"))
    scales = wire.tensor("scales", [4], np.array([1, 1, 2, 2], "<f4").tobytes())
    yield _model("image", [conv, pool, resize], [_float32("w", 3, 2, 3, 3), scales], [image], [out])
    sizes = [
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "zero"], ["n"], _attribute("axis", 0)),
        node("Unsqueeze", ["n", "first"], ["u"]), node("Concat", ["u", "rest"], ["to"], _attribute("axis", 0)),
        node("Reshape", ["x", "to"], ["r"]), node("Slice", ["r", "first", "rest", "first"], ["c"]),
        node("Add", ["c", "made"], ["y"]),
        node("ConstantOfShape", ["rest"], ["made"], _attribute("value", {"t": _float32("v", 1)})),
    ]  # fmt: skip
    stored = [wire.tensor("zero", [], struct.pack("<q", 0), code=7), _int64("first", 0), _int64("rest", 72)]
    yield _model("sizes", [*sizes[:6], sizes[7], sizes[6]], stored, [image], [out])
    folded = [
        node("Constant", [], ["k"], _attribute("value", {"t": _float32("v", 2, 3)})),
        node("Transpose", ["k"], ["t"], _attribute("perm", [1, 0])), node("Expand", ["t", "to"], ["e"]),
        node("Range", ["from", "end", "step"], ["g"]), node("Cast", ["g"], ["f"], _attribute("to", 1)),
        node("Mul", ["e", "f"], ["m"]), node("MatMul", ["x", "m"], ["y"]),
    ]  # fmt: skip
    stored = [_int64("to", 3, 2), *(wire.tensor(name, [], struct.pack("<q", at), code=7)
                                    for name, at in (("from", 0), ("end", 2), ("step", 1)))]  # fmt: skip
    yield _model("folded", folded, stored, [value("x", ["batch", 3])], [value("y", ["batch", 2])])
    branch = wire.graph([node("Identity", ["w"], ["o"])], [_float32("w", 3)], [], [value("o", [3])])
    choice = node(
        "If", ["c"], ["h"], _attribute("then_branch", {"g": branch}), _attribute("else_branch", {"g": branch})
    )
    yield _model("branches", [choice, relu], [wire.tensor("c", [], b"\1", code=9)], [], [value("y", [3])])
    inner = wire.function("Inner", [node("Relu", ["a"], ["b"])], ["a"], ["b"])
    outer = wire.function(
        "Outer", [node("Inner", ["a"], ["h"], domain="mine"), node("Neg", ["h"], ["b"])], ["a"], ["b"]
    )
    calls = [node("Outer", ["x"], ["h"], domain="mine"), node("Outer", ["h"], ["y"], domain="mine")]
    yield _model("functions", calls, [], [x], [x], [inner, outer])
    lstm = node("LSTM", ["x", "w", "r", "b"], ["y", "", ""], _attribute("hidden_size", 2),
                _attribute("direction", b"forward"))  # fmt: skip
    stored = [_float32("w", 1, 8, 3), _float32("r", 1, 8, 2), _float32("b", 1, 16)]
    yield _model("recurrence", [lstm], stored, [value("x", ["t", "n", 3])], [value("y", ["t", 1, "n", 2])])
    outside = wire.tensor("w", [3, 4], external={"location": "data", "offset": 0, "length": 48})
    whole = _model("outside", [gemm, relu], [outside, _float32("b", 3)], [x], [y])
    yield Sample("outside", "onnx", whole.path, whole.files | {"data": np.arange(12, dtype="<f4").tobytes()})
    scaled = [
        node("BatchNormalization", ["x", "a", "a", "a", "a"], ["h"], _attribute("epsilon", 1e-5)),
        node("ReduceMean", ["h"], ["m"], _attribute("axes", [2, 3]), _attribute("keepdims", 1)),
        node("Pad", ["m", "to"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Softmax", ["f"], ["y"]),
    ]
    yield _model("normal", scaled, [_float32("a", 2), _int64("to", 0, 0, 1, 1, 0, 0, 1, 1)], [image], [out], opset=13)


def _model(name: str, nodes: list[bytes], stored: list[bytes], inputs: list[bytes], outputs: list[bytes],
           functions: list[bytes] | None = None, opset: int = 17) -> Sample:  # fmt: skip
    data = wire.model(wire.graph(nodes, stored, inputs, outputs), functions or [], opset)
    return Sample(name, "onnx", f"{name}.onnx", {f"{name}.onnx": data})


def _keras() -> Iterator[Sample]:
    weights = keras_files.weights(keras_files.plain)
    relu = {"module": "keras.layers", "class_name": "ReLU", "config": {"name": "relu", "negative_slope": 0.1}}
    configs = {
        "sequential": keras_files.model(keras_files.dense(activation="gelu"), relu),
        "functional": keras_files.functional(
            keras_files.called(keras_files.dense(), "dense", keras_files.tensor("x")),
            keras_files.called(relu, "relu", keras_files.tensor("dense")),
            output="relu",
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, config in configs.items():
            path = keras_files.packed(Path(folder) / f"{name}.keras", config, weights, **{"metadata.json": b"{}"})
            yield _one("keras", path.name, path.read_bytes())
            files = {"w.weights.h5": weights, "config.json": json.dumps(config).encode()}
            yield Sample(f"{name} apart", "keras", "w.weights.h5", files, beside="config.json")
    yield _one("keras", "small.weights.h5", weights)
    yield _one("keras", "older.h5", keras_files.weights(_older))
    names = ["w_00000.weights.h5", "w_00001.weights.h5"]
    index = {"metadata": {"total_size": 60}, "weight_map": {"/layers/dense/vars": names}}
    files = {"w.weights.json": json.dumps(index).encode(), names[0]: weights, names[1]: keras_files.weights(_bias)}
    yield Sample("shards", "keras", "w.weights.json", files)


def _bias(file: h5py.File) -> None:
    file["layers/dense/vars/1"] = keras_files.SECRET[0]


def _older(file: h5py.File) -> None:
    """As Keras wrote weights before version 3."""
    file.attrs.update({"layer_names": [b"dense"], "backend": b"tensorflow", "keras_version": b"2.4.0"})
    file.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0"]
    file["dense/dense/kernel:0"] = keras_files.SECRET


def _torch() -> Iterator[Sample]:
    for name, build in (("checkpoint", checkpoints.several), ("state", checkpoints.state_dict)):
        yield _one("torch", f"{name}.pt", checkpoints.zipped(*build()))
        yield _one("torch", f"{name}-old.pth", checkpoints.streamed(*build(is_old=True)))
    shard = checkpoints.zipped(*checkpoints.state_dict())
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    index = {"metadata": {}, "weight_map": dict(zip(("weight", "bias"), names, strict=True))}
    files = {"pytorch_model.bin.index.json": json.dumps(index).encode(), **dict.fromkeys(names, shard)}
    yield Sample("shards", "torch", "pytorch_model.bin.index.json", files)


def _folders() -> Iterator[Sample]:
    """A model for sentences, whose parts say how it goes on behind BERT."""
    bert = _several("huggingface", "huggingface/bert", "*.[jst]*", "")
    kinds = ("Transformer", "Pooling", "Normalize")
    places = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": at, "name": str(at), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]
    pooling = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    config = json.loads(bert.files["config.json"]) | {"architectures": ["BertModel"]}
    more = {"modules.json": modules, "1_Pooling/config.json": pooling, "config.json": config}
    files = bert.files | {name: json.dumps(each).encode() for name, each in more.items()}
    yield Sample("sentences", "huggingface", "", files)
    base = _several("huggingface", "huggingface/gpt2", "*.[jst]*", "")
    layer = "base_model.model.transformer.h.0.attn.c_attn"
    arrays = {f"{layer}.lora_A.weight": (2, 8), f"{layer}.lora_B.weight": (24, 2)}
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "rank_pattern": {r".*\.h\.0\.attn\.c_attn": 2},
              "alpha_pattern": {"c_attn": 3}, "target_modules": ["c_attn"]}  # fmt: skip
    files = {f"base/{name}": data for name, data in base.files.items()}
    files["adapter/adapter_config.json"] = json.dumps(values).encode()
    numbers = {name: np.linspace(-1, 1, int(np.prod(shape)), dtype="<f4") for name, shape in arrays.items()}
    files["adapter/adapter_model.safetensors"] = safetensors(
        {name: each.reshape(arrays[name]) for name, each in numbers.items()}
    )
    yield Sample("adapter", "huggingface", "adapter", files, beside="base")


def _checked_in() -> Iterator[Sample]:
    for reader, pattern in (
        ("numpy", "*.np[yz]"),
        ("safetensors", "dtypes.safetensors"),
        ("vectors", "*.[tb][xi][tn]"),
        ("onnx", "torch-image.onnx"),
        ("onnx", "keras-image.onnx"),
        ("keras", "new-narrow.keras"),
        ("pt2", "*.pt2"),
    ):
        for path in sorted((FOREIGN / reader).glob(pattern)):
            if path.stat().st_size < _LARGEST:
                yield _one(reader, path.name, path.read_bytes())
    yield _several("safetensors", "safetensors", "model*", "model.safetensors.index.json")
    yield _several("onnx", "onnx", "torch-text.onnx*", "torch-text.onnx")
    for name in ("bert", "gpt2", "qwen2"):
        yield _several("huggingface", f"huggingface/{name}", "*.[jst]*", "")
    for path in sorted(each for each in (FOREIGN / "mxnet").iterdir() if each.is_file()):
        if path.read_bytes()[:2] == b"\x12\x01" and path.stat().st_size < 1000:
            yield _one("mxnet", path.name, path.read_bytes())
    for path in sorted((FOREIGN / "mxnet" / "operators").glob("*-symbol.json")):
        stem = path.name.removesuffix("symbol.json")
        yield _several("mxnet", "mxnet/operators", f"{stem}[s0]*", path.name)


def _several(reader: str, folder: str, pattern: str, path: str) -> Sample:
    files = {each.name: each.read_bytes() for each in sorted((FOREIGN / folder).glob(pattern))}
    return Sample(path or folder.rpartition("/")[2], reader, path, files)


def _mistakes() -> Iterator[Sample]:
    """What people hand over instead of a model, one of each kind."""
    for key, (name, content) in mistakes.FILES.items():
        if len(data := content()) < _LARGEST:
            path = name or "thing.bin"
            yield Sample(key, "none", path, {path: data})
