"""One file that shows a viewer one model and a loader another: two honest readers differ, and `verify` says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

import modelarchive as ma
from modelarchive import maintenance, nn
from tests.hostile.index_attacks import forge
from tests.hostile.mutators import sealed
from tests.structures import index_of

X = np.ones((1, 3), "f4")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    net = nn.Sequential(nn.Dense(3), nn.Dense(3))
    net.initialize(seed=0)
    net(X)
    path = tmp_path / "model.h5"
    ma.save_model(path, net, inputs=X, tokens={"0.weight": ["a", "b", "c"]}, durable=False)
    return path


def refused(path: Path, *named: str) -> ma.IntegrityError:
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError) as caught:
        archive.verify()
    assert caught.value.damaged.keys() >= {*named}
    with pytest.raises(ma.IntegrityError):
        ma.load_model(path, verify=True)
    return caught.value


def rewritten(path: Path, text: str, change: Callable[[str], str]) -> None:
    """Another text of the same length or less in its place, every digest right."""
    contents = index_of(path)
    part = contents.texts[text]
    data = bytearray(path.read_bytes())
    raw = change(data[part.offset : part.offset + part.nbytes].decode()).encode()
    assert len(raw) <= part.nbytes
    data[part.offset : part.offset + part.nbytes] = raw.ljust(part.nbytes)
    path.write_bytes(sealed(bytes(data), contents))


def shown(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A parameter as a safetensors loader sees it, and as a viewer of HDF5."""
    with h5py.File(path) as file:
        return load_file(path)[name], file["parameters/" + name.replace(".", "/")][()]


def test_two_arrays_change_places(path: Path) -> None:
    def swap(header: Any, own: Any) -> None:
        header["0.weight"], header["1.weight"] = header["1.weight"], header["0.weight"]

    forge(path, swap)
    loader, viewer = shown(path, "0.weight")
    assert not np.array_equal(loader, viewer)
    refused(path, "/parameters/0/weight", "/parameters/1/weight")


def test_the_same_bytes_as_another_dtype(path: Path) -> None:
    forge(path, lambda header, own: header["0.weight"].update(dtype="I32"))
    loader, viewer = shown(path, "0.weight")
    assert loader.dtype != viewer.dtype
    refused(path, "/parameters/0/weight")


def test_turned_on_its_side(path: Path) -> None:
    ma.save(path, {"w": np.arange(6.0).reshape(2, 3)}, durable=False)
    forge(path, lambda header, own: header["w"].update(shape=[3, 2]))
    with h5py.File(path) as file:
        assert load_file(path)["w"].shape != file["arrays/w"].shape
    refused(path, "/arrays/w")


def test_hdf5_points_elsewhere(path: Path) -> None:
    """The index is as it was written, and HDF5's own structures, checksums and digests right, are not."""
    from tests.hostile import hdf5_structures

    contents = index_of(path)
    data = bytearray(path.read_bytes())
    here, there = (contents.arrays[f"{at}.weight"].offset - contents.user_block for at in (0, 1))
    for structure in hdf5_structures.structures(bytes(data)):
        at = data.find(here.to_bytes(8, "little"), structure.begin, structure.end)
        if at >= 0:
            data[at : at + 8] = there.to_bytes(8, "little")
            hdf5_structures.mended(data, structure)
    path.write_bytes(sealed(bytes(data), contents))
    loader, viewer = shown(path, "0.weight")
    assert not np.array_equal(loader, viewer)
    np.testing.assert_array_equal(viewer, shown(path, "1.weight")[1])
    refused(path, "/parameters/0/weight")


def test_a_key_twice_in_the_architecture(path: Path) -> None:
    """Parsers of JSON take the last of two equal keys, or the first."""
    rewritten(path, "/architecture/data", lambda text: _compact(text).replace('"units":3', '"units":4,"units":3', 1))
    with h5py.File(path) as file:
        text = file["architecture/data"][()]

    def first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(reversed(pairs))

    assert json.loads(text) != json.loads(text, object_pairs_hook=first)
    for act in (ma.load_model, lambda path: ma.load_model(path, verify=True), architecture):
        with pytest.raises(ma.FormatError, match="twice"):
            act(path)


def architecture(path: Path) -> Any:
    with ma.open(path) as archive:
        return archive.architecture


def test_a_key_twice_in_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save_model(path, nn.Flatten(), inputs=X, metadata={"license": "MIT", "padding": "x" * 40}, durable=False)
    rewritten(path, "/metadata/data", lambda text: '{"license": "MIT", "license": "none"}')
    with ma.open(path) as archive, pytest.raises(ma.FormatError, match="twice"):
        _ = archive.metadata


def _compact(text: str) -> str:
    return json.dumps(json.loads(text), separators=(",", ":"))


def changed_by_h5py(path: Path, change: Callable[[h5py.File], object]) -> None:
    """Changed as HDF5 tools do it, and indexed again, as its author meant it."""
    with h5py.File(path, "r+") as file:
        change(file)
    maintenance.reindex(path, durable=False)


def test_a_viewer_is_shown_another_kind(path: Path) -> None:
    changed_by_h5py(path, lambda file: file["parameters/0"].attrs.modify("kind", "Other"))
    with h5py.File(path) as file, ma.open(path) as archive:
        assert file["parameters/0"].attrs["kind"] != archive.architecture["model"]["children"][0]["block"]["kind"]
    error = refused(path, "/parameters/0")
    assert error.damaged["/parameters/0"] == ("architecture: Dense", "HDF5: Other")


def test_a_viewer_is_shown_a_block_more(path: Path) -> None:
    def add(file: h5py.File) -> None:
        file.create_group("parameters/head").attrs["kind"] = "Dense"

    changed_by_h5py(path, add)
    assert refused(path, "/parameters/head").damaged["/parameters/head"][0] == "architecture: no block"


def test_a_viewer_is_shown_an_array_more(path: Path) -> None:
    """It is no part of the archive and no harm, and `verify` tells of it."""
    changed_by_h5py(path, lambda file: file.create_dataset("model_weights/dense", data=np.zeros(3)))
    with h5py.File(path) as file, ma.open(path) as archive:
        assert "model_weights/dense" in file
        assert archive.verify().foreign == ("/model_weights/dense",)
        assert not any("model_weights" in name for name in archive.parameters)


def test_another_author(path: Path) -> None:
    forge(path, lambda header, own: own.update(generator="somebody else"))
    refused(path, "/")


def test_words_of_other_rows(path: Path) -> None:
    def fewer(file: h5py.File) -> None:
        words = file["tokens/0/weight"][:2]
        del file["tokens/0/weight"]
        file["tokens/0/weight"] = words.astype("S1")

    changed_by_h5py(path, fewer)
    refused(path, "/tokens/0/weight")
