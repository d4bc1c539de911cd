"""From a network to a symbol of MXNet and its arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelarchive.exchange.formulas import FORMULAS
from modelarchive.exchange.mxnet.emitting import Emitter, Entry
from modelarchive.exchange.mxnet.lowering import LOWERINGS
from modelarchive.exchange.mxnet.lowering_context import Context, by_formula
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value, Walker, output_structure
from modelarchive.nn import Block, Parameter, nesting
from modelarchive.nn.evaluate import Abstract, constant_value
from modelarchive.store.deferred import Deferred


class Exporter(Walker[Value, Lowering]):
    """Lowers a network to the nodes of one symbol.

    Args:
        arrays: Structural name -> array.
        names: Structural name -> name in MXNet.
    """

    system = "MXNet"

    def __init__(self, arrays: Mapping[str, Deferred], names: Mapping[str, str]) -> None:
        super().__init__({**{kind: by_formula(each) for kind, each in FORMULAS.items()}, **LOWERINGS})
        self.emitter = Emitter(arrays, names)

    def run(self, block: Block, inputs: Sequence[tuple[str, Abstract | None]]) -> list[Entry]:
        """The heads of the symbol of a network; what is not supported is reported."""
        self.emitter.own(block, self.report)
        if self.report.problems:
            return []
        given = [Value(self.emitter.variable(self.emitter.free(name)), known) for name, known in inputs]
        heads = [each.tensor for each in self.walk(block, given) if each.tensor is not None]
        if output_structure(block, len(heads)) != nesting.usual(len(heads)):
            self.report.note("(model)", "its outputs come one after another, without their containers")
        return heads

    def parameter(self, parameter: Parameter, path: str) -> Value:
        """The variable of a parameter."""
        shape = parameter.known_shape
        if not shape:
            raise Refusal("a parameter without axes is not supported")
        return Value(self.emitter.parameter(parameter), Abstract((shape, shape), parameter.dtype))

    def constant(self, value: Any, path: str) -> Value:
        """An array as a variable; a number stays one."""
        known = constant_value(value)
        if isinstance(value, np.ndarray) and value.ndim:
            return Value(self.emitter.made(path, value), known, value)
        return Value(None, known, float(value))

    def lower(
        self, row: Lowering, path: str, subject: Any, inputs: list[Value], known: Sequence[Any]
    ) -> Sequence[Value]:
        """What the row makes, as it is."""
        found = row.lower(Context(self, path, known, self.emitter), subject, inputs)
        entries = found if isinstance(found, tuple) else (found,)
        shapes = known if len(known) == len(entries) else [None] * len(entries)
        return [Value(entry, each) for entry, each in zip(entries, shapes, strict=True)]
