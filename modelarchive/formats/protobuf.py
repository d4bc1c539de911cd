"""What files of Protocol Buffers are, by the numbers of the fields that their outermost message has."""

from __future__ import annotations

from typing import Final, NamedTuple

from modelarchive.formats.content import Content

#: Fields of the outermost message that are looked at.
_MOST: Final = 10_000
#: A tag, and a length or a number behind it.
_LONGEST: Final = 20
#: ONNX's ModelProto: producer, domain, version, text, graph, opsets, metadata. One of them follows the first field.
_ONNX_FIELDS: Final = (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42", b"\x72")
_GRAPH: Final = 7
#: Core ML's kinds of models have numbers from here on.
_CORE_ML: Final = 200


class Outline(NamedTuple):
    """The outermost message.

    Attributes:
        fields: The numbers of its fields.
        end: Where it ends by what it says of itself; None: it is no such message, or one of very many fields.
    """

    fields: frozenset[int]
    end: int | None


def outline(content: Content) -> Outline:
    """Walk over the fields of the outermost message, without reading what is in them."""
    fields: set[int] = set()
    at = 0
    for _ in range(_MOST):
        if at >= content.size:
            return Outline(frozenset(fields), at)
        head = content.read(at, _LONGEST)
        tag, used = _varint(head, 0)
        value, after = _varint(head, used)
        step = {0: after, 1: used + 8, 2: after + value, 5: used + 4}.get(tag & 7)
        if not used or not tag >> 3 or step is None or (tag & 7 in (0, 2) and not after):
            return Outline(frozenset(fields), None)
        fields.add(tag >> 3)
        at += step
    return Outline(frozenset(fields), None)


def is_onnx(content: Content) -> bool:
    """Whether it begins with a small version of ONNX's format, and a field that follows it in a model."""
    return _begins_like_onnx(content) and not (is_saved_model(content) or is_core_ml(content))


def is_saved_model(content: Content) -> bool:
    """Whether it is TensorFlow's SavedModel: a version, and graphs with what belongs to them."""
    if not content.read(0, 3).startswith(b"\x08\x01\x12"):
        return False
    found = outline(content)
    return found.end is not None and found.fields == {1, 2} and content.size > 64


def is_core_ml(content: Content) -> bool:
    """Whether it is a model of Core ML: a version, a description, and a model of one of its kinds."""
    head = content.read(0, 3)
    if head[:1] != b"\x08" or not b"\0" < head[1:2] < b"\x40" or head[2:3] != b"\x12":
        return False
    found = outline(content)
    return _GRAPH not in found.fields and any(number >= _CORE_ML for number in found.fields)


def is_graph(content: Content) -> bool:
    """Whether it begins as TensorFlow's GraphDef: a node with a name and an operator."""
    head = content.read(0, 512)
    if head[:1] != b"\x0a":
        return False
    length, at = _varint(head, 1)
    if not at or head[at : at + 1] != b"\x0a" or not 4 <= length < content.size:
        return False
    name, at = _text(head, at + 1)
    if not name or head[at : at + 1] != b"\x12":
        return False
    operator, _ = _text(head, at + 1)
    return operator[:1].isupper() or operator[:1] == "_"


def is_cut_onnx(content: Content) -> int | None:
    """The bytes that an ONNX model says it has, where the file has fewer."""
    found = outline(content) if _begins_like_onnx(content) else None
    return found.end if found is not None and found.end is not None and found.end > content.size else None


def _begins_like_onnx(content: Content) -> bool:
    head = content.read(0, 3)
    return head[:1] == b"\x08" and b"\0" < head[1:2] < b"\x40" and head[2:3] in _ONNX_FIELDS


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next thing begins; 0 there if it is none."""
    result = 0
    for shift, byte in enumerate(data[at : at + 10]):
        result |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return result, at + shift + 1
    return 0, 0


def _text(data: bytes, at: int) -> tuple[str, int]:
    length, begin = _varint(data, at)
    raw = data[begin : begin + length]
    if not begin or len(raw) < length or not raw.isascii():
        return "", 0
    return raw.decode(), begin + length
