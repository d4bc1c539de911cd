"""How attention and positions are lowered to MXNet: as formulas of batched matrix products, for any length."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.mxnet.emitting import Entry
from modelarchive.exchange.mxnet.lowering_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value
from modelarchive.nn.parameter import Parameter
from modelarchive.ops.attention import sinusoids
from modelarchive.ops.rotary import Rotary

#: A score that no softmax gives a share beside any other; infinity would make a row of nothing NaN.
_NEVER: Final = -1e38
_FLOAT64: Final = {"dtype": "float64"}
_FLOAT32: Final = {"dtype": "float32"}


def _attention(context: Context, layer: Any, given: list[Value]) -> Entry:
    entries = [context.array(each) for each in given[:3]]
    entries += [entries[-1]] * (3 - len(entries))
    lengths = [given[min(which, len(given) - 1)].sizes[1] for which in (0, 1)]
    heads = (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)
    # (batch, length, heads, head_dim) ...
    q, k, v = (
        context.op("Reshape", each, shape=[0, 0, number, layer.head_dim])
        for each, number in zip(_projected(context, layer, entries), heads, strict=True)
    )
    if layer.rotary is not None:
        rotary = Rotary.from_config(layer.rotary, layer.head_dim)
        q, k = (_turned(context, rotary, layer.head_dim, *each) for each in zip((q, k), lengths, strict=True))
    # ... (batch * heads, length, head_dim); neighbouring heads of the queries share one of the keys.
    q, k, v = (context.op("transpose", each, axes=[0, 2, 1, 3]) for each in (q, k, v))
    group = layer.num_heads // layer.num_kv_heads
    k, v = (context.op("repeat", each, repeats=group, axis=1) if group > 1 else each for each in (k, v))
    q, k, v = (context.op("Reshape", each, shape=[-3, 0, 0]) for each in (q, k, v))
    scores = context.op("batch_dot", context.op("_mul_scalar", q, scalar=float(layer.scale)), k, transpose_b=True)
    scores = context.op("Reshape", scores, shape=[-4, -1, layer.num_heads, 0, 0])
    shares = _shares(context, layer, scores, entries, given[3] if len(given) > 3 else None)
    found = context.op("batch_dot", context.op("Reshape", shares, shape=[-3, 0, 0]), v)
    found = context.op("Reshape", found, shape=[-4, -1, layer.num_heads, 0, 0])
    found = context.op("Reshape", context.op("transpose", found, axes=[0, 2, 1, 3]), shape=[0, 0, -3])
    out = layer.out_proj
    return _affine(context, out.weight, out.bias if out.use_bias else None, found)


def _affine(context: Context, weight: Parameter, bias: Parameter | None, x: Entry) -> Entry:
    inputs = [x, *(context.parameter(each) for each in (weight, bias) if each is not None)]
    rows = weight.known_shape[0]
    return context.op("FullyConnected", *inputs, num_hidden=rows, no_bias=bias is None, flatten=False)


def _projected(context: Context, layer: Any, entries: list[Entry]) -> list[Entry]:
    if not layer.packed:
        return [
            _affine(context, each.weight, each.bias if each.use_bias else None, x)
            for x, each in zip(entries, (layer.q_proj, layer.k_proj, layer.v_proj), strict=True)
        ]
    rows = [number * layer.head_dim for number in (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)]
    found = []
    for index, x in enumerate(entries):
        begin, end = sum(rows[:index]), sum(rows[: index + 1])
        parts = [x]
        for parameter in (layer.in_proj_weight, layer.in_proj_bias) if layer.use_bias[0] else (layer.in_proj_weight,):
            parts.append(context.op("slice_axis", context.parameter(parameter), axis=0, begin=begin, end=end))
        flags = {"no_bias": not layer.use_bias[0], "flatten": False}
        found.append(context.op("FullyConnected", *parts, num_hidden=end - begin, **flags))
    return found


def _shares(context: Context, layer: Any, scores: Entry, entries: list[Entry], mask: Value | None) -> Entry:
    """The softmax of the scores that count; nothing where none does."""
    allowed: list[Entry] = []
    if mask is not None:
        given = context.array(mask)
        is_bool = mask.known is not None and mask.known.array_dtype == np.bool_
        given = context.op("Cast", given, **_FLOAT32) if is_bool else given
        for _ in range(4 - mask.rank):
            given = context.op("expand_dims", given, axis=0)
        if is_bool:
            allowed.append(given)
        else:
            allowed.append(context.op("_greater_scalar", given, scalar=_NEVER))
            scores = context.op("broadcast_add", scores, context.op("_maximum_scalar", given, scalar=_NEVER))
    if layer.causal:
        rows, columns = (context.op("_contrib_arange_like", each, axis=1) for each in entries[:2])
        row, column = (
            context.op("Reshape", columns, shape=[1, 1, 1, -1]),
            context.op("Reshape", rows, shape=[1, 1, -1, 1]),
        )
        allowed.append(context.op("broadcast_lesser_equal", row, column))
    if not allowed:
        return context.op("softmax", scores, axis=-1)
    both = allowed[0] if len(allowed) == 1 else context.op("broadcast_mul", *allowed)
    # 0 where it counts, far below every score where not.
    barrier = context.op("_mul_scalar", context.op("_rminus_scalar", both, scalar=1.0), scalar=_NEVER)
    shares = context.op("softmax", context.op("broadcast_add", scores, barrier), axis=-1)
    return context.op("broadcast_mul", shares, both)


def _turned(context: Context, rotary: Rotary, head_dim: int, x: Entry, length: int | None) -> Entry:
    """Pairs of elements of (batch, length, heads, head_dim) turned by their position."""
    dim, half = rotary.dim, rotary.dim // 2
    if length is not None:
        angles = rotary.angles(length)[None, :, None]
        waves = [
            context.made(name, wave(angles).astype("float32")) for name, wave in (("cos", np.cos), ("sin", np.sin))
        ]
    else:
        waves = [
            context.op("Reshape", each, shape=[1, -1, 1, half])
            for each in _waves(context, x, rotary.angles(2)[1])[::-1]
        ]
    turned = context.op("slice_axis", x, axis=3, begin=0, end=dim) if dim < head_dim else x
    if rotary.style == "halves":
        one, two = (context.op("slice_axis", turned, axis=3, begin=at, end=at + half) for at in (0, half))
    else:
        one, two = (
            context.op("slice", turned, begin=[None, None, None, at], end=[None] * 4, step=[None, None, None, 2])
            for at in (0, 1)
        )
    times = "broadcast_mul"
    left = context.op("elemwise_sub", context.op(times, one, waves[0]), context.op(times, two, waves[1]))
    right = context.op("elemwise_add", context.op(times, two, waves[0]), context.op(times, one, waves[1]))
    if rotary.style == "halves":
        parts = [left, right]
    else:
        pairs = context.op("stack", left, right, axis=4, num_args=2)
        parts = [context.op("Reshape", pairs, shape=[0, 0, 0, dim])]
    if dim < head_dim:
        parts.append(context.op("slice_axis", x, axis=3, begin=dim, end=head_dim))
    return parts[0] if len(parts) == 1 else context.op("Concat", *parts, dim=3, num_args=len(parts))


def _waves(context: Context, x: Entry, speeds: np.ndarray, first: int = 0, axis: int = 1) -> tuple[Entry, Entry]:
    """Sines and cosines ``(length, speeds)`` of positions times speeds, computed in float64 as they are here."""
    positions = context.op("_contrib_arange_like", context.op("Cast", x, **_FLOAT64), axis=axis, start=float(first))
    column = context.op("Reshape", positions, shape=[-1, 1])
    turns = context.op("broadcast_mul", column, context.made("speeds", speeds[None].astype("float64")))
    sine, cosine = (context.op("Cast", context.op(name, turns), **_FLOAT32) for name in ("sin", "cos"))
    return sine, cosine


def _position(context: Context, layer: Any, given: list[Value]) -> Entry:
    x, axes = context.array(given[0]), given[0].rank
    if layer.style == "sinusoidal":
        table = _sinusoids(context, layer, given[0], axes)
    else:
        rows = context.parameter(layer.parameters["weight"])
        if layer.offset:
            rows = context.op("slice_axis", rows, axis=0, begin=layer.offset, end=None)
        if axes > 3:
            raise Refusal("positions in an array of more than three axes have no counterpart")
        # As many rows as the sequence has elements: those of its first item.
        first = context.op("slice_axis", x, axis=0, begin=0, end=1) if axes == 3 else x
        like = context.op("Reshape", first, shape=[-3, 0]) if axes == 3 else first
        table = context.op("slice_like", rows, like, axes=[0])
    return context.op("broadcast_add", x, context.op("Reshape", table, shape=[*[1] * (axes - 2), -1, _units(given[0])]))


def _sinusoids(context: Context, layer: Any, x: Value, axes: int) -> Entry:
    length, units = x.sizes[-2], _units(x)
    if length is not None:
        return context.made(
            "waves", sinusoids(layer.offset + length, units, layer.base)[layer.offset :].astype("float32")
        )
    speeds = layer.base ** (-np.arange(0, units, 2, dtype=np.float64) / units)
    both = context.op("stack", *_waves(context, context.array(x), speeds, layer.offset, axes - 2), axis=2, num_args=2)
    table = context.op("Reshape", both, shape=[0, 2 * len(speeds)])
    return context.op("slice_axis", table, axis=1, begin=0, end=units) if units % 2 else table


def _units(value: Value) -> int:
    size = value.sizes[-1]
    if size is None:
        raise Refusal("the size of the elements is not fixed: declare it")
    return size


#: Kind -> how it is lowered.
ATTENTION: Final[dict[str, Lowering]] = {
    "MultiHeadAttention": Lowering(
        "FullyConnected batch_dot softmax", _attention, "written as a formula; dropout is left out"
    ),
    "PositionalEmbedding": Lowering("broadcast_add", _position, "written as a formula"),
}
