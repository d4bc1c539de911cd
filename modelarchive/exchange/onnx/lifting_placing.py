"""How ONNX's operators are lifted that put elements back where they came from, or cut out the middle."""

from __future__ import annotations

import itertools
import math
from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_sizes import along
from modelarchive.exchange.onnx.lifting_windows import each_axis
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_WHOLE: Final = [None, None, None]
#: Elements of a window of which it is asked which one is the largest.
_MAX_TAPS: Final = 1024


def largest_places(context: Context, kernel: list[int], pairs: list[list[int]]) -> Ref:
    """Where the largest element of each window of MaxPool is, counted over the whole input."""
    shape, rank = context.shape(0), context.rank(0) - 2
    strides, gaps = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    if None in shape[1:] or context.dtype(0)[0] in "iu" or context.node.integer("storage_order", 0):
        raise Refusal("the places of the largest elements, of sizes that are not fixed, of integers or in columns, "
                      "are not supported: pass inputs=")  # fmt: skip
    if not 1 <= math.prod(kernel) <= _MAX_TAPS or context.node.flag("ceil_mode", default=False):
        raise Refusal(f"the places of the largest elements of windows of {kernel} are not supported")
    size = [int(each or 0) for each in shape[2:]]
    context.make(math.prod(size))
    places = np.pad(np.arange(math.prod(size)).reshape(size), pairs)
    x = context.ref(0)
    if any(map(any, pairs)):
        x = context.op("pad", x, padding=pairs, mode="constant", value="-Infinity")
    budget.spend(f"MaxPool {context.name!r}", steps=3 * math.prod(kernel))
    best: Ref | None = None
    found: Ref | None = None
    for tap in itertools.product(*map(range, kernel)):
        taken = [
            [place * gap or None, (place - extent + 1) * gap or None, None if step == 1 else step]
            for place, extent, gap, step in zip(tap, kernel, gaps, strides, strict=True)
        ]
        part = context.op("slice", x, index=[_WHOLE, _WHOLE, *taken])
        own = context.fixed(places[tuple(slice(*each) for each in taken)])
        if best is None or found is None:
            best, found = part, context.op("broadcast_to", own, part, shape=[None] * (rank + 2))
            continue
        larger = context.op("greater", part, best)
        best, found = context.op("where", larger, part, best), context.op("where", larger, own, found)
    if found is None:
        raise Refusal("MaxPool without a window is not supported")
    channels = int(shape[1] or 0)
    batch = context.op("reshape", along(context, x, 0), shape=[-1, *[1] * (rank + 1)])
    first = context.op("multiply", batch, context.literal(channels * math.prod(size), "int64"))
    each = context.fixed(context.counting(channels).reshape([-1] + [1] * rank) * math.prod(size))
    return context.op("add", context.op("add", found, first), each)


def _unpooled(context: Context) -> Ref:
    """Elements where MaxPool found them, zeros elsewhere."""
    node, shape, rank = context.node, context.shape(0), context.rank(0) - 2
    kernel = list(node.integers("kernel_shape"))
    strides, pads = each_axis(context, "strides", 1, rank), list(node.integers("pads", [0] * 2 * rank))
    if rank < 1 or len(kernel) != rank or len(pads) != 2 * rank or None in shape[1:]:
        raise Refusal(f"MaxUnpool of windows of {kernel} over sizes that are not fixed is not supported: pass inputs=")
    sizes = [int(each or 0) for each in shape[1:]]
    whole = [
        (size - 1) * step - pads[axis] - pads[axis + rank] + extent
        for axis, (size, step, extent) in enumerate(zip(sizes[1:], strides, kernel, strict=True))
    ]
    if min(whole) < 1:
        raise Refusal(f"MaxUnpool to the sizes {whole} is not supported")
    inner = sizes[0] * math.prod(whole)
    zero = context.literal(0, context.dtype(0))
    rows = context.op("reshape", context.ref(0), shape=[None, math.prod(sizes)])
    zeros = context.op("reshape", context.op("broadcast_to", zero, rows, shape=[None, inner]), shape=[-1])
    if context.has(2) and context.integers(2)[1:] != [sizes[0], *whole]:
        raise Refusal(f"MaxUnpool to another output_shape than {whole}: runtimes count places in two ways")
    return context.op("reshape", _scattered(context, zeros), shape=[-1, sizes[0], *whole])


def _scattered(context: Context, zeros: Ref) -> Ref:
    places, flat = (context.op("reshape", context.ref(index), shape=[-1]) for index in (1, 0))
    return context.op("scatter", zeros, context.as_dtype(places, "int64"), flat, axis=0, reduction="none")


