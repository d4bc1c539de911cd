"""How attention and positions are lowered to ONNX: as formulas of matrix products, for any length."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.emitting import Entry
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value
from modelarchive.nn.parameter import Parameter
from modelarchive.ops.attention import sinusoids
from modelarchive.ops.rotary import Rotary

_FLOAT64: Final = np.dtype(np.float64)
_INT64: Final = np.dtype(np.int64)


def affine(context: Context, weight: Parameter, bias: Parameter | None, x: Entry, rank: int) -> Entry:
    """The product of a matrix, or of several, with the transposed weight, and the bias."""
    added = [] if bias is None else [context.parameter(bias)]
    if rank == 2:
        return context.op("Gemm", x, context.parameter(weight), *added, transB=1)
    product = context.op("MatMul", x, context.op("Transpose", context.parameter(weight), perm=[1, 0]))
    return context.op("Add", product, *added) if added else product


def _attention(context: Context, layer: Any, given: list[Value]) -> Entry:
    arrays = [context.array(each, context.dtype) for each in given[:3]]
    arrays += [arrays[-1]] * (3 - len(arrays))
    lengths = [given[min(which, len(given) - 1)].sizes[1] for which in (0, 1)]
    q, k, v = _projected(context, layer, arrays)
    heads = (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)
    # (batch, length, heads, head_dim) ...
    q, k, v = (
        context.op("Reshape", each, context.ints([0, 0, number, layer.head_dim]))
        for each, number in zip((q, k, v), heads, strict=True)
    )
    if layer.rotary is not None:
        q, k = (_turned(context, layer, each, length) for each, length in zip((q, k), lengths, strict=True))
    # ... (batch, heads, length, head_dim), the key (batch, heads, head_dim, length).
    q = context.op("Transpose", q, perm=[0, 2, 1, 3])
    k = context.op("Transpose", k, perm=[0, 2, 3, 1])
    v = context.op("Transpose", v, perm=[0, 2, 1, 3])
    if layer.num_heads != layer.num_kv_heads:
        whose = context.ints([head // (layer.num_heads // layer.num_kv_heads) for head in range(layer.num_heads)])
        k, v = (context.op("Gather", each, whose, axis=1) for each in (k, v))
    scores = context.op("MatMul", context.op("Mul", q, context.made(layer.scale)), k)
    shares = _shares(context, layer, scores, arrays[:2], given[3] if len(given) > 3 else None)
    found = context.op("Transpose", context.op("MatMul", shares, v), perm=[0, 2, 1, 3])
    found = context.op("Reshape", found, context.ints([0, 0, layer.num_heads * layer.head_dim]))
    out = layer.out_proj
    found = affine(context, out.weight, out.bias if out.use_bias else None, found, 3)
    return context.cast(found, context.dtype, context.known[0].array_dtype)


def _projected(context: Context, layer: Any, arrays: list[Entry]) -> list[Entry]:
    if not layer.packed:
        return [
            affine(context, each.weight, each.bias if each.use_bias else None, x, 3)
            for x, each in zip(arrays, (layer.q_proj, layer.k_proj, layer.v_proj), strict=True)
        ]
    rows = [number * layer.head_dim for number in (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)]
    bias = layer.in_proj_bias if layer.use_bias[0] else None
    if len(set(arrays)) == 1:
        whole = affine(context, layer.in_proj_weight, bias, arrays[0], 3)
        return context.ops("Split", 3, whole, context.ints(rows), axis=-1)
    weights = context.ops("Split", 3, context.parameter(layer.in_proj_weight), context.ints(rows), axis=0)
    products = [
        context.op("MatMul", x, context.op("Transpose", weight, perm=[1, 0]))
        for x, weight in zip(arrays, weights, strict=True)
    ]
    if bias is None:
        return products
    biases = context.ops("Split", 3, context.parameter(bias), context.ints(rows), axis=0)
    return [context.op("Add", product, each) for product, each in zip(products, biases, strict=True)]


def _shares(context: Context, layer: Any, scores: Entry, arrays: list[Entry], mask: Value | None) -> Entry:
    """The softmax of the scores that count; nothing where none does."""
    allowed: list[Entry] = []
    if mask is not None and mask.dtype == np.bool_:
        allowed.append(context.array(mask))
    elif mask is not None:
        scores = context.op("Add", scores, context.array(mask, context.dtype))
        infinite = context.op("Equal", scores, context.made(-np.inf))
        allowed.append(context.op("Not", infinite))
    if layer.causal:
        rows, columns = (context.range(context.length(array, 1)) for array in arrays)
        allowed.append(context.op("LessOrEqual", columns, context.op("Unsqueeze", rows, context.ints([1]))))
    if not allowed:
        return context.op("Softmax", scores, axis=-1)
    both = allowed[0] if len(allowed) == 1 else context.op("And", *allowed)
    # Softmax of nothing but -inf would be NaN: the least number instead, and then nothing.
    least = context.made(np.finfo(context.dtype).min)
    shares = context.op("Softmax", context.op("Where", both, scores, least), axis=-1)
    return context.op("Where", both, shares, context.made(0))


def _turned(context: Context, layer: Any, x: Entry, length: int | None) -> Entry:
    """Pairs of elements of (batch, length, heads, head_dim) turned by their position."""
    rotary = Rotary.from_config(layer.rotary, layer.head_dim)
    cosines, sines = _waves(context, x, length, rotary.angles(2)[1], 1, rotary.angles(length or 1), new_axis=True)
    dim, half = rotary.dim, rotary.dim // 2
    rest = layer.head_dim - dim
    parts = context.ops("Split", 2, x, context.ints([dim, rest]), axis=-1) if rest else [x]
    if rotary.style == "halves":
        one, two = context.ops("Split", 2, parts[0], context.ints([half, half]), axis=-1)
    else:
        one, two = (
            context.op(
                "Slice", parts[0], context.ints([first]), context.ints([dim]), context.ints([-1]), context.ints([2])
            )
            for first in (0, 1)
        )
    left = context.op("Sub", context.op("Mul", one, cosines), context.op("Mul", two, sines))
    right = context.op("Add", context.op("Mul", two, cosines), context.op("Mul", one, sines))
    if rotary.style == "halves":
        return context.op("Concat", left, right, *parts[1:], axis=-1)
    pairs = [context.op("Unsqueeze", each, context.ints([-1])) for each in (left, right)]
    both = context.op("Concat", *pairs, axis=-1)
    both = context.op("Reshape", both, context.ints([0, 0, 0, dim]))
    return context.op("Concat", both, *parts[1:], axis=-1) if rest else both


def _waves(
    context: Context, x: Entry, length: int | None, speeds: np.ndarray, axis: int, angles: np.ndarray, *, new_axis: bool
) -> tuple[Entry, Entry]:
    """Cosines and sines of positions times speeds: a table where the length is known, else computed in float64.

    In float32 the angles of late positions would be off by more than the results may be.
    """
    if length is not None:
        tables = [each[:, None] if new_axis else each for each in (np.cos(angles), np.sin(angles))]
        return context.made(tables[0]), context.made(tables[1])
    positions = context.cast(context.range(context.length(x, axis)), _INT64, _FLOAT64)
    new = [1, 2] if new_axis else [1]
    turns = context.op("Mul", context.op("Unsqueeze", positions, context.ints(new)), context.made(speeds, _FLOAT64))
    sines = context.op("Sin", turns)
    # Runtimes have the sine of float64, and not all of them the cosine.
    cosines = context.op("Sin", context.op("Add", turns, context.made(np.pi / 2, _FLOAT64)))
    return context.cast(cosines, _FLOAT64, context.dtype), context.cast(sines, _FLOAT64, context.dtype)


def _position(context: Context, layer: Any, given: list[Value]) -> Entry:
    x = context.array(given[0])
    length, units = given[0].sizes[-2:]
    axis = given[0].rank - 2
    if layer.style == "sinusoidal":
        return context.op("Add", x, _sinusoids(context, layer, x, length, units, axis))
    rows = context.parameter(layer.weight)
    if length is not None:
        if length + layer.offset > layer.max_length:
            context.note(f"it has {layer.max_length - layer.offset} positions, the input {length}")
        end = context.ints([layer.offset + length])
    else:
        end = context.size(x, axis)
        end = context.op("Add", end, context.ints([layer.offset])) if layer.offset else end
    return context.op("Add", x, context.op("Slice", rows, context.ints([layer.offset]), end, context.ints([0])))


def _sinusoids(context: Context, layer: Any, x: Entry, length: int | None, units: int | None, axis: int) -> Entry:
    if length is not None and units is not None:
        return context.made(sinusoids(layer.offset + length, units, layer.base)[layer.offset :])
    positions = context.op("Add", context.range(context.length(x, axis)), context.made(layer.offset, _INT64))
    column = context.op("Unsqueeze", context.cast(positions, _INT64, _FLOAT64), context.ints([1]))
    turns = context.op("Mul", column, _speeds(context, layer, x, units, axis + 1))
    waves = [context.op("Sin", turns), context.op("Sin", context.op("Add", turns, context.made(np.pi / 2, _FLOAT64)))]
    waves = [context.op("Unsqueeze", each, context.ints([2])) for each in waves]
    # Where the size is odd the last cosine is one too many.
    table = context.op("Reshape", context.op("Concat", *waves, axis=2), context.ints([0, -1]))
    if units is None or units % 2:
        end = context.size(x, axis + 1) if units is None else context.ints([units])
        table = context.op("Slice", table, context.ints([0]), end, context.ints([1]))
    return context.cast(table, _FLOAT64, context.dtype)


def _speeds(context: Context, layer: Any, x: Entry, units: int | None, axis: int) -> Entry:
    """How far each pair of waves turns from position to position, in float64."""
    if units is not None:
        return context.made(layer.base ** (-np.arange(0, units, 2, dtype=np.float64) / units), _FLOAT64)
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
