"""From a network to a symbol and its arrays: walks the blocks, and asks the tables how each one is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from modelarchive.exchange.bundle import Note
from modelarchive.exchange.refusal import Refusal
from modelarchive.names import Taken, joined
from modelarchive.nn import Block, Layer, Sequential, nesting
from modelarchive.nn.evaluate import Abstract, Evaluator, constant_value
from modelarchive.nn.graph import Graph, Node, constant, is_constant
from modelarchive.nn.parameter import Parameter
from modelarchive.store.deferred import Deferred

#: Result of a node of the symbol: [position, which result, 0].
Entry: TypeAlias = list[int]


@dataclass(frozen=True)
class Value:
    """A value on its way: a result of the symbol, or a Python number.

    Attributes:
        entry: The result; None for a number.
        known: Its shape and dtype, or None.
        number: The number.
    """

    entry: Entry | None
    known: Any = None
    number: float | None = None


Lower = Callable[["Context", Any, list[Value]], Any]


class Exporter:
    """Makes the nodes of a symbol.

    Args:
        arrays: Structural name -> array.
        names: Structural name -> name in MXNet.
        lowerings: How each kind and op is lowered.
    """

    def __init__(
        self,
        arrays: Mapping[str, Deferred],
        names: Mapping[str, str],
        lowerings: Mapping[str, Lower],
    ) -> None:
        self.nodes: list[dict[str, Any]] = []
        #: Name in MXNet -> array, of what the symbol uses.
        self.arrays: dict[str, Deferred] = {}
        #: Those that are no arguments but auxiliary states.
        self.auxiliary: set[str] = set()
        self.notes: list[Note] = []
        self.problems: list[tuple[str, str]] = []
        self._stored = arrays
        self._names = names
        self._lowerings = lowerings
        self._owners: dict[int, str] = {}
        self._variables: dict[str, Entry] = {}
        self._taken = Taken(names.values())
        #: ``id`` of the arrays that the symbol uses, changed or not.
        self.said: set[int] = set()
        self._evaluator = Evaluator()

    def run(self, block: Block, inputs: Sequence[tuple[str, Abstract | None]]) -> list[Entry]:
        """The heads of the symbol of a network; what cannot be said is collected in `problems`."""
        missing: dict[int, str] = {}
        for name, parameter in block.collect_params().items():
            if name in self._stored:
                self._owners.setdefault(id(parameter), name)
            elif id(parameter) not in self._owners:
                missing[id(parameter)] = name
        self.problems += [
            (name, "the parameter has no values here") for key, name in missing.items() if key not in self._owners
        ]
        if self.problems:
            return []
        given: list[Value | None] = [Value(self.variable(self._free(name)), known) for name, known in inputs]
        results = self._block(block, "", given)
        return [each.entry for each in results if each is not None and each.entry is not None]

    # ------------------------------------------------------------------ the symbol

    def variable(self, name: str, shape: Sequence[int] | None = None, dtype: int = 0) -> Entry:
        """A node that computes nothing."""
        if name not in self._variables:
            node: dict[str, Any] = {"op": "null", "name": name, "inputs": []}
            if shape is not None:
                node["attrs"] = {"__shape__": str(tuple(shape)), "__dtype__": str(dtype)}
            self.nodes.append(node)
            self._variables[name] = [len(self.nodes) - 1, 0, 0]
        return self._variables[name]

    def _free(self, wish: str) -> str:
        """A name that nothing has yet."""
        return self._taken.free(wish)

    def operator(self, op: str, wish: str, inputs: Sequence[Entry], attributes: Mapping[str, Any]) -> Entry:
        """A node that computes."""
        name = self._free(wish or op.lower())
        node: dict[str, Any] = {"op": op, "name": name}
        if attributes:
            node["attrs"] = {key: text(value) for key, value in attributes.items()}
        self.nodes.append(node | {"inputs": [list(each) for each in inputs]})
        return [len(self.nodes) - 1, 0, 0]

    def parameter(self, parameter: Parameter, *, aux: bool = False) -> Entry:
        """The variable of a stored parameter; the same one each time."""
        stored = self._owners[id(parameter)]
        name = self._names[stored]
        if name not in self._variables:
            array = self._stored[stored]
            self.said.add(id(array))
            self.arrays[name] = array
            if aux:
                self.auxiliary.add(name)
        return self.variable(name)

    def grouped(self, parameters: Sequence[Parameter], groups: int) -> list[Entry] | None:
        """The variables of parameters of channels, as those of groups; None where channels of a group differ."""
        found = {}
        for parameter in parameters:
            stored = self._owners[id(parameter)]
            values = self._stored[stored].read().reshape(groups, -1)
            if self._names[stored] in self._variables or not np.array_equal(
                values, values[:, :1].repeat(values.shape[1], 1)
            ):
                return None
            found[stored] = Deferred((groups,), values.dtype, lambda values=values: values[:, 0].copy())  # type: ignore[misc]
        for stored, array in found.items():
            self.said.add(id(self._stored[stored]))
            self.arrays[self._names[stored]] = array
        return [self.variable(self._names[stored]) for stored in found]

    def made(self, wish: str, values: np.ndarray) -> Entry:
        """The variable of an array that the archive does not have."""
        name = self._free(wish)
        self.arrays[name] = Deferred.of(values)
        return self.variable(name)

    def text(self, heads: Sequence[Entry]) -> str:
        """The symbol as JSON."""
        variables = [at for at, node in enumerate(self.nodes) if node["op"] == "null"]
        symbol = {
            "nodes": self.nodes,
            "arg_nodes": variables,
            "heads": [list(each) for each in heads],
            "attrs": {"mxnet_version": ["int", 10901]},
        }
        return json.dumps(symbol, indent=2)

    # ------------------------------------------------------------------ the network

    def _block(self, block: Block, path: str, given: list[Value | None]) -> list[Value | None]:
        if isinstance(block, Layer):
            return self._layer(block, path, given)
        if isinstance(block, Sequential):
            for name, child in block.children.items():
                given = self._block(child, joined(path, name), given)
            return given
        if isinstance(block, Graph):
            return self._graph(block, path, given)
        self.problems.append((path, f"{type(block).__name__} is no kind of the vocabulary"))
        return [None]

    def _graph(self, graph: Graph, path: str, given: list[Value | None]) -> list[Value | None]:
        values: dict[str, list[Value | None]] = {name: [each] for name, each in zip(graph.inputs, given, strict=False)}
        if graph.structure != nesting.usual(len(graph.outputs)):
            self.notes.append(Note(path or "(model)", "its outputs come one after another, without their containers"))
        for node in graph.nodes:
            if node.inputs is None:
                continue
            inputs = [self._picked(values, ref) for ref in node.inputs]
            values[node.name] = self._node(graph, node, joined(path, node.name), path, inputs)
        return [self._picked(values, ref) for ref in graph.outputs]

    def _picked(self, values: Mapping[str, list[Value | None]], ref: tuple[str, int | None]) -> Value | None:
        several = values[ref[0]]
        index = ref[1] or 0
        return several[index] if index < len(several) else None

    def _node(self, graph: Graph, node: Node, name: str, path: str, given: list[Value | None]) -> list[Value | None]:
        if node.verb in ("block", "call"):
            return self._block(graph.find(node.target), joined(path, node.target), given)
        if node.verb == "parameter":
            parameter = graph.find_parameter(node.target)
            shape = parameter.known_shape
            if not shape:
                self.problems.append((name, "a parameter without axes has no counterpart"))
                return [None]
            return [Value(self.parameter(parameter), Abstract((shape, shape), parameter.dtype))]
        if is_constant(node):
            return [self._constant(constant(node.arguments), name)]
        try:
            known = self._evaluator.op(node.target, [_known(each) for each in given], dict(node.arguments))
        except (ValueError, LookupError):
            known = None
        return self._said(node.target, f"the op {node.target!r}", name, dict(node.arguments), given, known)

    def _constant(self, value: Any, name: str) -> Value:
        known = constant_value(value)
        if isinstance(value, np.ndarray) and value.ndim:
            return Value(self.made(name, value), known)
        return Value(None, known, float(value))

    def _layer(self, layer: Layer, path: str, given: list[Value | None]) -> list[Value | None]:
        try:
            known = self._evaluator.layer(layer, [_known(each) for each in given])
        except (ValueError, LookupError):
            known = None
        return self._said(layer.kind, f"the kind {layer.kind!r}", path, layer, given, known)

    def _said(
        self,
        word: str,
        what: str,
        path: str,
        subject: Any,
        given: list[Value | None],
        known: Any,
    ) -> list[Value | None]:
        whole = [each for each in given if each is not None]
        if len(whole) < len(given):
            return [None]  # of what could not be said nothing can be made
        try:
            if word not in self._lowerings:
                raise Refusal(f"{what} has no counterpart in MXNet")
            results = self._lowerings[word](Context(self, path), subject, whole)
        except Refusal as refusal:
            self.problems.append((path or "(model)", str(refusal)))
            return [None]
        entries = results if isinstance(results, tuple) else (results,)
        shapes = known if isinstance(known, tuple) else (known,) * len(entries)
        return [Value(entry, shape) for entry, shape in zip(entries, shapes, strict=False)]


@dataclass(frozen=True)
class Context:
    """Where in the network a symbol's nodes are made: what the tables work on.

    Attributes:
        exporter: What collects them.
        path: The block or node.
    """

    exporter: Exporter
    path: str

    def op(self, op: str, *inputs: Entry, **attributes: Any) -> Entry:
        """Add an operator."""
        return self.exporter.operator(op, self.path, inputs, attributes)

    def parameter(self, layer: Layer, name: str, *, aux: bool = False) -> Entry:
        """The variable of a layer's parameter."""
        return self.exporter.parameter(layer.parameters[name], aux=aux)

    def made(self, name: str, values: np.ndarray) -> Entry:
        """The variable of an array that the archive does not have."""
        return self.exporter.made(joined(self.path, name), values)

    def note(self, what: str) -> None:
        """Tell what is changed or lost."""
        self.exporter.notes.append(Note(self.path or "(model)", what))


def rank(given: Value) -> int:
    """How many axes a value has.

    Raises:
        Refusal: That is not known.
    """
    if given.known is None:
        raise Refusal("what it means depends on the number of axes, which is not known: declare the model's inputs")
    return len(given.known.shapes[0])


def entry(given: Value) -> Entry:
    """The result of the symbol that a value is.

    Raises:
        Refusal: It is a number.
    """
    if given.entry is None:
        raise Refusal("a number in the place of an array has no counterpart")
    return given.entry


def text(value: Any) -> str:
    """An attribute as MXNet writes it."""
    if isinstance(value, list | tuple):
        inner = ", ".join(str(each) for each in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value) if isinstance(value, float) else str(value)


def _known(given: Value | None) -> Abstract | None:
    return None if given is None else given.known
