"""From a symbol and its arrays to an architecture: walks the nodes, and asks the tables what each one means."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive import names
from modelarchive.exchange.budget import spend
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.mxnet.ndarrays import DTYPES
from modelarchive.exchange.mxnet.symbol import VARIABLE, Entry, SymbolGraph, SymbolNode
from modelarchive.exchange.refusal import Refusal, reason, refusing
from modelarchive.nn.evaluate import Evaluator, Value, constant_value, declared
from modelarchive.nn.kinds import KINDS
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: A reference as an architecture writes it: a name, or [name, index].
Ref: TypeAlias = str | list[Any]
#: An input of an architecture.
Declared: TypeAlias = dict[str, Any]
#: Steps of the budget that a node takes: it is made, and validated with the rest.
_NODE: Final = 2


@dataclass(frozen=True)
class Zeros:
    """The result of a node that makes zeros: the states that a recurrence starts from."""


@dataclass(frozen=True)
class Packed:
    """Parameters that were made flat and put together, as a fused recurrence takes them.

    Attributes:
        parts: The parameters' names in the file.
    """

    parts: tuple[str, ...]


class Importer:
    """Makes the nodes of one Graph.

    Args:
        symbol: The symbol.
        arrays: Name in the file -> array.
        inputs: What is known of the inputs: name -> shape.
        dtypes: Their dtypes, where the symbol does not decide: name -> logical name.
    """

    def __init__(
        self,
        symbol: SymbolGraph,
        arrays: Mapping[str, Deferred],
        inputs: Mapping[str, Sequence[int | None]],
        dtypes: Mapping[str, str],
    ) -> None:
        self.symbol = symbol
        self.arrays = arrays
        self.given = inputs
        self.dtypes = dtypes
        self.inputs: dict[str, Declared] = {}
        #: Name of an input -> what orders the inputs.
        self.places: dict[str, int] = {}
        self.nodes: list[dict[str, Any]] = []
        #: The graph's own parameters, as it declares them.
        self.own: dict[str, dict[str, Any]] = {}
        self.parameters: dict[str, Deferred] = {}
        self.notes: list[Note] = []
        self.problems: list[tuple[str, str]] = []
        #: Result of a symbol's node -> reference, Zeros, Packed, or None: told already.
        self.results: dict[Entry, Any] = {}
        self._values: dict[str, Value] = {}
        self._taken = names.Taken()
        #: Name in the file -> dotted name of the parameter that it became.
        self.owner: dict[str, str] = {}
        self._blocks: dict[str, str] = {}
        self._evaluator = Evaluator()

    def run(self, operators: Mapping[str, Callable[[Context], Any]]) -> None:
        """Walk the nodes; what has no counterpart is collected in `problems`."""
        needed = self.symbol.needed()
        used: dict[int, set[int]] = {}
        for at, index in [entry for each in needed for entry in self.symbol.nodes[each].inputs] + self.symbol.heads:
            used.setdefault(at, set()).add(index)
        for position in needed:
            node = self.symbol.nodes[position]
            if node.op == VARIABLE:
                continue
            context = Context(self, position, frozenset(used.get(position, ())))
            results = self._converted(context, operators)
            for index in context.used:
                if results and index >= len(results):
                    self.problems.append((node.name, f"result {index} of {node.op} has no counterpart"))
                self.results[position, index] = results[index] if index < len(results) else None

    def _converted(self, context: Context, operators: Mapping[str, Callable[[Context], Any]]) -> tuple[Any, ...]:
        """The results of one operator; none where that is told already, or now."""
        node = context.node
        try:
            if node.op not in operators:
                raise Refusal(f"the operator {short(node.op)} has no counterpart")
            if any(self.results.get(entry, "") is None for entry in node.inputs):
                return ()  # of what could not be said nothing can be made
            with refusing(node.op):
                found = operators[node.op](context)
            if unread := node.attributes.unread():
                raise Refusal(f"{node.op} has attributes that have no counterpart: {short(unread)}")
        except Refusal as refusal:
            self.problems.append((node.name, str(refusal)))
            return ()
        return found if isinstance(found, tuple) else (found,)

    def outputs(self) -> list[Ref]:
        """References to what the symbol returns."""
        found = []
        for head in self.symbol.heads:
            try:
                if self.results.get(head, "") is not None:
                    found.append(self.reference(head))
            except Refusal as refusal:
                self.problems.append((self.symbol.nodes[head[0]].name, str(refusal)))
        return found

    def reference(self, entry: Entry) -> Ref:
        """The reference to a result; inputs and parameters are declared when they are first asked for."""
        if entry not in self.results:
            self.results[entry] = self._variable(entry[0])
        found = self.results[entry]
        if isinstance(found, Zeros | Packed):
            raise Refusal("zeros and packed parameters are understood as what a recurrence takes only")
        assert_ref: Ref = found
        return assert_ref

    def _variable(self, position: int) -> Ref:
        node = self.symbol.nodes[position]
        if node.name not in self.arrays:
            return self._input(node, position)
        array = self.arrays[node.name]
        if node.name not in self.owner:
            name = self.free(node.name)
            self.own[name] = {"shape": list(array.shape), "dtype": dtype_name(array.dtype)}
            self.parameters[name] = array
            self.owner[node.name] = name
        name = self.owner[node.name]
        value = declared(self.parameters[name].shape, dtype_name(array.dtype))
        return self.emit(f"{node.name}_value", {"parameter": name}, value)

    def _input(self, node: SymbolNode, position: int) -> Ref:
        name = self.free(node.name)
        self.places[name] = input_place(node.name, position)
        shape = self.given.get(node.name)
        code = node.attributes.texts.get("__dtype__", "0")
        dtype = DTYPES.get(int(code) if code.isascii() and code.isdigit() and len(code) < 3 else 0, DTYPES[0])
        word = self.dtypes.get(node.name, dtype_name(dtype))
        self.inputs[name] = {"name": name, "shape": None if shape is None else list(shape), "dtype": word}
        self._values[name] = None if shape is None else declared(shape, word)
        return name

    def free(self, wish: str) -> str:
        """A name of the grammar that nothing has yet."""
        return self._taken.free(names.as_part(wish))

    def emit(self, wish: str, node: dict[str, Any], value: Value) -> Ref:
        """Add a node; the reference to its result."""
        spend("its network", steps=_NODE)
        name = self.free(wish)
        self.nodes.append({"name": name, **node})
        self._values[name] = value
        return name

    def value(self, ref: Ref) -> Value:
        """What is known of a result's shape and dtype; None: nothing."""
        if isinstance(ref, str):
            return self._values.get(ref)
        several = self._values.get(ref[0])
        return several[ref[1]] if isinstance(several, tuple) and ref[1] < len(several) else None

    def op(self, wish: str, name: str, refs: Sequence[Ref], arguments: dict[str, Any]) -> Ref:
        """Add an op of the vocabulary."""
        try:
            if name == "constant":
                value = constant_value(arguments["value"])
            else:
                value = self._evaluator.op(name, [self.value(ref) for ref in refs], arguments)
        except (ValueError, LookupError):
            value = None  # validation tells it, if it is wrong
        return self.emit(wish, {"op": name, "inputs": list(refs), "arguments": arguments}, value)

    def block(self, wish: str, config: dict[str, Any], refs: Sequence[Ref], parameters: Mapping[str, Any]) -> Ref:
        """Add a layer, or a further call of one that there is already.

        Args:
            wish: Its name, if that is free.
            config: Kind and fields.
            refs: What it is called on.
            parameters: Own name -> (name in the file, array).
        """
        config = KINDS[config["kind"]].from_config({k: v for k, v in config.items() if k != "kind"}).config() | {
            "kind": config["kind"]
        }
        layer = KINDS[config["kind"]].from_config({k: v for k, v in config.items() if k != "kind"})
        try:
            value = self._evaluator.layer(layer, [self.value(ref) for ref in refs])
        except (ValueError, LookupError):
            value = None
        key = json.dumps([config, {own: stored for own, (stored, _) in parameters.items()}], sort_keys=True)
        if parameters and key in self._blocks:
            return self.emit(wish, {"call": self._blocks[key], "inputs": list(refs)}, value)
        spend("its network", steps=_NODE)
        name = self.free(wish)
        shares = {}
        for own, (stored, array) in parameters.items():
            if stored in self.owner:
                shares[own] = self.owner[stored]
                array = self.parameters[self.owner[stored]]
            self.owner.setdefault(stored, f"{name}.{own}")
            self.parameters[f"{name}.{own}"] = array
        self._blocks[key] = name
        block = {"kind": config.pop("kind"), **config} | ({"shares": shares} if shares else {})
        self.nodes.append({"name": name, "block": block, "inputs": list(refs)})
        self._values[name] = value
        return name


