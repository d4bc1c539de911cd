"""NumPy's files: what NumPy wrote is read, what is written NumPy reads, nothing is unpickled, bombs are refused."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.exchange import Bundle, save_bundle
from modelarchive.exchange import numpy as exchange
from modelarchive.exchange.bundle import deferred
from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign" / "numpy"


@pytest.mark.parametrize("path", sorted(FOREIGN.glob("*.np?")), ids=lambda path: path.name)
def test_what_numpy_wrote(path: Path) -> None:
    bundle = exchange.read(path)
    expected = np.load(path)
    if path.suffix == ".npy":
        expected = {"array": expected}
    assert list(bundle.parameters) == list(expected)
    for name, array in expected.items():
        for found in (bundle.parameters[name], deferred(bundle.parameters)[name].read()):
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert np.array_equal(found, array), name
    assert bundle.notes == []
    assert "compressed" in path.name or bundle.parameters[name].base is not None


def test_into_an_archive(tmp_path: Path) -> None:
    for path in FOREIGN.glob("*.npz"):
        assert save_bundle(tmp_path / "x.h5", exchange.read(path)) == []
        found = ma.load(tmp_path / "x.h5", verify=True)
        for name, array in np.load(path).items():
            assert found[name].tolist() == array.tolist()


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "fortran": np.asfortranarray(rng.standard_normal((5, 6))),
        "big": np.arange(6, dtype=">i4"),
        "empty": np.zeros((0, 3), np.int8),
        "scalar": np.array(3.5),
        "flags": np.array([True, False, True]),
        "any/name é": np.ones(2, np.complex128),
        "large": rng.standard_normal((300, 1000)),
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_numpy_reads_what_is_written(arrays: dict[str, np.ndarray], tmp_path: Path, *, compressed: bool) -> None:
    assert exchange.write(arrays, tmp_path / "x.npz", compressed=compressed) == []
    with np.load(tmp_path / "x.npz") as found:
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].shape == array.shape
            assert np.array_equal(found[name], array), name
    again = exchange.read(tmp_path / "x.npz")
    for name, array in arrays.items():
        assert np.array_equal(again.parameters[name], array)


def test_the_same_bytes_again(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        exchange.write(arrays, tmp_path / name, compressed=True)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_npy(tmp_path: Path) -> None:
    exchange.write({"w": np.arange(6).reshape(2, 3)}, tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ma.ConversionError):
        exchange.write({"a": np.zeros(1), "b": np.zeros(1)}, tmp_path / "y.npy")
    assert not (tmp_path / "y.npy").exists()


def test_dtypes_that_numpy_lacks(tmp_path: Path) -> None:
    values = [1, 0.5, -2]
    kinds = {"bfloat16": np.float32, "float8_e4m3fn": np.float16, "float8_e5m2": np.float16}
    arrays = {name: np.array(values, getattr(ml_dtypes, name)) for name in kinds}
    notes = exchange.write(arrays, tmp_path / "x.npz")
    assert [note.where for note in notes] == list(kinds)
    with np.load(tmp_path / "x.npz") as found:
        for name, wide in kinds.items():
            assert found[name].dtype == wide
            assert found[name].tolist() == values
    np.savez(tmp_path / "y.npz", **arrays)
    bundle = exchange.read(tmp_path / "y.npz")
    assert [note.where for note in bundle.notes] == list(kinds)
    for name, array in bundle.parameters.items():
        assert array.view(getattr(ml_dtypes, name)).tolist() == values
    with pytest.raises(ma.ConversionError):
        exchange.write({"a": np.zeros(2, ml_dtypes.float8_e8m0fnu)}, tmp_path / "z.npz")


def test_losses_are_told(tmp_path: Path) -> None:
    shared = np.zeros(2)
    bundle = Bundle({"a": shared, "b": shared}, metadata={"n": 3}, tokens={"a": ["u", "v"]})
    assert [note.where for note in exchange.write(bundle, tmp_path / "x.npz")] == ["(metadata)", "a", "b"]


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, ("modelarchive-was-here",)


def test_pickles_stay_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    payload = np.array([Payload()], object)
    np.savez("x.npz", a=payload, b=np.zeros(1), c=np.array(["text"]), d=np.zeros(1, "i4,f4"))
    np.save("x.npy", payload)
    with pytest.raises(ma.ConversionError) as caught:
        ma.load("x.npz")
    assert [where for where, _ in caught.value.unsupported] == ["a", "c", "d"]
    with pytest.raises(ma.ConversionError, match="pickle"):
        ma.load("x.npy")
    with zipfile.ZipFile("y.npz", "w") as made:
        made.writestr("a.npy", pickle.dumps(Payload()))
    with pytest.raises(ma.FormatError):
        ma.load("y.npz")
    assert not Path("modelarchive-was-here").exists()
    np.load("x.npy", allow_pickle=True)  # the attack works on who unpickles
    assert Path("modelarchive-was-here").exists()


def npy(shape: object, dtype: str = "<f4", data: bytes = b"") -> bytes:
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


SHAPES = [
    (10**18,),
    (2**62, 2**62, 4),
    (2**62, 2**62, 0),
    (-1,),
    (-2, -2),
    (1,) * 65,
    (True,),
    (2.0,),
    [4],
    4,
    None,
    (3,),
    (5,),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_absurd_shapes(shape: object, tmp_path: Path) -> None:
    raw = npy(shape, data=bytes(16))
    (tmp_path / "x.npy").write_bytes(raw)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / f"{method}.npz", "w", method) as made:
            made.writestr("a.npy", raw)
    for path in tmp_path.iterdir():
        with pytest.raises(ma.FormatError, match=path.name):
            exchange.read(path)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x09" + bytes(100),
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        npy((4,), "no dtype", bytes(16)),
        npy((4,), "<f4", bytes(16)).replace(b"'shape'", b"'shaqe'"),
        npy((4,), "<f4", bytes(16)).replace(b"'descr'", b"__import__('os').mkdir('modelarchive-was-here')"),
        b"\x93NUMPY\x01\x00\x40\x1f" + b"(" * 8000,
        npy((2,), "<f4", bytes(7)),
        npy((2,), "<f4", bytes(9)),
    ],
    ids=range(11),
)
def test_broken_npy(raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.npy").write_bytes(raw)
    with pytest.raises((ma.FormatError, ma.ConversionError)):
        exchange.read("x.npy")
    with pytest.raises(ma.ModelArchiveError):
        ma.load("x.npy")
    assert not Path("modelarchive-was-here").exists()


def make_zip(path: Path, name: str, raw: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr(name, raw)


def test_an_array_cut_at_any_byte(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3.0))
    content = (tmp_path / "x.npy").read_bytes()
    for size in range(13, len(content)):
        (tmp_path / "cut.npy").write_bytes(content[:size])
        with pytest.raises(ma.FormatError, match="it is cut short"):
            ma.load(tmp_path / "cut.npy")


def test_bombs(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        make_zip(path, "a.npy", npy((1 << 20,), data=bytes(4 << 20)), method)
        with pytest.raises(ma.UnsafeFileError) as caught:
            exchange.read(path)
        assert caught.value.rule == "declared bytes"
    # A directory that claims a terabyte of zeros out of a few bytes.
    make_zip(path, "a.npy", npy((1 << 20,), data=bytes(4 << 20)))
    raw = path.read_bytes()
    size = (4 << 20) + 128
    assert raw.count(size.to_bytes(4, "little")) == 2
    path.write_bytes(raw.replace(size.to_bytes(4, "little"), (0xFFFFFFF0).to_bytes(4, "little")))
    with pytest.raises((ma.UnsafeFileError, ma.FormatError)):
        exchange.read(path)


def test_zeros_are_no_bomb(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(1 << 20))
    assert not exchange.read(tmp_path / "x.npz").parameters["a"].any()


def test_members_that_overlap(tmp_path: Path) -> None:
    """One stored array under a thousand names, as a quoted-overlap bomb does."""
    path = tmp_path / "x.npz"
    make_zip(path, "0000.npy", npy((1 << 16,), data=bytes(1 << 18)), zipfile.ZIP_STORED)
    raw = path.read_bytes()
    directory = raw.index(b"PK\x01\x02")
    end = raw.index(b"PK\x05\x06")
    entry = raw[directory:end]
    entries = b"".join(entry.replace(b"0000.npy", b"%04d.npy" % number) for number in range(1000))
    tail = bytearray(raw[end:])
    tail[8:12] = (1000).to_bytes(2, "little") * 2
    tail[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(raw[:directory] + entries + tail)
    with pytest.raises((ma.UnsafeFileError, ma.FormatError)):
        exchange.read(path)


@pytest.mark.parametrize("name", ["a.txt", "a", "../a.pkl", "a.npy/"])
def test_other_zip_files(name: str, tmp_path: Path) -> None:
    make_zip(tmp_path / "x.npz", name, b"x")
    with pytest.raises(ma.FormatError):
        exchange.read(tmp_path / "x.npz")


def test_a_name_out_of_the_folder_is_only_a_name(tmp_path: Path) -> None:
    make_zip(tmp_path / "x.npz", "../../a.npy", npy((1,), data=bytes(4)))
    assert list(exchange.read(tmp_path / "x.npz").parameters) == ["../../a"]
    save_bundle(tmp_path / "y.h5", exchange.read(tmp_path / "x.npz"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz", "y.h5"]


def test_damage_is_found_when_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).standard_normal(10_000))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(raw)
    with pytest.raises(ma.FormatError, match="damaged"):
        ma.load(path)
    with pytest.raises(ma.FormatError, match="damaged"):
        save_bundle(tmp_path / "y.h5", exchange.read(path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@given(st.data())
def test_mutations(data: st.DataObject) -> None:
    """Every mutated file gives arrays within bounds, or a designed error."""
    import tempfile

    stream = io.BytesIO()
    method = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    method(stream, a=np.arange(6, dtype=np.float32).reshape(2, 3), bc=np.arange(3))
    raw = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        path.write_bytes(raw)
        try:
            bundle = exchange.read(path)
            arrays = {name: np.array(array) for name, array in bundle.parameters.items()}
        except (ma.FormatError, ma.UnsafeFileError, ma.ConversionError):
            return
        assert sum(array.nbytes for array in arrays.values()) <= 1032 * len(raw)


def test_the_header_of_a_member_is_bounded(tmp_path: Path) -> None:
    huge = b"\x93NUMPY\x02\x00" + (1 << 24).to_bytes(4, "little") + b" " * (1 << 24)
    make_zip(tmp_path / "x.npz", "a.npy", huge)
    assert len(zlib.compress(huge)) < 1 << 16
    with pytest.raises(ma.FormatError):
        exchange.read(tmp_path / "x.npz")
