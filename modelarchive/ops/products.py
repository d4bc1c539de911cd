"""Products of matrices that no others stand beside: threads share the parts of one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.ops.registry import Array
from modelarchive.ops.threads import share

#: Multiplications from which on there are so many parts; each lays out for itself what it shares with the others.
PARTS: Final = ((1 << 24, 2), (1 << 28, 4), (1 << 30, 8))


def multiply(x: Any, y: Any, out: Array | None = None) -> Array:
    """``x @ y``, in parts where it is large: the same ones however many threads there are.

    Args:
        x: What ``numpy.matmul`` takes.
        y: Likewise.
        out: Where the product goes; None: into a new array.

    Raises:
        ValueError: The shapes do not fit.
    """
    x, y = np.asarray(x), np.asarray(y)
    work = x.size * y.shape[-1] if x.ndim > 1 and y.ndim > 1 else 0
    parts = max((parts for least, parts in PARTS if work >= least), default=1)
    if parts < 2 or x.shape[-1] != y.shape[-2]:
        return np.matmul(x, y, out=out)
    if out is None:
        shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
        out = np.empty(shape, np.result_type(x, y))
    target = out
    # Some of the matrices each, or where they are few some of the rows or columns; axes count from the last.
    stacked = [each for each in range(2, target.ndim) if target.shape[~each] >= parts]
    axis = stacked[0] if stacked else int(target.shape[-2] > target.shape[-1])
    step = -(-target.shape[~axis] // parts)

    def compute(start: int) -> None:
        def part(array: Array, shared: int) -> Array:
            """What of an array belongs to the part; all of it where it has one element along the axis, or none."""
            if axis == shared or axis >= array.ndim or array.shape[~axis] == 1:
                return array
            places: tuple[Any, ...] = (..., slice(start, start + step), *[slice(None)] * axis)
            found: Array = array[places]
            return found

        np.matmul(part(x, 0), part(y, 1), out=part(target, -1))

    share(lambda: compute, range(0, target.shape[~axis], step))
    return target
