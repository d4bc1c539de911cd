"""MXNet's NDArray files, read byte by byte: every version from the first to NumPy shapes, dense and sparse."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.mapped import MappedFile
from modelarchive.store.deferred import Deferred

#: The first eight bytes of a file (kMXAPINDArrayListMagic).
MAGIC: Final = 0x112
#: The first four bytes of an array: 64-bit sizes; a storage type; shapes that may be () or hold 0.
_V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

#: Code of a dtype (mshadow's TypeFlag) -> dtype.
DTYPES: Final[dict[int, np.dtype]] = {
    code: np.dtype(kind).newbyteorder("<") if code != 12 else np.dtype(kind)
    for code, kind in {
        0: np.float32,
        1: np.float64,
        2: np.float16,
        3: np.uint8,
        4: np.int32,
        5: np.int8,
        6: np.int64,
        7: np.bool_,
        8: np.int16,
        9: np.uint16,
        10: np.uint32,
        11: np.uint64,
        12: ml_dtypes.bfloat16,
    }.items()
}
#: Storage type -> (name, how many index arrays it has).
_STORAGE: Final = {0: ("default", 0), 1: ("row_sparse", 1), 2: ("csr", 2)}
MAX_AXES: Final = 32
_MAX_ARRAYS: Final = 1_000_000
_MAX_ELEMENTS: Final = 2**56
#: A sparse array may become this many bytes when it is made dense, beyond so many times the file's size.
_MAX_DENSE: Final = 64 << 20
MAX_INFLATION: Final = 400


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        arrays: In the file's order; None stands for an array without a shape, which has no values.
        names: Their names, or empty for a list.
        sparse: Position -> "row_sparse" or "csr", of those that are made dense.
    """

    arrays: list[Deferred | None]
    names: list[str]
    sparse: dict[int, str]


def is_ndarray_file(start: bytes) -> bool:
    """Whether a file that starts so is an NDArray file."""
    return start[:8] == struct.pack("<Q", MAGIC)


