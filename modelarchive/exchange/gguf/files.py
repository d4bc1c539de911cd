"""GGUF files as plain data: metadata with their types, and tensors, every number checked before it is believed."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.gguf.encodings import ENCODINGS, Encoding, dequantised
from modelarchive.exchange.mapped import MappedFile, little_endian
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

MAGIC: Final = b"GGUF"
#: Versions that are read: 2 has the same layout as 3, which also knows big-endian files.
_VERSIONS: Final = (2, 3)
#: What tensors are aligned to where metadata do not say.
ALIGNMENT: Final = 32
_MOST_ALIGNMENT: Final = 1 << 16
#: ggml's limit on axes.
MAX_RANK: Final = 4
#: The longest key or name of a tensor.
_MOST_NAME: Final = (1 << 16) - 1
#: Number of a type of metadata -> its name, and how it is packed.
TYPES: Final[dict[int, tuple[str, str]]] = {
    0: ("uint8", "B"),
    1: ("int8", "b"),
    2: ("uint16", "H"),
    3: ("int16", "h"),
    4: ("uint32", "I"),
    5: ("int32", "i"),
    6: ("float32", "f"),
    7: ("bool", "?"),
    10: ("uint64", "Q"),
    11: ("int64", "q"),
    12: ("float64", "d"),
}
STRING: Final = 8
ARRAY: Final = 9
#: Bytes that a string takes in memory, beside its own.
_STRING_BYTES: Final = 80
_NUMBER_BYTES: Final = 40


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    Attributes:
        shape: As NumPy has it: the axis whose elements are neighbours comes last.
        encoding: How its numbers are stored.
        stored: Its numbers as they are stored; of one that is quantised its bytes.
    """

    shape: tuple[int, ...]
    encoding: Encoding
    stored: Deferred

    def array(self) -> Deferred:
        """Its numbers; of one that is quantised float32, computed when they are read."""
        if self.encoding.dtype is not None:
            return self.stored
        return Deferred(
            self.shape, np.dtype(np.float32), lambda: dequantised(self.stored.read(), self.encoding, self.shape)
        )


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        values: Key of metadata -> value: a number, a bool, a text, or a list of such. Bytes of a text that are no
            UTF-8 are lone surrogates.
        types: Key -> its type: "uint32", "array of string".
        tensors: Name -> tensor, in the file's order.
        unused: How many bytes behind the header belong to no tensor and to no padding.
    """

    values: dict[str, Any]
    types: dict[str, str]
    tensors: dict[str, Tensor]
    unused: int


class _Cursor:
    """A place in a file, from which one thing after the other is read."""

    def __init__(self, file: MappedFile) -> None:
        self._data = file.buffer()
        self.place = 0

    @property
    def room(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self.place

    def take(self, nbytes: int, what: str) -> memoryview:
        """The next bytes."""
        if nbytes > self.room:
            raise FormatError(f"{what} takes {nbytes:,} bytes at byte {self.place:,}, the file has {self.room:,} more")
        found = self._data[self.place : self.place + nbytes]
        self.place += nbytes
        return found

    def number(self, code: str, what: str) -> Any:
        """The next number."""
        form = f"<{code}"
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]

    def text(self, what: str, *, most: int | None = None) -> str:
        """The next text; what is no UTF-8 comes as lone surrogates."""
        length = self.number("Q", what)
        if most is not None and length > most:
            raise FormatError(f"{what} has {length:,} bytes, expected at most {most:,}")
        return bytes(self.take(length, what)).decode("utf-8", "surrogateescape")

    def name(self, what: str) -> str:
        """The next text that is a name: UTF-8, and not too long."""
        found = self.text(what, most=_MOST_NAME)
        if any("\udc80" <= sign <= "\udcff" for sign in found):
            raise FormatError(f"{what} is {short(found)}, which is no UTF-8")
        return found


def contents(file: MappedFile) -> Contents:
    """What a GGUF file holds.

    Raises:
        FormatError: It is none, of a version that is not known, or damaged.
        ConversionError: Tensors are of types that are not known; lists all of them.
        UnsafeFileError: It needs more memory than a file of its size may take.
    """
    cursor = _Cursor(file)
    if bytes(cursor.take(min(4, cursor.room), "the magic number")) != MAGIC:
        raise FormatError("is no GGUF file: it does not begin with GGUF")
    _refuse_version(cursor.number("I", "the version"))
    tensors, keys = cursor.number("Q", "the number of tensors"), cursor.number("Q", "the number of metadata")
    # A tensor takes 24 bytes of the header at least, metadata 13.
    for what, number, least in (("tensors", tensors, 24), ("metadata", keys, 13)):
        if number * least > cursor.room:
            raise FormatError(f"claims {number:,} {what}, its {file.size:,} bytes hold fewer")
    values, types = _metadata(cursor, keys)
    alignment = _alignment(values, types)
    return _tensors(file, cursor, tensors, values, types, alignment)


def _refuse_version(version: int) -> None:
    if version and not version & 0xFFFF:
        hint = "`python -m gguf.scripts.gguf_convert_endian FILE little` of the package gguf turns it round"
        raise FormatError("is a big-endian GGUF file, expected a little-endian one", hint=hint)
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        way = "an older file is made anew of the model's safetensors files" if version < _VERSIONS[0] else ""
        raise FormatError(f"is of GGUF version {version:,}, those that are read are {known}", hint=way or None)


def _metadata(cursor: _Cursor, count: int) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    for _ in range(count):
        key = cursor.name("a key of the metadata")
        spend("the metadata", nbytes=_STRING_BYTES + len(key))
        if key in values:
            raise FormatError(f"has the key {short(key)} twice")
        what = f"the value of {short(key)}"
        values[key], types[key] = _value(cursor, cursor.number("I", what), what)
    return values, types


def _value(cursor: _Cursor, kind: int, what: str) -> tuple[Any, str]:
    if kind == ARRAY:
        inner, length = cursor.number("I", what), cursor.number("Q", what)
        if inner == STRING:
            return _texts(cursor, length, what), "array of string"
        if inner == ARRAY:
            raise FormatError(f"{what} is an array of arrays, which no reader of GGUF takes")
        return _numbers(cursor, inner, length, what), f"array of {_type(inner, what)[0]}"
    if kind == STRING:
        found = cursor.text(what)
        spend("the metadata", nbytes=_STRING_BYTES + len(found))
        return found, "string"
    name, code = _type(kind, what)
    if name == "bool":
        return _truth(cursor.number("B", what), what), name
    return cursor.number(code, what), name


def _type(kind: int, what: str) -> tuple[str, str]:
    if kind not in TYPES:
        raise FormatError(f"{what} is of the type {kind:,}, which is none")
    return TYPES[kind]


def _truth(value: int, what: str) -> bool:
    if value > 1:
        raise FormatError(f"{what} is {value}, expected 0 or 1 for a bool")
    return bool(value)


def _texts(cursor: _Cursor, length: int, what: str) -> list[str]:
    if length * 8 > cursor.room:
        raise FormatError(f"{what} claims {length:,} texts, the file has {cursor.room:,} bytes more")
    spend("the metadata", nbytes=length * _STRING_BYTES)
    found = []
    for _ in range(length):
        found.append(cursor.text(what))
        spend("the metadata", nbytes=len(found[-1]))
    return found


def _numbers(cursor: _Cursor, kind: int, length: int, what: str) -> list[Any]:
    name, code = _type(kind, what)
    dtype = np.dtype("u1" if name == "bool" else f"<{code}")
    data = cursor.take(length * dtype.itemsize, what)
    spend("the metadata", nbytes=length * _NUMBER_BYTES)
    found = np.frombuffer(data, dtype)
    if name == "bool":
        _truth(int(found.max(initial=0)), what)
        found = found.astype(bool)
    return list(found.tolist())


def _alignment(values: dict[str, Any], types: dict[str, str]) -> int:
    key = "general.alignment"
    found = values.get(key, ALIGNMENT)
    if types.get(key, "uint32") != "uint32" or not 0 < found <= _MOST_ALIGNMENT or found & (found - 1):
        what = f"{types.get(key)} {short(found)}, expected a power of two up to {_MOST_ALIGNMENT:,} as uint32"
        raise FormatError(f"{key} is {what}")
    return int(found)


def _tensors(
    file: MappedFile, cursor: _Cursor, count: int, values: dict[str, Any], types: dict[str, str], alignment: int
) -> Contents:
    """The tensors, once their extents were checked against each other and the file's size."""
    described: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(count):
        name = cursor.name("the name of a tensor")
        spend("the header", steps=1, nbytes=8 * _STRING_BYTES + len(name))
        if name in described:
            raise FormatError(f"has the tensor {short(name)} twice")
        rank = cursor.number("I", f"the shape of {short(name)}")
        if rank > MAX_RANK:
            raise FormatError(f"{short(name)} has {rank:,} axes, expected at most {MAX_RANK}")
        sizes = tuple(cursor.number("Q", f"the shape of {short(name)}") for _ in range(rank))
        kind, offset = (cursor.number(code, f"the place of {short(name)}") for code in ("I", "Q"))
        described[name] = (sizes[::-1], kind, offset)
    unknown = [
        (name, f"is of ggml's type {kind:,}, which is not known or was withdrawn")
        for name, (_, kind, _) in described.items()
        if kind not in ENCODINGS
    ]
    if unknown:
        raise ConversionError(unknown)
    start = cursor.place + -cursor.place % alignment
    tensors: dict[str, Tensor] = {}
    extents = []
    for name, (shape, kind, offset) in described.items():
        encoding = ENCODINGS[kind]
        nbytes = _nbytes(name, shape, encoding)
        if offset % alignment:
            raise FormatError(f"{short(name)} begins at {offset:,}, expected a multiple of {alignment}")
        if nbytes and start + offset + nbytes > file.size:
            raise FormatError(
                f"{short(name)} takes {nbytes:,} bytes from {start + offset:,}, the file has {file.size:,}"
            )
        extents.append((offset, offset + nbytes, name))
        stored = (shape, little_endian(encoding.dtype)) if encoding.dtype else ((nbytes,), np.dtype(np.uint8))
        tensors[name] = Tensor(shape, encoding, file.array(start + offset, stored[1], stored[0]))
    return Contents(values, types, tensors, _unused(extents, file.buffer()[start:], alignment))


