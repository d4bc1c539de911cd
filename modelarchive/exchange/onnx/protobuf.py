"""The wire format of Protocol Buffers, as far as ONNX uses it: bounded, and large fields stay in the file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange import budget

#: Where bytes are in the file: (offset, how many).
Span: TypeAlias = tuple[int, int]
#: A message as plain data: name of a field -> value, or list of values where the field is repeated.
Message: TypeAlias = dict[str, Any]

#: Messages inside each other. ONNX's own reader allows 100.
MAX_DEPTH: Final = 64
#: Fields of all messages together, but for the elements of arrays.
_MAX_FIELDS: Final = 4_000_000
#: Bytes of one text, and of one name.
_MAX_TEXT: Final = 1 << 24
MAX_NAME: Final = 4096
#: Kinds of unknown fields that are reported.
_MAX_UNKNOWN: Final = 20
#: What a message, each of its fields, and a number of a list take in memory.
_MESSAGE_BYTES: Final = 512
_FIELD_BYTES: Final = 96
_NUMBER_BYTES: Final = 40
#: Bytes that are drawn from the budget at a time.
_PIECE: Final = 1 << 20
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Field:
    """What a field of a message holds.

    Attributes:
        name: Its name.
        kind: "int", "float", "text", "name" (a short text), "bytes", "span" (bytes that stay in the file), "data"
            (elements of an array, which stay there too), or the table of a message. None: it is skipped.
        repeated: Whether it comes several times.
    """

    name: str
    kind: Any
    repeated: bool = False


#: Number of a field -> what it holds; other fields are skipped, and reported.
Table: TypeAlias = dict[int, Field]


class Reader:
    """Reads messages out of a buffer.

    Args:
        data: The file.
        path: Its name, for errors.

    Attributes:
        unknown: (The kind of message, number of a field) that no table has -> how often it comes.
    """

    def __init__(self, data: memoryview, path: object) -> None:
        self.data = data
        self.path = path
        self.unknown: dict[tuple[str, int], int] = {}
        self._left = _MAX_FIELDS
        self._memory = 0

    def message(self, table: Table, begin: int, end: int, depth: int = 0, kind: str = "model") -> Message:
        """The message between two places.

        Args:
            table: Its fields.
            begin: Where it begins.
            end: Where it ends.
            depth: How many messages are around it.
            kind: What it is called there.

        Raises:
            FormatError: It is damaged.
            UnsafeFileError: It has more fields, or more messages inside each other, than a model can need.
        """
        if depth > MAX_DEPTH:
            raise UnsafeFileError(f"has more than {MAX_DEPTH} messages inside each other", rule="depth", file=self.path)
        found: Message = {}
        at, fields = begin, 0
        while at < end:
            self._count()
            fields += 1
            tag, at = self._varint(at, end)
            wire, field = tag & 7, table.get(tag >> 3)
            value, span, at = self._value(wire, at, end)
            if field is None:
                self._skip(kind, tag >> 3, at)
            elif field.kind is not None:
                self._put(found, field, wire, value, span, depth)
        self._take(_MESSAGE_BYTES + _FIELD_BYTES * fields)
        return found

    def _skip(self, kind: str, number: int, at: int) -> None:
        if number == 0:
            raise self._damaged(at, "there is a field without a number")
        key = (kind, number)
        if key in self.unknown or len(self.unknown) < _MAX_UNKNOWN:
            self.unknown[key] = self.unknown.get(key, 0) + 1

    def _put(self, found: Message, field: Field, wire: int, value: int, span: Span, depth: int) -> None:
        kind = field.kind
        if kind == "data":
            found.setdefault(field.name, []).append(span)
        elif kind in ("int", "float"):
            several = self._numbers(kind, wire, value, span)
            if field.repeated:
                found.setdefault(field.name, []).extend(several)
            elif len(several) == 1:
                found[field.name] = several[0]
            else:
                raise self._damaged(span[0], f"{field.name} has {len(several)} values")
        elif wire != _LENGTH:
            raise self._damaged(span[0], f"{field.name} is of wire type {wire}")
        else:
            one = self._one(field, span, depth)
            if field.repeated:
                found.setdefault(field.name, []).append(one)
            elif isinstance(kind, dict):
                # Protobuf merges a message that comes twice; no writer of ONNX does that.
                if field.name in found:
                    raise self._damaged(span[0], f"{field.name} comes twice")
                found[field.name] = one
            else:
                found[field.name] = one

    def _one(self, field: Field, span: Span, depth: int) -> Any:
        if field.kind == "span":
            return span
        if isinstance(field.kind, dict):
            return self.message(field.kind, span[0], span[0] + span[1], depth + 1, field.name)
        most = MAX_NAME if field.kind == "name" else _MAX_TEXT
        if span[1] > most:
            what = f"{field.name} has {span[1]:,} bytes, expected at most {most:,}"
            raise UnsafeFileError(what, rule="size", file=self.path)
        raw = bytes(self.data[span[0] : span[0] + span[1]])
        return raw if field.kind == "bytes" else raw.decode("utf-8", "backslashreplace")

    def _value(self, wire: int, at: int, end: int) -> tuple[int, Span, int]:
        """A field's value: as a number if it is one, where its bytes are, and where the next field begins."""
        if wire == _VARINT:
            value, after = self._varint(at, end)
            return value, (at, after - at), after
        if wire == _LENGTH:
            length, at = self._varint(at, end)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise self._damaged(at, f"there is a field of wire type {wire}")
        if length > end - at:
            raise self._damaged(at, f"a field of {length:,} bytes is in a message with {end - at:,} left")
        return 0, (at, length), at + length

    def _numbers(self, kind: str, wire: int, value: int, span: Span) -> list[Any]:
        if kind == "float":
            if span[1] % 4 or wire not in (_FIXED32, _LENGTH):
                raise self._damaged(span[0], "a list of floats is cut off")
            return list(struct.unpack_from(f"<{span[1] // 4}f", self.data, span[0]))
        if wire == _VARINT:
            return [_signed(value)]
        if wire != _LENGTH:
            raise self._damaged(span[0], f"an integer is of wire type {wire}")
        found, at, end = [], span[0], span[0] + span[1]
        while at < end:
            self._count()
            value, at = self._varint(at, end)
            found.append(_signed(value))
        self._take(_NUMBER_BYTES * len(found))
        return found

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        result = shift = 0
        while at < end and shift < 70:
            byte = self.data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result & 0xFFFF_FFFF_FFFF_FFFF, at
            shift += 7
        raise self._damaged(at, "a number is cut off")

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise UnsafeFileError(f"has more than {_MAX_FIELDS:,} fields", rule="size", file=self.path)

    def _take(self, nbytes: int) -> None:
        """Count memory, and draw it from the budget piece by piece."""
        self._memory += nbytes
        if self._memory > _PIECE:
            budget.spend("its structure", nbytes=self._memory)
            self._memory = 0

    def _damaged(self, at: int, what: str) -> FormatError:
        return FormatError(f"is no ONNX model, or damaged: {what}, at byte {at:,}", file=self.path)


def varints(raw: np.ndarray) -> np.ndarray | None:
    """Numbers of variable length as uint64.

    Args:
        raw: uint8 ``(bytes,)``.

    Returns:
        ``(numbers,)``; None if the last one is cut off or one has more than ten bytes.
    """
    ends = np.flatnonzero(raw < 0x80)
    if not raw.size:
        return np.empty(0, np.uint64)
    if not ends.size or ends[-1] != raw.size - 1:
        return None
    begins = np.concatenate([[0], ends[:-1] + 1])
    if (ends - begins).max() > 9:
        return None
    place = (np.arange(raw.size) - np.repeat(begins, ends - begins + 1)).astype(np.uint64)
    parts = (raw & 0x7F).astype(np.uint64) << (place * np.uint64(7))
    return np.add.reduceat(parts, begins)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