def _columns_to_image(context: Context) -> Ref:
    """Windows side by side put back to their places in an image, and added where they overlap."""
    image, block = context.integers(1), context.integers(2)
    rank = len(image)
    strides, gaps = each_axis(context, "strides", 1, rank), each_axis(context, "dilations", 1, rank)
    pads = list(context.node.integers("pads", [0] * 2 * rank))
    columns, steps = context.shape(0)[1:] if context.rank(0) == 3 else (None, None)
    taps = math.prod(block)
    if len(block) != rank or len(pads) != 2 * rank or columns is None or steps is None or taps < 1 or columns % taps:
        raise Refusal(f"Col2Im of {columns} columns into windows of {block} is not supported")
    whole = [size + pads[axis] + pads[axis + rank] for axis, size in enumerate(image)]
    counts = [
        (size - gap * (extent - 1) - 1) // step + 1
        for size, extent, gap, step in zip(whole, block, gaps, strides, strict=True)
    ]
    if math.prod(counts) != steps or min(counts) < 1:
        raise Refusal(f"Col2Im of {steps} windows, expected {counts}, is not supported")
    context.make(taps * steps + math.prod(whole))
    lines = [
        np.arange(extent)[:, None] * gap + np.arange(count)[None] * step
        for extent, gap, count, step in zip(block, gaps, counts, strides, strict=True)
    ]
    places = np.zeros([1] * 2 * rank, np.int64)
    for axis, (line, size) in enumerate(zip(lines, whole, strict=True)):
        shape = [1] * 2 * rank
        shape[axis], shape[axis + rank] = line.shape
        places = places * size + line.reshape(shape)
    channels = columns // taps
    rows = context.op("reshape", context.ref(0), shape=[-1, taps * steps])
    zero = context.op("broadcast_to", context.literal(0, context.dtype(0)), rows, shape=[None, math.prod(whole)])
    index = context.op("broadcast_to", context.fixed(places.reshape(1, -1)), rows, shape=[None, taps * steps])
    found = context.op("scatter", zero, index, rows, axis=1, reduction="add")
    found = context.op("reshape", found, shape=[-1, channels, *whole])
    if not any(pads):
        return found
    cut = [[pads[axis] or None, -pads[axis + rank] or None, None] for axis in range(rank)]
    return context.op("slice", found, index=[_WHOLE, _WHOLE, *cut])


def _center(context: Context) -> Ref:
    """The middle of each axis, or the axis in the middle of zeros."""
    wanted, rank = context.integers(1), context.rank(0)
    axes = [context.axis(axis) for axis in context.node.integers("axes", list(range(rank)))]
    if len(wanted) != len(axes):
        raise Refusal(f"CenterCropPad has {len(wanted)} sizes for {len(axes)} axes")
    ref = context.ref(0)
    for axis, size in zip(axes, wanted, strict=True):
        have = context.known_of(ref).declared[axis]
        if have is None or size < 1:
            raise Refusal("CenterCropPad of sizes that are not fixed is not supported: pass inputs=")
        if size < have:
            start = (have - size) // 2
            ref = context.op("slice", ref, index=[*[_WHOLE] * axis, [start, start + size, None]])
        elif size > have:
            before = (size - have) // 2
            pairs: list[Any] = [[0, 0] for _ in range(rank)]
            pairs[axis] = [before, size - have - before]
            ref = context.op("pad", ref, padding=pairs, mode="constant", value=0)
    return ref


def _compress(context: Context) -> Ref:
    """The elements that a stored condition chooses."""
    axis, x = context.node.integer("axis", None), context.ref(0)
    if not context.is_constant(1):
        raise Refusal("Compress gives as many elements as its condition has ones, which depends on values: an "
                      "architecture has shapes that depend on sizes only")  # fmt: skip
    chosen = np.flatnonzero(context.constant(1)).astype(np.int64)
    if axis is None:
        x, axis = context.op("reshape", x, shape=[-1]), 0
    return context.op("take", x, context.fixed(chosen), axis=axis)


ROWS: Final[list[Lifting]] = [
    Lifting("MaxUnpool", "scatter", _unpooled, "sizes known, but for the first"),
    Lifting("Col2Im", "scatter", _columns_to_image, "sizes known, but for the first"),
    Lifting("CenterCropPad", "slice, pad", _center, "sizes known"),
    Lifting("Compress", "take", _compress, "the condition stored"),
]
