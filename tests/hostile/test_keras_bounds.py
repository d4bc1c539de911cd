"""Keras' files from strangers: what reading one costs, what its JSON may hold, and what is not read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ConversionError
from modelarchive.exchange import budget
from modelarchive.exchange import keras as exchange
from tests.hostile.keras_files import called, dense, functional, model, packed, plain, tensor, weights
from tests.hostile.test_keras_rules import little_memory, refused


@pytest.mark.slow
def test_a_model_that_is_written_out_again_and_again(tmp_path: Path) -> None:
    """Models that call the one before twice, in scopes of their own: what is written out doubles each time."""
    row = [called(dense(4, name="d0"), "d0", tensor("x"))]
    for at in range(1, 10):
        row.append(called(dense(4, name=f"d{at}"), f"d{at}", tensor(f"d{at - 1}")))
    inner = functional(*row, output="d9", name="m")
    for level in range(9):
        first, second = (called(inner | {"name": f"{side}{level}"}, f"{side}{level}", tensor("x")) for side in "ab")
        inner = functional(first, second, output=f"b{level}", name="m")
    path = packed(tmp_path / "x.keras", inner, weights(plain))
    with pytest.raises(ma.ModelArchiveError) as caught:
        exchange.read(path)
    assert len(str(caught.value)) < 300_000


def test_a_model_is_called_many_times_at_the_cost_of_once(tmp_path: Path) -> None:
    row = [called(dense(4, name="d0", kernel_initializer=None), "d0", tensor("x"))]
    for at in range(1, 100):
        row.append(called(dense(4) | {"class_name": "Activation", "config": {"name": f"d{at}", "activation": "relu"}},
                          f"d{at}", tensor(f"d{at - 1}")))  # fmt: skip
    inner = functional(*row, output="d99", name="m")
    calls = [tensor("x"), *(tensor("m", at) for at in range(199))]
    outer = functional(called(inner, "m", *calls), output="m")
    outer["config"]["output_layers"] = ["m", 200, 0]

    def square(file: h5py.File) -> None:
        file["layers/functional/layers/dense/vars/0"] = np.eye(4, dtype="f4")

    path = packed(tmp_path / "x.keras", outer, weights(square))
    with budget.reading(path, path.stat().st_size) as left:
        before = left.steps
        bundle = exchange.read(path)
    assert len(bundle.architecture["model"]["nodes"]) == 200
    assert before - left.steps < 2500


@pytest.mark.parametrize("levels", [190, 250, 480, 700, 980])
@pytest.mark.parametrize("place", ["args", "kwargs", "config", "output_layers", "dtype", "other"])
def test_nesting_ends_somewhere(tmp_path: Path, place: str, levels: int) -> None:
    deep: Any = 1
    for _ in range(min(levels, 400)):
        deep = [deep]
    layer = called(dense(4), "dense", tensor("x"))
    if place in ("args", "kwargs"):
        layer["inbound_nodes"][0][place] = deep if place == "args" else {"k": deep}
    elif place in ("config", "dtype"):
        layer["config"]["dtype" if place == "dtype" else "units"] = deep
    else:
        layer["other"] = deep
    whole = functional(layer, output="dense")
    if place == "output_layers":
        whole["config"]["output_layers"] = deep
    with pytest.raises(ma.ModelArchiveError) as caught:
        exchange.read(packed(tmp_path / "x.keras", whole, weights(plain)))
    assert caught.value.file


@pytest.mark.parametrize("dtype", [[1], {"config": [1]}, {"config": 5}, 5, {}, "U999999999", {"class_name": []}])
def test_dtypes_are_words_of_a_table(tmp_path: Path, dtype: Any) -> None:
    config = model(dense())
    config["config"]["layers"][0]["config"]["dtype"] = dtype
    refused(packed(tmp_path / "x.keras", config, weights(plain)), ConversionError, "not supported")


@pytest.mark.parametrize(
    "value",
    [["x" * 10_000, *["a"] * 10_000], {"class_name": "__numpy__", "config": {"value": "a", "dtype": "U99999999"}},
     {"class_name": "__numpy__", "config": {"value": [1, [2]], "dtype": "float32"}}],
)  # fmt: skip
def test_arrays_in_a_config_are_numbers(tmp_path: Path, value: Any) -> None:
    layer = {"module": "keras.layers", "class_name": "Rescaling", "config": {"name": "r", "scale": value}}
    layer = {"module": "keras.ops", "class_name": "Add", "name": "r", "config": {"name": "r"}, "registered_name": "Add",
             "inbound_nodes": [{"args": [tensor("x"), value], "kwargs": {}}]}  # fmt: skip
    path = packed(tmp_path / "x.keras", functional(layer, output="r"), weights(plain))
    with little_memory():
        refused(path, ConversionError, "numbers|not supported|inhomogeneous")


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    layer = dense() | {"strange": 1}
    whole = model(layer)
    whole["config"]["unheard"] = [1]
    path = packed(tmp_path / "x.keras", whole, weights(plain), other=b"1",
                  **{"metadata.json": b'{"keras_version": "3.0", "more": 1}'})  # fmt: skip
    told = {note.where: note.what for note in exchange.read(path).notes}
    assert "other" in told["(assets)"]
    assert "more" in told["metadata.json"]
    assert "strange" in told["(config)"]
    assert "unheard" in told["(config)"]
