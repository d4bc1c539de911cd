"""Tensors as files have them: a part of a storage each, whose bytes are read when it is their turn."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.mapped import MappedFile
from modelarchive.store.deferred import Deferred

#: NumPy has no more axes.
_MAX_AXES: Final = 64
_MAX_NUMBER: Final = 2**63 - 1
#: Attributes of PyTorch's tensors that are their values: to set one sets these.
_VALUES: Final = frozenset(("data", "real", "imag"))
#: Attributes by which PyTorch knows a parameter or a buffer.
_MARKS: Final = ("_is_param", "_is_buffer", "persistent")
#: What PyTorch calls its dtypes; those that an archive has not are told by name.
_DTYPE: Final = re.compile(r"(?:u?int|float|bfloat|complex|quint|qint|bits)\d\w*|bool|half|double|float|short|int|long")
_OTHER_NAMES: Final = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "cfloat": "complex64",
    "cdouble": "complex128",
}


@dataclass(frozen=True)
class Dtype:
    """A dtype of PyTorch's.

    Attributes:
        name: As PyTorch calls it, without its module.
    """

    name: str

    def __str__(self) -> str:
        """As PyTorch prints it."""
        return f"torch.{self.name}"


def dtype_named(name: str) -> Dtype | None:
    """The dtype that PyTorch calls so; None: it has none of such a name."""
    if name in _OTHER_NAMES:
        return Dtype(_OTHER_NAMES[name])
    return Dtype(name) if len(name) < 40 and _DTYPE.fullmatch(name) else None


@dataclass(eq=False)
class Storage:
    """The memory that tensors are parts of.

    Attributes:
        key: What the file calls it.
        dtype: Of its elements; None: it is of bytes.
        count: How many elements.
        place: Where it begins in the file; None: that is not known yet.
        is_big_endian: Whether its numbers are so.
        shown: Begin and end of what tensors show of it, in bytes.
    """

    key: str
    dtype: Dtype | None
    count: int
    place: int | None = None
    is_big_endian: bool = False
    shown: list[tuple[int, int]] = field(default_factory=list)

    def is_like(self, other: Storage) -> bool:
        """Whether two descriptions say the same; bytes are as numbers of a byte."""
        dtypes_ = {each.dtype or Dtype("uint8") for each in (self, other)}
        return len(dtypes_) == 1 and self.count == other.count

    @property
    def nbytes(self) -> int:
        """Its bytes.

        Raises:
            FormatError: Its elements are of no size that is known.
        """
        if self.dtype is None:
            return self.count
        if (size := _SIZES.get(self.dtype.name)) is None:
            raise FormatError(f"has a storage of {self.dtype}, whose size is not known")
        return self.count * size


@dataclass(eq=False)
class Tensor:
    """A part of a storage.

    Attributes:
        storage: The storage.
        dtype: The dtype.
        offset: Its first element.
        shape: Its shape.
        strides: Steps of each axis, in elements.
        is_conjugate: Its numbers are the conjugates of those stored.
        is_negative: Its numbers are the negatives of those stored.
        kind: The subclass of a tensor that it was; "" for none.
        attributes: Names of what else the object had.
    """

    storage: Storage
    dtype: Dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    is_conjugate: bool = False
    is_negative: bool = False
    kind: str = ""
    attributes: list[str] = field(default_factory=list)

    def set_state(self, state: Any) -> None:
        """Take the names of attributes.

        Raises:
            FormatError: It would be another part of another storage, as no PyTorch since 0.1.10 writes it.
        """
        several = state if isinstance(state, tuple) else (state,)
        if any(isinstance(each, Storage | Tensor) for each in several):
            raise FormatError("is damaged: its pickle sets anew what a tensor shows")
        found = [each for each in several if isinstance(each, dict)]
        spend("the state of a tensor", steps=sum(map(len, found)))  # several may share them
        names = [str(name)[:80] for each in found for name in each]
        if not _VALUES.isdisjoint(names):
            raise FormatError("is damaged: its pickle sets anew what a tensor shows, as if that were an attribute")
        self.attributes += [name for name in names if name not in _MARKS]

    def show(self) -> None:
        """Tell the storage what of it is seen."""
        if size := math.prod(self.shape) and _SIZES.get(self.dtype.name):
            last = self.offset + _reach(self.shape, self.strides)
            self.storage.shown.append((self.offset * size, (last + 1) * size))

    @property
    def place(self) -> tuple[Any, ...]:
        """The same for two that are the same part of the same memory."""
        where = (self.storage.key, self.dtype.name, self.offset, self.shape, self.strides)
        return (*where, self.is_conjugate, self.is_negative)

    @property
    def problem(self) -> str | None:
        """Why there is no array of it, and what to do."""
        if dtypes.is_dense(self.dtype.name):
            return None
        wide = "complex64" if self.dtype.name.startswith("complex") else "float32"
        return f"a tensor of dtype {self.dtype}, which archives do not hold; save tensor.to(torch.{wide})"

    @property
    def nbytes(self) -> int:
        """Bytes of its array."""
        return math.prod(self.shape) * _SIZES[self.dtype.name]

    def in_file(self, file: MappedFile) -> Deferred:
        """Its array, to be read later.

        Args:
            file: The file, with the storage in it.
        """
        dtype = dtypes.numpy_dtype(self.dtype.name)
        place = (self.storage.place or 0) + self.offset * dtype.itemsize
        is_swapped = self.storage.is_big_endian and dtype.itemsize > 1
        if self._is_plain and not is_swapped:
            return file.array(place, dtypes.LITTLE[self.dtype.name], self.shape)
        return Deferred(self.shape, dtype, lambda: self._gathered(file, dtype, place))

    @property
    def _is_plain(self) -> bool:
        """Whether its elements lie in C order, as they are."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return not math.prod(self.shape)
            step *= size
        return not self.is_conjugate and not self.is_negative

    def _gathered(self, file: MappedFile, dtype: np.dtype[Any], place: int) -> np.ndarray:
        found = np.empty(self.shape, dtype)
        if not found.size:
            return found
        # Numbers that NumPy cannot swap by itself are whole numbers until they are.
        raw = dtype if dtype.kind in "biufc" else np.dtype(f"u{dtype.itemsize}")
        stored = raw.newbyteorder(">" if self.storage.is_big_endian else "<")
        strides = tuple(stride * dtype.itemsize for stride in self.strides)
        there: np.ndarray = np.ndarray(self.shape, stored, file.buffer(), place, strides)
        found.view(raw)[...] = there
        if self.is_conjugate:
            np.conjugate(found, out=found)
        if self.is_negative:
            np.negative(found, out=found)
        return found


