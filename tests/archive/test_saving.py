"""What saving a network writes: names, shared parameters, texts, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.archive import save_parameters
from tests.structures import index_of
from tests.transplant.networks import Donor, Tied, Words, X, ready


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.h5"


def test_hdf5_mirrors_the_block_tree(path: Path) -> None:
    net = ready(Donor())
    ma.save_model(path, net, inputs=X, metadata={"license": "MIT", "größe": [1, None]})
    with h5py.File(path) as file:
        assert file.attrs["format"] == b"modelarchive"
        assert file.attrs["format_version"] == 1
        assert file.attrs["default"] == b"architecture"
        for name, parameter in net.collect_params().items():
            np.testing.assert_array_equal(file["parameters/" + name.replace(".", "/")][()], parameter.data())
        assert file["parameters/features/0"].attrs["kind"] == b"Dense"
        assert file["parameters/features"].attrs["kind"] == b"Sequential"
        assert file["parameters/features/0"].attrs["signal"] == b"weight"
        for name in ("architecture", "metadata"):
            assert file[name].attrs["NX_class"] == b"NXnote"
            assert file[f"{name}/type"][()] == b"application/json"
        assert json.loads(file["metadata/data"][()]) == {"license": "MIT", "größe": [1, None]}
        architecture = json.loads(file["architecture/data"][()])
    ma.validate(architecture)
    with ma.open(path) as archive:
        assert archive.architecture == architecture
        assert list(archive.parameters) == list(net.collect_params())


def test_viewers_draw_matrices_and_kernels(path: Path) -> None:
    net = nn.Sequential(nn.Conv2D(4, 3, in_channels=2), nn.BatchNorm(in_channels=4), nn.Flatten(), nn.Dense(3))
    ma.save_model(path, ready(net, x=np.zeros((1, 2, 5, 5), "f4")), inputs=np.zeros((1, 2, 5, 5), "f4"))
    with h5py.File(path) as file:
        blocks = file["parameters"]
        assert {name: block.attrs.get("signal") for name, block in blocks.items()} == {
            "0": b"weight",
            "1": None,
            "2": None,
            "3": b"weight",
        }
        assert {name for name, block in blocks.items() if "interpretation" in block.get("weight", block).attrs} == {"3"}


def test_the_header_counts_the_elements_of_all_arrays(path: Path) -> None:
    net = ready(Tied(), x=np.zeros((1, 6), "f4"))
    ma.save_model(path, net, inputs=np.zeros((1, 6), "f4"), compression="deflate")
    distinct = {id(parameter): parameter.data().size for parameter in net.collect_params().values()}
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header["__metadata__"]["total_parameters"] == str(sum(distinct.values()))


def test_a_shared_parameter_is_stored_once(path: Path) -> None:
    x = np.zeros((1, 6), "f4")
    net = ready(Tied(), x=x)
    ma.save_model(path, net, inputs=x)
    contents = index_of(path)
    assert list(contents.arrays) == ["first.weight"]
    assert contents.aliases == {"second.weight": "first.weight"}
    assert contents.order == ["first.weight", "second.weight"]
    with h5py.File(path) as file:
        assert file["parameters/first/weight"] == file["parameters/second/weight"]
    again = ma.load_model(path)
    assert again.first.weight is again.second.weight
    assert set(ma.load(path)) == {"first.weight", "second.weight"}


def test_equal_values_are_not_shared(path: Path) -> None:
    net = nn.Sequential(nn.Dense(6, in_units=6), nn.Dense(6, in_units=6))
    net.initialize("ones")
    net.save_parameters(path)
    assert not index_of(path).aliases


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ({"embedding.wieght": ["a"]}, "did you mean 'embedding.weight'"),
        ({"embedding.weight": ["a", "b"]}, "has 2 words for (3,) rows"),
        ({"embedding.weight": "abc"}, "no sequence of strings"),
        ({"embedding.weight": [1, 2, 3]}, "no sequence of strings"),
        ({"embedding.weight": ["a", "b", "c\0"]}, "NUL"),
        ({"embedding.weight": ["a", "b", "\ud800"]}, "surrogates"),
    ],
)
def test_tokens_that_do_not_fit(path: Path, tokens: dict[str, list[str]], words: str) -> None:
    x = np.zeros((1, 2), "i4")
    with pytest.raises(ma.UnsupportedDataError) as caught:
        ma.save_model(path, ready(Words(3), x=x), inputs=x, tokens=tokens)
    assert words in str(caught.value)
    assert not path.exists()


def test_tokens_come_back(path: Path) -> None:
    x = np.zeros((1, 2), "i4")
    ma.save_model(path, ready(Words(4), x=x), inputs=x, tokens={"embedding.weight": ["", "wörd", "x y", "日本"]})
    with ma.open(path) as archive:
        assert archive.tokens == {"embedding.weight": ["", "wörd", "x y", "日本"]}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"a": {"b": [1, 2.5, "x", None, True]}},
        {"": ""},
        {"\ud800": "\udfff"},
        {"long": "x" * 200_000},
        {"n": 10**30},
    ],
)
def test_metadata(path: Path, metadata: dict[str, object]) -> None:
    net = ready(Donor())
    ma.save_model(path, net, inputs=X, metadata=metadata)
    with ma.open(path) as archive:
        assert archive.metadata == metadata
        archive.verify()
    save_parameters(net, path, metadata=metadata)
    with ma.open(path) as archive:
        assert archive.metadata == metadata
        assert not archive.has_architecture


def test_every_dtype_of_parameter(path: Path) -> None:
    from tests.structures import every_dtype

    net = nn.Block()
    for name, array in every_dtype().items():
        setattr(net, name, nn.Parameter(array.shape, array.dtype))
        getattr(net, name).set_data(array)
    net.save_parameters(path)
    found = ma.load(path, verify=True)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in every_dtype().items()
    }


@pytest.mark.parametrize("name", ["m.onnx", "m.pt", "M.KERAS", "m.weights.h5", "m.npz"])
def test_the_name_of_another_system_is_no_reason_to_lose_a_model(tmp_path: Path, name: str) -> None:
    with pytest.warns(UserWarning, match="is written as an archive, whatever its name says"):
        ma.save(tmp_path / name, {"x": np.ones(2)})
    assert ma.load(tmp_path / name)["x"].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["m.h5", "m.hdf5", "m.safetensors", "m", "m.ckpt", "m.params", "m.v2", "weights.h5"])
def test_names_that_say_nothing_else(tmp_path: Path, name: str) -> None:
    ma.save(tmp_path / name, {"x": np.ones(2)})
