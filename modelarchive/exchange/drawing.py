"""A Graph under construction: importers add to it, node by node, what they read of another system's model."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from modelarchive import names
from modelarchive.architecture.schema import shortened
from modelarchive.errors import ConversionError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.evaluate import Abstract, Evaluator, Value, constant_value
from modelarchive.nn.graph import constant
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.parameter import dtype_name
from modelarchive.store.deferred import Deferred

#: A block, as an architecture writes it.
Description: TypeAlias = dict[str, Any]
#: Steps of the budget that a node takes (it is made, and checked with the rest), and references that take one more.
NODE_STEPS: Final = 2
_REFS_A_STEP: Final = 8
#: Problems that are reported, and characters of each and of its place.
MAX_PROBLEMS: Final = 1000
_LONGEST_PROBLEM: Final = 600
_LONGEST_PLACE: Final = 200


@dataclass(frozen=True)
class Ref:
    """A reference to a result inside of one Graph.

    Attributes:
        name: The input or node.
        index: Which of the node's results; None: its only one.
    """

    name: str
    index: int | None = None

    @property
    def json(self) -> str | list[Any]:
        """As an architecture writes it."""
        return self.name if self.index is None else [self.name, self.index]

    def parts(self, count: int) -> tuple[Ref, ...]:
        """Each of a node's `count` results."""
        return tuple(Ref(self.name, index) for index in range(count))


class UnknownError(Refusal):
    """It depends on a shape or dtype that is not known."""