def _nbytes(name: str, shape: tuple[int, ...], encoding: Encoding) -> int:
    """The bytes of a tensor."""
    if any(size >= 2**63 for size in shape) or math.prod(filter(None, shape)) * encoding.nbytes >= 2**63:
        raise FormatError(f"{short(name)} has the shape {shape}, which no memory can hold")
    row = shape[-1] if shape else 1
    if row % encoding.block:
        raise FormatError(
            f"{short(name)} has rows of {row:,}, expected whole blocks of {encoding.name}'s {encoding.block}"
        )
    return math.prod(shape) // encoding.block * encoding.nbytes


def _unused(extents: list[tuple[int, int, str]], data: memoryview, alignment: int) -> int:
    """How many bytes belong to no tensor, and are no zeros that pad one to the end of its last unit."""
    position = unused = 0
    last = ""
    for begin, end, name in sorted(extent for extent in extents if extent[0] != extent[1]):
        if begin < position:
            raise FormatError(f"{short(name)} and {short(last)} overlap")
        unused += _beyond_padding(data[position:begin], -position % alignment)
        position, last = end, name
    return unused + _beyond_padding(data[position:], -position % alignment)


def _beyond_padding(gap: memoryview, padding: int) -> int:
    return len(gap) if len(gap) < padding or any(gap[:padding]) else len(gap) - padding
