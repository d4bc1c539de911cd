"""Messages of Protocol Buffers, as ONNX has them, taken apart, changed and put together again."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from typing import Any, Final

from tests.exchange.onnx.wire import varint
from tests.hostile.mutators import NUMBERS, bytes_changed
from tests.hostile.readers.words import OPERATORS, WORDS

#: Fields of ONNX that are messages: message -> field -> message.
_MESSAGES: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 8: "Opset", 14: "Entry", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 11: "Value", 12: "Value", 13: "Value", 15: "Sparse"},
    "Node": {5: "Attribute", 9: "Entry"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 14: "Type", 22: "Sparse"},
    "Tensor": {13: "Entry"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Value": {2: "Type"},
    "Type": {1: "TensorType", 4: "Type", 5: "Type"},
    "TensorType": {2: "Shape"},
    "Shape": {1: "Dimension"},
    "Function": {7: "Node", 9: "Opset", 11: "Attribute", 14: "Entry"},
}

#: A field: its number, how it is written, and a number, bytes, or the fields of a message.
Field = list[Any]


def fields_of(data: bytes, message: str = "Model") -> list[Field]:
    """A message taken apart.

    Raises:
        ValueError: It is none.
    """
    found: list[Field] = []
    at = 0
    while at < len(data):
        tag, at = _varint_at(data, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == 0:
            value, at = _varint_at(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        elif wire == 2:
            length, at = _varint_at(data, at)
            value, at = data[at : at + length], at + length
            if at <= len(data) and (inner := _MESSAGES.get(message, {}).get(number)):
                value = fields_of(value, inner)
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(data):
            raise ValueError("ends too early")
        found.append([number, wire, value])
    return found


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("no number")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def message_of(found: list[Field]) -> bytes:
    """The same put together."""
    out: list[bytes] = []
    for number, wire, value in found:
        out.append(varint(number << 3 | wire))
        if wire == 0:
            out.append(varint(value))
        elif wire == 2:
            inner = message_of(value) if isinstance(value, list) else value
            out += (varint(len(inner)), inner)
        else:
            out.append(value)
    return b"".join(out)


def protobuf(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """Fields of a message, at any depth: other numbers and words, twice, gone, in other places, others of the kind."""
    try:
        found = fields_of(data)
    except (ValueError, RecursionError):
        return None
    places: list[tuple[list[Field], int, str]] = []
    pending = [(found, "Model")]
    while pending:
        fields, message = pending.pop()
        places += [(fields, at, message) for at in range(len(fields))]
        pending += [(each[2], _MESSAGES[message][each[0]]) for each in fields if isinstance(each[2], list)]
    if not places:
        return None
    owner, at, message = rng.choice(places)
    field = owner[at]
    alike = [(fields[place]) for fields, place, its in places if (its, fields[place][0]) == (message, field[0])]
    other = rng.choice(alike) if rng.random() < 0.5 else _of(rng.choice(places))
    how = rng.randrange(14)
    if how == 0:
        del owner[at]
    elif how == 1:
        owner.insert(rng.randrange(len(owner)), _apart([field])[0])
    elif how == 2:
        owner.insert(at, _apart([other])[0])
    elif how == 3:
        field[0] = rng.choice((other[0], rng.randrange(1, 30), field[0] + 1))
    elif how < 6 and field[1] == 2 and other[1] == 2:
        field[2] = _apart([other])[0][2]  # a name in the place of another, a tensor's bytes, a graph
    elif how < 9 and (kind := _ONE_OF_THE_KIND.get(message)) is not None:
        kind(owner, rng)
    elif how == 9 and any(its == "Node" for _, _, its in places):
        _chain(rng.choice([(fields, at) for fields, at, its in places if _is_node(fields[at], its)]), rng)
    elif field[1] == 0:
        field[2] = rng.choice((rng.choice(NUMBERS), rng.randrange(24), field[2] + 1, field[2] - 1)) % 2**64
    elif isinstance(field[2], list):
        # The last makes the file as large as they come.
        count = rng.choice((*(1,) * 12, *(50,) * 6, 90_000 // (len(message_of([field])) + 3)))
        owner[at:at] = [field] * count
    elif field[1] == 2:
        raw = field[2]
        words = [rng.choice(WORDS).encode(), raw[:-1], raw + raw, struct.pack("<q", rng.choice(NUMBERS) % 2**63), b""]
        field[2] = rng.choice(words) if not raw or rng.random() < 0.5 else bytes_changed(raw, rng)
    else:
        field[2] = struct.pack("<f", rng.choice((0.0, -1.0, 1e30, math.inf, math.nan, 0.5)))
    return message_of(found)


def _is_node(field: Field, message: str) -> bool:
    return isinstance(field[2], list) and _MESSAGES[message][field[0]] == "Node"


def _chain(place: tuple[list[Field], int], rng: random.Random) -> None:
    """A node many times, each on the result of the one before alone: what grows with every step grows without end."""
    owner, at = place
    node = owner[at]
    inputs = [each for each in node[2] if each[0] == 1 and isinstance(each[2], bytes)]
    output = next((each[2] for each in node[2] if each[0] == 2 and isinstance(each[2], bytes)), b"y")
    if not inputs:
        return
    count = rng.choice((3, 30, 64, 400))
    before = inputs[0][2]
    several = []
    for step in range(count):
        copied = _apart([node])[0]
        after = output if step == count - 1 else b"chain%d" % step
        copied[2] = [[1, 2, before] for _ in inputs] + [[2, 2, after]] + [each for each in copied[2] if each[0] > 2]
        several.append(copied)
        before = after
    owner[at : at + 1] = several


def _of(place: tuple[list[Field], int, str]) -> Field:
    return place[0][place[1]]


def _node(owner: list[Field], rng: random.Random) -> None:
    """Another operator, or one attribute more."""
    if rng.random() < 0.5:
        owner[:] = [each for each in owner if each[0] != 4] + [[4, 2, rng.choice(OPERATORS).encode()]]
    else:
        owner.append([5, 2, _attribute(owner, rng)])


def _attribute(owner: list[Field], rng: random.Random) -> list[Field]:
    name: Field = [1, 2, rng.choice(_ATTRIBUTES).encode()]
    how = rng.randrange(4)
    if how == 0:
        return [name, [3, 0, rng.choice((*NUMBERS, *range(8))) % 2**64], [20, 0, 2]]
    if how == 1:
        several = rng.choice((0, 1, 2, 4, 8))
        return [name, *([8, 0, rng.choice((*NUMBERS[:4], *NUMBERS, -1)) % 2**64] for _ in range(several)), [20, 0, 7]]
    if how == 2:
        return [name, [4, 2, rng.choice(WORDS).encode()], [20, 0, 3]]
    return [name, [2, 5, struct.pack("<f", rng.choice((0.0, 1e30, math.nan)))], [20, 0, 1]]


def _tensor(owner: list[Field], rng: random.Random) -> None:
    """Whole numbers, as sizes and axes are stored: few, and at the edges of what parsers hold them in."""
    values = [rng.choice((*range(-2, 5), *NUMBERS)) for _ in range(rng.choice((0, 1, 1, 2, 3, 4, 8)))]
    raw = b"".join(struct.pack("<q", value % 2**64 - (2**64 if value % 2**64 >= 2**63 else 0)) for value in values)
    dims: list[Field] = [] if len(values) == 1 and rng.random() < 0.5 else [[1, 0, len(values)]]
    owner[:] = [*dims, [2, 0, 7], *(each for each in owner if each[0] == 8), [9, 2, raw]]


_ONE_OF_THE_KIND: Final[dict[str, Callable[[list[Field], random.Random], None]]] = {"Node": _node, "Tensor": _tensor}
_ATTRIBUTES: Final = (
    *(
        "axis",
        "axes",
        "perm",
        "shape",
        "pads",
        "strides",
        "dilations",
        "kernel_shape",
        "group",
        "to",
        "keepdims",
        "mode",
    ),
    *("alpha", "transA", "transB", "direction", "hidden_size", "blocksize", "k", "allowzero", "auto_pad", "equation"),
    *("num_heads", "scale", "epsilon", "starts", "ends", "split", "num_outputs", "output_shape", "value_ints", "steps"),
)


def _apart(found: list[Field]) -> list[Field]:
    """A deep copy: a message may be put inside of itself."""
    return [[number, wire, _apart(value) if isinstance(value, list) else value] for number, wire, value in found]
