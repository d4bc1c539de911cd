"""Convolution to fewer channels than it has: one product for all taps, of which each is added where it belongs.

What a tap gives depends on one place of the input, so the input is the matrix, as it lies. Columns would hold each
of its elements once for each tap; here the results, which are fewer, are added instead ("kn2row" of Vasudevan, Anderson
and Gregg, arXiv:1704.04428).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import BLOCK, share, team_size
from modelarchive.ops.windows import Pairs, Shape

#: Input channels for each output channel, from which on it does.
NARROW: Final = 3
#: Places along the last axis from which on it takes less time to add rows than to begin with them.
WIDTH: Final = 12
#: Elements of the input, for each tap of a block, from which on copying them takes longer than to begin an addition.
LEAST: Final = 1 << 15
#: Input rows that are multiplied twice, one by each of two threads, to those of a thread: one in so many.
TWICE: Final = 8


def adds_less(weight: Shape, sizes: Shape) -> bool:
    """Whether adding results takes less time than copying inputs.

    Args:
        weight: ``(channels, in_channels, *kernel)``.
        sizes: The spatial sizes of the output.
    """
    channels, in_channels, *kernel = weight
    results = math.prod(kernel) * channels
    at_once = min(math.prod(sizes), BLOCK // max(results, in_channels))
    is_narrow = NARROW * channels <= in_channels and sizes[-1] >= WIDTH
    return is_narrow and in_channels * at_once >= LEAST and results * math.prod(sizes[1:]) <= 4 * BLOCK


def by_taps(x: Array, weight: Array, out: Array, padding: Pairs, dilation: Shape, epilogue: Epilogue) -> None:
    """Correlate with strides of one, in one group.

    Args:
        x: ``(batch, in_channels, *spatial)``.
        weight: ``(channels, in_channels, *kernel)``.
        out: ``(batch, channels, *spatial)``, filled here.
        padding: A pair (before, after) of zeros for each spatial axis.
        dilation: One for each spatial axis.
        epilogue: What follows.
    """
    channels, in_channels, *kernel = weight.shape
    height, inner = x.shape[2], x.shape[3:]
    matrix = np.ascontiguousarray(np.moveaxis(weight, (0, 1), (-2, -1))).reshape(-1, in_channels)
    # The buffers of all threads stay small beside input and output.
    block = max(BLOCK, min(2 * BLOCK, (x[0].size + out[0].size) // 8))
    rows = min(height, max(1, block // (max(matrix.shape) * math.prod(inner))))
    reach = (kernel[0] - 1) * dilation[0]
    # Elements of each channel that are finished at a time.
    width = max(1, BLOCK // 2 // channels)
    part = max(-(-out.shape[2] // (2 * team_size())), TWICE * reach)
    # For each tap how far down it shifts what it gives, and along the other axes what stays and where it is then.
    shifts: list[tuple[Shape, int, Any, Any]] = []
    for tap in itertools.product(*map(range, kernel)):
        down, *across = (
            before - place * apart for place, apart, (before, _) in zip(tap, dilation, padding, strict=True)
        )
        bounds = [_shared(by, size, room) for by, size, room in zip(across, inner, out.shape[3:], strict=True)]
        if all(taken.start < taken.stop for taken, _ in bounds):
            shifts.append((tap, down, (..., *(taken for taken, _ in bounds)), (..., *(there for _, there in bounds))))
    finish = epilogue.step(2, 0)

    def begin() -> Callable[[tuple[int, int]], None]:
        buffer = np.empty(len(matrix) * rows * math.prod(inner), x.dtype)

        def correlate(item: tuple[int, int]) -> None:
            image, first = item
            target = out[image, :, first : first + part]
            target.fill(0)
            lines = target.shape[1]
            start = max(0, first - padding[0][0])
            end = min(height, first + lines - padding[0][0] + reach)
            for low in range(start, end, rows):
                source = x[image, :, low : min(low + rows, end)].reshape(in_channels, -1)
                product = buffer[: len(matrix) * source.shape[1]].reshape(len(matrix), -1)
                np.matmul(matrix, source, out=product)
                results = product.reshape(*kernel, channels, -1, *inner)
                # The taps of a row one after another, and the rows likewise: each element is the sum of its taps in
                # their order, wherever the input is cut.
                for tap, down, taken, there in shifts:
                    some, places = _shared(low + down - first, results.shape[len(kernel) + 1], lines)
                    if some.start < some.stop:
                        near = target[:, places][there]
                        np.add(near, results[tap][:, some][taken], out=near)
            if epilogue:
                flat = target.reshape(channels, -1)
                for low in range(0, flat.shape[1], width):
                    block = flat[:, low : low + width]
                    finish(block, block)

        return correlate

    share(begin, list(itertools.product(range(len(x)), range(0, out.shape[2], part))))


def _shared(by: int, size: int, room: int) -> tuple[slice, slice]:
    """Which of `size` places stay within `room` when they are shifted, and where they are then."""
    low, high = max(0, -by), min(size, room - by)
    return slice(low, high), slice(low + by, high + by)
