"""From a graph of ONNX to an architecture: walks the nodes, and lifts each by its row."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from modelarchive.errors import SpecError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Note, few
from modelarchive.exchange.drawing import Ref, Report
from modelarchive.exchange.onnx.drawing import NestedBuilder
from modelarchive.exchange.onnx.folding import folded
from modelarchive.exchange.onnx.folds import FOLDS
from modelarchive.exchange.onnx.lifting import LIFTINGS
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.model import Function, Graph, Model, Node
from modelarchive.exchange.onnx.older import renewed
from modelarchive.exchange.onnx.protobuf import Message
from modelarchive.exchange.onnx.stored import moved
from modelarchive.exchange.onnx.tensors import PACKED
from modelarchive.exchange.onnx.values import Constant, Operand, Scope, Sizes, Unsupported, needed
from modelarchive.exchange.refusal import Refusal, refusing

#: Functions and branches inside each other.
_MAX_DEPTH: Final = 32
#: Nodes that no output needs, of which one note lists a few.
_MAX_DEAD: Final = 10

#: Operators that take numbers of element types that the vocabulary has not, and give none.
_OF_PACKED: Final = frozenset({"Cast", "DequantizeLinear", "com.microsoft::DequantizeLinear"})

_BY_VALUE: Final = (
    "how many results it gives depends on values, and an architecture has shapes that depend on sizes only"
)
#: Operators of which values decide how many results they give.
COUNTING: Final = ("NonMaxSuppression", "NonZero", "Unique", "StringSplit", "com.microsoft::Unique")
#: Operators that no row could lift -> why.
_REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(COUNTING, _BY_VALUE),
    **dict.fromkeys(
        ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"),
        "it gives other numbers each time",
    ),
}


class Importer:
    """Makes the Graph of one model.

    Args:
        model: The model.
        writes_out: Whether loops of a known count are written out step by step, where the vocabulary has a Scan.
    """

    def __init__(self, model: Model, *, writes_out: bool = False) -> None:
        self.model = model
        self.builder = NestedBuilder(model.graph.stored, is_own=model.producer.startswith("modelarchive"))
        if writes_out:
            self.builder.rolled = None
        self.report = Report()
        #: How often each value is used.
        self.uses: dict[str, int] = {}
        self._opset = model.opsets.get("", model.opsets.get("ai.onnx", 0))
        self._depth = 0
        self._dead: dict[str, None] = {}
        self._called: set[str] = set()
        #: Stored arrays of element types that the vocabulary has not, by ``id``.
        self._packed: dict[int, Constant] = {}

    def run(self, graph: Graph, scope: Scope) -> list[Ref]:
        """Walk the nodes that the outputs need; what is not supported is reported."""
        for where, what in graph.problems:
            self.report.refuse(where, what)
        for name, message in graph.stored.items():
            try:
                scope.setdefault(name, self._stored(name, message))
            except Refusal as error:
                scope[name] = Unsupported()
                self.report.refuse(name, f"the stored array {error}")
        names = [each.name for each in graph.outputs]
        refs = []
        found = self._nodes(graph.nodes, names, scope)
        for name, operand in zip(names, found, strict=True):
            if operand is None:
                self.report.refuse(name, "is an output, and nothing computes it")
        for name, operand in zip(names, found, strict=True):
            if operand is None or isinstance(operand, Unsupported):
                continue
            if id(operand) in self._packed:
                self.report.refuse(name, "is an output of an element type that is not supported")
                continue
            try:
                with refusing(name):
                    refs.append(self.builder.reference(operand, name))
            except Refusal as refusal:
                self.report.refuse(name, str(refusal))
        return refs

    def _stored(self, name: str, message: Message) -> Constant:
        """A stored array; of an element type that the vocabulary has not in another, which few operators may have."""
        code = message.get("data_type", 0)
        if code not in PACKED:
            return Constant(self.model.tensors.array(message), name)
        found = Constant(self.model.tensors.unpacked(message), name)
        self._packed[id(found)] = found
        self.report.note(name, f"its elements, {PACKED[code].called}, are kept as {PACKED[code].kept}")
        return found

    def _nodes(self, nodes: Sequence[Node], outputs: Sequence[str], scope: Scope) -> list[Operand]:
        """Walk the nodes of a graph, a branch or a function."""
        wanted = needed(nodes, outputs, self.uses)
        if len(wanted) < len(nodes) and len(self._dead) < _MAX_DEAD:
            kept = set(map(id, wanted))
            self._dead.update({_where(node): None for node in nodes if id(node) not in kept})
        for node in wanted:
            for name, result in zip(node.outputs, self._lifted(node, scope), strict=False):
                if name:
                    scope[name] = result
        return [scope.get(name) for name in outputs]

    def _lifted(self, node: Node, scope: Scope) -> Sequence[Operand]:
        """The results of one operator; Unsupported where that is reported already, or now."""
        where = _where(node)
        budget.spend(f"{node.op} {where!r}", steps=1)
        unknown = [name for name in node.inputs if name and name not in scope]
        operands = [scope.get(name) if name else None for name in node.inputs]
        unsupported = [Unsupported()] * len(node.outputs)
        if unknown:
            self.report.refuse(where, f"{node.op} takes {unknown[0]!r}, which nothing before it gives")
            return unsupported
        if any(isinstance(each, Unsupported) for each in operands):
            # Of what is not supported nothing can be made; an operator that nobody knows is reported all the same.
            if not self._is_known(node.op):
                self.report.refuse(where, _unknown(node.op))
            return unsupported
        while operands and operands[-1] is None:
            operands.pop()
        if node.op not in _OF_PACKED and any(id(each) in self._packed for each in operands):
            self.report.refuse(where, f"{node.op} of an element type of ONNX alone is not supported")
            return unsupported
        try:
            with refusing(node.op):
                found = self._result(self._context(node, operands, scope))
            results = list(found) if isinstance(found, tuple) else [found]
            # What is cast to the dtype that holds it is the same array, and of that dtype in the file too.
            results = [replace(each) if id(each) in self._packed else each for each in results]
            for place, name in enumerate(node.outputs):
                if name and self.uses.get(name) and (place >= len(results) or results[place] is None):
                    raise Refusal(f"output {place} of {node.op} is not supported")
        except Refusal as refusal:
            self.report.refuse(where, str(refusal))
            return unsupported
        return results

    def _context(self, node: Node, operands: list[Operand], scope: Scope) -> Context:
        """An operator in its newest form."""
        if node.op not in self.model.functions:
            node, operands = renewed(node, operands, self._opset)
        row = LIFTINGS.get(node.op)
        learned = self.model.opsets.get("ai.onnx.ml", 1)
        opset = learned if node.op.startswith("ai.onnx.ml::") else self._opset
        return Context(
            self.builder, self.report, node, operands, scope, self.uses, opset, self._branch,
            None if row is None else row.lift,
        )  # fmt: skip

    def left_out(self) -> list[Note]:
        """What the outputs do not need."""
        notes = []
        if self._dead:
            notes.append(Note(few(self._dead), "is left out: no output needs what it computes"))
        if unused := [name for name in self.model.functions if name not in self._called]:
            notes.append(Note(few(unused), "is a function that nothing calls, and is left out"))
        return notes

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
        if context.lift is None:
            raise Refusal(_unknown(op))
        found = context.lift(context)
        if unread := context.node.unread():
            raise Refusal(f"{op} has attributes that are not supported: {', '.join(unread)}")
        if unasked := context.unasked():
            raise Refusal(f"{op} has inputs that are not supported: {', '.join(map(str, unasked[:4]))}")
        return found

    def _is_known(self, op: str) -> bool:
        return op in LIFTINGS or op in self.model.functions

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
        opset, self._opset = self._opset, function.opsets.get("", self._opset)
        try:
            return self._inside([each.bound(given) for each in function.nodes], function.outputs, scope)
        finally:
            self._opset = opset

    def _branch(self, graph: Graph, around: Scope, builder: NestedBuilder | None = None) -> tuple[Operand, ...]:
        """Walk a branch, which sees what is around it; a body is a Graph of its own."""
        if builder is not None:
            before, self.builder = self.builder, builder
            try:
                return self._branch(graph, around)
            finally:
                self.builder = before
        scope = dict(around)
        for name, message in graph.stored.items():
            try:
                scope[name] = self._stored(name, message)
            except Refusal as error:
                raise Refusal(f"the stored array {name!r} {error}") from error
        return self._inside(graph.nodes, [each.name for each in graph.outputs], scope)

    def _inside(self, nodes: Sequence[Node], outputs: Sequence[str], scope: Scope) -> tuple[Operand, ...]:
        """Walk the nodes of a function or branch."""
        if self._depth >= _MAX_DEPTH:
            raise Refusal(f"more than {_MAX_DEPTH} functions and branches inside each other are not supported")
        self._depth += 1
        try:
            return tuple(self._nodes(nodes, outputs, scope))
        finally:
            self._depth -= 1


def _where(node: Node) -> str:
    return node.name or (node.outputs[0] if node.outputs else node.op)


def _unknown(op: str) -> str:
    reason = f": {_REASONS[op]}" if op in _REASONS else ""
    return f"the operator {op!r} is not supported{reason}"
