"""Arrays, numbers and dtypes of NumPy in a pickle, of plain dtypes."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from modelarchive.dtypes import numpy_dtype
from modelarchive.errors import FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.torch.stored.stubs import Named, Stub, kind_of
from modelarchive.store.deferred import Deferred

_PLAIN: Final = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
_MAX_AXES: Final = 64


class _NumpyDtype:
    """A dtype that is being made.

    Args:
        code: Kind and size: ``f4``.
    """

    __slots__ = ("code", "name", "order")

    def __init__(self, code: str) -> None:
        self.name = "numpy.dtype"
        self.code = code
        self.order = "<"

    def set_state(self, state: Any) -> None:
        """Take the byte order."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype; None: it is no plain one."""
        return np.dtype(self.code).newbyteorder(">" if self.order == ">" else "<") if self.code in _PLAIN else None


class NumpyArray:
    """An array: first without content, which comes as its state.

    Args:
        name: The class that the pickle names.

    Attributes:
        array: The array, on the pickle's own bytes; None: it is of no plain dtype.
    """

    __slots__ = ("array", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        """Take version, shape, dtype, order and bytes."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise _wrong("is described by what is none")
        shape, dtype, is_fortran, data = state[-4:]
        self.fill(data, dtype, shape, "F" if is_fortran else "C")

    @property
    def place(self) -> tuple[int]:
        """The same for what is the same array."""
        return (id(self),)

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return 0 if self.array is None else self.array.nbytes

    def in_file(self, _: MappedFile) -> Deferred:
        """The array in memory of its own, once it is asked for; its bytes are the pickle's, which is read."""
        array = np.empty(0) if self.array is None else self.array
        dtype = array.dtype.newbyteorder("=")
        return Deferred(array.shape, dtype, lambda: np.array(array, dtype, order="C"))

    def as_bfloat16(self) -> NumpyArray:
        """An array of the same numbers, which were bfloat16."""
        found = NumpyArray(self.name)
        if self.array is not None:
            spend("arrays in a pickle", nbytes=2 * self.array.size)
            with np.errstate(all="ignore"):
                found.array = self.array.astype(numpy_dtype("bfloat16"))
        return found

    def fill(self, data: Any, dtype: Any, shape: Any, order: Any) -> None:
        """Take the content."""
        plain = dtype.dtype if isinstance(dtype, _NumpyDtype) else None
        if plain is None or isinstance(data, list):
            return  # objects, texts, records
        data = _bytes(data)
        if not isinstance(shape, tuple) or not isinstance(data, bytes) or len(shape) > _MAX_AXES:
            raise _wrong("is described by what is none")
        if any(type(size) is not int or size < 0 for size in shape):
            raise _wrong("has a shape that cannot be")
        if math.prod(shape) * plain.itemsize != len(data):
            raise _wrong("has other bytes than its shape needs")
        if math.prod(size for size in shape if size) * plain.itemsize >= 2**63:
            raise _wrong("has a shape that cannot be")
        found = np.frombuffer(data, plain) if data else np.empty(0, plain)
        self.array = found.reshape(shape, order="F" if order == "F" else "C")


def _wrong(what: str) -> FormatError:
    return FormatError(f"is damaged: an array of NumPy in its pickle {what}")


def _bytes(data: Any) -> Any:
    """Bytes that were text in Python 2."""
    if isinstance(data, str):
        spend("bytes of a pickle", nbytes=len(data))
        return data.encode("latin1")
    return data


def _dtype(code: Any = "", *_: Any) -> _NumpyDtype:
    return _NumpyDtype(code if isinstance(code, str) else kind_of(code))


def _started(kind: Any, *_: Any) -> NumpyArray:
    return NumpyArray(kind.name if isinstance(kind, Named) else "numpy.ndarray")


def _of_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> NumpyArray:
    found = NumpyArray("numpy.ndarray")
    found.fill(data, dtype, shape, order)
    return found


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """A number of NumPy's as Python's."""
    data = _bytes(data)
    plain = dtype.dtype if isinstance(dtype, _NumpyDtype) else None
    if plain is None or not isinstance(data, bytes):
        return Stub("numpy scalar")
    if len(data) != plain.itemsize:
        raise FormatError("is damaged: a number of NumPy's in its pickle has other bytes than its dtype")
    return np.frombuffer(data, plain)[0].item()


_MULTIARRAY: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC: Final = ("numpy.core.numeric", "numpy._core.numeric")

#: Module and name -> what makes plain data of the arguments.
ARRAYS: Final = {
    ("numpy", "dtype"): _dtype,
    **{(module, "_reconstruct"): _started for module in _MULTIARRAY},
    **{(module, "scalar"): _scalar for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _of_buffer for module in _NUMERIC},
}
