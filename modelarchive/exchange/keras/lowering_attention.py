"""How attention and positions are lowered to Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from modelarchive.exchange.formulas import Attention, add_sinusoids
from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_context import Context, Value
from modelarchive.exchange.keras.lowering_dense import dense
from modelarchive.exchange.keras.stored import Stored, stored
from modelarchive.exchange.rows import Lowering
from modelarchive.names import joined
from modelarchive.nn.evaluate import Abstract

#: Half of a score is below this only where it is minus infinity.
_NEVER: Final = {"float16": -4e4, "float64": -1e308}
_LOWEST: Final = {"float16": -65504.0, "bfloat16": -3.3895313892515355e38, "float64": -1.7976931348623157e308}


def _attention(context: Context, layer: Any, given: list[Value]) -> Value:
    dtype = context.dtype
    if len(given) < 4 and _is_plain(layer):
        tensors = [context.plain(each, dtype) for each in given]
        query, key, value = [*tensors, *[tensors[-1]] * (3 - len(tensors))]
        return context.result(_keras_attention(context, layer, query, key, value))
    known = [Abstract(each.known.shapes, context.known[0].array_dtype) for each in given[:3]]
    arrays = [Value(context.plain(each, dtype), one) for each, one in zip(given, known, strict=False)]
    return _Attention(context, layer).lower([*arrays, *given[3:]])


class _Attention(Attention[Value]):
    context: Context

    def _value(self, tensor: Tensor, like: Value, size: int) -> Value:
        """A tensor that is like a value but for the size of its last axis."""
        one, two = ((*shape[:-1], size) for shape in like.known.shapes)
        return Value(tensor, Abstract((one, two), like.known.dtype))

    def dense(self, name: str, x: Value) -> Value:
        """A Dense layer, named as the projection is."""
        child: Any = self.layer.children[name]
        there = replace(self.context, path=joined(self.context.path, name))
        return self._value(dense(there, child, x.tensor), x, child.units)

    def packed(self, inputs: Sequence[Value]) -> Sequence[Value]:
        """One Dense layer, or one for each part of the matrix."""
        layer, context = self.layer, self.context
        sizes = [number * layer.head_dim for number in self.heads]
        ends = [sum(sizes[: at + 1]) for at in range(3)]
        if all(each.tensor is inputs[0].tensor for each in inputs):
            whole = self._rows("in_proj", inputs[0], slice(None), ends[-1])
            return context.lower_all("split", whole, sizes=sizes, axis=-1)
        return [
            self._rows(f"{name}_proj", each, slice(end - size, end), size)
            for name, each, end, size in zip("qkv", inputs, ends, sizes, strict=True)
        ]

    def _rows(self, role: str, x: Value, rows: slice, size: int) -> Value:
        """A Dense layer with some rows of the matrix."""
        parameters = [self.layer.in_proj_weight, *([self.layer.in_proj_bias] if self.layer.use_bias[0] else [])]
        arrays = [parameter.value()[rows] for parameter in parameters]
        weights: Stored = [(np.ascontiguousarray(arrays[0].T), parameters[:1])]
        weights += [(array, parameters[1:]) for array in arrays[1:]]
        config: dict[str, Any] = {"units": len(arrays[0]), "use_bias": len(arrays) > 1}
        return self._value(self.context.layer("Dense", x.tensor, role=role, weights=weights, **config), x, size)

    def scores(self, q: Value, k: Value) -> Value:
        """By one product."""
        found = self.context.lower("einsum", q, k, pattern="bqhd,bkhd->bhqk")
        return self.context.lower("multiply", found, self.context.constant(float(self.layer.scale)))

    def mixed(self, shares: Value, v: Value) -> Value:
        """By one product."""
        return self.context.lower("einsum", shares, v, pattern="bhqk,bkhd->bqhd")

    def shares(self, scores: Value, query: Value, key: Value, mask: Value | None) -> Value:
        """The lowest number instead of what does not count, and nothing where a query may attend to no key."""
        return Value(_shares(self.context, self.layer, scores.tensor, mask), scores.known)


def _is_plain(layer: Any) -> bool:
    """Whether Keras' own layer means the same."""
    children = (layer.q_proj, layer.k_proj, layer.v_proj, layer.out_proj) if not layer.packed else ()
    return (
        not layer.packed
        and layer.rotary is None
        and len(set(layer.use_bias)) == 1
        and layer.num_heads == layer.num_kv_heads
        and abs(layer.scale * layer.head_dim**0.5 - 1) < 1e-6
        and len({id(each.weight) for each in children}) == 4
    )


def _keras_attention(context: Context, layer: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    config = {
        "num_heads": layer.num_heads,
        "key_dim": layer.head_dim,
        "value_dim": layer.head_dim,
        "dropout": layer.dropout,
        "use_bias": layer.use_bias[0],
        "output_shape": layer.units,
    }
    call = {"value": value, "key": key, "use_causal_mask": layer.causal}
    weights = stored("MultiHeadAttention", layer)
    return context.layer("MultiHeadAttention", query, weights=weights, call=call, **config)


def _shares(context: Context, layer: Any, scores: Tensor, mask: Value | None) -> Tensor:
    allowed = None
    dtype = context.dtype
    if mask is not None and mask.dtype == "bool":
        allowed = _with_axes(context, context.plain(mask), 4)
    elif mask is not None:
        scores = context.op("add", scores, _with_axes(context, context.plain(mask, dtype), 4))
        allowed = context.op("greater", context.op("multiply", scores, 0.5), _NEVER.get(dtype, -3e38))
    if layer.causal:
        queries, keys = context.positions(scores, 2), context.positions(scores, 3)
        before = context.op("greater", context.op("expand_dims", keys, 0), context.op("expand_dims", queries, 1))
        causal = context.op("equal", context.cast(before, "int32"), 0)
        allowed = causal if allowed is None else context.op("logical_and", allowed, causal)
    if allowed is not None:
        scores = context.op("where", allowed, scores, _LOWEST.get(dtype, -3.4028234663852886e38))
    shares = context.layer("Softmax", scores, role="softmax", axis=-1)
    if layer.dropout:
        shares = context.layer("Dropout", shares, role="dropout", rate=layer.dropout)
    return shares if allowed is None else context.op("where", allowed, shares, 0.0)


def _with_axes(context: Context, tensor: Tensor, rank: int) -> Tensor:
    missing = rank - len(tensor.shape)
    return context.op("expand_dims", tensor, tuple(range(missing))) if missing else tensor


def _positions(context: Context, layer: Any, given: list[Value]) -> Value:
    x = context.plain(given[0], context.dtype)
    rank = given[0].rank
    if layer.style == "learned":
        places = context.positions(x, rank - 2)
        if layer.offset:
            places = context.op("add", places, layer.offset)
        config = {"input_dim": layer.max_length, "output_dim": layer.units}
        weights: Stored = [(layer.weight.value(), [layer.weight])]
        rows = context.layer("Embedding", places, weights=weights, **config)
        return context.result(context.op("add", x, rows))
    value = Value(x, Abstract(given[0].known.shapes, context.known[0].array_dtype))
    return add_sinusoids(context, layer, value, int(x.shape[-1]))


#: Kind -> how it is lowered.
ATTENTION: Final[Mapping[str, Lowering]] = {
    "MultiHeadAttention": Lowering(
        "MultiHeadAttention",
        _attention,
        "Dense layers and operations where there is a mask, rotation, fewer heads of keys, or another scale",
    ),
    "PositionalEmbedding": Lowering("Embedding", _positions, "an Embedding looked up at 0, 1, 2, ... or operations"),
}
