"""An ONNX model as plain data: graphs, nodes, attributes; checked as far as their structure goes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from modelarchive.errors import FormatError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.onnx import schema
from modelarchive.exchange.onnx.protobuf import Message, Reader
from modelarchive.exchange.onnx.tensors import MAX_ELEMENTS, MAX_RANK, Tensors
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred

_MAX_NODES: Final = 100_000
_FIELDS: Final = {
    1: "f",
    2: "i",
    3: "s",
    4: "t",
    5: "g",
    6: "floats",
    7: "ints",
    8: "strings",
    9: "tensors",
    10: "graphs",
}
_EMPTY: Final[dict[str, Any]] = {"i": 0, "f": 0.0, "s": b"", "floats": [], "ints": [], "strings": []}
_MISSING: Final = object()
#: What a node takes in memory, beside its message.
_NODE_BYTES: Final = 512
#: Numbers of an attribute, and attributes of a node, that are looked at in the time that one operator takes.
_NUMBERS_A_STEP: Final = 16
_ATTRIBUTES_A_STEP: Final = 8


@dataclass(frozen=True)
class Value:
    """An input or output of a graph.

    Attributes:
        name: Its name.
        dtype: The vocabulary's word for its dtype; None if it has none there.
        shape: Its sizes: a number, the name of a free one, None for one without a name; None: not in the file.
        problem: Why it is no array; "" if it is one.
    """

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None
    problem: str = ""


@dataclass
class Node:
    """One operator.

    Attributes:
        op: Its name, with the domain before it where that is not ONNX's own.
        name: The node's name; may be empty, and need not be unique.
        inputs: Names of values; "" for one that is left out.
        outputs: Names of values; "" for one that is left out.
        attributes: Name -> the message.
        used: Attributes that were asked for.
        tensors: Makes arrays of tensors.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Message]
    tensors: Tensors
    used: set[str] = field(default_factory=set)

    def get(self, name: str, kind: str, default: Any = _MISSING) -> Any:
        """An attribute's value.

        Args:
            name: Its name.
            kind: The field of AttributeProto that holds it.
            default: What is taken where it is absent.

        Raises:
            Refusal: It is missing, or of another type.
        """
        self.used.add(name)
        message = self.attributes.get(name)
        if message is None:
            if default is _MISSING:
                raise Refusal(f"the attribute {name!r} is missing")
            return default
        if "ref_attr_name" in message:
            raise Refusal(f"{name} is the attribute {message['ref_attr_name']!r} of a function, which is not given")
        code = message.get("type", 0)
        if code and _FIELDS.get(code) != kind:
            raise Refusal(f"{name} is of another type of attribute ({code})")
        # Fields that are 0 or empty need not be there.
        found = message.get(kind, _EMPTY.get(kind))
        if found is None:
            raise Refusal(f"the attribute {name!r} has no value")
        if isinstance(found, list):
            budget.spend(f"{self.op} {self.name!r}", steps=len(found) // _NUMBERS_A_STEP)
        return found

    def integer(self, name: str, default: Any = _MISSING) -> Any:
        """A whole number."""
        return self.get(name, "i", default)

    def flag(self, name: str, *, default: bool) -> bool:
        """0 or 1."""
        return bool(self.get(name, "i", int(default)))

    def number(self, name: str, default: Any = _MISSING) -> Any:
        """A float, as the shortest decimals that give it in float32."""
        found = self.get(name, "f", default)
        if not isinstance(found, float) or name not in self.attributes:
            return found
        if found - found != 0:
            raise Refusal(f"{name} = {found} is not finite")
        return float(str(np.float32(found)))

    def numbers(self, name: str, default: Any = _MISSING) -> Any:
        """Several floats."""
        return self.get(name, "floats", default)

    def integers(self, name: str, default: Any = _MISSING) -> Any:
        """Several whole numbers."""
        return self.get(name, "ints", default)

    def text(self, name: str, default: Any = _MISSING) -> Any:
        """A text."""
        found = self.get(name, "s", default)
        return found.decode("utf-8", "backslashreplace") if isinstance(found, bytes) else found

    def texts(self, name: str, default: Any = _MISSING) -> Any:
        """Several texts."""
        found = self.get(name, "strings", default)
        return [each.decode("utf-8", "backslashreplace") if isinstance(each, bytes) else each for each in found]

    def tensor(self, name: str) -> Deferred | None:
        """An array; None if it is absent."""
        message = self.get(name, "t", None)
        try:
            return None if message is None else self.tensors.array(message)
        except Refusal as error:
            raise Refusal(f"{name} {error}") from error

    def graph(self, name: str) -> Graph:
        """A branch."""
        return graph_of(self.get(name, "g"), self.tensors)

    def expect(self, name: str, kind: str, *accepted: Any) -> None:
        """Refuse every value but those that mean nothing special; absent is fine."""
        found = self.get(name, kind, accepted[0])
        if found not in accepted:
            raise Refusal(f"{name} = {found!r} is not supported, only {' and '.join(map(repr, accepted))}")

    def bound(self, given: Mapping[str, Message | None]) -> Node:
        """The node in a call of the function that it is in: with the call's attributes."""
        found = {}
        for name, message in self.attributes.items():
            if "ref_attr_name" not in message:
                found[name] = message
            elif (value := given.get(message["ref_attr_name"])) is not None:
                found[name] = value
        return Node(self.op, self.name, self.inputs, self.outputs, found, self.tensors)

    def unread(self) -> list[str]:
        """Attributes that nobody asked for."""
        return [name for name in self.attributes if name not in self.used]


@dataclass(frozen=True)
class Graph:
    """A graph.

    Attributes:
        nodes: In an order in which they can be computed.
        inputs: What it takes, stored arrays among them or not.
        outputs: What it returns.
        stored: Name -> message of an initialiser.
        problems: What it has that no word of the vocabulary means.
    """

    nodes: list[Node]
    inputs: list[Value]
    outputs: list[Value]
    stored: dict[str, Message]
    problems: list[tuple[str, str]]


@dataclass(frozen=True)
class Function:
    """A function that the model brings with it: its nodes stand for one operator.

    Attributes:
        nodes: What it does.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        defaults: Name of an attribute -> the message that holds its default; None: it has none.
        opsets: Domain -> version.
        steps: What one call takes beside the steps of its nodes.
    """

    nodes: list[Node]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    defaults: dict[str, Message | None]
    opsets: dict[str, int]
    steps: int


@dataclass(frozen=True)
class Model:
    """A model.

    Attributes:
        graph: What it computes.
        opsets: Domain -> version.
        functions: Name of an operator, with its domain -> what it does.
        producer: What wrote it, in its own words.
        metadata: Its metadata_props.
        file: The mapped file.
        tensors: Makes arrays of tensors.
        problems: What it has that no word of the vocabulary means.
        notes: What it has that is not read.
    """

    graph: Graph
    opsets: dict[str, int]
    functions: dict[str, Function]
    producer: str
    metadata: dict[str, str]
    file: MappedFile
    tensors: Tensors
    problems: list[tuple[str, str]]
    notes: list[Note]


def read_model(path: str | os.PathLike[str]) -> Model:
    """Read and check the structure of a model.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no ONNX model, or damaged.
        UnsafeFileError: It is deeper or larger than a model can be.
    """
    file = MappedFile(path)
    data = file.buffer()
    reader = Reader(data, file.path)
    message = reader.message(schema.MODEL, 0, len(data))
    if "graph" not in message or "ir_version" not in message:
        raise FormatError("is no ONNX model: it has no graph", file=file.path)
    tensors = Tensors(file)
    problems = []
    if "training_info" in message:
        problems.append(("training_info", "what to do in training is not supported"))
    functions = {}
    for each in message.get("functions", ()):
        defaults: dict[str, Message | None] = dict.fromkeys(each.get("attribute", ()))
        defaults |= {one.get("name", ""): one for one in each.get("attribute_proto", ())}
        budget.spend("a function", nbytes=_NODE_BYTES * (1 + len(each.get("node", ()))))
        nodes = [_node_of(one, tensors) for one in each.get("node", ())]
        inputs, outputs = tuple(each.get("input", ())), tuple(each.get("output", ()))
        parts = len(inputs) + len(outputs) + len(defaults) + sum(2 + len(one.attributes) for one in nodes)
        steps = parts // _ATTRIBUTES_A_STEP
        functions[_qualified(each)] = Function(nodes, inputs, outputs, defaults, _opsets(each), steps)
    return Model(
        graph_of(message["graph"], tensors),
        _opsets(message),
        functions,
        " ".join(filter(None, [message.get("producer_name", ""), message.get("producer_version", "")])),
        {each.get("key", ""): each.get("value", "") for each in message.get("metadata_props", ())},
        file,
        tensors,
        problems,
        [
            Note(f"({kind})", f"has the field {number}, which ONNX does not have ({count:,} times): it is not read")
            for (kind, number), count in reader.unknown.items()
        ],
    )


def graph_of(message: Message, tensors: Tensors) -> Graph:
    """A graph out of its message.

    Raises:
        FormatError: It has too many nodes, or two stored arrays of one name.
    """
    nodes = message.get("node", [])
    if len(nodes) > _MAX_NODES:
        raise FormatError(f"has {len(nodes):,} nodes, expected at most {_MAX_NODES:,}", file=tensors.file.path)
    steps = (len(nodes) + len(message.get("initializer", ()))) // _ATTRIBUTES_A_STEP
    budget.spend("the graph", steps=steps, nbytes=_NODE_BYTES * len(nodes))
    problems = []
    if "sparse_initializer" in message:
        problems.append(("sparse_initializer", "sparse arrays are not supported"))
    stored: dict[str, Message] = {}
    for each in message.get("initializer", ()):
        name = each.get("name", "")
        if name in stored:
            raise FormatError(f"the name {name[:200]!r} comes twice among the initializers", file=tensors.file.path)
        stored[name] = each
    return Graph(
        [_node_of(each, tensors) for each in nodes],
        [_value(each) for each in message.get("input", ())],
        [_value(each) for each in message.get("output", ())],
        stored,
        problems,
    )


def _node_of(message: Message, tensors: Tensors) -> Node:
    """A node out of its message."""
    return Node(
        _qualified(message, "op_type"),
        message.get("name", ""),
        tuple(message.get("input", ())),
        tuple(message.get("output", ())),
        {each.get("name", ""): each for each in message.get("attribute", ())},
        tensors,
    )


def _opsets(message: Message) -> dict[str, int]:
    found = {each.get("domain", ""): each.get("version", 0) for each in message.get("opset_import", ())}
    return {"" if domain == "ai.onnx" else domain: version for domain, version in found.items()}


def _qualified(message: Message, key: str = "name") -> str:
    domain, overload = message.get("domain", ""), message.get("overload", "")
    name = f"{message.get(key, '')}:{overload}" if overload else message.get(key, "")
    return name if domain in ("", "ai.onnx") else f"{domain}::{name}"


def _value(message: Message) -> Value:
    name, kind = message.get("name", ""), message.get("type", {})
    if "tensor_type" not in kind:
        what = next((word for word in ("sequence", "map", "optional", "sparse_tensor") if f"{word}_type" in kind), None)
        problem = "has no type" if what is None else f"is of type {what}, which is not supported"
        return Value(name, None, None, problem)
    tensor = kind["tensor_type"]
    dtype = DTYPES.get(tensor.get("elem_type", 0))
    problem = "" if dtype else f"is of the element type {tensor.get('elem_type', 0)}, which is not supported"
    shape = None
    if "shape" in tensor:
        dims = tensor["shape"].get("dim", ())
        sizes = [each.get("dim_value", each.get("dim_param") or None) for each in dims]
        shape = tuple([None if size == -1 else size for size in sizes])
        fixed = [size for size in shape if isinstance(size, int)]
        if len(shape) > MAX_RANK or min(fixed, default=0) < 0 or math.prod(filter(None, fixed)) > MAX_ELEMENTS:
            problem = f"has the shape {shape[:8]}"
    return Value(name, dtype, shape, problem)


def metadata_of(model: Model) -> dict[str, Any]:
    """What a bundle says of where it comes from: the model's own metadata, and the format."""
    source = {"format": "ONNX", "opset": model.opsets.get("", 0)}
    found: dict[str, Any] = dict(model.metadata)
    found.setdefault("source", source | ({"producer": model.producer} if model.producer else {}))
    return found