_SUFFIX: Final = re.compile(
    r"[._]((_unfused[._]\d+[._][lr]_cell[._]|[lr]\d+_)?(i2h|h2h)_(weight|bias)|parameters"
    r"|weight|bias|gamma|beta|alpha|(running|moving)_(mean|var))$"
)


@dataclass(frozen=True)
class Context:
    """One operator on its way into the graph: what the tables of operators work on.

    Attributes:
        importer: Where it goes.
        position: Its place among the symbol's nodes.
        used: Which of its results are used.
    """

    importer: Importer
    position: int
    used: frozenset[int]

    @property
    def node(self) -> SymbolNode:
        """The symbol's node."""
        return self.importer.symbol.nodes[self.position]

    @property
    def attributes(self) -> Any:
        """Its attributes."""
        return self.node.attributes

    def __len__(self) -> int:
        """How many inputs it has."""
        return len(self.node.inputs)

    def raw(self, index: int) -> Any:
        """An input as it is known: a reference, Zeros, Packed, or None for a variable not yet asked for."""
        return self.importer.results.get(self._entry(index))

    def ref(self, index: int) -> Ref:
        """The reference to an input."""
        return self.importer.reference(self._entry(index))

    def refs(self) -> list[Ref]:
        """The references to all inputs."""
        return [self.ref(index) for index in range(len(self))]

    def _entry(self, index: int) -> Entry:
        if index >= len(self):
            raise Refusal(f"{self.node.op} has {len(self)} inputs, expected more than {index}")
        return self.node.inputs[index]

    def variable(self, index: int) -> str | None:
        """The name of the parameter that an input is; None if it is computed or an input of the model."""
        node = self.importer.symbol.nodes[self._entry(index)[0]]
        return node.name if node.op == VARIABLE and node.name in self.importer.arrays else None

    def parameter(self, index: int) -> tuple[str, Deferred]:
        """Name and array of the parameter that an input is."""
        stored = self.variable(index)
        if stored is None:
            node = self.importer.symbol.nodes[self._entry(index)[0]]
            if node.op == VARIABLE:
                raise Refusal(f"the parameter {node.name!r} is not in the file of arrays")
            raise Refusal(f"input {index} of {self.node.op} is computed, only stored parameters have a counterpart")
        return stored, self.importer.arrays[stored]

    def rank(self, index: int) -> int:
        """How many axes an input has."""
        return len(self.shape(index))

    def shape(self, index: int) -> list[int | None]:
        """The shape of an input, None where it is free."""
        value = self.importer.value(self.ref(index))
        if value is None or isinstance(value, tuple):
            raise Refusal(f"the meaning of {self.node.op} depends on the shape of its input: pass inputs=")
        found: list[int | None] = value.declared
        return found

    def op(self, name: str, *refs: Ref, **arguments: Any) -> Ref:
        """Add an op of the vocabulary."""
        return self.importer.op(self.node.name, name, refs, arguments)

    def constant(self, value: float) -> Ref:
        """Add a number."""
        return self.op("constant", value=value, dtype=None)

    def activation(self, activation: str, ref: Ref, alpha: float | None = None) -> Ref:
        """Add an activation."""
        return self.block({"kind": "Activation", "activation": activation, "alpha": alpha}, ref)

    def block(self, config: dict[str, Any], *refs: Ref, **parameters: tuple[str, Deferred]) -> Ref:
        """Add a layer, named after its parameters."""
        stems = {_SUFFIX.sub("", stored) for stored, _ in parameters.values()}
        wish = stems.pop() if len(stems) == 1 else self.node.name
        if parameters:
            config["dtype"] = dtype_name(next(iter(parameters.values()))[1].dtype)
        try:
            return self.importer.block(wish, config, refs, parameters)
        except (ValueError, TypeError, OverflowError) as error:
            raise Refusal(f"{self.node.op}: {reason(error)}") from error

    def note(self, what: str) -> None:
        """Tell what is changed or lost."""
        self.importer.notes.append(Note(self.node.name, what))


def input_place(name: str, position: int) -> int:
    """What orders the inputs: Gluon calls several data0, data1, ...; other symbols have them in order of use."""
    several = re.fullmatch(r"data(\d{1,9})", name)
    return int(several[1]) if several else position


def dtype_name(dtype: np.dtype) -> str:
    """The vocabulary's word for a dtype."""
    return str(dtype.newbyteorder("=") if dtype.kind in "iuf" else dtype)


def changed(array: Deferred, function: Callable[[np.ndarray], np.ndarray], shape: Sequence[int]) -> Deferred:
    """An array that is stored in another order or shape.

    Args:
        array: As it is stored.
        function: Gives it as it is wanted: a view.
        shape: The shape wanted.
    """
    view = array.view
    return Deferred(
        tuple(shape),
        array.dtype,
        lambda: function(array.read()),
        None if view is None else lambda: function(view()),
    )


def elements(array: Deferred) -> int:
    """How many elements it has."""
    return math.prod(array.shape)
