"""How attention and positions are lowered to Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_context import Context, Value
from modelarchive.exchange.keras.lowering_dense import dense
from modelarchive.exchange.keras.lowering_shapes import sliced
from modelarchive.exchange.keras.stored import Stored, stored
from modelarchive.exchange.rows import Lowering
from modelarchive.names import joined
from modelarchive.nn import Parameter
from modelarchive.ops.rotary import Rotary

#: Half of a score is below this only where it is minus infinity.
_NEVER: Final = {"float16": -4e4, "float64": -1e308}
_LOWEST: Final = {"float16": -65504.0, "bfloat16": -3.3895313892515355e38, "float64": -1.7976931348623157e308}


def _attention(context: Context, layer: Any, given: list[Value]) -> Value:
    dtype = context.dtype
    tensors = [context.plain(each, dtype) for each in given[:3]]
    query, key, value = (tensors * 3)[:3] if len(tensors) == 1 else (*tensors, tensors[-1])[:3]
    mask = given[3] if len(given) > 3 else None
    if mask is None and _is_plain(layer):
        return context.result(_keras_attention(context, layer, query, key, value))
    sizes = (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)
    heads = [
        context.layer("Reshape", each, role=f"{name}_heads", target_shape=(-1, number, layer.head_dim))
        for name, each, number in zip("qkv", _projected(context, layer, query, key, value), sizes, strict=True)
    ]
    if layer.rotary is not None:
        heads[:2] = [_turned(context, each, Rotary.from_config(layer.rotary, layer.head_dim)) for each in heads[:2]]
    times = layer.num_heads // layer.num_kv_heads
    q, k, v = heads[0], *(each if times == 1 else context.op("repeat", each, times, axis=2) for each in heads[1:])
    scores = context.op("multiply", context.op("einsum", "bqhd,bkhd->bhqk", q, k), float(layer.scale))
    shares = _shares(context, layer, scores, mask)
    found = context.op("einsum", "bhqk,bkhd->bqhd", shares, v)
    joined = context.layer("Reshape", found, role="joined", target_shape=(-1, layer.num_heads * layer.head_dim))
    return context.result(_dense_at(context, layer.out_proj, "out_proj", joined))


def _dense_at(context: Context, child: Any, name: str, x: Tensor) -> Tensor:
    """A Dense of this layer, named as it is."""
    return dense(replace(context, path=joined(context.path, name)), child, x)


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


def _projected(context: Context, layer: Any, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    if not layer.packed:
        names = ("q_proj", "k_proj", "v_proj")
        return [
            _dense_at(context, layer.children[name], name, each)
            for name, each in zip(names, (query, key, value), strict=True)
        ]
    sizes = [layer.num_heads * layer.head_dim] + [layer.num_kv_heads * layer.head_dim] * 2
    parameters = [layer.in_proj_weight, *([layer.in_proj_bias] if layer.use_bias[0] else [])]
    ends = [sum(sizes[: at + 1]) for at in range(3)]
    if query is key is value:
        whole = _packed(context, parameters, "in_proj", query, slice(None))
        return [sliced(context, whole, (..., slice(end - size, end))) for end, size in zip(ends, sizes, strict=True)]
    return [
        _packed(context, parameters, f"{name}_proj", each, slice(end - size, end))
        for name, each, end, size in zip("qkv", (query, key, value), ends, sizes, strict=True)
    ]


def _packed(context: Context, parameters: list[Parameter], role: str, x: Tensor, rows: slice) -> Tensor:
    arrays = [parameter.value()[rows] for parameter in parameters]
    weights: Stored = [(np.ascontiguousarray(arrays[0].T), parameters[:1])]
    weights += [(array, parameters[1:]) for array in arrays[1:]]
    return context.layer("Dense", x, role=role, weights=weights, units=len(arrays[0]), use_bias=len(arrays) > 1)


def _shares(context: Context, layer: Any, scores: Tensor, mask: Value | None) -> Tensor:
    """The softmax of the scores; nothing where a query may attend to no key."""
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


def _turned(context: Context, heads: Tensor, rotary: Rotary) -> Tensor:
    """Pairs of elements of ``(batch, length, heads, head_dim)`` turned by angles that grow with the position."""
    angles = _angles(context, heads, 1, rotary.angles(2)[1])
    angles = context.op("expand_dims", angles, 1)
    cos, sin = (context.cast(context.op(name, angles), heads.dtype) for name in ("cos", "sin"))
    half = rotary.dim // 2
    if rotary.style == "halves":
        one = sliced(context, heads, (..., slice(0, half)))
        two = sliced(context, heads, (..., slice(half, rotary.dim)))
    else:
        one, two = (sliced(context, heads, (..., slice(first, rotary.dim, 2))) for first in (0, 1))
    left = context.op("subtract", context.op("multiply", one, cos), context.op("multiply", two, sin))
    right = context.op("add", context.op("multiply", two, cos), context.op("multiply", one, sin))
    if rotary.style == "halves":
        parts = [left, right]
    else:
        pairs = context.op("stack", [left, right], axis=-1)
        role = f"{heads._keras_history.operation.name}-pairs"
        parts = [context.layer("Reshape", pairs, role=role, target_shape=(-1, heads.shape[2], rotary.dim))]
    if rotary.dim < heads.shape[3]:
        parts.append(sliced(context, heads, (..., slice(rotary.dim, None))))
    return parts[0] if len(parts) == 1 else context.op("concatenate", parts, axis=-1)


def _angles(context: Context, tensor: Tensor, axis: int, rates: np.ndarray, offset: int = 0) -> Tensor:
    """Position times rate for each position along an axis: ``(length, rates)`` in float64."""
    positions = context.positions(tensor, axis)
    if offset:
        positions = context.op("add", positions, offset)
    column = context.op("expand_dims", context.cast(positions, "float64"), 1)
    return context.op("multiply", column, rates.astype(np.float64))


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
    units = int(x.shape[-1])
    rates = layer.base ** (-np.arange(0, units, 2, dtype=np.float64) / units)
    angles = _angles(context, x, rank - 2, rates, layer.offset)
    waves = context.op("stack", [context.op("sin", angles), context.op("cos", angles)], axis=-1)
    flat = context.op("reshape", waves, (-1, 2 * len(rates)))
    if units % 2:
        flat = sliced(context, flat, (slice(None), slice(0, units)))
    return context.result(context.op("add", x, context.cast(flat, x.dtype)))


#: Kind -> how it is lowered.
ATTENTION: Final[Mapping[str, Lowering]] = {
    "MultiHeadAttention": Lowering(
        "MultiHeadAttention",
        _attention,
        "Dense layers and operations where there is a mask, rotation, fewer heads of keys, or another scale",
    ),
    "PositionalEmbedding": Lowering("Embedding", _positions, "an Embedding looked up at 0, 1, 2, ... or operations"),
}
