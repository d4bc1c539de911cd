"""A bundle goes into an archive and comes out of one with nothing lost but what is noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.exchange.bundle import Bundle, Parameters, bundle_of, deferred, save_bundle, shared_names
from modelarchive.store.deferred import Deferred

X = np.ones((2, 4), np.float32)


class Tied(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dense(4)
        self.second = nn.Dense(4)
        self.second.weight = self.first.weight

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x))


@pytest.fixture
def net() -> nn.Block:
    net = Tied()
    net.initialize(seed=0)
    net(X)
    return net


def test_a_network_round_trips(net: nn.Block, tmp_path: Path) -> None:
    bundle = bundle_of(net, inputs=X)
    assert shared_names(bundle.parameters) == {"second.weight": "first.weight"}
    bundle.metadata["license"] = "MIT"
    bundle.tokens = {"first.bias": ["a", "b", "c", "d"]}
    assert save_bundle(tmp_path / "one.h5", bundle) == []
    with ma.open(tmp_path / "one.h5") as archive:
        assert archive.verify().has_architecture
        again = bundle_of(archive)
        assert again.metadata == {"license": "MIT"}
        assert again.tokens == {"first.bias": ["a", "b", "c", "d"]}
        assert shared_names(again.parameters) == {"second.weight": "first.weight"}
        assert np.array_equal(again.build()(X), net(X))
        save_bundle(tmp_path / "two.h5", again)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    closed = bundle_of(tmp_path / "one.h5")
    assert np.array_equal(closed.build()(X), net(X))
    save_bundle(tmp_path / "three.h5", closed)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "three.h5").read_bytes()


def test_sharing_survives_building(net: nn.Block) -> None:
    built = bundle_of(net, inputs=X).build()
    assert built.second.weight is built.first.weight


def test_any_names_are_kept(tmp_path: Path) -> None:
    arrays = {"model/dense/kernel:0": np.ones(3), "": np.zeros(2), "a": np.zeros(1), "a.b": np.zeros(1)}
    notes = save_bundle(tmp_path / "x.h5", Bundle(arrays, metadata={"by": "us"}, tokens={"a": ["x"]}))
    assert [note.where for note in notes] == ["(names)", "a"]
    found = ma.load(tmp_path / "x.h5")
    assert list(found) == list(arrays)
    with ma.open(tmp_path / "x.h5") as archive:
        archive.verify()
        again = bundle_of(archive)
        assert again.metadata == {"by": "us"}
        assert {name: array.tolist() for name, array in again.parameters.items()} == {
            name: array.tolist() for name, array in arrays.items()
        }


def test_a_name_that_is_a_block_too(tmp_path: Path) -> None:
    notes = save_bundle(tmp_path / "x.h5", Bundle({"a": np.zeros(1), "a.b.c": np.ones(1)}))
    assert "would be a parameter and a block" in str(notes[0])
    assert list(ma.load(tmp_path / "x.h5")) == ["a", "a.b.c"]


def test_parameters_that_are_not_the_architectures(net: nn.Block, tmp_path: Path) -> None:
    bundle = bundle_of(net, inputs=X)
    arrays = dict(bundle.parameters)
    arrays["first.bias"] = np.zeros(5, np.float32)
    del arrays["second.bias"]
    arrays["third.bias"] = np.zeros(5)
    with pytest.raises(ma.ParameterError) as caught:
        save_bundle(tmp_path / "x.h5", Bundle(arrays, bundle.architecture))
    assert caught.value.missing == ["second.bias"]
    assert caught.value.unexpected == ["third.bias"]
    assert list(caught.value.mismatched) == ["first.bias"]
    assert not (tmp_path / "x.h5").exists()


def test_dtypes_that_an_archive_lacks(tmp_path: Path) -> None:
    arrays = {"a": np.zeros(2, ml_dtypes.float8_e8m0fnu), "b": np.array(["x"]), "c": np.zeros(1)}
    with pytest.raises(ma.ConversionError) as caught:
        save_bundle(tmp_path / "x.h5", Bundle(arrays))
    assert [where for where, _ in caught.value.unsupported] == ["a", "b"]


def test_nested_data_is_no_bundle(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {"a": [np.zeros(1)], "b": 3, "c": np.zeros(1)})
    with ma.open(tmp_path / "x.h5") as archive, pytest.raises(ma.ConversionError) as caught:
        bundle_of(archive)
    assert {where for where, _ in caught.value.unsupported} == {"a", "b"}


def test_what_is_no_model() -> None:
    with pytest.raises(TypeError, match="list"):
        bundle_of([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ma.UnsupportedDataError, match="x: is list, expected an array"):
        bundle_of({"x": [1, 2]})  # type: ignore[dict-item]


def test_building_without_an_architecture_says_why() -> None:
    with pytest.raises(ma.SpecError, match="no graph in the file"):
        Bundle({}, reason="no graph in the file").build()


def test_arrays_are_read_one_at_a_time(tmp_path: Path) -> None:
    alive = []
    most = []

    def reader(value: int) -> Any:
        def read() -> np.ndarray:
            array = np.full((1 << 20,), value, np.float32)
            alive.append(value)
            most.append(len(alive))
            finalizer(array, value)
            return array

        return read

    def finalizer(array: np.ndarray, value: int) -> None:
        import weakref

        weakref.finalize(array, alive.remove, value)

    entries = {f"p{value}": Deferred((1 << 20,), np.dtype(np.float32), reader(value)) for value in range(8)}
    save_bundle(tmp_path / "x.h5", Bundle(Parameters(entries)))
    assert len(most) == 8
    assert max(most) == 1
    found = ma.load(tmp_path / "x.h5", verify=True)
    assert [int(found[f"p{value}"][-1]) for value in range(8)] == list(range(8))


def test_an_array_that_is_not_as_announced(tmp_path: Path) -> None:
    entry = Deferred((3,), np.dtype(np.float32), lambda: np.zeros(3))
    with pytest.raises(ValueError, match="announced"):
        save_bundle(tmp_path / "x.h5", Bundle(Parameters({"a": entry})))
    assert list(tmp_path.iterdir()) == []


def test_deferred_keeps_identity() -> None:
    array = np.zeros(2)
    found = deferred({"a": array, "b": array, "c": array.copy()})
    assert found["a"] is found["b"]
    assert found["a"] is not found["c"]


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "params"])
def test_a_name_that_is_no_text_is_refused_where_names_are_utf_8(tmp_path: Path, suffix: str) -> None:
    ma.save(tmp_path / "a.h5", {"half \ud800": np.ones(2), "whole": np.ones(2)})
    with pytest.raises(ma.ConversionError, match=r"'half \\ud800': is no text") as caught:
        ma.convert(tmp_path / "a.h5", tmp_path / f"b.{suffix}")
    assert len(caught.value.unsupported) == 1
    str(caught.value).encode()
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5"]
