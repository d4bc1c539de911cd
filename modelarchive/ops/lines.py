"""Depthwise convolution line by line: what each row of a kernel gives, of which those that belong together are added.

Columns would hold each element of the input once for each tap; for a row of taps they hold it once for each of that
row, and all rows are one small product of them. What the rows give lies as many rows apart as the taps do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Final

import numpy as np

from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import share, team_size
from modelarchive.ops.windows import Pairs, Shape

#: Elements that are copied, and that are made, to those that columns would hold: below this it takes less time.
LESS: Final = 0.8
#: Elements of columns and of what the lines give, at a time, so that they stay in the cache.
BLOCK: Final = 1 << 18
#: Elements of the output that are finished together.
TOGETHER: Final = 1 << 16


def lines_add_less(kernel: Shape, dilation: Shape, width: int, sizes: Shape) -> bool:
    """Whether it can be done and takes less time than columns of all taps.

    Args:
        kernel: How many taps along each spatial axis.
        dilation: How far apart they are.
        width: The last size of the input.
        sizes: The spatial sizes of the output.
    """
    if len(kernel) != 2 or width != sizes[1]:
        return False
    lines = sizes[0] + (kernel[0] - 1) * dilation[0]
    return sum(kernel) * lines < LESS * math.prod(kernel) * sizes[0] and sum(kernel) * lines * sizes[1] <= BLOCK


def by_lines(
    x: Array, weight: Array, out: Array, padding: Pairs, dilation: Shape, epilogue: Epilogue, *, alone: bool
) -> None:
    """Correlate images, each channel with a kernel of its own, with strides of one.

    Args:
        x: ``(batch, channels, height, width)``, as wide as the output.
        weight: ``(channels, 1, *kernel)``.
        out: ``(batch, channels, height, width)``, filled here.
        padding: A pair (before, after) of zeros for each spatial axis.
        dilation: One for each spatial axis.
        epilogue: What follows.
        alone: Whether one thread does all of it.
    """
    channels, _, *kernel = weight.shape
    (height, width), size = x.shape[2:], math.prod(out.shape[2:])
    apart, made = dilation[0] * width, (out.shape[2] + (kernel[0] - 1) * dilation[0]) * width
    together = max(1, BLOCK // (sum(kernel) * made))
    several = max(1, min(TOGETHER // size, -(-channels // (2 * team_size()))) // together) * together
    # A tap takes at each place what stands so many places further on.
    ahead = [tap * dilation[1] - padding[1][0] for tap in range(kernel[1])]
    margin = max(map(abs, ahead))

    def begin() -> Callable[[tuple[int, int]], None]:
        product = np.empty((together, kernel[0], made), x.dtype)
        buffer = np.zeros((together, kernel[1], margin + made + margin), x.dtype)
        columns = buffer[..., margin : margin + made]
        # The image goes into all columns at once, the one of each tap as much earlier as it is ahead.
        first = margin + padding[0][0] * width - ahead[0]
        steps = [buffer.strides[0], buffer.strides[1] - dilation[1] * x.itemsize, x.itemsize]
        shape = (together, kernel[1], height * width)
        copies: Array = np.ndarray(shape, x.dtype, buffer, first * x.itemsize, steps)
        # Where that is of another row there is nothing.
        rows = columns.reshape(together, kernel[1], -1, width)
        beside = [rows[:, tap, :, : max(0, -by)] for tap, by in enumerate(ahead)]
        beside += [rows[:, tap, :, max(0, width - max(0, by)) :] for tap, by in enumerate(ahead)]
        beside = [each for each in beside if each.size]

        def correlate(item: tuple[int, int]) -> None:
            image, first = item
            end = min(first + several, channels)
            for start in range(first, end, together):
                some = slice(start, min(start + together, end))
                count = some.stop - start
                copies[:count] = x[image, some].reshape(count, 1, height * width)
                for each in beside:
                    each.fill(0)
                found = product[:count]
                np.matmul(weight[some, 0], columns[:count], out=found)
                target = out[image, some].reshape(count, size)
                np.add(found[:, 0, :size], found[:, 1, apart : apart + size], out=target)
                for tap in range(2, kernel[0]):
                    np.add(target, found[:, tap, tap * apart : tap * apart + size], out=target)
            if epilogue:
                whole = out[image, first:end].reshape(end - first, size)
                epilogue.part(slice(first, end)).step(2, 0)(whole, whole)

        return correlate

    share(begin, itertools.product(range(len(x)), range(0, channels, several)), alone=alone)
