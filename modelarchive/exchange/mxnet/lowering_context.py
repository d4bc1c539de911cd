"""What the rows of the kinds and ops that are written for MXNet work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelarchive.exchange import formulas
from modelarchive.exchange.mxnet.emitting import Emitter, Entry
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value
from modelarchive.names import joined
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import Parameter


@dataclass(frozen=True)
class Context(formulas.Context[Value]):
    """One use of a layer or op, and the nodes that are made for it.

    Attributes:
        emitter: What collects the nodes.
    """

    emitter: Emitter

    def op(self, op: str, *inputs: Entry, **attributes: Any) -> Entry:
        """Add an operator."""
        return self.emitter.operator(op, self.path, inputs, attributes)

    def parameter(self, parameter: Parameter, *, aux: bool = False) -> Entry:
        """The variable of a parameter."""
        return self.emitter.parameter(parameter, aux=aux)

    def made(self, name: str, values: np.ndarray) -> Entry:
        """The variable of an array that the archive does not have."""
        return self.emitter.made(joined(self.path, name), values)

    def waves(self, x: Value, axis: int, waves: formulas.Waves) -> Value:
        """Sines of positions along an axis of `x`."""
        wide = self.op("Cast", self.array(x), dtype="float64")
        found = self.op("_contrib_arange_like", wide, axis=axis, start=float(waves.first))
        one, two = (shape[axis : axis + 1] for shape in x.known.shapes)
        positions = Value(found, Abstract((one, two), np.dtype(np.float64)))
        return formulas.sines(self, positions, waves, x)

    def array(self, value: Value) -> Entry:
        """The result of the symbol that a value is.

        Raises:
            Refusal: It is a number.
        """
        if value.tensor is None:
            raise Refusal("a number in the place of an array is not supported")
        found: Entry = value.tensor
        return found


def by_formula(formula: Callable[[Any, Any, Any], Any], theirs: str = "") -> Lowering:
    """The row of a kind that is written as a formula in ops of the vocabulary."""
    return Lowering(theirs, lambda context, layer, given: formula(context, layer, given).tensor, "written as a formula")
