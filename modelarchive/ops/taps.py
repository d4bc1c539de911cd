"""Convolution to fewer channels than it has: one product for all taps, of which each is added where it belongs.

What a tap gives depends on one place of the input, so the input is the matrix, as it lies. Columns would hold each
of its elements once for each tap; here the results, which are fewer, are added instead ("kn2row" of Vasudevan, Anderson
and Gregg, arXiv:1704.04428).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import share, team_size
from modelarchive.ops.windows import Pairs, Shape

#: Elements of the products made at a time, so that they stay in the cache until they are added.
BLOCK: Final = 1 << 18
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
    is_narrow = 2 * channels <= in_channels and sizes[-1] >= WIDTH
    return is_narrow and in_channels * at_once >= LEAST and results * math.prod(sizes[1:]) <= 4 * BLOCK


def by_taps(
    x: Array, weight: Array, out: Array, padding: Pairs, dilation: Shape, epilogue: Epilogue, *, alone: bool
) -> None:
    """Correlate with strides of one, in one group.

    Args:
        x: ``(batch, in_channels, *spatial)``.
        weight: ``(channels, in_channels, *kernel)``.
        out: ``(batch, channels, *spatial)``, filled here.
        padding: A pair (before, after) of zeros for each spatial axis.
        dilation: One for each spatial axis.
        epilogue: What follows.
        alone: Whether one thread does all of it.
    """
    channels, in_channels, *kernel = weight.shape
    height, inner = x.shape[2], x.shape[3:]
    matrix = np.ascontiguousarray(np.moveaxis(weight, (0, 1), (-2, -1))).reshape(-1, in_channels)
    rows = min(height, max(1, BLOCK // (max(matrix.shape) * math.prod(inner))))
    reach = (kernel[0] - 1) * dilation[0]
    # Elements of each channel that are finished at a time.
    width = max(1, BLOCK // 2 // channels)
    part = max(-(-out.shape[2] // (2 * team_size())), TWICE * reach)
    shifts = [
        (tap, tuple(before - place * apart for place, apart, (before, _) in zip(tap, dilation, padding, strict=True)))
        for tap in itertools.product(*map(range, kernel))
    ]

    finish = epilogue.step(2, 0)

    def begin() -> Callable[[tuple[int, int]], None]:
        buffer = np.empty(len(matrix) * rows * math.prod(inner), x.dtype)

        @functools.cache
        def additions(low: int, count: int, lines: int) -> list[tuple[Array, Any]]:
            """For each tap what of the product is added to which places of the target."""
            results = buffer[: len(matrix) * count * math.prod(inner)].reshape(*kernel, channels, count, *inner)
            found = []
            # The taps of a row one after another, and the rows likewise: each element is the sum of its taps in
            # their order, wherever the input is cut.
            for tap, (down, *across) in shifts:
                taken, places = _shared((low + down, *across), (count, *inner), (lines, *out.shape[3:]))
                if all(each.start < each.stop for each in taken):
                    found.append((results[tap][(slice(None), *taken)], (slice(None), *places)))
            return found

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
                for result, places in additions(low - first, source.shape[1] // math.prod(inner), lines):
                    near = target[places]
                    np.add(near, result, out=near)
            if epilogue:
                flat = target.reshape(channels, -1)
                for low in range(0, flat.shape[1], width):
                    block = flat[:, low : low + width]
                    finish(block, block)

        return correlate

    share(begin, list(itertools.product(range(len(x)), range(0, out.shape[2], part))), alone=alone)


def _shared(shift: Shape, sizes: Shape, room: Shape) -> tuple[list[slice], list[slice]]:
    """Along each axis the places that stay within `room` when they are shifted, and where they are then."""
    bounds = [(max(0, -by), min(size, most - by), by) for by, size, most in zip(shift, sizes, room, strict=True)]
    return [slice(low, high) for low, high, _ in bounds], [slice(low + by, high + by) for low, high, by in bounds]
