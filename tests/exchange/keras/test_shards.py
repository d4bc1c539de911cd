"""Keras' weights in several files: all of them together, never one as the whole; what is missing is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from modelarchive.errors import ConversionError, FormatError, UnsafeFileError
from modelarchive.exchange import keras as exchange
from tests.conftest import ROOT

FILES = ROOT / "tests" / "data" / "foreign" / "keras" / "more"
INDEX = "new-shards.weights.json"
FIRST, SECOND = "new-shards_00000.weights.h5", "new-shards_00001.weights.h5"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the index and both shards."""
    for name in (INDEX, FIRST, SECOND):
        shutil.copy(FILES / name, tmp_path)
    return tmp_path


def change(path: Path, function: Callable[[Any], Any]) -> None:
    document = json.loads(path.read_bytes())
    function(document)
    path.write_text(json.dumps(document))


def notes(path: Path) -> list[str]:
    return [note.what for note in exchange.read(path).notes if note.where == "(shards)"]


def test_all_shards_are_read_and_a_layer_may_be_in_two(folder: Path) -> None:
    bundle = exchange.read(folder / INDEX)
    assert list(bundle.parameters) == [
        f"layers.{name}.vars.{at}" for name in ("dense", "dense_1", "dense_2") for at in (0, 1)
    ]
    assert notes(folder / INDEX) == []
    with h5py.File(folder / FIRST) as one, h5py.File(folder / SECOND) as two:
        assert list(one["layers/dense_1/vars"]) == ["0"]
        assert list(two["layers/dense_1/vars"]) == ["1"]
        assert bundle.parameters["layers.dense_1.vars.1"].tobytes() == two["layers/dense_1/vars/1"][:].tobytes()
    whole = exchange.read(folder / INDEX, config=FILES / "new-shards.json")
    with np.load(FILES / "new-shards.npz") as arrays:
        np.testing.assert_allclose(whole.build()(arrays["input_0"]), arrays["output_0"], atol=1e-5)
    named = exchange.read(folder / INDEX, parameters_only=True)
    assert {"first.kernel", "last.bias"} <= named.parameters.keys()


@pytest.mark.filterwarnings("ignore")
def test_what_keras_writes_is_read_whatever_the_size_of_shards(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    layers = keras.layers
    rows = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(5), layers.Dense(2)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *rows])
    model.save_weights(tmp_path / "whole.weights.h5")
    expected = {
        name: array.tobytes() for name, array in exchange.read(tmp_path / "whole.weights.h5").parameters.items()
    }
    for size in (1400, 1500, 2000, 5000):
        place = tmp_path / str(size)
        place.mkdir()
        model.save_weights(place / "m.weights.json", max_shard_size=size / 2**30)
        found = exchange.read(place / "m.weights.json")
        assert {name: array.tobytes() for name, array in found.parameters.items()} == expected
        shards = sorted(place.glob("*.h5"))
        for shard in shards:
            assert len(notes(shard)) == (len(shards) > 1)
    assert len(shards) == 1


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / SECOND).unlink()
    with pytest.raises(FormatError, match=f"names the shard '{SECOND}', which is not beside it"):
        exchange.read(folder / INDEX)


def test_exchanged_shards_are_named(folder: Path) -> None:
    (folder / FIRST).rename(folder / "x")
    (folder / SECOND).rename(folder / FIRST)
    (folder / "x").rename(folder / SECOND)
    with pytest.raises(FormatError, match=rf"{FIRST}: holds 'layers/dense_2/vars/0', which is in {SECOND}"):
        exchange.read(folder / INDEX)


def test_a_shard_twice_is_named(folder: Path) -> None:
    shutil.copy(folder / FIRST, folder / SECOND)
    with pytest.raises(FormatError, match=rf"{SECOND}: holds"):
        exchange.read(folder / INDEX)


def test_a_damaged_shard_is_named(folder: Path) -> None:
    whole = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=SECOND):
        exchange.read(folder / INDEX)


@pytest.mark.parametrize("name", ["layers/dense_1/vars/1", "layers/dense_2/vars/0"])
def test_what_a_shard_lacks_is_named(folder: Path, name: str) -> None:
    with h5py.File(folder / SECOND, "r+") as file:
        del file[name]
    with pytest.raises(FormatError, match=name.rpartition("/")[0]):
        exchange.read(folder / INDEX)


def test_a_shard_of_another_model_is_told_by_its_size(folder: Path) -> None:
    with h5py.File(folder / SECOND, "r+") as file:
        del file["layers/dense_2/vars/0"]
        file["layers/dense_2/vars/0"] = np.zeros((4, 7), "f4")
    with pytest.raises(FormatError, match="hold 360 bytes of arrays, expected 296"):
        exchange.read(folder / INDEX)


@pytest.mark.parametrize("name", ["../x.weights.h5", "/x.weights.h5", "a/b.h5", "", "..", "c:\\x.h5"])
def test_shards_lie_beside_their_index(folder: Path, name: str) -> None:
    change(folder / INDEX, lambda document: document["weight_map"].update({"/layers/x/vars": [name]}))
    with pytest.raises(UnsafeFileError, match="not in its own folder"):
        exchange.read(folder / INDEX)


@pytest.mark.parametrize(
    "value", [{}, {"weight_map": {}}, {"weight_map": 3}, {"weight_map": {"/a": []}}, {"weight_map": {"/a": [3]}}]
)
def test_what_is_no_index_is_told(folder: Path, value: Any) -> None:
    (folder / INDEX).write_text(json.dumps(value))
    with pytest.raises(FormatError, match="weight_map"):
        exchange.read(folder / INDEX)


def test_the_json_of_a_model_is_no_index() -> None:
    with pytest.raises(FormatError, match="is the JSON of a model, without weights") as caught:
        exchange.read(FILES / "new-shards.json")
    assert "config=" in caught.value.hint


def test_one_shard_alone_is_never_silently_a_whole(folder: Path) -> None:
    for name in (FIRST, SECOND):
        assert "one of 2 shards" in notes(folder / name)[0]
        assert INDEX in notes(folder / name)[0]
    (folder / INDEX).unlink()
    assert "named like one shard of several" in notes(folder / FIRST)[0]
    (folder / SECOND).rename(folder / "other.weights.h5")
    assert "layers/dense_1/vars has not all of its variables" in notes(folder / "other.weights.h5")[0]
    with pytest.raises(ConversionError, match="is not in the file"):
        exchange.read(folder / "other.weights.h5", config=FILES / "new-shards.json")
    whole = ROOT / "tests" / "data" / "foreign" / "keras"
    for name in ("new-image.weights.h5", "old-image.weights.h5", "old-image-weights.h5"):
        assert notes(whole / name) == []