class GraphBuilder:
    """A Graph that grows, and what is known of its results: their shapes and dtypes.

    Args:
        reserved: Names that :meth:`free` gives to nothing.

    Attributes:
        inputs: The names of its inputs.
        nodes: Its nodes; the block of one may be a Graph that is under construction as well.
        parameters: Its own parameters, as it declares them.
        frozen: Those of them that training does not change.
        arrays: Dotted name -> array, of all parameters in it.
        owners: Key of an array of the file -> dotted name of the parameter that it became first.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.inputs: list[str] = []
        self.nodes: list[dict[str, Any]] = []
        self.parameters: dict[str, dict[str, Any]] = {}
        self.frozen: dict[str, None] = {}
        self.arrays: dict[str, Deferred] = {}
        self.owners: dict[str, str] = {}
        self._reserved = frozenset(reserved)
        self._taken = names.Taken()
        self._values: dict[str, Value] = {}
        self._inside: dict[tuple[str, ...], GraphBuilder] = {}
        #: Key of a block -> the name that it is called by.
        self._declared: dict[Hashable, str] = {}
        #: Kind, fields and inputs of a layer -> what is known of its result.
        self._layer_values: dict[Hashable, Value] = {}
        self._evaluator = Evaluator()

    def free(self, preferred: str) -> str:
        """A name of the grammar that nothing here has yet."""
        return self._taken.free(names.as_part(preferred), self._reserved)

    def take(self, name: str) -> bool:
        """Take a name as it is; whether nothing had it."""
        is_free = name not in self._taken
        self._taken.add(name)
        return is_free

    def find(self, path: Sequence[str]) -> tuple[GraphBuilder, str, str]:
        """Where what has a dotted name stands: in Graphs inside of this one, made where there are none yet.

        Where something else has a part of the path: in this Graph, under a longer name.

        Args:
            path: The parts of the name.

        Returns:
            The Graph that it stands in, its name there, which is taken for it, and its dotted name.
        """
        here: GraphBuilder = self
        for depth, each in enumerate(path[:-1], start=1):
            at = tuple(path[:depth])
            if at not in self._inside:
                if not here.take(each):
                    break
                spend(f"the block {'.'.join(path[:-1])!r}", steps=NODE_STEPS)
                self._inside[at] = GraphBuilder()
                here.nodes.append({"name": each, "block": self._inside[at]})
            here = self._inside[at]
        else:
            if here.take(path[-1]):
                return here, path[-1], ".".join(path)
        name = self.free("_".join(path))
        return self, name, name

    # ---------------------------------------------------------------- results

    def value(self, ref: Ref) -> Value:
        """What is known of a result; None: nothing."""
        value = self._values.get(ref.name)
        if ref.index is None:
            return value
        return value[ref.index] if isinstance(value, tuple) and ref.index < len(value) else None

    def known(self, ref: Ref, what: str) -> Abstract:
        """What is known of a result.

        Args:
            ref: The result.
            what: The operator or layer whose meaning depends on it.

        Raises:
            UnknownError: Nothing is.
        """
        value = self.value(ref)
        if not isinstance(value, Abstract):
            raise UnknownError(f"the meaning of {what} depends on the shape of its input: pass inputs=")
        return value

    def results_of(self, ref: Ref) -> list[Ref]:
        """The results of a node, one by one."""
        value = self._values.get(ref.name)
        return list(ref.parts(len(value))) if isinstance(value, tuple) else [ref]

    def input(self, preferred: str, value: Value) -> Ref:
        """Add an input."""
        name = self.free(preferred)
        self.inputs.append(name)
        self._values[name] = value
        return Ref(name)

    def emit(self, preferred: str, node: Mapping[str, Any], value: Value) -> Ref:
        """Add a node."""
        return self._add(self.free(preferred), node, value)

    def _add(self, name: str, node: Mapping[str, Any], value: Value) -> Ref:
        spend("its network", steps=NODE_STEPS + len(node.get("inputs", ())) // _REFS_A_STEP)
        self.nodes.append({"name": name, **node})
        self._values[name] = value
        return Ref(name)

    def inferred(self, what: str, infer: Callable[[], Value]) -> Value:
        """What is known of a new result; a system may have it another way where `infer` finds a misfit.

        Args:
            what: The op or kind.
            infer: Gives it.

        Raises:
            ValueError: Shapes or dtypes do not fit.
            LookupError: The same.
        """
        return infer()

    def op(self, preferred: str, name: str, refs: Sequence[Ref], arguments: dict[str, Any]) -> Ref:
        """Add an op of the vocabulary.

        Raises:
            ValueError: As :meth:`inferred`.
        """

        def infer() -> Value:
            if name == "constant":
                return constant_value(constant(arguments))
            return self._evaluator.op(name, [self.value(ref) for ref in refs], arguments)

        value = self.inferred(name, infer)
        return self.emit(preferred, {"op": name, "inputs": [ref.json for ref in refs], "arguments": arguments}, value)

    def layer_value(self, block: Description, refs: Sequence[Ref]) -> Value:
        """What is known of a layer's result.

        Raises:
            ValueError: As :meth:`inferred`.
        """
        kind = KINDS[block["kind"]]
        fields = {name: each for name, each in block.items() if name in kind.fields}
        values = [self.value(ref) for ref in refs]
        key = (kind, repr(fields), *values)

        def infer() -> Value:
            if key not in self._layer_values:
                self._layer_values[key] = self._evaluator.layer(kind.from_config(fields), values)
            return self._layer_values[key]

        return self.inferred(kind.kind, infer)

    # ------------------------------------------------------ parameters, blocks

    def declare(self, name: str, array: Deferred, *, is_trained: bool = True) -> None:
        """Declare a parameter of the Graph's own, under a name that is taken for it."""
        self.parameters[name] = {"shape": list(array.shape), "dtype": dtype_name(array.dtype)}
        if not is_trained:
            self.frozen[name] = None

    def parameter(self, preferred: str, name: str, array: Deferred) -> Ref:
        """Add the values of a parameter, declared under a dotted name, as a result."""
        return self.emit(preferred, {"parameter": name}, abstract(array))

    def keep(self, path: str, arrays: Mapping[str, tuple[str, Deferred]]) -> Description:
        """Keep the arrays of a block; one that another parameter has become already is shared with it.

        Args:
            path: The block's dotted name; "" is the Graph itself.
            arrays: Own name -> the key that identifies the array in the file, "" where nothing does; and the array.

        Returns:
            What the block says of those that are shared; nothing where none is.
        """
        shares: dict[str, str] = {}
        for own, (key, array) in arrays.items():
            name = names.joined(path, own)
            if key in self.owners:
                shares[own] = self.owners[key]
                array = self.arrays[shares[own]]
            elif key:
                self.owners[key] = name
            self.arrays[name] = array
        return {"shares": shares} if shares else {}

    def block(self, preferred: str, block: Description, refs: Sequence[Ref], value: Value, key: Hashable = "") -> Ref:
        """Add a block; a further call of the one that is declared under a key already.

        Args:
            preferred: Its name, if that is free.
            block: It.
            refs: What it is called on.
            value: What is known of its result.
            key: What identifies it; "": it is declared in any case.
        """
        inputs = [ref.json for ref in refs]
        if key and key in self._declared:
            return self.emit(preferred, {"call": self._declared[key], "inputs": inputs}, value)
        ref = self.emit(preferred, {"block": block, "inputs": inputs}, value)
        if key:
            self._declared[key] = ref.name
        return ref

    def layer(
        self,
        preferred: str,
        block: Description,
        refs: Sequence[Ref],
        arrays: Mapping[str, tuple[str, Deferred]],
        *,
        path: Sequence[str] = (),
        key: str = "",
    ) -> Ref:
        """Add a layer with its arrays; a further call of one that has the same fields and arrays.

        Args:
            preferred: Its name, if that is free.
            block: Kind and fields, all of them; takes what is shared.
            refs: What it is called on.
            arrays: As in :meth:`keep`.
            path: Where it shall be declared, in Graphs inside of this one; (): here, under the preferred name.
            key: What :func:`layer_key` gives, where that is known already.
        """
        value, key = self.layer_value(block, refs), key or layer_key(block, arrays)
        if not path or key in self._declared:
            ref = self.block(preferred, block, refs, value, key)
            if self.nodes[-1].get("block") is block:
                block |= self.keep(ref.name, arrays)
            return ref
        place = self.find(path)
        self._declared[key] = place[-1]
        block |= self.keep(place[-1], arrays)
        return self.placed(place, block, refs, value)

    def placed(
        self, place: tuple[GraphBuilder, str, str], block: Description, refs: Sequence[Ref], value: Value
    ) -> Ref:
        """Add a block where :meth:`find` has found a place for it."""
        where, last, name = place
        inputs = [ref.json for ref in refs]
        if where is self:
            return self._add(name, {"block": block, "inputs": inputs}, value)
        where.nodes.append({"name": last, "block": block})
        return self.emit(last, {"call": name, "inputs": inputs}, value)

    def graph(self, outputs: Sequence[Ref] = ()) -> Description:
        """The Graph, and those inside of it; one without inputs and outputs only holds others."""
        block: Description = {"kind": "Graph", "inputs": self.inputs}
        if self.parameters:
            block["parameters"] = self.parameters
        nodes = [
            node | {"block": node["block"].graph()} if isinstance(node.get("block"), GraphBuilder) else node
            for node in self.nodes
        ]
        block |= {"nodes": nodes, "outputs": [ref.json for ref in outputs]}
        return block | ({"frozen": list(self.frozen)} if self.frozen else {})


