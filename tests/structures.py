"""What the tests of saved structures share: a sample of everything, equality to the bit, every reader's way."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import modelarchive as ma
from modelarchive import dtypes
from modelarchive.store.index import Contents, parse

#: Raw strings hold every code of a dtype, NaNs included.
CODES = np.arange(256, dtype=np.uint8)


def every_dtype() -> dict[str, np.ndarray]:
    """One (4, 3) array of every dense dtype, its bits from all over the range."""
    bits = np.random.default_rng(0).integers(0, 256, 4 * 3 * 16, dtype=np.uint8)
    return {
        name: (bits[: 12 * dtype.itemsize].view(dtype) if name != "bool" else bits[:12] > 127).reshape(4, 3)
        for name, dtype in dtypes.DENSE.items()
    }


def everything() -> dict[str, Any]:
    """A nested structure with every dtype, strings, literals, odd keys, odd layouts."""
    return {
        "dense": every_dtype(),
        "": [np.array(3.5), (1, 2.5, None, True, "a\0", 3 - 0j), {}, [], ()],
        "a/b.c%": {".": np.zeros((0, 3), "f4"), "..": "é", "__metadata__": 1, "__hdf5__.0": np.arange(3)},
        "\ud800": -(10**30),
        "texts": [
            np.array(["a", "bcd"]),
            np.array([b"x", b"y\xff"]),
            np.array(["a", "ß" * 9], dtype=np.dtypes.StringDType()),
            np.zeros((0, 2), "U5"),
        ],
        "layouts": {
            "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
            "strided": np.arange(20, dtype="i2")[::3],
            "negative": np.arange(9, dtype="u8").reshape(3, 3)[::-1, ::-2],
            "broadcast": np.broadcast_to(np.float32(7), (2, 5)),
            "big": np.arange(5, dtype=">f4"),
            "codes": CODES.view("u1"),
        },
    }


def same(left: Any, right: Any, where: str = "data") -> str | None:
    """Where two structures differ, or None: kinds, keys and their order, dtypes, shapes, bits."""
    if isinstance(left, np.generic) and not isinstance(left, np.str_):
        left = np.asarray(left)
    if isinstance(left, np.ndarray):
        return _same_array(left, right, where)
    if isinstance(left, dict):
        if not isinstance(right, dict) or set(left) != set(right):
            return f"{where}: {left.keys()} and {right!r:.200}"
        return next((found for key in left if (found := same(left[key], right[key], f"{where}[{key!r}]"))), None)
    if isinstance(left, list | tuple):
        if type(right) is not type(left) or len(left) != len(right):
            return f"{where}: {left!r:.100} and {right!r:.100}"
        pairs = enumerate(zip(left, right, strict=True))
        return next((found for at, (a, b) in pairs if (found := same(a, b, f"{where}[{at}]"))), None)
    if type(left) is not type(right) or _bits(left) != _bits(right):
        return f"{where}: {left!r:.100} and {right!r:.100}"
    return None


def _same_array(left: np.ndarray, right: Any, where: str) -> str | None:
    if not isinstance(right, np.ndarray) or left.shape != right.shape:
        return f"{where}: {left.dtype} {left.shape} and {right!r:.100}"
    expected = left.dtype.newbyteorder("=") if left.dtype.kind in "iufcU" else left.dtype
    if right.dtype != expected or not right.dtype.isnative:
        return f"{where}: {expected} and {right.dtype}"
    if left.dtype.kind in "SUT":
        return None if left.tolist() == right.tolist() else f"{where}: {left} and {right}"
    if np.ascontiguousarray(left).astype(expected).tobytes() != right.tobytes():
        return f"{where}: {left} and {right}"
    return None


def _bits(value: Any) -> Any:
    if isinstance(value, complex):
        return _bits(value.real), _bits(value.imag)
    # A NaN's payload is no part of a Python number as anyone writes it.
    return struct.pack("<d", value) if isinstance(value, float) and value == value else repr(value)


def assert_same(left: Any, right: Any) -> None:
    assert same(left, right) is None


def index_of(path: Path) -> Contents:
    """What a file's index says, whether or not it holds."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return parse(data[8 : 8 + length], file_size=len(data))


def without_index(path: Path, out: Path | None = None) -> Path:
    """Overwrite the index, so that only HDF5 knows what is in the file."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    data[: 8 + length] = bytes(8 + length)
    target = out or path
    target.write_bytes(data)
    return target


def stale_load(path: Path, **options: Any) -> Any:
    """Load a file whose index does not hold: exactly one warning must say so."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = ma.load(path, **options)
    assert [w.category for w in caught] == [ma.StaleIndexWarning], [str(w.message) for w in caught]
    assert str(path) in str(caught[0].message)
    assert "modelarchive reindex" in str(caught[0].message)
    return value


def verify_both_ways(path: Path) -> None:
    """A fresh archive is whole by its metadata written once more, and by what HDF5's library reads of it."""
    with ma.open(path) as archive:
        with mock.patch("modelarchive.archive.verifying._compared", side_effect=AssertionError("asked HDF5")):
            archive.verify()
        with mock.patch("modelarchive.store.proof.is_as_written", return_value=False):
            archive.verify()
