"""How attention and positions are lowered to MXNet: as formulas of batched matrix products, for any length."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.formulas import Attention, add_sinusoids
from modelarchive.exchange.mxnet.emitting import Entry
from modelarchive.exchange.mxnet.lowering_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import dtype_name

#: A score that no softmax gives a share beside any other; infinity would make a row of nothing NaN.
_NEVER: Final = -1e38


class _Attention(Attention[Value]):
    context: Context

    def affine(self, x: Value, weight: Value, bias: Value | None) -> Value:
        """One operator."""
        rows = weight.known.shapes[0][0]
        inputs = [self.context.array(each) for each in (x, weight, bias) if each is not None]
        made = self.context.op("FullyConnected", *inputs, num_hidden=rows, no_bias=bias is None, flatten=False)
        one, two = ((*shape[:-1], rows) for shape in x.known.shapes)
        return Value(made, Abstract((one, two), x.known.dtype))

    def shares(self, scores: Value, query: Value, key: Value, mask: Value | None) -> Value:
        """A number far below every score is added to what does not count."""
        context, entry = self.context, scores.tensor
        allowed: list[Entry] = []
        if mask is not None:
            given = context.array(mask)
            is_bool = mask.known.array_dtype == np.bool_
            given = context.op("Cast", given, dtype=dtype_name(scores.known.array_dtype)) if is_bool else given
            for _ in range(4 - mask.rank):
                given = context.op("expand_dims", given, axis=0)
            if is_bool:
                allowed.append(given)
            else:
                allowed.append(context.op("_greater_scalar", given, scalar=_NEVER))
                entry = context.op("broadcast_add", entry, context.op("_maximum_scalar", given, scalar=_NEVER))
        if self.layer.causal:
            rows, columns = (context.op("_contrib_arange_like", each.tensor, axis=1) for each in (query, key))
            row = context.op("Reshape", columns, shape=[1, 1, 1, -1])
            column = context.op("Reshape", rows, shape=[1, 1, -1, 1])
            allowed.append(context.op("broadcast_lesser_equal", row, column))
        if not allowed:
            return Value(context.op("softmax", entry, axis=-1), scores.known)
        both = allowed[0] if len(allowed) == 1 else context.op("broadcast_mul", *allowed)
        # 0 where it counts, far below every score where not.
        barrier = context.op("_mul_scalar", context.op("_rminus_scalar", both, scalar=1.0), scalar=_NEVER)
        entry = context.op("softmax", context.op("broadcast_add", entry, barrier), axis=-1)
        return Value(context.op("broadcast_mul", entry, both), scores.known)


def _attention(context: Context, layer: Any, given: list[Value]) -> Entry:
    if any(each.known is None for each in given):
        raise Refusal("what it means depends on the input's shape, which is not known: declare the model's inputs")
    found: Entry = _Attention(context, layer).lower(given).tensor
    return found


def _position(context: Context, layer: Any, given: list[Value]) -> Entry:
    x, axes, units = context.array(given[0]), given[0].rank, _units(given[0])
    if layer.style == "sinusoidal":
        made: Entry = add_sinusoids(context, layer, given[0], units).tensor
        return made
    rows = context.parameter(layer.weight)
    if layer.offset:
        rows = context.op("slice_axis", rows, axis=0, begin=layer.offset, end=None)
    if axes > 3:
        raise Refusal("positions in an array of more than three axes are not supported")
    # As many rows as the sequence has elements: those of its first item.
    first = context.op("slice_axis", x, axis=0, begin=0, end=1) if axes == 3 else x
    like = context.op("Reshape", first, shape=[-3, 0]) if axes == 3 else first
    table = context.op("slice_like", rows, like, axes=[0])
    return context.op("broadcast_add", x, context.op("Reshape", table, shape=[*[1] * (axes - 2), -1, units]))


def _units(value: Value) -> int:
    size = value.sizes[-1]
    if size is None:
        raise Refusal("the size of the elements is not fixed: declare it")
    return size


#: Kind -> how it is lowered.
ATTENTION: Final[dict[str, Lowering]] = {
    "MultiHeadAttention": Lowering(
        "FullyConnected _linalg_gemm2 softmax", _attention, "written as a formula; dropout is left out"
    ),
    "PositionalEmbedding": Lowering("broadcast_add", _position, "written as a formula"),
}
