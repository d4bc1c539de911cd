"""The bytes of a GGUF file: its header, and where the tensors go behind it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange.gguf.encodings import Encoding
from modelarchive.exchange.gguf.files import ALIGNMENT, ARRAY, MAGIC, STRING, TYPES
from modelarchive.store.deferred import Deferred
from modelarchive.store.fill import Fill

_VERSION: Final = 3
_CODES: Final = {name: (number, code) for number, (name, code) in TYPES.items()} | {"string": (STRING, "")}


@dataclass(frozen=True)
class Written:
    """A tensor to be written.

    Attributes:
        shape: As NumPy has it.
        encoding: How its numbers are stored.
        stored: Its numbers as they are stored.
    """

    shape: tuple[int, ...]
    encoding: Encoding
    stored: Deferred


def problem_with(value: Any, kind: str) -> str | None:
    """Why a value is none of a type of metadata; None: it is one."""
    inner = kind.removeprefix("array of ")
    if inner not in _CODES:
        return f"is of the type {kind[:40]!r}, which GGUF has not"
    several = value if inner != kind else [value]
    if not isinstance(several, list):
        return f"is no list, expected {kind}"
    try:
        for each in several:
            _packed(each, inner)
    except (TypeError, ValueError, struct.error, OverflowError, AttributeError):
        return f"does not fit {kind}"
    return None


def content(metadata: Mapping[str, tuple[str, Any]], tensors: Mapping[str, Written]) -> tuple[bytes, list[Fill]]:
    """The header of a file, and what stands behind it without a gap.

    Args:
        metadata: Key -> type and value.
        tensors: Name -> tensor.
    """
    alignment = dict(metadata).get("general.alignment", ("uint32", ALIGNMENT))[1]
    parts = [MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))]
    for key, (kind, value) in metadata.items():
        parts += [_text(key), *_value(kind, value)]
    position = 0
    behind: list[tuple[int, np.ndarray | Deferred]] = []
    for name, tensor in tensors.items():
        sizes = tensor.shape[::-1]
        parts.append(_text(name))
        parts.append(struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, tensor.encoding.code, position))
        padding = -tensor.stored.nbytes % alignment
        behind += [(position, tensor.stored), (position + tensor.stored.nbytes, np.zeros(padding, np.uint8))]
        position += tensor.stored.nbytes + padding
    head = b"".join(parts)
    head += b"\0" * (-len(head) % alignment)
    return head, [Fill(len(head) + begin, each) for begin, each in behind if each.nbytes]


def _value(kind: str, value: Any) -> Sequence[bytes]:
    inner = kind.removeprefix("array of ")
    number = _CODES[inner][0]
    if inner == kind:
        return [struct.pack("<I", number), _packed(value, kind)]
    return [struct.pack("<IIQ", ARRAY, number, len(value)), *(_packed(each, inner) for each in value)]


def _packed(value: Any, kind: str) -> bytes:
    if kind == "string":
        return _text(value)
    if kind == "bool" and type(value) is not bool:
        raise ValueError("no bool")
    return struct.pack(f"<{_CODES[kind][1]}", value)


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw
