"""A product of matrices that is added to what stands there: BLAS's ``gemm``, of which NumPy shows the product alone.

Where no OpenBLAS is found the product is made beside it, and added.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.ops.blas import openblas
from modelarchive.ops.registry import Array

#: What OpenBLAS's builds put before and behind its names.
_AROUND: Final = tuple(itertools.product(("", "scipy_"), ("", "64_", "_64")))
#: Of CBLAS: rows one after another, and no matrix transposed.
_LAYOUT: Final = (101, 111, 111)
_LETTERS: Final = {np.dtype(np.float32): "s", np.dtype(np.float64): "d"}


class Matrix:
    """A matrix whose place in memory is looked up once, for many products.

    Args:
        array: ``(rows, columns)``; it stays where it is.
    """

    def __init__(self, array: Array) -> None:
        size = array.itemsize
        self.array, self.shape = array, array.shape
        self._address = array.__array_interface__["data"][0]
        self._apart = array.strides[0] // size
        is_plain = array.strides[1] == size and not array.strides[0] % size and self._apart >= array.shape[1]
        is_plain = is_plain and array.flags.aligned and array.flags.writeable
        # Some builds count in 32 bits, and ctypes would cut off the rest.
        is_plain = is_plain and max(self._apart, *self.shape) < 1 << 31
        self._gemm = _gemm(array.dtype) if is_plain and array.dtype in _LETTERS else None

    def add(self, x: Matrix, y: Matrix, columns: int) -> None:
        """Add ``x @ y`` in the first columns, so many of them.

        Args:
            x: ``(rows, terms)``, of the same dtype; it shares no memory with this one.
            y: ``(terms, columns)`` or more columns, likewise.
            columns: How many.

        Raises:
            ValueError: The shapes do not fit.
        """
        rows, terms = x.shape
        fits = rows == self.shape[0] and terms == y.shape[0] and 0 < columns <= min(y.shape[1], self.shape[1])
        # All three have been looked at alike, and have the same function if they have the same dtype.
        if fits and self._gemm is not None and x._gemm is self._gemm is y._gemm:
            self._gemm(rows, columns, terms, x._address, x._apart, y._address, y._apart, self._address, self._apart)
        else:
            target = self.array[:, :columns]
            np.add(target, np.matmul(x.array, y.array[:, :columns]), out=target)


_Gemm = Callable[[int, int, int, int, int, int, int, int, int], None]


@functools.cache
def _gemm(dtype: np.dtype[Any]) -> _Gemm | None:
    """``gemm`` of a dtype; None where there is none that computes what it should."""
    for library, (before, behind) in itertools.product(openblas(), _AROUND):
        function = getattr(library, f"{before}cblas_{_LETTERS[dtype]}gemm{behind}", None)
        said = getattr(library, f"{before}openblas_get_config{behind}", None)
        if function is None or said is None:
            continue
        said.argtypes, said.restype = (), ctypes.c_char_p
        found = _called(function, dtype, ctypes.c_int64 if b"USE64BITINT" in (said() or b"") else ctypes.c_int32)
        if _is_right(found, dtype):
            return found
    return None


def _called(function: Any, dtype: np.dtype[Any], integer: Any) -> _Gemm:
    number = np.ctypeslib.as_ctypes_type(dtype)
    matrix = [ctypes.c_void_p, integer]
    function.argtypes = [*[ctypes.c_int] * 3, *[integer] * 3, number, *matrix, *matrix, number, *matrix]
    function.restype = None

    def gemm(rows: int, columns: int, terms: int, x: int, by: int, y: int, step: int, out: int, apart: int) -> None:
        function(*_LAYOUT, rows, columns, terms, 1.0, x, by, y, step, 1.0, out, apart)

    return gemm


def _is_right(gemm: _Gemm, dtype: np.dtype[Any]) -> bool:
    """Whether a small product, whose sums are exact, is what it should be."""
    x, y, out = (np.arange(20, dtype=dtype).reshape(4, 5) for _ in range(3))
    expected = out.copy()
    expected[:2, :4] += x[:2, :3] @ y[:3, :4]
    gemm(2, 4, 3, x.ctypes.data, 5, y.ctypes.data, 5, out.ctypes.data, 5)
    return bool((out == expected).all())
