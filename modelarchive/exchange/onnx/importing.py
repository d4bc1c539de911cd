"""From a graph of ONNX to an architecture: walks the nodes, and asks the table what each one means."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive.architecture.schema import shortened
from modelarchive.errors import ConversionError, SpecError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.onnx.folding import folded
from modelarchive.exchange.onnx.folds import FOLDS
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.model import Function, Graph, Model, Node
from modelarchive.exchange.onnx.network import Network
from modelarchive.exchange.onnx.placing import path_of, scope_of
from modelarchive.exchange.onnx.stored import moved
from modelarchive.exchange.onnx.tensors import NoCounterpart
from modelarchive.exchange.onnx.values import (
    Constant,
    Operand,
    Ref,
    Scope,
    Sizes,
    Told,
    abstract,
    needed,
)
from modelarchive.exchange.refusal import Refusal, refusing
from modelarchive.nn.dim import Dim

#: Elements up to which an array may stand in the architecture.
MAX_LITERAL: Final = 64
#: Functions and branches inside each other.
MAX_DEPTH: Final = 32
#: Problems that are told, and characters of each.
MAX_PROBLEMS: Final = 1000
_MAX_TOLD: Final = 600
#: Names that one note lists.
_MAX_LISTED: Final = 10

Read: TypeAlias = Callable[[Context], Any]


class Importer(Network):
    """Makes the nodes of one Graph.

    Args:
        model: The model.
        operators: Name of an operator -> what makes its counterpart.
    """

    def __init__(self, model: Model, operators: Mapping[str, Read]) -> None:
        self.model = model
        self.operators = operators
        self.opset = model.opsets.get("", model.opsets.get("ai.onnx", 0))
        super().__init__(model.graph.stored)
        self.notes: list[Note] = []
        self.problems: list[tuple[str, str]] = []
        #: How often each value is used.
        self.uses: dict[str, int] = {}
        self.depth = 0
        self._dead: dict[str, None] = {}
        self._called: set[str] = set()
        self._emitted: dict[int, tuple[Constant, Ref]] = {}
        self._parts: dict[int, tuple[Context, tuple[Any, ...]]] = {}

    def run(self, graph: Graph, scope: Scope) -> list[Operand]:
        """Walk the nodes that the outputs need; what has no counterpart is collected in `problems`."""
        for where, what in graph.problems:
            self.tell(where, what)
        for name, message in graph.stored.items():
            try:
                scope.setdefault(name, Constant(self.model.tensors.array(message), name))
            except NoCounterpart as error:
                scope[name] = Told()
                self.tell(name, f"the stored array {error}")
        wanted = self.nodes(graph.nodes, [each.name for each in graph.outputs], scope)
        for name, operand in zip([each.name for each in graph.outputs], wanted, strict=True):
            if operand is None:
                self.tell(name, "is an output, and nothing computes it")
        return wanted

    def nodes(self, nodes: Sequence[Node], outputs: Sequence[str], scope: Scope) -> list[Operand]:
        """Walk the nodes of a graph, a branch or a function."""
        wanted = needed(nodes, outputs, self.uses)
        if len(wanted) < len(nodes) and len(self._dead) < _MAX_LISTED:
            kept = set(map(id, wanted))
            self._dead.update({_where(node): None for node in nodes if id(node) not in kept})
        for node in wanted:
            for name, result in zip(node.outputs, self._converted(node, scope), strict=False):
                if name:
                    scope[name] = result
        return [scope.get(name) for name in outputs]

    def _converted(self, node: Node, scope: Scope) -> Sequence[Operand]:
        """The results of one operator; Told where that is told already, or now."""
        where = _where(node)
        budget.spend(f"{node.op} {where!r}", steps=1)
        unknown = [name for name in node.inputs if name and name not in scope]
        operands = [scope.get(name) if name else None for name in node.inputs]
        told = [Told()] * len(node.outputs)
        if unknown:
            self.tell(where, f"{node.op} takes {unknown[0]!r}, which nothing before it gives")
            return told
        if any(isinstance(each, Told) for each in operands):
            # Of what could not be said nothing can be made; an operator that nobody knows is told all the same.
            if not self._is_known(node.op):
                self.tell(where, f"the operator {node.op!r} has no counterpart")
            return told
        while operands and operands[-1] is None:
            operands.pop()
        context = Context(self, node, operands, scope)
        try:
            with refusing(node.op):
                found = self._result(context)
            results = list(found) if isinstance(found, tuple) else [found]
            for place, name in enumerate(node.outputs):
                if name and self.uses.get(name) and (place >= len(results) or results[place] is None):
                    raise Refusal(f"output {place} of {node.op} has no counterpart")
        except Refusal as refusal:
            self.tell(where, str(refusal))
            return told
        return results

    def left_out(self) -> list[Note]:
        """What the outputs do not need."""
        notes = []
        if self._dead:
            notes.append(Note(_listed(self._dead), "is left out: no output needs what it computes"))
        if unused := [name for name in self.model.functions if name not in self._called]:
            notes.append(Note(_listed(unused), "is a function that nothing calls, and is left out"))
        return notes

    def tell(self, where: str, what: str) -> None:
        """Note what has no counterpart.

        Raises:
            ConversionError: So much has none that nobody reads on; lists what was noted.
        """
        self.problems.append((shortened(where, 200), shortened(what, _MAX_TOLD)))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(("(model)", f"{MAX_PROBLEMS:,} problems are told, there may be more"))
            raise ConversionError(self.problems, file=self.model.file.path)

    def _result(self, context: Context) -> Any:
        op = context.node.op
        if op in self.model.functions:
            return self._call(context, self.model.functions[op])
        if (stored := moved(context)) is not None:
            return stored
        known = all(each is None or isinstance(each, Constant | Sizes) for each in context.operands)
        if known and op in FOLDS:
            with contextlib.suppress(Refusal, SpecError):
                return folded(context)
        if not self._is_known(op):
            raise Refusal(f"the operator {op!r} has no counterpart")
        found = self.operators[op](context)
        if unread := context.node.unread():
            raise Refusal(f"{op} has attributes that have no counterpart: {', '.join(unread)}")
        if unasked := context.unasked():
            raise Refusal(f"{op} has inputs that have no counterpart: {', '.join(map(str, unasked[:4]))}")
        return found

    def _is_known(self, op: str) -> bool:
        return op in self.operators or op in self.model.functions

    def _call(self, context: Context, function: Function) -> tuple[Operand, ...]:
        """Put the nodes of a function in its place."""
        budget.spend(f"{context.node.op} {context.name!r}", steps=function.steps)
        self._called.add(context.node.op)
        if len(context) > len(function.inputs):
            raise Refusal(f"{context.node.op} takes {len(function.inputs)} inputs, found {len(context)}")
        if unknown := [name for name in context.node.attributes if name not in function.defaults]:
            raise Refusal(f"{context.node.op} has attributes that the function does not: {', '.join(unknown[:4])}")
        given = function.defaults | context.node.attributes
        scope: Scope = dict(zip(function.inputs, context.operands, strict=False))
        opset, self.opset = self.opset, function.opsets.get("", self.opset)
        try:
            return self.inside([each.bound(given) for each in function.nodes], function.outputs, scope)
        finally:
            self.opset = opset

    def inside(self, nodes: Sequence[Node], outputs: Sequence[str], scope: Scope) -> tuple[Operand, ...]:
        """Walk the nodes of a function or branch."""
        if self.depth >= MAX_DEPTH:
            raise Refusal(f"more than {MAX_DEPTH} functions and branches inside each other have no counterpart")
        self.depth += 1
        try:
            return tuple(self.nodes(nodes, outputs, scope))
        finally:
            self.depth -= 1

    def reference(self, operand: Operand, wish: str = "constant") -> Ref:
        """The reference to a value; constants come into the graph when they are first asked for."""
        if isinstance(operand, Sizes):
            return self._sizes(operand.array, wish)
        if not isinstance(operand, Constant):
            if operand is None or isinstance(operand, Told):
                raise Refusal("an input is left out that has to be there")
            return operand
        if id(operand) not in self._emitted:
            self._emitted[id(operand)] = (operand, self._constant(operand, wish))
        return self._emitted[id(operand)][1]

    def _constant(self, constant: Constant, wish: str) -> Ref:
        array = constant.array
        if constant.part is not None and array.dtype.kind not in "biu":
            with contextlib.suppress(Refusal, SpecError):
                return self._part(*constant.part)
        named = bool(constant.stored) and not constant.changed
        if math.prod(array.shape) <= MAX_LITERAL and array.dtype.kind != "c":
            own = self.model.producer.startswith("modelarchive")
            if not (named and (own or (array.shape and array.dtype.kind not in "biu"))):
                return self.literal(constant.numpy(), wish)
        path = (self.owner.get(constant.stored) if named else None) or self._own(constant, wish)
        return self.emit(wish, {"parameter": path}, abstract(array.shape, array.dtype))

    def _part(self, context: Context, place: int) -> Ref:
        """What a step takes out of a parameter, or makes of it, when the network runs."""
        if id(context) not in self._parts:
            found = self.operators[context.node.op](context)
            # The step is kept, and with it its id.
            self._parts[id(context)] = (context, found if isinstance(found, tuple) else (found,))
        result: Ref = self._parts[id(context)][1][place]
        return result

    def _own(self, constant: Constant, wish: str) -> str:
        """Make a constant a parameter of the graph that its name tells."""
        array = constant.array
        if 0 in array.shape:
            raise Refusal(f"the stored array {constant.stored!r} without elements has no counterpart")
        named = bool(constant.stored) and not constant.changed
        path = (path_of(constant.stored) if named else None) or scope_of(constant.stored if named else wish)
        place, last = self.place.find(path[:-1], path[-1])
        name = last if place is self.place else ".".join([*path[:-1], last])
        place.parameters[last] = {"shape": list(array.shape), "dtype": str(array.dtype)}
        if not named or array.dtype.kind in "biuc":
            place.frozen.append(last)
        self.parameters[name] = array
        if named:
            self.owner[constant.stored] = name
        if constant.stored:
            self.origin[name] = (constant.stored, constant.changed)
        return name

    def _sizes(self, array: np.ndarray, wish: str) -> Ref:
        """Sizes as an array: those that are not fixed are asked of an input when the network runs."""
        if array.ndim > 1:
            raise Refusal("sizes that are not fixed, in more than one axis, have no counterpart: pass inputs=")
        parts: list[Ref] = []
        for each in array.reshape(-1):
            if not isinstance(each, Dim):
                parts.append(self.literal(np.asarray(each, np.int64), wish))
                continue
            if each.pair not in self.origins:
                raise Refusal("depends on sizes that are not fixed: pass inputs= with fixed ones")
            ref, axis = self.origins[each.pair]
            parts.append(self.op(wish, "slice", [self.op(wish, "shape_of", [ref], {})], {"index": [axis]}))
        return parts[0] if array.ndim == 0 else self.op(wish, "stack", parts, {"axis": 0})


def _where(node: Node) -> str:
    return node.name or (node.outputs[0] if node.outputs else node.op)


def _listed(names: Collection[str]) -> str:
    """The first of some names."""
    first = [shortened(name, 100) for name in islice(names, _MAX_LISTED)]
    return ", ".join(first) + (f" and {len(names) - len(first):,} more" if len(names) > len(first) else "")
