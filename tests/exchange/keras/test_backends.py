"""Which backend Keras takes, what it cannot write down, what its backends compute differently, and what LoRA adds."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.errors import ConversionError, MissingDependencyError
from modelarchive.exchange import keras as exchange
from modelarchive.exchange.keras import writing
from tests.conftest import ROOT

keras = pytest.importorskip("keras")
FILES = ROOT / "tests" / "data" / "foreign" / "keras" / "more"


# ---------------------------------------------------------------------- KERAS_BACKEND


def chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: list[str], **state: Any) -> str | None:
    """What KERAS_BACKEND is after a choice among what is said to be installed."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if "variable" in state:
        monkeypatch.setenv("KERAS_BACKEND", state["variable"])
    if "file" in state:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": state["file"]}))
    for name in writing.BACKENDS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    if "imported" in state:
        monkeypatch.setitem(sys.modules, state["imported"], sys)
    monkeypatch.setattr(writing.importlib.util, "find_spec", lambda name: name if name in installed else None)
    writing._choose_backend()
    return os.environ.get("KERAS_BACKEND")


def test_a_backend_that_is_installed_is_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert chosen(monkeypatch, tmp_path, ["torch"]) == "torch"
    assert chosen(monkeypatch, tmp_path, ["jax", "torch"]) == "torch"
    assert chosen(monkeypatch, tmp_path, ["jax", "torch"], imported="jax") == "jax"
    assert chosen(monkeypatch, tmp_path, ["jax"]) == "jax"
    # What works is left as it is: the variable, Keras' own file, TensorFlow.
    assert chosen(monkeypatch, tmp_path, ["torch", "tensorflow"]) is None
    assert chosen(monkeypatch, tmp_path, ["torch", "jax"], file="jax") is None
    assert chosen(monkeypatch, tmp_path, ["torch"], file="jax") == "torch"
    assert chosen(monkeypatch, tmp_path, ["torch", "jax"], variable="jax") == "jax"
    assert chosen(monkeypatch, tmp_path, ["torch", "numpy"], variable="numpy") == "numpy"


def test_a_backend_that_is_missing_is_told_with_those_that_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(MissingDependencyError, match="KERAS_BACKEND is 'jax', which is not installed here") as caught:
        chosen(monkeypatch, tmp_path, ["torch", "tensorflow"], variable="jax")
    assert "installed: torch, tensorflow" in str(caught.value)
    assert "set KERAS_BACKEND=torch" in caught.value.hint
    with pytest.raises(MissingDependencyError, match="torch, jax or tensorflow, and none"):
        chosen(monkeypatch, tmp_path, [])


