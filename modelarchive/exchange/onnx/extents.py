"""What an operator will give for values that are known, before it is computed: shapes, bounds, how many elements."""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.refusal import Refusal

#: Axes that an array may have.
MAX_RANK: Final = 64
#: Bounds of a Slice that mean an end, whatever the size: the largest integer of 32 bits, and beyond.
FAR: Final = 2**31 - 1

Arrays: TypeAlias = list[Any]


def fixed(arrays: Arrays) -> Arrays:
    """Operands without sizes that are not fixed.

    Raises:
        Refusal: One has some.
    """
    if any(each is not None and each.dtype == object for each in arrays):
        raise Refusal("a decision by a size that is not fixed is not supported: pass inputs=")
    return arrays


def indices_of(array: Any) -> Any:
    """Places, axes or sizes as int64.

    Raises:
        Refusal: They are no integers.
    """
    if fixed([array])[0].dtype.kind not in "iu":
        raise Refusal(f"expected indices, found {array.dtype}")
    return array.astype(np.int64)


def numbers_of(array: Any) -> tuple[int, ...]:
    """One number for each of some axes.

    Raises:
        Refusal: They are no integers, or more than an array has axes.
    """
    if array.size > MAX_RANK:
        raise Refusal(f"expected at most {MAX_RANK} numbers, found {array.size:,}")
    return tuple(indices_of(array).reshape(-1).tolist())


def reduced_axes(context: Context, arrays: Arrays) -> tuple[int, ...] | None:
    """The axes of a reduction; None: all."""
    found = numbers_of(arrays[1]) if len(arrays) > 1 else context.node.integers("axes", None)
    if not found and context.node.flag("noop_with_empty_axes", default=False):
        raise Refusal("a reduction over nothing")
    return tuple(found) if found else None


def broadcast(context: Context, arrays: Arrays) -> int:
    """The operands broadcast."""
    return int(math.prod(np.broadcast_shapes(*(each.shape for each in arrays))))


def as_first(context: Context, arrays: Arrays) -> int:
    """As many as the first operand has."""
    return int(arrays[0].size)


def broadcast_all(context: Context, arrays: Arrays) -> int:
    """Each of the results on the way: one for each operand."""
    return broadcast(context, arrays) * len(arrays)


def all_of_them(context: Context, arrays: Arrays) -> int:
    """As many as all operands have together."""
    return sum(int(each.size) for each in arrays)


def view(context: Context, arrays: Arrays) -> int:
    """No element is made: a view of what is there, or a shape."""
    return 0


def gathered(context: Context, arrays: Arrays) -> int:
    """One part for each index."""
    x, indices = arrays[:2]
    return int(math.prod(np.delete(x.shape, context.node.integer("axis", 0)).tolist()) * int(indices.size))


def gathered_nd(context: Context, arrays: Arrays) -> int:
    """One part for each place."""
    x, indices = arrays
    return int(math.prod(indices.shape[:-1]) * math.prod(x.shape[indices.shape[-1] :]))


def expanded(context: Context, arrays: Arrays) -> int:
    """The operand and a shape broadcast."""
    return int(math.prod(np.broadcast_shapes(arrays[0].shape, sizes_of(arrays[1]))))


def tiled(context: Context, arrays: Arrays) -> int:
    """The operand, times the repeats: NumPy makes one axis after the other, so that one of 0 makes none small."""
    return math.prod(max(times, 1) for times in sizes_of(arrays[1])) * max(int(arrays[0].size), 1)


def counted(context: Context, arrays: Arrays) -> int:
    """From a start to a limit, step by step."""
    start, limit, delta = (each.reshape(-1)[0] for each in fixed(arrays))
    if arrays[0].dtype.kind in "iu":
        return max(-((int(start) - int(limit)) // int(delta)), 0)
    # As runtimes do it: the difference in its own dtype, the quotient in float64.
    return max(math.ceil(float(limit - start) / float(delta)), 0)


def reduced(context: Context, arrays: Arrays) -> int:
    """Of an array without elements a reduction may have many: what is reduced over does not count."""
    axes = reduced_axes(context, arrays)
    rest = range(0) if axes is None else set(range(arrays[0].ndim)) - {axis % arrays[0].ndim for axis in axes}
    return int(math.prod(arrays[0].shape[axis] for axis in rest))


def places(context: Context, arrays: Arrays) -> int:
    """For each element at most its place in each axis."""
    return int(arrays[0].size) * max(int(arrays[0].ndim), 1)


def triangle(context: Context, arrays: Arrays) -> int:
    """The mask has the last two axes, whatever the others are."""
    if arrays[0].ndim < 2:
        raise Refusal(f"Trilu of {arrays[0].ndim} axes is not supported")
    return max(int(math.prod(arrays[0].shape[-2:])), int(arrays[0].size))


def sizes_of(array: Any) -> tuple[int, ...]:
    """A shape, or how often to repeat, that is in the file.

    Raises:
        Refusal: They are no sizes, or of too many axes.
    """
    sizes = numbers_of(array)
    if min(sizes, default=0) < 0:
        raise Refusal(f"expected sizes, found {list(sizes)}")
    return sizes


def bounds(start: int, end: int, by: int, size: int) -> list[int | None]:
    """Start, end and step of a Slice as NumPy has them, left out where they are the ends.

    Raises:
        Refusal: The step is 0, or the end is one that runtimes take in different ways.
    """
    if by == 0:
        raise Refusal("a Slice with step 0 is not supported")
    if by < 0 and end >= FAR:
        raise Refusal("a Slice backwards to the largest integer is not supported: runtimes take it in two ways")
    # Places are taken into the axis; going backwards, there is one before the first.
    first = min(max(start + size if start < 0 else start, 0), size if by > 0 else max(size - 1, 0))
    last = min(max(end + size if end < 0 else end, 0 if by > 0 else -1), size)
    if by > 0:
        return [first or None, None if last >= size else last, None if by == 1 else by]
    return [None if first == size - 1 else first, None if last < 0 else last, by]


def wanted_shape(context: Context, before: tuple[int, ...], codes: Any) -> tuple[int, ...]:
    """The shape that Reshape gives, without -1 and 0."""
    keep = not context.node.flag("allowzero", default=False)
    shape = [before[axis] if size == 0 and keep else int(size) for axis, size in enumerate(codes)]
    rest = math.prod(size for size in shape if size != -1)
    shape = [math.prod(before) // (rest or 1) if size == -1 else size for size in shape]
    if math.prod(shape) != math.prod(before) or min(shape, default=0) < 0:
        raise ValueError(f"{before} has no shape {list(codes)}")
    return tuple(shape)
