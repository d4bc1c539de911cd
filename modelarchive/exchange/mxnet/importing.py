"""From a symbol and its arrays to an architecture: walks the nodes, and lifts each by its row."""

from __future__ import annotations

from typing import Any

from modelarchive.exchange.drawing import Ref, Report
from modelarchive.exchange.mxnet.drawing import SymbolBuilder
from modelarchive.exchange.mxnet.lifting import LIFTINGS
from modelarchive.exchange.mxnet.lifting_boxes import CHOOSING
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.mxnet.symbol import VARIABLE
from modelarchive.exchange.refusal import Refusal, refusing
from modelarchive.store.strict import short


class Importer:
    """Makes the Graph of one symbol.

    Args:
        builder: The Graph, nothing in it yet.
    """

    def __init__(self, builder: SymbolBuilder) -> None:
        self.builder = builder
        self.symbol = builder.symbol
        self.report = Report()

    def run(self) -> None:
        """Walk the nodes; what is not supported is reported."""
        needed = self.symbol.needed()
        used: dict[int, set[int]] = {}
        for at, index in [entry for each in needed for entry in self.symbol.nodes[each].inputs] + self.symbol.heads:
            used.setdefault(at, set()).add(index)
        for position in needed:
            node = self.symbol.nodes[position]
            if node.op == VARIABLE:
                continue
            context = Context(self.builder, self.report, position, frozenset(used.get(position, ())))
            results = self._lifted(context)
            for index in context.used:
                if results and index >= len(results):
                    self.report.refuse(node.name, f"result {index} of {node.op} is not supported")
                self.builder.results[position, index] = results[index] if index < len(results) else None

    def _lifted(self, context: Context) -> tuple[Any, ...]:
        """The results of one operator; none where it is reported that it is not supported."""
        node = context.node
        try:
            if node.op not in LIFTINGS:
                raise Refusal(f"the operator {short(node.op)} {CHOOSING.get(node.op, 'is not supported')}")
            if any(self.builder.results.get(entry, "") is None for entry in node.inputs):
                return ()  # of what is not supported nothing can be made
            with refusing(node.op):
                found = LIFTINGS[node.op].lift(context)
            if unread := node.attributes.unread():
                raise Refusal(f"{node.op} has attributes that are not supported: {short(unread)}")
        except Refusal as refusal:
            self.report.refuse(node.name, str(refusal))
            return ()
        return found if isinstance(found, tuple) else (found,)

    def architecture(self) -> dict[str, Any]:
        """The whole."""
        outputs: list[Ref] = []
        for head in self.symbol.heads:
            try:
                if self.builder.results.get(head, "") is not None:
                    outputs.append(self.builder.reference(head))
            except Refusal as refusal:
                self.report.refuse(self.symbol.nodes[head[0]].name, str(refusal))
        return self.builder.architecture(outputs)
