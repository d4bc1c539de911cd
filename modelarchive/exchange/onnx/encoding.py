"""ONNX's messages as bytes, in the wire format of protocol buffers.

Fields and their numbers are those of ``onnx.proto`` (version 1.18, which the ONNX project publishes); what a message
may hold beyond what is written here is left out, as protocol buffers allow.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.onnx.words import CODES

#: Wire types.
_VARINT: Final = 0
_BYTES: Final = 2
_FLOAT: Final = 5

#: What an attribute holds, as ``AttributeProto.AttributeType`` numbers it.
_ATTRIBUTE_TYPES: Final = {"f": 1, "i": 2, "s": 3, "t": 4, "g": 5, "floats": 6, "ints": 7, "strings": 8}


def _varint(number: int) -> bytes:
    """A whole number in groups of seven bits; a negative one as the 64 bits of its two's complement."""
    number &= 2**64 - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def head(number: int, size: int) -> bytes:
    """What stands before the `size` bytes of a field that is a message, a text or bytes."""
    return _varint(number << 3 | _BYTES) + _varint(size)


def message(number: int, content: bytes) -> bytes:
    """A field that is a message, or bytes."""
    return head(number, len(content)) + content


def text(number: int, value: str) -> bytes:
    """A field that is a text."""
    return message(number, value.encode("utf-8"))


def integer(number: int, value: int) -> bytes:
    """A field that is a whole number."""
    return _varint(number << 3 | _VARINT) + _varint(value)


def tensor_head(name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> bytes:
    """A ``TensorProto`` but for its data."""
    parts = [integer(1, size) for size in shape]
    parts.append(integer(2, CODES[str(dtypes.dense_name(dtype))]))
    if name:
        parts.append(text(8, name))
    return b"".join(parts)


def tensor(values: np.ndarray, name: str = "") -> bytes:
    """A ``TensorProto`` with its data."""
    return tensor_head(name, values.dtype, values.shape) + message(9, little(values).tobytes())


def external_tensor(name: str, dtype: np.dtype[Any], shape: Sequence[int], where: Mapping[str, str]) -> bytes:
    """A ``TensorProto`` whose data are in another file."""
    entries = b"".join(message(13, text(1, key) + text(2, value)) for key, value in where.items())
    return tensor_head(name, dtype, shape) + entries + integer(14, 1)


def little(values: np.ndarray) -> np.ndarray:
    """The array as it stands in a file: contiguous, the least byte first."""
    if values.dtype.kind in "iufc":
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(values)


def node(
    op: str,
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, Any],
    body: bytes | None = None,
) -> bytes:
    """A ``NodeProto``; `body` is the ``GraphProto`` that it runs."""
    parts = [text(1, each) for each in inputs]
    parts += [text(2, each) for each in outputs]
    parts += [text(3, name), text(4, op)]
    parts += [message(5, _attribute(key, value)) for key, value in attributes.items()]
    if body is not None:
        parts.append(message(5, _attribute_of("body", "g", message(6, body))))
    return b"".join(parts)


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return _attribute_of(name, "t", message(5, tensor(value)))
    if isinstance(value, str):
        return _attribute_of(name, "s", text(4, value))
    if isinstance(value, float):
        return _attribute_of(name, "f", _varint(2 << 3 | _FLOAT) + struct.pack("<f", value))
    if isinstance(value, int):
        return _attribute_of(name, "i", integer(3, value))
    if value and isinstance(value[0], str):
        return _attribute_of(name, "strings", b"".join(text(9, each) for each in value))
    if value and isinstance(value[0], float):
        floats = b"".join(_varint(7 << 3 | _FLOAT) + struct.pack("<f", each) for each in value)
        return _attribute_of(name, "floats", floats)
    return _attribute_of(name, "ints", b"".join(integer(8, each) for each in value))


def _attribute_of(name: str, kind: str, content: bytes) -> bytes:
    return text(1, name) + content + integer(20, _ATTRIBUTE_TYPES[kind])


def value_info(name: str, dtype: np.dtype[Any], shape: Sequence[int | str | None]) -> bytes:
    """A ``ValueInfoProto``: an input or output; a size is a number, a name, or None where nothing is known."""
    axes = b"".join(message(1, _dimension(size)) for size in shape)
    array = integer(1, CODES[str(dtypes.dense_name(dtype))]) + message(2, axes)
    return text(1, name) + message(2, message(1, array))


def _dimension(size: int | str | None) -> bytes:
    if size is None:
        return b""
    return text(2, size) if isinstance(size, str) else integer(1, size)


def opset(version: int) -> bytes:
    """An ``OperatorSetIdProto`` of ONNX's own operators."""
    return text(1, "") + integer(2, version)


def entry(key: str, value: str) -> bytes:
    """A ``StringStringEntryProto``."""
    return text(1, key) + text(2, value)