@dataclass(eq=False)
class Unreadable:
    """A tensor that is no array in memory.

    Attributes:
        problem: What it is, and what to save instead.
    """

    problem: str


def tensor(storage: Storage, dtype: Dtype | None, offset: Any, shape: Any, strides: Any) -> Tensor:
    """A part of a storage, whose numbers a pickle chose.

    Raises:
        FormatError: The numbers are none, or lead out of the storage.
    """
    shape, strides = _numbers(shape), _numbers(strides)
    dtype = dtype or storage.dtype
    if not isinstance(storage, Storage) or dtype is None or not _is_number(offset) or len(shape) != len(strides):
        raise FormatError("is damaged: a tensor in it is described by what are no numbers")
    if len(shape) > _MAX_AXES:
        raise FormatError(f"has a tensor of {len(shape)} axes, and arrays have no more than {_MAX_AXES}")
    size = _SIZES.get(dtype.name)
    if size is not None:
        _check_extent(storage, size, offset, shape, strides)
    return Tensor(storage, dtype, offset, shape, strides)


def _check_extent(storage: Storage, size: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    if math.prod(each for each in shape if each) * size > _MAX_NUMBER:
        raise FormatError(f"has a tensor of shape {shape}, which no memory holds")
    if 0 in shape:
        return
    if (offset + _reach(shape, strides) + 1) * size > storage.nbytes:
        what = f"a tensor of shape {shape} that ends beyond its storage {storage.key[:40]!r}"
        raise FormatError(f"is damaged: it has {what}, of {storage.nbytes:,} bytes")


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """How far the last element lies behind the first."""
    return sum((count - 1) * stride for count, stride in zip(shape, strides, strict=True))


def unseen(storages: Iterable[Storage]) -> int:
    """How many bytes of storages no tensor is a part of: what was cut from a larger one brings all of that along."""
    several = [(each.place or 0, each) for each in storages]
    whole = [(place, place + each.nbytes) for place, each in several]
    shown = [(place + begin, place + end) for place, each in several for begin, end in each.shown]
    return _covered(whole) - _covered(shown)


def _covered(pieces: list[tuple[int, int]]) -> int:
    """How many bytes several pieces cover together."""
    count = reached = 0
    for begin, end in sorted(pieces):
        count += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return count


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not all(map(_is_number, value[: _MAX_AXES + 1])):
        raise FormatError("is damaged: a tensor in it has a shape or strides that are none")
    return tuple(value)


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_NUMBER


#: Bytes of an element, of the dtypes that archives have and of others that storages are of.
_SIZES: Final[dict[str, int]] = {name: dtype.itemsize for name, dtype in dtypes.DENSE.items()} | {
    "qint8": 1,
    "quint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
    "complex32": 4,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1,
}
