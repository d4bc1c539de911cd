"""How attention and positions are said in ONNX: as formulas of matrix products, for any length."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.composing import Entry, Given, Place, Saying
from modelarchive.nn.parameter import Parameter
from modelarchive.ops.attention import sinusoids
from modelarchive.ops.rotary import Rotary

_FLOAT64: Final = np.dtype(np.float64)
_INT64: Final = np.dtype(np.int64)


def affine(place: Place, weight: Parameter, bias: Parameter | None, x: Entry, rank: int) -> Entry:
    """The product of a matrix, or of several, with the transposed weight, and the bias."""
    added = [] if bias is None else [place.parameter(bias)]
    if rank == 2:
        return place.op("Gemm", x, place.parameter(weight), *added, transB=1)
    product = place.op("MatMul", x, place.op("Transpose", place.parameter(weight), perm=[1, 0]))
    return place.op("Add", product, *added) if added else product


def _attention(place: Place, layer: Any, given: list[Given]) -> Entry:
    arrays = [place.array(each, place.dtype) for each in given[:3]]
    arrays += [arrays[-1]] * (3 - len(arrays))
    lengths = [given[min(which, len(given) - 1)].sizes[1] for which in (0, 1)]
    q, k, v = _projected(place, layer, arrays)
    heads = (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)
    # (batch, length, heads, head_dim) ...
    q, k, v = (
        place.op("Reshape", each, place.ints([0, 0, number, layer.head_dim]))
        for each, number in zip((q, k, v), heads, strict=True)
    )
    if layer.rotary is not None:
        q, k = (_turned(place, layer, each, length) for each, length in zip((q, k), lengths, strict=True))
    # ... (batch, heads, length, head_dim), the key (batch, heads, head_dim, length).
    q = place.op("Transpose", q, perm=[0, 2, 1, 3])
    k = place.op("Transpose", k, perm=[0, 2, 3, 1])
    v = place.op("Transpose", v, perm=[0, 2, 1, 3])
    if layer.num_heads != layer.num_kv_heads:
        whose = place.ints([head // (layer.num_heads // layer.num_kv_heads) for head in range(layer.num_heads)])
        k, v = (place.op("Gather", each, whose, axis=1) for each in (k, v))
    scores = place.op("MatMul", place.op("Mul", q, place.made(layer.scale)), k)
    shares = _shares(place, layer, scores, arrays[:2], given[3] if len(given) > 3 else None)
    found = place.op("Transpose", place.op("MatMul", shares, v), perm=[0, 2, 1, 3])
    found = place.op("Reshape", found, place.ints([0, 0, layer.num_heads * layer.head_dim]))
    out = layer.out_proj
    found = affine(place, out.weight, out.bias if out.use_bias else None, found, 3)
    return place.cast(found, place.dtype, place.known[0].array_dtype)


def _projected(place: Place, layer: Any, arrays: list[Entry]) -> list[Entry]:
    if not layer.packed:
        return [
            affine(place, each.weight, each.bias if each.use_bias else None, x, 3)
            for x, each in zip(arrays, (layer.q_proj, layer.k_proj, layer.v_proj), strict=True)
        ]
    rows = [number * layer.head_dim for number in (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)]
    bias = layer.in_proj_bias if layer.use_bias[0] else None
    if len(set(arrays)) == 1:
        whole = affine(place, layer.in_proj_weight, bias, arrays[0], 3)
        return place.ops("Split", 3, whole, place.ints(rows), axis=-1)
    weights = place.ops("Split", 3, place.parameter(layer.in_proj_weight), place.ints(rows), axis=0)
    products = [
        place.op("MatMul", x, place.op("Transpose", weight, perm=[1, 0]))
        for x, weight in zip(arrays, weights, strict=True)
    ]
    if bias is None:
        return products
    biases = place.ops("Split", 3, place.parameter(bias), place.ints(rows), axis=0)
    return [place.op("Add", product, each) for product, each in zip(products, biases, strict=True)]


def _shares(place: Place, layer: Any, scores: Entry, arrays: list[Entry], mask: Given | None) -> Entry:
    """The softmax of the scores that count; nothing where none does."""
    allowed: list[Entry] = []
    if mask is not None and mask.dtype == np.bool_:
        allowed.append(place.array(mask))
    elif mask is not None:
        scores = place.op("Add", scores, place.array(mask, place.dtype))
        infinite = place.op("Equal", scores, place.made(-np.inf))
        allowed.append(place.op("Not", infinite))
    if layer.causal:
        rows, columns = (place.range(place.length(array, 1)) for array in arrays)
        allowed.append(place.op("LessOrEqual", columns, place.op("Unsqueeze", rows, place.ints([1]))))
    if not allowed:
        return place.op("Softmax", scores, axis=-1)
    both = allowed[0] if len(allowed) == 1 else place.op("And", *allowed)
    # Softmax of nothing but -inf would be NaN: the least number instead, and then nothing.
    least = place.made(np.finfo(place.dtype).min)
    shares = place.op("Softmax", place.op("Where", both, scores, least), axis=-1)
    return place.op("Where", both, shares, place.made(0))


def _turned(place: Place, layer: Any, x: Entry, length: int | None) -> Entry:
    """Pairs of elements of (batch, length, heads, head_dim) turned by their position."""
    rotary = Rotary.from_config(layer.rotary, layer.head_dim)
    cosines, sines = _waves(place, x, length, rotary.angles(2)[1], 1, rotary.angles(length or 1), new_axis=True)
    dim, half = rotary.dim, rotary.dim // 2
    rest = layer.head_dim - dim
    parts = place.ops("Split", 2, x, place.ints([dim, rest]), axis=-1) if rest else [x]
    if rotary.style == "halves":
        one, two = place.ops("Split", 2, parts[0], place.ints([half, half]), axis=-1)
    else:
        one, two = (
            place.op("Slice", parts[0], place.ints([first]), place.ints([dim]), place.ints([-1]), place.ints([2]))
            for first in (0, 1)
        )
    left = place.op("Sub", place.op("Mul", one, cosines), place.op("Mul", two, sines))
    right = place.op("Add", place.op("Mul", two, cosines), place.op("Mul", one, sines))
    if rotary.style == "halves":
        return place.op("Concat", left, right, *parts[1:], axis=-1)
    pairs = [place.op("Unsqueeze", each, place.ints([-1])) for each in (left, right)]
    both = place.op("Concat", *pairs, axis=-1)
    both = place.op("Reshape", both, place.ints([0, 0, 0, dim]))
    return place.op("Concat", both, *parts[1:], axis=-1) if rest else both


def _waves(
    place: Place, x: Entry, length: int | None, speeds: np.ndarray, axis: int, angles: np.ndarray, *, new_axis: bool
) -> tuple[Entry, Entry]:
    """Cosines and sines of positions times speeds: a table where the length is known, else computed in float64.

    In float32 the angles of late positions would be off by more than the results may be.
    """
    if length is not None:
        tables = [each[:, None] if new_axis else each for each in (np.cos(angles), np.sin(angles))]
        return place.made(tables[0]), place.made(tables[1])
    positions = place.cast(place.range(place.length(x, axis)), _INT64, _FLOAT64)
    new = [1, 2] if new_axis else [1]
    turns = place.op("Mul", place.op("Unsqueeze", positions, place.ints(new)), place.made(speeds, _FLOAT64))
    sines = place.op("Sin", turns)
    # Runtimes have the sine of float64, and not all of them the cosine.
    cosines = place.op("Sin", place.op("Add", turns, place.made(np.pi / 2, _FLOAT64)))
    return place.cast(cosines, _FLOAT64, place.dtype), place.cast(sines, _FLOAT64, place.dtype)


def _position(place: Place, layer: Any, given: list[Given]) -> Entry:
    x = place.array(given[0])
    length, units = given[0].sizes[-2:]
    axis = given[0].rank - 2
    if layer.style == "sinusoidal":
        return place.op("Add", x, _sinusoids(place, layer, x, length, units, axis))
    rows = place.parameter(layer.weight)
    if length is not None:
        if length + layer.offset > layer.max_length:
            place.note(f"it has {layer.max_length - layer.offset} positions, the input {length}")
        end = place.ints([layer.offset + length])
    else:
        end = place.size(x, axis)
        end = place.op("Add", end, place.ints([layer.offset])) if layer.offset else end
    return place.op("Add", x, place.op("Slice", rows, place.ints([layer.offset]), end, place.ints([0])))


def _sinusoids(place: Place, layer: Any, x: Entry, length: int | None, units: int | None, axis: int) -> Entry:
    if length is not None and units is not None:
        return place.made(sinusoids(layer.offset + length, units, layer.base)[layer.offset :])
    positions = place.op("Add", place.range(place.length(x, axis)), place.made(layer.offset, _INT64))
    column = place.op("Unsqueeze", place.cast(positions, _INT64, _FLOAT64), place.ints([1]))
    turns = place.op("Mul", column, _speeds(place, layer, x, units, axis + 1))
    waves = [place.op("Sin", turns), place.op("Sin", place.op("Add", turns, place.made(np.pi / 2, _FLOAT64)))]
    waves = [place.op("Unsqueeze", each, place.ints([2])) for each in waves]
    # Where the size is odd the last cosine is one too many.
    table = place.op("Reshape", place.op("Concat", *waves, axis=2), place.ints([0, -1]))
    if units is None or units % 2:
        end = place.size(x, axis + 1) if units is None else place.ints([units])
        table = place.op("Slice", table, place.ints([0]), end, place.ints([1]))
    return place.cast(table, _FLOAT64, place.dtype)


def _speeds(place: Place, layer: Any, x: Entry, units: int | None, axis: int) -> Entry:
    """How far each pair of waves turns from position to position, in float64."""
    if units is not None:
        return place.made(layer.base ** (-np.arange(0, units, 2, dtype=np.float64) / units), _FLOAT64)
    length = place.length(x, axis)
    even = place.op("Range", place.made(0, _INT64), length, place.made(2, _INT64))
    share = place.op("Div", place.cast(even, _INT64, _FLOAT64), place.cast(length, _INT64, _FLOAT64))
    return place.op("Pow", place.made(layer.base, _FLOAT64), place.op("Neg", share))


#: Kind -> how it is said.
ATTENTION: Final[dict[str, Saying]] = {
    "MultiHeadAttention": Saying(
        _attention, ("MatMul", "Softmax", "Where"), wide=False, losses="written as a formula; dropout is left out"
    ),
    "PositionalEmbedding": Saying(_position, ("Slice", "Add"), losses="written as a formula"),
}
