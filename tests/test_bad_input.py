"""Bad input to every entry point: the designed exception, the file's name, a next step; nothing half-written."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

import modelarchive as ma
from modelarchive import maintenance, nn
from modelarchive.models import transplant_file
from tests.hostile.index_attacks import forge
from tests.sampling import some
from tests.structures import index_of, without_index

OLD = b"an older file, to be kept"


def network() -> nn.Sequential:
    net = nn.Sequential(nn.Dense(3), nn.Dense(2))
    net.initialize(seed=0)
    net(np.zeros((1, 4), "f4"))
    return net


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "out.h5"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


#: Every way into a file: called with the bad file and a path to write to.
READERS: dict[str, Callable[[Any, Path], Any]] = {
    "load": lambda path, out: ma.load(path),
    "load mapped": lambda path, out: ma.load(path, mmap=True),
    "load verified": lambda path, out: ma.load(path, verify=True),
    "convert": lambda path, out: ma.convert(path, out),
    "open": lambda path, out: ma.open(path),
    "load_model": lambda path, out: ma.load_model(path),
    "load_parameters": lambda path, out: network().load_parameters(path),
    "transplant": lambda path, out: ma.transplant(path, network()),
    "transplant from a file": lambda path, out: transplant_file(path, model(out), out),
    "transplant into a file": lambda path, out: transplant_file(model(out), path, out),
    "extract": lambda path, out: maintenance.extract(path, "0", out),
    "repack": lambda path, out: maintenance.repack(path, out),
    "repack in place": lambda path, out: maintenance.repack(path),
    "reindex": lambda path, out: maintenance.reindex(path),
}


def model(out: Path) -> Path:
    path = out.parent.parent / "model.h5"
    if not path.exists():
        ma.save_model(path, network(), inputs=np.zeros((1, 4), "f4"), durable=False)
    return path


def plain_safetensors(path: Path) -> None:
    save_file({"a": np.arange(3)}, path)


def plain_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(3)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"1")


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


FOREIGN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "one byte": (lambda path: path.write_bytes(b"x"), "has 1 bytes"),
    "random bytes": (random_bytes, "not a model archive"),
    "zeros": (lambda path: path.write_bytes(bytes(10_000)), "not a model archive"),
    "JSON": (lambda path: path.write_text(json.dumps({"a": list(range(100))})), "JSON"),
    "zip": (zipped, "zip"),
    "npz": (lambda path: np.savez(path.open("wb"), a=np.arange(3)), "zip|npz"),
    "npy": (lambda path: np.save(path.open("wb"), np.arange(3)), "npy"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"a": np.arange(30)})), "pickle"),
    "safetensors": (plain_safetensors, "safetensors"),
    "HDF5": (plain_hdf5, "HDF5 file, but (no model archive|neither a model nor weights of Keras)"),
    "HDF5 signature only": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5|damaged"),
    "MXNet": (lambda path: path.write_bytes(b"\x12\x01" + bytes(100)), "MXNet"),
}


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return tmp_path / "bad.h5"


def check_nothing_happened(out: Path, bad: Path, written: bytes) -> None:
    assert out.read_bytes() == OLD
    assert [path.name for path in out.parent.iterdir()] == ["out.h5"]
    assert bad.read_bytes() == written
    assert {path.name for path in bad.parent.iterdir()} <= {"bad.h5", "out", "model.h5"}


@pytest.mark.parametrize("kind", some(FOREIGN))
@pytest.mark.parametrize("entry", READERS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_foreign_files(bad: Path, out: Path, entry: str, kind: str) -> None:
    build, words = FOREIGN[kind]
    build(bad)
    written = bad.read_bytes()
    if kind in ("npz", "npy", "safetensors") and entry in ("load", "load mapped", "convert"):
        READERS[entry](bad, out)  # formats of others, which these read
        assert bad.read_bytes() == written
        return
    # Those of others are sources as well, and have nothing that the target has.
    is_source = kind in ("npz", "npy", "safetensors") and entry in ("transplant", "transplant from a file")
    expected, words = (ma.ParameterError, "no source parameter") if is_source else (ma.FormatError, words)
    with pytest.raises(expected, match=words) as caught:
        READERS[entry](bad, out)
    assert str(bad) in str(caught.value)
    assert caught.value.hint or kind in ("empty", "one byte")
    check_nothing_happened(out, bad, written)


@pytest.mark.parametrize("entry", READERS)
def test_no_file(bad: Path, out: Path, entry: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        READERS[entry](bad, out)
    assert caught.value.filename == str(bad) or caught.value.filename == bad
    assert not bad.exists()
    assert out.read_bytes() == OLD


@pytest.mark.parametrize("entry", READERS)
def test_a_directory(bad: Path, out: Path, entry: str) -> None:
    bad.mkdir()
    # An index is made anew of one file; what reads a folder says what is in it.
    expected = IsADirectoryError if entry == "reindex" else ma.FormatError
    with pytest.raises(expected, match=r"bad\.h5(: is a folder, and no model; in it: nothing|'$)"):
        READERS[entry](bad, out)
    assert out.read_bytes() == OLD


@pytest.mark.parametrize("entry", READERS)
@pytest.mark.parametrize("path", [None, 3, 2.5, ["x.h5"], object()])
def test_what_is_no_path(out: Path, entry: str, path: Any) -> None:
    with pytest.raises(TypeError, match=r"PathLike|expected"):
        READERS[entry](path, out)
    assert out.read_bytes() == OLD


@pytest.mark.parametrize("entry", READERS)
def test_newer_version_in_the_index(bad: Path, out: Path, entry: str) -> None:
    ma.save_model(bad, network(), inputs=np.zeros((1, 4), "f4"))
    forge(bad, lambda header, own: own.update(format_version=7))
    written = bad.read_bytes()
    with pytest.raises(ma.UnsupportedVersionError, match=r"format 7.*reads up to 1") as caught:
        READERS[entry](bad, out)
    assert "pip install --upgrade" in str(caught.value.hint)
    assert caught.value.file == str(bad)
    check_nothing_happened(out, bad, written)


@pytest.mark.parametrize("entry", READERS)
def test_newer_version_in_the_attributes(bad: Path, out: Path, entry: str) -> None:
    ma.save_model(bad, network(), inputs=np.zeros((1, 4), "f4"))
    with h5py.File(bad, "r+") as file:
        file.attrs["format_version"] = 7
    without_index(bad)
    written = bad.read_bytes()
    with pytest.raises(ma.UnsupportedVersionError, match=r"format 7.*reads up to 1") as caught:
        READERS[entry](bad, out)
    assert caught.value.file == str(bad)
    check_nothing_happened(out, bad, written)


@pytest.mark.parametrize("entry", some(READERS))
def test_truncated_at_every_boundary(bad: Path, out: Path, entry: str) -> None:
    ma.save_model(bad, network(), inputs=np.zeros((1, 4), "f4"))
    contents, whole = index_of(bad), bad.read_bytes()
    ends = {4, 8, 100, contents.user_block - 1, contents.user_block, contents.user_block + 48}
    ends |= {end for part in contents.regions() for end in part}
    ends |= {entry.offset for entry in contents.arrays.values() if entry.offset is not None}
    for end in sorted(ends - {len(whole)}):
        bad.write_bytes(whole[:end])
        with pytest.raises(ma.FormatError) as caught:
            READERS[entry](bad, out)
        assert caught.value.file == str(bad)
        assert out.read_bytes() == OLD
        assert bad.read_bytes() == whole[:end]


def test_an_archive_of_arrays_is_no_model(bad: Path, out: Path) -> None:
    ma.save(bad, {"a": np.arange(3), "b": [1, "x"]})
    with pytest.raises(ma.FormatError, match="holds no architecture") as caught:
        ma.load_model(bad)
    assert "save_model" in str(caught.value.hint)
    with pytest.raises(ma.ParameterError, match="missing"):
        network().load_parameters(bad)
    with pytest.raises(ma.ParameterError, match="no source parameter matches"):
        ma.transplant(bad, network())
    with pytest.raises(ma.ParameterError, match="no parameters below"):
        maintenance.extract(bad, "features", out)
    assert out.read_bytes() == OLD


@pytest.mark.parametrize("path", [None, 3, 2.5, ["x.h5"], object()])
def test_saving_to_what_is_no_path(path: Any) -> None:
    x = np.zeros((1, 4), "f4")
    for save in (
        lambda: ma.save(path, 1),
        lambda: ma.save_model(path, network(), inputs=x),
        lambda: network().save_parameters(path),
    ):
        with pytest.raises(TypeError, match="PathLike"):
            save()


@pytest.mark.parametrize("wrong", [None, 3, "net", {"a": np.arange(3)}, nn.Dense])
def test_what_is_no_network(out: Path, wrong: Any) -> None:
    x = np.zeros((1, 4), "f4")
    with pytest.raises(TypeError, match="Block"):
        ma.save_model(out, wrong, inputs=x)
    # A dict of arrays receives, and this one has nothing that the source has.
    expected = ma.ParameterError if isinstance(wrong, dict) else TypeError
    for source in (model(out), network()):
        with pytest.raises(expected, match=r"no source parameter|Block"):
            ma.transplant(source, wrong)
    assert out.read_bytes() == OLD


@pytest.mark.parametrize("wrong", [None, 3, {"a": 1}, [np.arange(3)], {"0.weight": [[1.0]]}, {0: np.arange(3)}])
def test_what_is_no_source(wrong: Any) -> None:
    with pytest.raises((TypeError, ma.ParameterError)):
        ma.transplant(wrong, network())


@pytest.mark.parametrize(
    "wrong",
    [
        object(),
        {1, 2},
        b"bytes",
        {1.5: 2},
        {True: 2},
        {2**63: 2},
        {"a": [np.array([None])]},
        np.array(["2020"], "M8[D]"),
        iter([]),
    ],
)
def test_what_cannot_be_saved(out: Path, wrong: Any) -> None:
    with pytest.raises(ma.UnsupportedDataError, match="nothing was written") as caught:
        ma.save(out, {"x": [0, wrong]})
    assert all(path.startswith("data['x'][1]") for path, _ in caught.value.problems)
    assert out.read_bytes() == OLD
    assert isinstance(caught.value, TypeError)


def test_every_problem_is_listed(out: Path) -> None:
    with pytest.raises(ma.UnsupportedDataError) as caught:
        ma.save(out, [object(), {"a": {(2,): 1}, "b": np.array([object()])}, np.array(["\ud800"])])
    assert [path for path, _ in caught.value.problems][:3] == ["data[0]", "data[1]['a'][(2,)]", "data[1]['b']"]


def test_an_uninitialised_network(out: Path) -> None:
    net = nn.Sequential(nn.Dense(3), nn.Dense(2))
    for save in (lambda: net.save_parameters(out), lambda: ma.save_model(out, net, inputs=np.zeros((1, 4), "f4"))):
        with pytest.raises(ma.DeferredShapeError, match="initialize") as caught:
            save()
        assert caught.value.names == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert out.read_bytes() == OLD


@pytest.mark.parametrize("metadata", [{"a": object()}, {1: 2}, {"a": float("nan")}, [1], "text", {"a": {1}}])
def test_metadata_beyond_json(out: Path, metadata: Any) -> None:
    with pytest.raises((ma.UnsupportedDataError, TypeError)):
        ma.save_model(out, network(), inputs=np.zeros((1, 4), "f4"), metadata=metadata)
    assert out.read_bytes() == OLD