@pytest.mark.slow
@pytest.mark.skipif(writing.importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_the_command_writes_keras_files_without_being_told_a_backend(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    environment["KERAS_HOME"] = str(tmp_path)
    source = ROOT / "tests" / "data" / "foreign" / "keras" / "new-text.keras"
    command = [sys.executable, "-m", "modelarchive", "convert", str(source), str(tmp_path / "x.keras")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert exchange.read(tmp_path / "x.keras").architecture is not None


# ---------------------------------------------------------------------- models that have no config


def test_a_model_that_was_not_built_is_told_with_what_to_type() -> None:
    model = keras.Sequential([keras.layers.Dense(3, name="dense")])
    with pytest.raises(ConversionError, match=r"model\.build\(\(None, 32\)\)"):
        exchange.read_model(model)
    model.build((None, 32))
    assert exchange.read_model(model).parameters["dense.weight"].shape == (3, 32)


def test_a_model_without_variables_is_built_first(tmp_path: Path) -> None:
    """An example in `inputs=` does not do it: it would be a model that nobody has."""
    for given in ({}, {"inputs": np.ones((1, 32), "f4")}):
        model = keras.Sequential([keras.layers.Dense(3)])
        with pytest.raises(ConversionError, match="has no variables yet") as caught:
            ma.save_model(tmp_path / "x.h5", model, **given)
        assert len(caught.value.unsupported) == 1
        assert "inputs=" not in str(caught.value.hint)
        assert "model.build((None, 32))" in str(caught.value.hint)
    model.build((None, 32))
    ma.save_model(tmp_path / "x.h5", model)


class Own(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def test_a_model_of_its_authors_own_class_is_told_with_what_to_type() -> None:
    model = Own()
    for step in ("unbuilt", "built"):
        with pytest.raises(ConversionError, match=r"is a Own, a model|has no variables yet") as caught:
            exchange.read_model(model)
        assert "ma.save('weights.h5', {v.path: v for v in model.variables})" in caught.value.hint
        if step == "unbuilt":
            model(np.ones((2, 4), "f4"))


class Bad(keras.layers.Layer):
    """A layer whose config is what it was given, or an exception."""

    def __init__(self, value: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.held = [value]

    def call(self, x: Any) -> Any:
        return x

    def get_config(self) -> dict[str, Any]:
        if isinstance(self.held[0], Exception):
            raise self.held[0]
        return {"value": self.held[0]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "value",
    [
        AttributeError("no such"),
        KeyError("x"),
        RuntimeError("boom\nmore"),
        RecursionError(),
        ZeroDivisionError(),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_without_a_config_is_named(value: Any) -> None:
    given = keras.Input((4,))
    inner = keras.Sequential([keras.layers.Dense(4), Bad(value, name="the_bad_one")], name="inner")
    model = keras.Model(given, keras.layers.Dense(2)(inner(given)))
    with pytest.raises(ConversionError) as caught:
        exchange.read_model(model)
    (place, what), = caught.value.unsupported  # fmt: skip
    assert place == "the_bad_one"
    assert what.startswith("Keras has no config for it: ")
    assert "\n" not in what


# ---------------------------------------------------------------------- pooling


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="only the backend of PyTorch differs")
@pytest.mark.parametrize("pools", [(2, 2), (3, 3), (2, 3), (4, 2), (5, 4), (1, 3)])
def test_pooling_that_backends_compute_differently_is_told(pools: tuple[int, int]) -> None:
    for strides, size, style in itertools.product([(1, 1), (2, 2), (3, 2)], [(9, 10), (7, 8)], ["Average", "Max"]):
        x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("f4")
        layer = getattr(keras.layers, f"{style}Pooling2D")(pools, strides=strides, padding="same")
        model = keras.Sequential([keras.Input((*size, 3)), layer])
        bundle = exchange.read_model(model)
        is_alike = np.allclose(bundle.build()(x), model.predict(x, verbose=0), atol=1e-5)
        is_told = any("padding='same' is uneven" in note.what for note in bundle.notes)
        assert is_alike != is_told, (pools, strides, size, style)


# ---------------------------------------------------------------------- LoRA


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lora_is_merged(suffix: str) -> None:
    bundle = exchange.read(FILES / f"new-lora{suffix}")
    with np.load(FILES / "new-lora.npz") as arrays:
        np.testing.assert_allclose(bundle.build()(arrays["input_0"]), arrays["output_0"], rtol=1e-5, atol=1e-5)
    told = {note.where: note.what for note in bundle.notes}
    assert set(told) == {"words_of", "mixed", "moved", "head"}
    assert all("its LoRA of rank 2 is merged" in what for what in told.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("alpha", [None, 7])
def test_a_lora_in_memory_is_merged_and_the_model_stays_as_it_is(alpha: int | None, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, name="one"), keras.layers.Dense(4)])
    model.get_layer("one").enable_lora(2, lora_alpha=alpha)
    generator = np.random.default_rng(0)
    for each in model.weights:
        each.assign(generator.uniform(-1, 1, each.shape))
    before = [keras.ops.convert_to_numpy(each) for each in model.weights]
    x = generator.normal(size=(3, 6)).astype("f4")
    ma.save_model(tmp_path / "x.h5", model)
    np.testing.assert_allclose(ma.load_model(tmp_path / "x.h5")(x), model.predict(x, verbose=0), atol=1e-5)
    for one, two in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, keras.ops.convert_to_numpy(two))


@pytest.mark.filterwarnings("ignore")
def test_a_lora_inside_of_a_layer_is_merged_or_refused_and_never_passed_over(tmp_path: Path) -> None:
    given = keras.Input((4, 6))
    attention = keras.layers.MultiHeadAttention(2, 3)
    model = keras.Model(given, keras.layers.Dense(5)(attention(given, given)))
    generator = np.random.default_rng(0)
    attention.query_dense.enable_lora(2)
    attention.value_dense.enable_lora(3, lora_alpha=7)
    for each in model.weights:
        each.assign(generator.uniform(-1, 1, each.shape))
    x = generator.normal(size=(3, 4, 6)).astype("f4")
    wanted = model.predict(x, verbose=0)
    bundle = exchange.read_model(model)
    np.testing.assert_allclose(bundle.build()(x), wanted, rtol=1e-5, atol=1e-5)
    told = [note.what for note in bundle.notes]
    assert "its LoRA of rank 2 is merged into the query_dense kernel, from which it was apart" in told
    model.save(tmp_path / "x.keras")
    np.testing.assert_allclose(exchange.read(tmp_path / "x.keras").build()(x), wanted, rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "x.h5")
    with pytest.raises(ConversionError, match="query/lora_kernel_a: is a factor of a LoRA, and no setting says"):
        exchange.read(tmp_path / "x.h5")


def test_a_lora_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes((FILES / "new-lora.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["model_weights/head"]
        name = next(each for each in group.attrs["weight_names"] if "lora_kernel_a" in str(each))
        name = name if isinstance(name, str) else name.decode()
        del group[name]
        group[name] = np.zeros((6, 3), "f4")
    with pytest.raises(ConversionError, match=r"head: its LoRA of rank 2 has factors of shapes \(6, 3\)"):
        exchange.read(path)
    with h5py.File(path, "r+") as file:
        del file["model_weights/head"][name]
    with pytest.raises(ConversionError, match="head: its weight 'lora_kernel_a' is not in the file"):
        exchange.read(path)


# ---------------------------------------------------------------------- JAX

ON_JAX = """
import sys
import numpy as np
import modelarchive as ma
from modelarchive.exchange import keras as exchange
model = ma.load_model(sys.argv[1], backend="keras")
import keras
with np.load(sys.argv[2]) as io:
    found = np.asarray(model(io["x"], training=False))
    np.testing.assert_allclose(found, io["y"], atol=1e-5)
exchange.write(sys.argv[1], sys.argv[3])
again = exchange.read(sys.argv[3]).build()
with np.load(sys.argv[2]) as io:
    np.testing.assert_allclose(again(io["x"]), io["y"], atol=1e-5)
print(keras.backend.backend(), sorted(name for name in ("torch", "tensorflow", "jax") if name in sys.modules))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image", "text"])
def test_archives_are_built_in_keras_on_jax(tmp_path: Path, name: str) -> None:
    pytest.importorskip("jax")
    if name == "image":
        layers = [
            nn.Conv2D(4, 3, padding=1, activation="relu"),
            nn.BatchNorm(),
            nn.MaxPool2D(2),
            nn.Flatten(),
            nn.Dense(3),
        ]
        x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")
    else:
        layers = [
            nn.LSTM(4, layout="NTC", bidirectional=True),
            nn.MultiHeadAttention(8, 2),
            nn.LayerNorm(),
            nn.Dense(3, flatten=False),
        ]
        x = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
    network = nn.Sequential(*layers)
    network.initialize(seed=0)
    y = network(x)
    ma.save_model(tmp_path / "net.h5", network, inputs=x)
    np.savez(tmp_path / "io.npz", x=x, y=y)
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX, tmp_path / "net.h5", tmp_path / "io.npz", tmp_path / "net.keras"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[0] == "jax"
