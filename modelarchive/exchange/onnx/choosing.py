"""What ONNX's operators mean that choose elements: by ranges, by indices, by masks made while reading."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.onnx.elementwise import Row
from modelarchive.exchange.onnx.extents import FAR, bounds
from modelarchive.exchange.onnx.moving import counted
from modelarchive.exchange.onnx.step import Step
from modelarchive.exchange.onnx.values import Constant, Ref
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.dim import Dim, from_pair


def _slice(step: Step) -> Any:
    starts, ends = step.integers(1), step.sizes(2)
    axes = step.integers(3) if step.has(3) else list(range(len(starts)))
    steps = step.integers(4) if step.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Refusal("the starts, ends, axes and steps of a Slice are of different lengths")
    both = step.known(0).shapes
    index: list[Any] = [[None, None, None] for _ in both[0]]
    x = step.ref(0)
    for found, start, end, by in zip(axes, starts, ends, steps, strict=True):
        axis = step.axis(found)
        size = from_pair(both[0][axis], both[1][axis])
        if isinstance(end, Dim):
            x = _up_to(step, x, axis, end, size, start=start, by=by)
        else:
            index[axis] = _range_of(start, end, by, size)
    if all(each == [None, None, None] for each in index):
        return x
    while index and index[-1] == [None, None, None]:
        index.pop()
    return step.op("slice", x, index=index)


def _range_of(start: int, end: int, by: int, size: Any) -> list[int | None]:
    """Start, end and step as NumPy has them, bounds behind the ends left out."""
    if isinstance(size, int):
        return bounds(start, end, by, size)
    if by == 0:
        raise Refusal("a Slice with step 0 has no counterpart")
    if by < 0 and (start != -1 or end > -FAR):
        raise Refusal("a Slice backwards along an axis whose size is not fixed has no counterpart: pass inputs=")
    if by < 0:
        return [None, None, by]
    return [start or None, None if end >= FAR else end, None if by == 1 else by]


def _up_to(step: Step, x: Ref, axis: int, end: Dim, size: Any, *, start: int, by: int) -> Ref:
    """The elements before one whose place is not fixed: all of them, or those that a range counts."""
    if by != 1 or start != 0:
        raise Refusal("a Slice that ends at a size that is not fixed has no counterpart: pass inputs=")
    if isinstance(size, Dim) and size.pair == end.pair:
        return x
    if not isinstance(size, int):
        raise Refusal("a Slice of one size that is not fixed by another has no counterpart: pass inputs=")
    return step.op("take", x, counted(step, end), axis=axis)


def _gather(step: Step) -> Ref:
    if step.rank(0) == 0:
        raise Refusal("Gather from an array without axes has no counterpart")
    axis = step.axis(step.node.integer("axis", 0))
    if isinstance(step.operand(1), Constant) and step.rank(1) == 0:
        index: list[Any] = [[None, None, None]] * axis + [step.whole(1)]
        return step.op("slice", step.ref(0), index=index)
    table = step.operand(0)
    named = isinstance(table, Constant) and table.stored and table.array.dtype.kind not in "biuc"
    if named and axis == 0 and len(step.shape(0)) == 2 and 0 not in step.shape(0):
        return _embedding(step, step.stored(0))
    return step.op("take", step.ref(0), step.ref(1), axis=axis)


def _embedding(step: Step, table: Constant) -> Ref:
    rows, width = table.array.shape
    config = {"kind": "Embedding", "input_dim": rows, "output_dim": width, "padding_idx": None}
    known = isinstance(step.operand(1), Constant) and step.constant(1).size
    if known and step.constant(1).min() < 0:
        return step.op("take", step.ref(0), step.ref(1), axis=0)
    if not known and step.dtype(1)[0] != "u":
        step.note("an index below 0 counts from the end in ONNX, and is an error in an Embedding")
    return step.block(config, step.ref(1), weight=table)


def _gather_elements(step: Step) -> Ref:
    axis = step.axis(step.node.integer("axis", 0))
    x, indices = step.known(0).shapes[0], step.known(1).shapes[0]
    if len(x) != len(indices):
        raise Refusal(f"GatherElements with indices of {len(indices)} axes from {len(x)} has no counterpart")
    ref = step.ref(0)
    # Indices may be fewer along the other axes: those elements of the array are never looked at.
    index: list[Any] = [[None, None, None] for _ in x]
    for place, (have, want) in enumerate(zip(step.shape(0), step.shape(1), strict=True)):
        if place != axis and have != want:
            if have is None or want is None:
                raise Refusal("GatherElements with other sizes that are not fixed has no counterpart: pass inputs=")
            index[place] = [None, want, None]
    if any(each != [None, None, None] for each in index):
        ref = step.op("slice", ref, index=index)
    return step.op("gather", ref, step.ref(1), axis=axis)


def _gather_nd(step: Step) -> Ref:
    """Places in several axes at once: those axes made one, and the places counted along it."""
    if step.node.integer("batch_dims", 0):
        raise Refusal("GatherND with batch_dims has no counterpart")
    sizes, places = step.shape(0), step.shape(1)
    count = places[-1] if places else None
    if not count or count > len(sizes) or any(size is None for size in sizes[1:count]):
        raise Refusal("GatherND along axes that are not fixed has no counterpart: pass inputs=")
    flat: Ref = step.op("slice", step.ref(1), index=_last(places, 0))
    for axis, size in enumerate(sizes[1:count], start=1):
        own = step.op("slice", step.ref(1), index=_last(places, axis))
        # Along the first axis a place below 0 counts from the end of all of them, which is the same.
        below = step.op("less", own, step.literal(0, step.dtype(1)))
        own = step.op("where", below, step.op("add", own, step.literal(size, step.dtype(1))), own)
        flat = step.op("add", step.op("multiply", flat, step.literal(size, step.dtype(1))), own)
    rest = sizes[count:]
    if any(size is None for size in rest):
        raise Refusal("GatherND of parts that are not fixed has no counterpart: pass inputs=")
    return step.op("take", step.op("reshape", step.ref(0), shape=[-1, *rest]), flat, axis=0)


def _last(shape: list[int | None], place: int) -> list[Any]:
    whole: list[Any] = [[None, None, None] for _ in shape[:-1]]
    return [*whole, place]


def _trilu(step: Step) -> Ref:
    upper, k = step.node.flag("upper", default=True), step.whole(1) if step.has(1) else 0
    if step.rank(0) < 2:
        raise Refusal(f"Trilu of {step.rank(0)} axes has no counterpart")
    both = step.known(0).shapes
    rows, columns = (from_pair(both[0][axis], both[1][axis]) for axis in (-2, -1))
    # Beyond the corners it makes no difference how far.
    k = min(max(k, -FAR), FAR)
    if isinstance(rows, Dim) or isinstance(columns, Dim):
        along = step.op("add", counted(step, rows), step.literal(k - 1 if upper else k, "int64"))
        mask = step.op("greater", counted(step, columns), step.op("expand_dims", along, axis=1))
    else:
        step.make(rows * columns)
        mask = step.fixed(~np.tri(rows, columns, k - 1 if upper else k, dtype=np.bool_))
    zero = step.literal(0, step.dtype(0))
    return step.op("where", mask, step.ref(0), zero) if upper else step.op("where", mask, zero, step.ref(0))


def _one_hot(step: Step) -> Ref:
    depth = step.whole(1)
    axis = step.axis(step.node.integer("axis", -1), extra=1) if step.node.integer("axis", -1) >= 0 else None
    rank = step.rank(0)
    axis = step.node.integer("axis", -1) + rank + 1 if axis is None else axis
    indices = step.as_dtype(step.ref(0), "int64")
    below = step.op("less", indices, step.literal(0, "int64"))
    indices = step.op("where", below, step.op("add", indices, step.literal(depth, "int64")), indices)
    places = step.counting(depth).reshape([depth] + [1] * (rank - axis))
    hot = step.op("equal", step.op("expand_dims", indices, axis=axis), step.fixed(places))
    off, on = (step.op("slice", step.ref(2), index=[place]) for place in (0, 1))
    return step.op("where", hot, on, off)


def _eye_like(step: Step) -> Ref:
    shape, dtype = step.shape(0), step.node.integer("dtype", 0)
    word = DTYPES.get(dtype, "") if dtype else step.dtype(0)
    if None in shape or len(shape) != 2 or word not in dtypes.DENSE:
        raise Refusal("EyeLike of sizes that are not fixed has no counterpart: pass inputs=")
    rows, columns = (int(size or 0) for size in shape)
    step.make(rows * columns)
    # Beyond the corners it makes no difference how far.
    k = min(max(step.node.integer("k", 0), -FAR), FAR)
    return step.fixed(np.eye(rows, columns, k, dtype=dtypes.DENSE[word]))


#: Name, what it becomes, how, what is lost.
CHOOSING: Final[list[Row]] = [
    ("Slice", "slice, take", _slice, "starts, ends, axes and steps known"),
    ("Gather", "Embedding, take, slice", _gather, "in an Embedding an index below 0 is an error"),
    ("GatherElements", "gather, slice", _gather_elements, ""),
    ("Trilu", "where", _trilu, "sizes known"),
    ("OneHot", "equal, where", _one_hot, "depth known"),
    ("EyeLike", "constant, parameter", _eye_like, "sizes known"),
    ("GatherND", "slice, multiply, add, reshape, take", _gather_nd, "sizes known, but for the first"),
]