class Report:
    """What is reported of a model that is read: what is changed or lost, and what is not supported.

    Attributes:
        problems: Where, and what is not supported.
    """

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self._notes: dict[Note, None] = {}

    @property
    def notes(self) -> list[Note]:
        """What is changed or lost, each once."""
        return list(self._notes)

    def note(self, where: str, what: str) -> None:
        """Report what is changed or lost."""
        self._notes[Note(where, what)] = None

    def refuse(self, where: str, what: str) -> None:
        """Report what is not supported.

        Raises:
            ConversionError: There is so much of it that nobody reads on; lists what was reported.
        """
        self.problems.append((shortened(where, _LONGEST_PLACE), shortened(what, _LONGEST_PROBLEM)))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(("(model)", f"{MAX_PROBLEMS:,} problems are reported, there may be more"))
            raise ConversionError(self.problems)


def described(kind: str, fields: Mapping[str, Any]) -> Description:
    """A layer with all fields of its kind.

    Raises:
        ValueError: A field is out of range.
        TypeError: There is no such field, or it is of another type.
    """
    return {"kind": kind, **KINDS[kind].from_config(fields).config()}


def layer_key(block: Description, arrays: Mapping[str, tuple[str, Deferred]]) -> str:
    """What identifies a layer: its fields, and its arrays, which :meth:`GraphBuilder.keep` keeps; "": it has none."""
    ids = {own: key or id(each) for own, (key, each) in arrays.items()}
    return json.dumps([block, ids], sort_keys=True) if arrays else ""


def abstract(array: Deferred) -> Abstract:
    """What is known of an array that is there."""
    return Abstract((array.shape, array.shape), array.dtype.newbyteorder("="))
