"""What the entries of a symbol become in a Graph under construction: results, inputs and stored parameters."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelarchive.exchange.drawing import GraphBuilder, Ref
from modelarchive.exchange.mxnet.symbol import Entry, SymbolGraph, SymbolNode
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.evaluate import Value
from modelarchive.nn.trials import Trial
from modelarchive.store.deferred import Deferred


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


@dataclass(frozen=True)
class Truth:
    """What a comparison gives: truths here, in MXNet 0 and 1 in the dtype of the arrays.

    Attributes:
        ref: The truths.
        name: The operator's.
        dtype: That of the arrays.
    """

    ref: Ref
    name: str
    dtype: str


class SymbolBuilder(GraphBuilder):
    """The Graph that a symbol becomes.

    Args:
        symbol: The symbol.
        stored: Name in the file -> array.
        trial: Its inputs, as far as they are known, with sizes for free axes.

    Attributes:
        declared: Name of an input -> the input, as an architecture declares it.
        results: Result of a symbol's node -> reference, Zeros, Packed, Truth, or None: not supported, reported already.
    """

    def __init__(
        self,
        symbol: SymbolGraph,
        stored: Mapping[str, Deferred],
        trial: Trial,
    ) -> None:
        super().__init__()
        self.symbol = symbol
        self.stored = stored
        self.declared: dict[str, dict[str, Any]] = {}
        self.results: dict[Entry, Any] = {}
        self._inputs = {each["name"]: (each, value) for each, value in zip(trial.renamed(), trial.values, strict=True)}
        self._positions: dict[str, int] = {}

    def inferred(self, what: str, infer: Callable[[], Value]) -> Value:
        """Where shapes do not fit nothing is known: the sizes of inputs may be guessed, and the check finds it."""
        with contextlib.suppress(ValueError, LookupError):
            return infer()
        return None

    def reference(self, entry: Entry) -> Ref:
        """The reference to a result; inputs and parameters are declared when they are first asked for."""
        if entry not in self.results:
            self.results[entry] = self._variable(entry[0])
        found = self.results[entry]
        if isinstance(found, Truth):
            found = self.results[entry] = self.op(found.name, "cast", (found.ref,), {"dtype": found.dtype})
        if not isinstance(found, Ref):
            raise Refusal("zeros and packed parameters are understood as what a recurrence takes only")
        return found

    def _variable(self, position: int) -> Ref:
        node = self.symbol.nodes[position]
        if node.name not in self.stored:
            return self._input(node, position)
        array = self.stored[node.name]
        if node.name not in self.owners:
            name = self.free(node.name)
            self.declare(name, array)
            self.keep("", {name: (node.name, array)})
        name = self.owners[node.name]
        return self.parameter(f"{node.name}_value", name, self.arrays[name])

    def _input(self, node: SymbolNode, position: int) -> Ref:
        declared, value = self._inputs[node.name]
        ref = self.input(node.name, value)
        self.declared[ref.name] = declared | {"name": ref.name}
        self._positions[ref.name] = input_position(node.name, position)
        return ref

    def architecture(self, outputs: Sequence[Ref]) -> dict[str, Any]:
        """The whole, its inputs in MXNet's order; they are declared where the shapes of all are known."""
        self.inputs = sorted(self.declared, key=lambda name: self._positions[name])
        inputs = [self.declared[name] for name in self.inputs]
        known = all(each["shape"] is not None for each in inputs)
        self._leave_out_unused(outputs)
        return {"vocabulary": 1, "inputs": inputs if known else [], "model": self.graph(outputs)}

    def _leave_out_unused(self, outputs: Sequence[Ref]) -> None:
        """Of some results only the shape was asked for; what computes these and nothing else is no part of it."""
        used = {ref.name for ref in outputs}
        kept = []
        for node in reversed(self.nodes):
            if node["name"] in used or "block" in node:
                used.update(ref if isinstance(ref, str) else ref[0] for ref in node.get("inputs", ()))
                kept.append(node)
        self.nodes = kept[::-1]


def input_position(name: str, position: int) -> int:
    """What orders the inputs: Gluon calls several data0, data1, ...; other symbols have them in order of use."""
    several = re.fullmatch(r"data(\d{1,9})", name)
    return int(several[1]) if several else position
