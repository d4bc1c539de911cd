"""Files of other formats: each attack works on a naive reader, and is refused here by its rule."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import modelarchive as ma


class Evil:
    """What a pickle of it does: it calls a function with arguments of the attacker's choice."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (Path("evil"), "done")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(path: Path, rule: str | None = None) -> None:
    """By every way in; nothing is run, and nothing is written beside it."""
    evil = path.parent / "evil"
    evil.unlink(missing_ok=True)
    before = sorted(path.parent.rglob("*"))
    for enter in (ma.load, ma.load_model, lambda path: ma.convert(path, path.parent / "out.h5")):
        with pytest.raises(ma.ModelArchiveError) as caught:
            enter(path)
        if rule is not None:
            assert isinstance(caught.value, ma.UnsafeFileError)
            assert caught.value.rule == rule
    assert sorted(path.parent.rglob("*")) == before


def test_a_pickle(here: Path) -> None:
    path = here / "model.pkl"
    path.write_bytes(pickle.dumps(Evil()))
    pickle.loads(path.read_bytes())
    assert (here / "evil").exists()
    refused(path)


def test_a_pickle_in_a_torch_file(here: Path) -> None:
    torch = pytest.importorskip("torch")
    path = here / "model.pt"
    torch.save({"weight": torch.zeros(2), "more": Evil()}, path)
    torch.load(path, weights_only=False)
    assert (here / "evil").exists()
    (here / "evil").unlink()
    with pytest.warns(UserWarning, match="more: is left out: .* beside the parameters"):
        assert list(ma.load(path)) == ["weight"]
    assert not (here / "evil").exists()
    torch.save({"more": Evil()}, path)
    refused(path, "pickle")


def test_a_pickle_in_an_npz(here: Path) -> None:
    path = here / "model.npz"
    np.savez(path, weight=np.zeros(2), more=np.array([Evil()], object))
    with np.load(path, allow_pickle=True) as found:
        _ = found["more"]
    assert (here / "evil").exists()
    refused(path)


def test_a_pickle_in_an_npy(here: Path) -> None:
    path = here / "model.npy"
    np.save(path, np.array([Evil()], object))
    np.load(path, allow_pickle=True)
    assert (here / "evil").exists()
    refused(path)


def test_a_name_that_leaves_the_folder(here: Path) -> None:
    """Who unpacks a zip file by the names in it writes where they say."""
    inner = here / "inner"
    inner.mkdir()
    path = inner / "model.npz"
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../escaped.npy", buffer.getvalue())
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            (inner / name).write_bytes(file.read(name))
    assert (here / "escaped.npy").exists()
    (here / "escaped.npy").unlink()
    found = ma.load(path)
    np.testing.assert_array_equal(next(iter(found.values())), np.arange(3))
    ma.convert(path, inner / "out.h5")
    assert not (here / "escaped.npy").exists(), "a name is only a name"
    assert {file.name for file in inner.iterdir()} == {"model.npz", "out.h5"}


def test_a_bomb_in_an_npz(here: Path) -> None:
    """A small file that becomes a large array, by a header that claims more than deflate can give."""
    path = here / "model.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("weight.npy", header.getvalue() + bytes(1 << 24))
    assert path.stat().st_size < 1 << 16
    with np.load(path) as found, pytest.raises((MemoryError, ValueError)):
        _ = found["weight"]  # a terabyte is asked for
    refused(path)


def test_zips_in_one_another(here: Path) -> None:
    """Members that lie over each other: each is inflated, and each costs nothing in the file."""
    path = here / "model.npz"
    body = io.BytesIO()
    np.save(body, np.zeros(1 << 16, "u1"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", body.getvalue())
        first = file.infolist()[0]
        for at in range(20):
            twin = zipfile.ZipInfo(f"{at:05d}"[-1] + ".npy")
            twin.compress_type, twin.CRC = first.compress_type, first.CRC
            twin.compress_size, twin.file_size, twin.header_offset = first.compress_size, first.file_size, 0
            twin.flag_bits = first.flag_bits
            file.filelist.append(twin)
    with zipfile.ZipFile(path) as file:
        assert len(file.infolist()) == 21
        assert {each.header_offset for each in file.infolist()} == {0}
    refused(path, "declared bytes")


def test_shards_that_lie_elsewhere(here: Path) -> None:
    """The index of a sharded model names files; a naive loader opens whatever it names."""
    save_file({"secret": np.arange(3)}, here / "secret.safetensors")
    folder = here / "model"
    folder.mkdir()
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": {"secret": "../secret.safetensors"}}))
    named = json.loads(path.read_text())["weight_map"]["secret"]
    assert load_file(folder / named)["secret"].tolist() == [0, 1, 2]
    refused(path, "own folder only")


def test_deflate_keeps_its_bound() -> None:
    """The number that the rules of declared bytes rest on: no byte of deflate becomes more."""
    from modelarchive.store.contents import MAX_INFLATION

    size = 1 << 24
    packed = zlib.compress(bytes(size), 9)
    assert 1000 < size / len(packed) < MAX_INFLATION
