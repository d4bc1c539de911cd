"""A system that computes at once: each op of the vocabulary is lowered to what NumPy makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelarchive.exchange import formulas
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value, Walker
from modelarchive.nn import Parameter
from modelarchive.nn.evaluate import Abstract, constant_value
from modelarchive.nn.graph import apply_op
from modelarchive.ops import OPS


def known(array: Any) -> Abstract:
    """An array of fixed sizes."""
    return Abstract((np.shape(array), np.shape(array)), np.asarray(array).dtype)


@dataclass(frozen=True)
class Context(formulas.Context[Value]):
    """What a row works on."""

    def waves(self, x: Value, axis: int, waves: formulas.Waves) -> Value:
        """By the formula, from positions that are counted."""
        positions = np.arange(waves.first, waves.first + np.shape(x.tensor)[axis], dtype=np.float64)
        one, two = (shape[axis : axis + 1] for shape in x.known.shapes)
        return formulas.sines(self, Value(positions, Abstract((one, two), positions.dtype)), waves, x)


class Computing(Context):
    """Without tables: waves are computed."""

    has_tables = False


class NumpySystem(Walker[Value, Lowering]):
    """Runs a network; `steps` are the rows that were called, by path and word.

    Args:
        rows: Rows beside those of the ops.
        context: What rows work on.
    """

    system = "NumPy"

    def __init__(self, rows: Mapping[str, Any], context: type[Context] = Context) -> None:
        kinds = {name: Lowering("", function) for name, function in rows.items()}
        super().__init__({**{name: Lowering(name, self._op(name)) for name in OPS}, **kinds})
        self.steps: list[tuple[str, bool]] = []
        self._context = context

    @staticmethod
    def _op(word: str) -> Any:
        def lower(context: Context, arguments: Any, inputs: list[Value]) -> Any:
            arrays = [each.constant if each.tensor is None else each.tensor for each in inputs]
            return apply_op(word, arrays, arguments)

        return lower

    def lower(
        self, row: Lowering, path: str, subject: Any, inputs: list[Value], known: Sequence[Any]
    ) -> Sequence[Value]:
        """What the row computes."""
        self.steps.append((path, self.in_formula))
        found = row.lower(self._context(self, path, known), subject, inputs)
        several = found if isinstance(found, tuple) else (found,)
        arrays = [each.tensor if isinstance(each, Value) else each for each in several]
        return [Value(np.asarray(array), each) for array, each in zip(arrays, known, strict=True)]

    def parameter(self, parameter: Parameter, path: str) -> Value:
        """Its array."""
        if not parameter.known_shape:
            raise Refusal("a parameter without axes is not supported")
        return Value(parameter.value(), known(parameter.value()))

    def constant(self, value: Any, path: str) -> Value:
        """An array is there already, a number stays one."""
        return Value(value if np.ndim(value) else None, constant_value(value), value)
