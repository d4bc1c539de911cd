"""What the rows of the kinds and ops that are written as ONNX work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelarchive.exchange import formulas, rows, walking
from modelarchive.exchange.onnx.emitting import Emitter, Entry
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import Parameter
from modelarchive.ops.precision import is_narrow


@dataclass(frozen=True)
class Value(walking.Value):
    """A value on its way; `tensor` is its name in the graph."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype as an array of its own."""
        found: np.dtype[Any] = self.known.array_dtype
        return found


@dataclass(frozen=True)
class Lowering(rows.Lowering):
    """A row of what is written as ONNX; `lower` gives the tensor that is the result, or a tuple of several.

    Attributes:
        wide: Whether the inputs come in the dtype in which the result is computed (:func:`computed`), and what
            is made of them is cast to the dtype of the result; otherwise both are the row's own business.
        single: Whether runtimes have its operators for float32 only, so that float64 is computed in it.
    """

    wide: bool = True
    single: bool = False


@dataclass(frozen=True)
class Context(formulas.Context[Value]):
    """One use of a layer or op, and the nodes that are made for it.

    Attributes:
        emitter: What collects the nodes.
        dtype: The dtype in which the results are computed.
    """

    emitter: Emitter
    dtype: np.dtype[Any]

    def single(self) -> Context:
        """Where float64 is computed in float32, because runtimes have no operator for it."""
        if self.dtype != np.float64:
            return self
        self.note("is computed in float32: ONNX Runtime has no float64 for its operators")
        return replace(self, dtype=np.dtype(np.float32))

    def op(self, op: str, *inputs: Entry, **attributes: Any) -> Entry:
        """Add an operator of one output."""
        return self.emitter.operator(op, self.path, inputs, 1, attributes)[0]

    def ops(self, op: str, outputs: int, *inputs: Entry, **attributes: Any) -> list[Entry]:
        """Add an operator of several outputs."""
        return self.emitter.operator(op, self.path, inputs, outputs, attributes)

    def parameter(self, parameter: Parameter, dtype: np.dtype[Any] | None = None) -> Entry:
        """A parameter, in the dtype in which the result is computed."""
        entry = self.emitter.parameter(parameter)
        return self.emitter.cast(entry, parameter.dtype, self.dtype if dtype is None else dtype, self.path)

    def array(self, value: Value, dtype: np.dtype[Any] | None = None) -> Entry:
        """A value as a tensor of a dtype: its own, if none is given; a number too."""
        dtype = value.dtype if dtype is None else dtype
        if value.tensor is None:
            return self.emitter.made(np.asarray(value.constant).astype(dtype), self.path)
        return self.cast(value.tensor, value.dtype, dtype)

    def cast(self, entry: Entry, found: Any, wanted: Any) -> Entry:
        """A tensor in another dtype."""
        return self.emitter.cast(entry, np.dtype(found), np.dtype(wanted), self.path)

    def made(self, values: Any, dtype: Any = None) -> Entry:
        """A constant, in the dtype in which the result is computed if none is given."""
        return self.emitter.made(np.asarray(values).astype(self.dtype if dtype is None else dtype), self.path)

    def ints(self, values: Sequence[int]) -> Entry:
        """Sizes, places or axes: a constant of int64 with one axis."""
        return self.emitter.made(np.asarray(list(values), np.int64), self.path)

    def size(self, entry: Entry, axis: int) -> Entry:
        """The size of one axis, as int64 with one axis."""
        return self.op("Shape", entry, start=axis, end=axis + 1)

    def length(self, entry: Entry, axis: int) -> Entry:
        """The size of one axis, as a number of int64."""
        return self.op("Squeeze", self.size(entry, axis), self.ints([0]))

    def range(self, length: Entry) -> Entry:
        """0, 1, 2, ... in a number that `length` holds, of int64."""
        return self.op("Range", self.made(0, np.int64), length, self.made(1, np.int64))

    def waves(self, x: Value, axis: int, waves: formulas.Waves) -> Value:
        """Sines of positions along an axis of `x`."""
        found = self.range(self.length(x.tensor, axis))
        found = self.op("Add", found, self.made(waves.first, np.int64)) if waves.first else found
        one, two = (shape[axis : axis + 1] for shape in x.known.shapes)
        positions = Value(self.cast(found, np.int64, np.float64), Abstract((one, two), np.dtype(np.float64)))
        return formulas.sines(self, positions, waves, x)

    def weight(self, parameter: Parameter) -> Value:
        """A parameter, in the dtype in which the results are computed."""
        shape = parameter.known_shape
        return Value(self.parameter(parameter), Abstract((shape, shape), self.dtype))


def by_formula(formula: Callable[[Any, Any, Any], Any], theirs: str = "") -> Lowering:
    """The row of a kind that is written as a formula in ops of the vocabulary."""
    return Lowering(
        theirs, lambda context, layer, given: formula(context, layer, given).tensor, losses="written as a formula"
    )


def computed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that operators work in for a result of `dtype`: runtimes have few kernels for the narrow ones."""
    if is_narrow(dtype):
        return np.dtype(np.float32)
    if dtype.kind in "biu" and dtype.itemsize < 4:
        return np.dtype(np.int32)
    return np.dtype(np.int64) if dtype.kind == "u" else dtype
