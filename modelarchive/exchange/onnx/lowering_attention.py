"""How attention and positions are lowered to ONNX: as formulas of matrix products, for any length."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.formulas import Attention, add_sinusoids
from modelarchive.exchange.onnx.emitting import Entry
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value
from modelarchive.nn.evaluate import Abstract

_FLOAT64: Final = np.dtype(np.float64)
_INT64: Final = np.dtype(np.int64)


class _Attention(Attention[Value]):
    context: Context

    def shares(self, scores: Value, query: Value, key: Value, mask: Value | None) -> Value:
        """The least number instead of what does not count: softmax of nothing but -inf would be NaN."""
        context, entry = self.context, scores.tensor
        allowed: list[Entry] = []
        if mask is not None and mask.dtype == np.bool_:
            allowed.append(mask.tensor)
        elif mask is not None:
            entry = context.op("Add", entry, context.array(mask, context.dtype))
            allowed.append(context.op("Not", context.op("Equal", entry, context.made(-np.inf))))
        if self.layer.causal:
            rows, columns = (context.range(context.length(each.tensor, 1)) for each in (query, key))
            allowed.append(context.op("LessOrEqual", columns, context.op("Unsqueeze", rows, context.ints([1]))))
        if not allowed:
            return Value(context.op("Softmax", entry, axis=-1), scores.known)
        both = allowed[0] if len(allowed) == 1 else context.op("And", *allowed)
        least = context.made(np.finfo(context.dtype).min)
        entry = context.op("Softmax", context.op("Where", both, entry, least), axis=-1)
        return Value(context.op("Where", both, entry, context.made(0)), scores.known)


def _attention(context: Context, layer: Any, given: list[Value]) -> Entry:
    arrays = [Value(context.array(x, context.dtype), Abstract(x.known.shapes, context.dtype)) for x in given[:3]]
    found = _Attention(context, layer).lower([*arrays, *given[3:]])
    return context.cast(found.tensor, context.dtype, context.known[0].array_dtype)


def _position(context: Context, layer: Any, given: list[Value]) -> Entry:
    x = context.array(given[0])
    length, units = given[0].sizes[-2:]
    axis = given[0].rank - 2
    if layer.style == "sinusoidal":
        if units is not None:
            made: Entry = add_sinusoids(context, layer, given[0], units).tensor
            return made
        return context.op("Add", x, _sinusoids(context, layer, x, axis))
    rows = context.parameter(layer.weight)
    if length is not None:
        if length + layer.offset > layer.max_length:
            context.note(f"it has {layer.max_length - layer.offset} positions, the input {length}")
        end = context.ints([layer.offset + length])
    else:
        end = context.size(x, axis)
        end = context.op("Add", end, context.ints([layer.offset])) if layer.offset else end
    return context.op("Add", x, context.op("Slice", rows, context.ints([layer.offset]), end, context.ints([0])))


def _sinusoids(context: Context, layer: Any, x: Entry, axis: int) -> Entry:
    """The waves where not even their number is fixed."""
    positions = context.op("Add", context.range(context.length(x, axis)), context.made(layer.offset, _INT64))
    column = context.op("Unsqueeze", context.cast(positions, _INT64, _FLOAT64), context.ints([1]))
    turns = context.op("Mul", column, _speeds(context, layer, x, axis + 1))
    waves = [context.op("Sin", turns), context.op("Sin", context.op("Add", turns, context.made(np.pi / 2, _FLOAT64)))]
    waves = [context.op("Unsqueeze", each, context.ints([2])) for each in waves]
    # Where the size is odd the last cosine is one too many.
    table = context.op("Reshape", context.op("Concat", *waves, axis=2), context.ints([0, -1]))
    table = context.op("Slice", table, context.ints([0]), context.size(x, axis + 1), context.ints([1]))
    return context.cast(table, _FLOAT64, context.dtype)


def _speeds(context: Context, layer: Any, x: Entry, axis: int) -> Entry:
    """How far each pair of waves turns from position to position, in float64."""
    length = context.length(x, axis)
    even = context.op("Range", context.made(0, _INT64), length, context.made(2, _INT64))
    share = context.op("Div", context.cast(even, _INT64, _FLOAT64), context.cast(length, _INT64, _FLOAT64))
    return context.op("Pow", context.made(layer.base, _FLOAT64), context.op("Neg", share))


#: Kind -> how it is lowered.
ATTENTION: Final[dict[str, Lowering]] = {
    "MultiHeadAttention": Lowering(
        "MatMul Softmax Where", _attention, wide=False, losses="written as a formula; dropout is left out"
    ),
    "PositionalEmbedding": Lowering("Slice Add", _position, losses="written as a formula"),
}
