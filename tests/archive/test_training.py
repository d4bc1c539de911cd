"""The training structure beside parameters: it comes back as it was, is checked like all else, stays where it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from safetensors.numpy import load_file

import modelarchive as ma
from modelarchive import nn
from modelarchive.errors import FormatError, IntegrityError, UnsupportedDataError
from modelarchive.maintenance import extract, reindex, repack
from modelarchive.store.opening import StaleIndexWarning
from tests.hostile.index_attacks import forge
from tests.properties.strategies import structures
from tests.structures import assert_same, everything, verify_both_ways, without_index


def network() -> nn.Sequential:
    net = nn.Sequential(nn.Dense(3, in_units=4), nn.Activation("relu"), nn.Dense(2, in_units=3))
    net.initialize(seed=0)
    return net


def saved(path: Path, training: object) -> Path:
    ma.save_model(path, network(), inputs=np.ones((2, 4), np.float32), metadata={"a": 1}, training=training)
    return path


def training_of(path: Path) -> Any:
    with ma.open(path) as archive:
        archive.verify()
        return archive.training


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(structures)
def test_any_structure_comes_back(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = saved(tmp_path_factory.mktemp("training") / "x.h5", data)
    if data is None:
        assert training_of(path) is None
        return
    ma.save(path.with_name("y.h5"), data)
    assert_same(training_of(path), ma.load(path.with_name("y.h5")))


def test_the_network_is_what_it_is_without(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.h5", everything())
    verify_both_ways(path)
    plain = tmp_path / "plain.h5"
    ma.save_model(plain, network(), inputs=np.ones((2, 4), np.float32), metadata={"a": 1})
    with ma.open(path) as archive, ma.open(plain) as other:
        assert list(archive) == list(other)
        assert archive.parameter_count == other.parameter_count
        assert archive.metadata == {"a": 1}
        assert other.training is None
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(ma.load_model(path)(x), network()(x))
    assert list(ma.load(path)) == list(ma.load(plain))
    extract(path, "", tmp_path / "model.h5")
    assert (tmp_path / "model.h5").read_bytes() == plain.read_bytes()
    notes = ma.convert(path, tmp_path / "model.safetensors")
    assert any(note.where == "(training)" for note in notes)


def test_other_readers_see_it(tmp_path: Path) -> None:
    moments = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = saved(tmp_path / "x.h5", {"optimizer": {"state": {"0.weight": {"exp_avg": moments}}}, "step": 7})
    found = load_file(path)
    assert np.array_equal(found["training/optimizer/state/0.weight/exp_avg"], moments)
    with h5py.File(path) as file:
        assert np.array_equal(file["training/optimizer/state/0.weight/exp_avg"][()], moments)
        assert file["training"].attrs["container"] == b"dict"


def test_hdf5_tells_the_same_and_can_be_indexed_again(tmp_path: Path) -> None:
    data = everything()
    path = saved(tmp_path / "x.h5", data)
    expected = training_of(path)
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "changed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StaleIndexWarning)
        with ma.open(path) as archive:
            assert list(archive.parameters) == list(network().collect_params())
            assert_same(archive.training, expected)
    reindex(path)
    assert_same(training_of(path), expected)
    repack(path)
    assert_same(training_of(path), expected)


def test_without_its_index_the_structure_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.h5", {"a": [np.arange(3), (1, "two")], "b": np.ones(2)})
    expected = training_of(path)
    without_index(path)
    reindex(path)
    assert_same(training_of(path), expected)


def test_a_shared_tensor_is_stored_once(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(1000.0)
    path = saved(tmp_path / "x.h5", {"one": tensor, "two": tensor})
    with ma.open(path) as archive:
        assert archive.reader.contents.aliases == {"training/two": "training/one"}
        assert np.array_equal(archive.training["two"], np.arange(1000.0))
    repack(path)
    with ma.open(path) as archive:
        assert archive.reader.contents.aliases == {"training/two": "training/one"}


def test_damage_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.h5", {"moments": np.full(1000, 7.5)})
    raw = bytearray(path.read_bytes())
    at = raw.find(np.full(10, 7.5).tobytes())
    raw[at + 3] ^= 1
    path.write_bytes(raw)
    with ma.open(path) as archive, pytest.raises(IntegrityError) as error:
        archive.verify()
    assert list(error.value.damaged) == ["training/moments"]


def test_what_cannot_be_stored_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedDataError, match=r"training\['optimizer'\]\['f'\]: builtins.function"):
        saved(tmp_path / "x.h5", {"optimizer": {"f": lambda: 0}})
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, own: own.pop("training"), "is no member of a training structure"),
        (lambda header, own: own["training"].pop(), "an array is no member"),
        (lambda header, own: own["training"].append(["c", "array"]), "has no data"),
        (lambda header, own: own["training"].insert(0, ["c", "dict"]), "has no root"),
        (lambda header, own: own.__setitem__("aliases", {"x": "training/b"}), "is another name of an array"),
    ],
)
def test_an_index_that_says_otherwise_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = saved(tmp_path / "x.h5", {"a": 1, "b": np.ones(3)})
    forge(path, change)
    with pytest.raises(FormatError, match=message):
        ma.open(path)
