"""How ONNX's operators are lifted that choose elements: by ranges, by indices, by masks made while reading."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.extents import FAR, bounds
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_sizes import along, counted, one, shaped, sizes_of, sizes_operand
from modelarchive.exchange.onnx.values import Constant
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import Dim, from_pair


def _slice(context: Context) -> Any:
    starts, ends = context.integers(1), context.sizes(2)
    axes = context.integers(3) if context.has(3) else list(range(len(starts)))
    steps = context.integers(4) if context.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Refusal("the starts, ends, axes and steps of a Slice are of different lengths")
    both = context.known(0).shapes
    index: list[Any] = [[None, None, None] for _ in both[0]]
    x = context.ref(0)
    for found, start, end, by in zip(axes, starts, ends, steps, strict=True):
        axis = context.axis(found)
        size = from_pair(both[0][axis], both[1][axis])
        if isinstance(end, Dim) and isinstance(size, Dim):
            end = _from_the_end(end, size)
        if isinstance(end, Dim):
            x = _up_to(context, x, axis, end, size, start=start, by=by)
        else:
            index[axis] = _range_of(start, end, by, size)
    if all(each == [None, None, None] for each in index):
        return x
    while index and index[-1] == [None, None, None]:
        index.pop()
    return context.op("slice", x, index=index)


def _range_of(start: int, end: int, by: int, size: Any) -> list[int | None]:
    """Start, end and step as NumPy has them, bounds behind the ends left out."""
    if isinstance(size, int):
        return bounds(start, end, by, size)
    if by == 0:
        raise Refusal("a Slice with step 0 is not supported")
    if by < 0 and end >= FAR:
        raise Refusal("a Slice backwards to the largest integer is not supported: runtimes take it in two ways")
    if by < 0 and start < 0 and -start > min(size.pair):
        raise Refusal("a Slice backwards from before the beginning is not supported: pass inputs=")
    if by < 0:
        return [None if start == -1 or start >= FAR else start, None if end <= -FAR else end, by]
    return [start or None, None if end >= FAR else end, None if by == 1 else by]


def _from_the_end(end: Dim, size: Dim) -> Any:
    """An end that is the size itself, or always as far before it, as a number; else as it is."""
    behind = {one - two for one, two in zip(end.pair, size.pair, strict=True)}
    if len(behind) != 1 or max(behind) > 0:
        return end
    return behind.pop() or FAR


def _up_to(context: Context, x: Ref, axis: int, end: Dim, size: Any, *, start: int, by: int) -> Ref:
    """The elements before one whose place is not fixed, from one on whose place is."""
    if by != 1 or start < 0 or min(end.pair) < start:
        raise Refusal("a Slice that ends at a size that is not fixed is not supported: pass inputs=")
    if not isinstance(size, int) and any(last > most for last, most in zip(end.pair, size.pair, strict=True)):
        raise Refusal("a Slice of one size that is not fixed by a larger one is not supported: pass inputs=")
    places = counted(context, end - start)
    if start:
        places = context.op("add", places, context.literal(start, "int64"))
    return context.op("take", x, places, axis=axis)


def _gather(context: Context) -> Ref:
    if context.rank(0) == 0:
        raise Refusal("Gather from an array without axes is not supported")
    axis = context.axis(context.node.integer("axis", 0))
    if isinstance(context.operand(1), Constant) and context.rank(1) == 0:
        index: list[Any] = [[None, None, None]] * axis + [context.whole(1)]
        return context.op("slice", context.ref(0), index=index)
    table = context.operand(0)
    named = isinstance(table, Constant) and table.stored and table.array.dtype.kind not in "biuc"
    if named and axis == 0 and len(context.shape(0)) == 2 and 0 not in context.shape(0):
        return _embedding(context, context.stored(0))
    return context.op("take", context.ref(0), context.ref(1), axis=axis)


def _embedding(context: Context, table: Constant) -> Ref:
    rows, width = table.array.shape
    config = {"kind": "Embedding", "input_dim": rows, "output_dim": width, "padding_idx": None}
    known = isinstance(context.operand(1), Constant) and context.constant(1).size
    if known and context.constant(1).min() < 0:
        return context.op("take", context.ref(0), context.ref(1), axis=0)
    if not known and context.dtype(1)[0] != "u":
        context.note("an index below 0 counts from the end in ONNX, and is an error in an Embedding")
    return context.block(config, context.ref(1), weight=table)


def _gather_elements(context: Context) -> Ref:
    axis = context.axis(context.node.integer("axis", 0))
    x, indices = context.known(0).shapes[0], context.known(1).shapes[0]
    if len(x) != len(indices):
        raise Refusal(f"GatherElements with indices of {len(indices)} axes from {len(x)} is not supported")
    ref = context.ref(0)
    # Indices may be fewer along the other axes: those elements of the array are never looked at.
    index: list[Any] = [[None, None, None] for _ in x]
    for place, (have, want) in enumerate(zip(context.shape(0), context.shape(1), strict=True)):
        if place != axis and have != want:
            if have is None or want is None:
                raise Refusal("GatherElements with other sizes that are not fixed is not supported: pass inputs=")
            index[place] = [None, want, None]
    if any(each != [None, None, None] for each in index):
        ref = context.op("slice", ref, index=index)
    return context.op("gather", ref, context.ref(1), axis=axis)


def _gather_nd(context: Context) -> Ref:
    """Places in several axes at once: those axes made one, and the places counted along it."""
    sizes, places, batch = context.shape(0), context.shape(1), context.node.integer("batch_dims", 0)
    own = places[-1] if places else None
    count = batch + (own or 0)
    if not own or batch < 0 or count > len(sizes) or not sizes:
        raise Refusal(f"GatherND at places of {own} numbers in {len(sizes)} axes is not supported")
    flat: Ref | None = None
    for axis in range(count):
        # Each of the first axes is gone along; in the others places are given.
        if axis < batch:
            shape = [-1 if place == axis else 1 for place in range(len(places) - 1)]
            index = context.as_dtype(context.op("reshape", along(context, context.ref(1), axis), shape=shape), "int64")
        else:
            index = context.as_dtype(context.op("slice", context.ref(1), index=_last(places, axis - batch)), "int64")
        if flat is None:
            flat = index
            continue
        size = context.builder.reference(sizes_operand(one(sizes_of(context)[axis])), context.name)
        # Along the first axis a place below 0 counts from the end of all of them, which is the same.
        below = context.op("less", index, context.literal(0, "int64"))
        index = context.op("where", below, context.op("add", index, size), index) if axis >= batch else index
        flat = context.op("add", context.op("multiply", flat, size), index)
    if flat is None:
        raise Refusal("GatherND without places is not supported")
    return context.op("take", shaped(context, context.ref(0), [-1, *sizes_of(context)[count:]]), flat, axis=0)


def _last(shape: list[int | None], place: int) -> list[Any]:
    whole: list[Any] = [[None, None, None] for _ in shape[:-1]]
    return [*whole, place]


def _trilu(context: Context) -> Ref:
    upper = context.node.flag("upper", default=True)
    if context.rank(0) < 2:
        raise Refusal(f"Trilu of {context.rank(0)} axes is not supported")
    if context.has(1) and not context.is_constant(1):
        return _trilu_by_value(context, upper=upper)
    k = context.whole(1) if context.has(1) else 0
    both = context.known(0).shapes
    rows, columns = (from_pair(both[0][axis], both[1][axis]) for axis in (-2, -1))
    # Beyond the corners it makes no difference how far.
    k = min(max(k, -FAR), FAR)
    if isinstance(rows, Dim) or isinstance(columns, Dim):
        along = context.op("add", counted(context, rows), context.literal(k - 1 if upper else k, "int64"))
        mask = context.op("greater", counted(context, columns), context.op("expand_dims", along, axis=1))
    else:
        context.make(rows * columns)
        # NumPy counts rows and columns, of which one may be of any size where there are none of the other.
        below = np.tri(rows, columns, k - 1 if upper else k, dtype=np.bool_) if rows and columns else None
        mask = context.fixed(np.empty((rows, columns), np.bool_) if below is None else ~below)
    zero = context.literal(0, context.dtype(0))
    return context.op("where", mask, context.ref(0), zero) if upper else context.op("where", mask, zero, context.ref(0))


def _trilu_by_value(context: Context, *, upper: bool) -> Ref:
    """The diagonal is computed: elements are compared with it when the network runs."""
    rank = context.rank(0)
    rows = context.op("expand_dims", along(context, context.ref(0), rank - 2), axis=[1])
    diagonal = context.op("reshape", context.as_dtype(context.ref(1), "int64"), shape=[])
    line = context.op("add", rows, diagonal)
    outside = context.op("less" if upper else "greater", along(context, context.ref(0), rank - 1), line)
    return context.op("where", outside, context.literal(0, context.dtype(0)), context.ref(0))


def _one_hot(context: Context) -> Ref:
    depth = context.whole(1)
    axis = context.axis(context.node.integer("axis", -1), extra=1) if context.node.integer("axis", -1) >= 0 else None
    rank = context.rank(0)
    axis = context.node.integer("axis", -1) + rank + 1 if axis is None else axis
    indices = context.as_dtype(context.ref(0), "int64")
    below = context.op("less", indices, context.literal(0, "int64"))
    indices = context.op("where", below, context.op("add", indices, context.literal(depth, "int64")), indices)
    places = context.counting(depth).reshape([depth] + [1] * (rank - axis))
    hot = context.op("equal", context.op("expand_dims", indices, axis=axis), context.fixed(places))
    off, on = (context.op("slice", context.ref(2), index=[place]) for place in (0, 1))
    return context.op("where", hot, on, off)


def _eye_like(context: Context) -> Ref:
    shape, dtype = context.shape(0), context.node.integer("dtype", 0)
    word = DTYPES.get(dtype, "") if dtype else context.dtype(0)
    if None in shape or len(shape) != 2 or word not in dtypes.DENSE:
        raise Refusal("EyeLike of sizes that are not fixed is not supported: pass inputs=")
    rows, columns = (int(size or 0) for size in shape)
    context.make(rows * columns)
    # Beyond the corners it makes no difference how far.
    k = min(max(context.node.integer("k", 0), -FAR), FAR)
    return context.fixed(np.eye(rows, columns, k, dtype=dtypes.DENSE[word]))


ROWS: Final[list[Lifting]] = [
    Lifting("Slice", "slice, take", _slice, "starts, ends, axes and steps known"),
    Lifting("Gather", "Embedding, take, slice", _gather, "in an Embedding an index below 0 is an error"),
    Lifting("GatherElements", "gather, slice", _gather_elements),
    Lifting("Trilu", "where", _trilu),
    Lifting("OneHot", "equal, where", _one_hot, "depth known"),
    Lifting("EyeLike", "constant, parameter", _eye_like, "sizes known"),
    Lifting("GatherND", "slice, multiply, add, reshape, take", _gather_nd, "sizes known, but for the first"),
]
