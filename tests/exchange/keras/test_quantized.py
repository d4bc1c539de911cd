"""Layers that Keras quantised, saved and read here: outputs are those of Keras' quantised model."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelarchive.errors import ConversionError
from modelarchive.exchange import keras as exchange

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

from keras import layers, quantizers  # noqa: E402 - only where Keras is

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Invalid quantization mode:UserWarning"),  # of an Embedding
    pytest.mark.filterwarnings("ignore:Layer \\w+ does not have a `quantize` method implemented:UserWarning"),
]
WORDS = np.random.default_rng(0).integers(0, 9, (4, 6)).astype("int32")


def float_model() -> Any:
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(9, 8),
            layers.Dense(7, activation="relu"),
            layers.EinsumDense("abc,cd->abd", (6, 5), bias_axes="d"),
            layers.EinsumDense("abc,cde->abde", (6, 2, 3)),
            layers.EinsumDense("abde,def->abf", (6, 4)),
            layers.Flatten(),
            layers.Dense(3, use_bias=False),
        ]
    )
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(0, 0.5, each.shape) for each in model.get_weights()])
    return model


CASES = {
    "int8": ("int8", {}),
    "int8 weights only": ("int8", {"activation_quantizer": None}),
    "int4": ("int4", {}),
    "int4 by channels": ("int4", {"block_size": -1}),
    "int4 by blocks": ("int4", {"block_size": 4}),
    "float8": ("float8", None),
}


def saved(name: str, folder: Path) -> tuple[Any, Path]:
    mode, settings = CASES[name]
    model = float_model()
    if not settings:
        model.quantize(mode)
    else:
        of_mode = {"int8": quantizers.Int8QuantizationConfig, "int4": quantizers.Int4QuantizationConfig}[mode]
        model.quantize(mode, config=of_mode(**settings))
    for layer in model.layers if mode == "float8" else ():
        for each in layer.variables:
            if each.name in ("inputs_scale", "kernel_scale"):
                each.assign(0.013)  # as after some training
            elif each.name == "bias":
                each.assign(np.full(each.shape, 0.3))  # no number of bfloat16
    model.save(folder / "model.keras")
    return model, folder / "model.keras"


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_quantised_model(tmp_path: Path, name: str) -> None:
    model, path = saved(name, tmp_path)
    bundle = exchange.read(path)
    found = bundle.build()(WORDS)
    np.testing.assert_allclose(found, model.predict(WORDS, verbose=0), atol=1e-5)
    assert sum("as the floats" in note.what or "rounded to" in note.what or "as floats" in note.what
               for note in bundle.notes) >= 5  # fmt: skip
    again = keras.saving.load_model(path)
    np.testing.assert_allclose(found, again.predict(WORDS, verbose=0), atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["int8", "int4 by channels", "int4 by blocks"])
def test_a_lora_of_a_quantised_model_is_in_its_file_merged(tmp_path: Path, name: str) -> None:
    model, path = saved(name, tmp_path)
    for layer in model.layers[:3]:
        layer.enable_lora(2, lora_alpha=3)
        for each in layer.variables:
            if each.name.startswith("lora_"):
                each.assign(np.random.default_rng(2).normal(0, 0.5, each.shape))
    model.save(path)
    bundle = exchange.read(path)
    assert sum("its LoRA of rank 2 is merged into" in note.what for note in bundle.notes) == 3
    again = keras.saving.load_model(path)
    np.testing.assert_allclose(bundle.build()(WORDS), again.predict(WORDS, verbose=0), atol=1e-5)
    model.save(tmp_path / "model.h5")
    with pytest.raises(ConversionError, match=r"LoRA beside its \w+ of int., .*a .keras file has them merged"):
        exchange.read(tmp_path / "model.h5")


def test_what_keras_computes_without_the_scales_is_refused() -> None:
    model = keras.Sequential([keras.Input((3, 6)), layers.TimeDistributed(layers.Dense(5))])
    x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype("f4")
    before = model.predict(x, verbose=0)
    model.quantize("int8")
    assert not np.allclose(before, model.predict(x, verbose=0), atol=1)  # Keras 3.15.1
    with pytest.raises(ConversionError, match="whole numbers of a quantised Dense in it, without their scale"):
        exchange.read_model(model)


def test_the_parameters_of_a_quantised_model_come_as_they_are_stored(tmp_path: Path) -> None:
    _, path = saved("int8", tmp_path)
    parameters = exchange.read(path, parameters_only=True).parameters
    assert sum(np.asarray(each).dtype == np.int8 for each in parameters.values()) == 6


def changed(path: Path, change: Any) -> Path:
    """The same file with another configuration, or other arrays."""
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    config, weights = json.loads(members["config.json"]), io.BytesIO(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        change(config["config"]["layers"], file)
    members |= {"config.json": json.dumps(config).encode(), "model.weights.h5": weights.getvalue()}
    with zipfile.ZipFile(path, "w") as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path


def _replaced(place: str, array: np.ndarray) -> Any:
    def change(layers: Any, file: Any) -> None:
        del file[place]
        file[place] = array

    return change


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("int8", _replaced("layers/dense/vars/2", np.ones(5, "f4")), "scale of its kernel"),
        ("int8", _replaced("layers/dense/vars/0", np.ones((8, 7), "f4")), "quantised kernel is float32"),
        ("int4", _replaced("layers/dense/vars/0", np.ones((8, 9), "i1")), "packed kernel has the shape"),
        ("int4", _replaced("layers/dense/vars/4", np.full(8, 3.0, "f4")), "blocks of its kernel"),
        ("int4", lambda layers, file: file.__delitem__("layers/dense/vars/3"), "'kernel_zero' is not in the file"),
        (
            "int8",
            lambda layers, file: layers[2]["config"]["dtype"]["config"].update(mode="int3"),
            "quantised as 'int3'",
        ),
        (
            "int8",
            lambda layers, file: layers[2]["config"]["dtype"]["config"].update(source_name="float16"),
            "computes in float16",
        ),
        (
            "int8",
            lambda layers, file: layers[2]["config"]["quantization_config"]["config"]["activation_quantizer"].update(
                class_name="Mine"
            ),
            "quantised by",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str, change: Any, words: str) -> None:
    _, path = saved(name, tmp_path)
    with pytest.raises(ConversionError, match=words):
        exchange.read(changed(path, change))