def read_arrays(path: str | os.PathLike[str]) -> Contents:
    """Read the description of every array; values are read when they are asked for.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no NDArray file, or damaged.
        UnsafeFileError: A sparse array is far larger than the file when made dense.
    """
    cursor = _Cursor(MappedFile(path))
    magic, _, count = cursor.numbers("<QQQ", "header")
    if magic != MAGIC:
        raise cursor.wrong("is no NDArray file of MXNet")
    if count > min(_MAX_ARRAYS, cursor.left // 4):
        raise cursor.wrong(f"declares {count:,} arrays, and has {cursor.left:,} bytes for them")
    spend("its arrays", steps=count)
    arrays: list[Deferred | None] = []
    sparse: dict[int, str] = {}
    for position in range(count):
        array, storage = _array(cursor, f"array {position}")
        arrays.append(array)
        if storage != "default":
            sparse[position] = storage
    names = _names(cursor, count)
    if cursor.left:
        raise cursor.wrong(f"{cursor.left:,} bytes stand behind its end")
    return Contents(arrays, names, sparse)


class _Cursor:
    """Reads numbers one after another, within the file."""

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.at = 0
        self.dense = 0

    @property
    def left(self) -> int:
        return self.file.size - self.at

    def wrong(self, message: str) -> FormatError:
        return FormatError(message, file=self.file.path)

    def skip(self, nbytes: int, what: str) -> int:
        """Go past some bytes; where they begin."""
        if nbytes > self.left:
            raise self.wrong(f"ends within the {what}: {nbytes:,} bytes are declared, {self.left:,} are left")
        begin = self.at
        self.at += nbytes
        return begin

    def numbers(self, form: str, what: str) -> tuple[Any, ...]:
        return struct.unpack(form, self.bytes(struct.calcsize(form), what))

    def bytes(self, nbytes: int, what: str) -> bytes:
        return self.file.read(self.skip(nbytes, what), nbytes)

    def shape(self, axes: int, code: str, what: str) -> tuple[int, ...]:
        if not 0 <= axes <= MAX_AXES:
            raise self.wrong(f"{what} has {axes:,} axes, expected at most {MAX_AXES}")
        sizes = self.numbers(f"<{axes}{code}", f"shape of {what}")
        if min(sizes, default=0) < 0 or math.prod(size or 1 for size in sizes) > _MAX_ELEMENTS:
            raise self.wrong(f"{what} has the shape {sizes}")
        return sizes

    def dtype(self, what: str) -> np.dtype:
        (code,) = self.numbers("<i", f"dtype of {what}")
        if code not in DTYPES:
            raise self.wrong(f"{what} has the dtype {code}, expected 0 to {max(DTYPES)}")
        return DTYPES[code]

    def values(self, dtype: np.dtype, shape: tuple[int, ...], what: str) -> Deferred:
        begin = self.skip(dtype.itemsize * math.prod(shape), f"values of {what}")
        return self.file.array(begin, dtype, shape)


def _array(cursor: _Cursor, what: str) -> tuple[Deferred | None, str]:
    (magic,) = cursor.numbers("<I", what)
    if magic not in (V2, V3):
        # The first version has no magic: its first number is the number of axes, and sizes have 32 bits.
        axes = cursor.numbers("<I", what)[0] if magic == _V1 else magic
        shape = cursor.shape(axes, "q" if magic == _V1 else "I", what)
        return (_dense(cursor, shape, what) if shape else None), "default"
    (code,) = cursor.numbers("<i", what)
    if code not in _STORAGE:
        raise cursor.wrong(f"{what} has the storage type {code}, expected 0, 1 or 2")
    storage, indices = _STORAGE[code]
    kept = cursor.shape(cursor.numbers("<i", what)[0], "q", what) if indices else ()
    (axes,) = cursor.numbers("<i", what)
    if axes == (0 if magic == V2 else -1):
        return None, "default"
    shape = cursor.shape(axes, "q", what)
    if not indices:
        return _dense(cursor, shape, what), storage
    return _sparse(cursor, storage, indices, kept, shape, what), storage


def _dense(cursor: _Cursor, shape: tuple[int, ...], what: str) -> Deferred:
    cursor.numbers("<ii", f"context of {what}")
    dtype = cursor.dtype(what)
    return cursor.values(dtype, shape, what)


def _sparse(
    cursor: _Cursor, storage: str, indices: int, kept: tuple[int, ...], shape: tuple[int, ...], what: str
) -> Deferred:
    cursor.numbers("<ii", f"context of {what}")
    dtype = cursor.dtype(what)
    declared = []
    for _ in range(indices):
        index_dtype = cursor.dtype(f"indices of {what}")
        axes = cursor.numbers("<i", f"indices of {what}")[0]
        declared.append((index_dtype, cursor.shape(axes, "q", f"indices of {what}")))
    nbytes = dtype.itemsize * math.prod(shape)
    cursor.dense += nbytes
    if cursor.dense > max(_MAX_DENSE, MAX_INFLATION * cursor.file.size):
        raise UnsafeFileError(
            f"{what} is {storage} and would take {nbytes:,} bytes when made dense",
            rule="sparse bytes",
            file=cursor.file.path,
        )
    values = cursor.values(dtype, kept, what).read()
    places = [cursor.values(*each, f"indices of {what}").read() for each in declared]
    if any(each.ndim != 1 or each.dtype.kind not in "iu" for each in places):
        raise cursor.wrong(f"the indices of {what} are no lists of integers")
    problem = _PROBLEMS[storage](shape, values, *places)
    if problem is not None:
        raise cursor.wrong(f"{what} is {storage}, and {problem}")
    fill = _FILLS[storage]

    def read() -> np.ndarray:
        dense = np.zeros(shape, dtype)
        fill(dense, values, *places)
        return dense

    return Deferred(shape, dtype, read)


def _rows_problem(shape: tuple[int, ...], values: np.ndarray, rows: np.ndarray) -> str | None:
    if not shape or values.shape != (len(rows), *shape[1:]):
        return f"has values of shape {values.shape} for {len(rows):,} rows of {shape}"
    if len(rows) and not (rows.min() >= 0 and rows.max() < shape[0]):
        return f"a row is outside of its {shape[0]:,}"
    return None


def _fill_rows(dense: np.ndarray, values: np.ndarray, rows: np.ndarray) -> None:
    dense[rows] = values


def _csr_problem(shape: tuple[int, ...], values: np.ndarray, starts: np.ndarray, columns: np.ndarray) -> str | None:
    if len(shape) != 2 or values.shape != (len(columns),) or len(starts) != shape[0] + 1:
        return "its values, columns and rows do not fit together"
    if starts[0] != 0 or starts[-1] != len(columns) or (starts[1:] < starts[:-1]).any():
        return "its rows do not follow each other"
    if len(columns) and not (columns.min() >= 0 and columns.max() < shape[1]):
        return f"a column is outside of its {shape[1]:,}"
    return None


def _fill_csr(dense: np.ndarray, values: np.ndarray, starts: np.ndarray, columns: np.ndarray) -> None:
    dense[np.repeat(np.arange(len(dense)), np.diff(starts)), columns] = values


_PROBLEMS: Final[dict[str, Callable[..., str | None]]] = {"row_sparse": _rows_problem, "csr": _csr_problem}
_FILLS: Final[dict[str, Callable[..., None]]] = {"row_sparse": _fill_rows, "csr": _fill_csr}


def _names(cursor: _Cursor, count: int) -> list[str]:
    (number,) = cursor.numbers("<Q", "number of names")
    if number not in (0, count):
        raise cursor.wrong(f"has {number:,} names for {count:,} arrays")
    names: dict[str, None] = {}
    spend("names of arrays", steps=number)
    for position in range(number):
        (length,) = cursor.numbers("<Q", f"name {position}")
        try:
            name = cursor.bytes(length, f"name {position}").decode()
        except UnicodeDecodeError as error:
            raise cursor.wrong(f"name {position} is no UTF-8") from error
        if name in names:
            raise cursor.wrong(f"the name {name[:200]!r} comes twice")
        names[name] = None
    return list(names)
