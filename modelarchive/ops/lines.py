"""Convolution of images line by line: what each row of a kernel gives, of which those that belong together are added.

Columns would hold each element of the input once for each tap; for a row of taps they hold it once for each of that
row, and all rows are one product of them. What the rows give lies as many rows apart as the taps do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Final

import numpy as np

from modelarchive.ops.epilogue import Epilogue
from modelarchive.ops.gemm import Matrix
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import BLOCK, block_of, parts, share, team_size
from modelarchive.ops.windows import Pairs, Shape

#: Elements that are copied, and that are made, to those that columns would hold: below this it takes less time.
LESS: Final = 0.8
#: Output channels for each input channel, from which on adding up what rows give takes less time than laying out images
#: alone, and up to which it takes less than columns of all taps.
NARROWER: Final = 0.65
WIDER: Final = 4
#: Elements of the weight to those of the output, up to which laying it out takes less time than is saved.
HEAVY: Final = 2
#: Rows of the output at a time at least, for each row of the input that is multiplied again with the next ones.
AGAIN: Final = 4
#: Columns of a product at least, where there are as many.
WIDTH: Final = 256


class _Shifted:
    """The memory of one thread: an image once for each tap of a row, so that at each place stands what the tap takes.

    Args:
        channels: How many channels at most.
        lines: How many rows at most.
        width: How many columns.
        taps: How many taps a row of the kernel has.
        apart: How many columns they are apart.
        before: How many columns the first one is beside the image at the first place.
        dtype: The dtype.
    """

    def __init__(
        self, channels: int, lines: int, width: int, taps: int, apart: int, before: int, dtype: np.dtype[np.generic]
    ) -> None:
        # A tap takes at each place what stands so many places further on.
        ahead = [tap * apart - before for tap in range(taps)]
        self._margin, self._width = max(map(abs, ahead)), width
        self._apart, self._ahead = apart, ahead[0]
        self._buffer = np.empty((taps, channels, self._margin + lines * width + self._margin), dtype)
        self._rows = self._buffer[..., self._margin : self._margin + lines * width].reshape(taps, channels, -1, width)
        # Where a tap takes what is of another row there is nothing.
        beside = [self._rows[tap, ..., : max(0, -by)] for tap, by in enumerate(ahead)]
        beside += [self._rows[tap, ..., max(0, width - max(0, by)) :] for tap, by in enumerate(ahead)]
        self._beside = [each for each in beside if each.size]
        self._filled: tuple[int, int] | None = None

    def fill(self, x: Array, top: int) -> None:
        """Put ``(channels, rows, width)`` below so many rows of zeros; below it are zeros, too."""
        count, height, _ = x.shape
        if self._filled != (top, height):
            self._rows[:, :, :top] = 0
            self._rows[:, :, top + height :] = 0
            self._filled = top, height
        # The image goes into all columns at once, the one of each tap as much earlier as it is ahead.
        buffer = self._buffer
        first = (self._margin + top * self._width - self._ahead) * buffer.itemsize
        steps = [buffer.strides[0] - self._apart * buffer.itemsize, buffer.strides[1], buffer.itemsize]
        size = height * self._width
        places: Array = np.ndarray((len(buffer), count, size), buffer.dtype, buffer, first, steps)
        places[...] = x.reshape(count, size)
        for each in self._beside:
            each.fill(0)

    def columns(self, channels: int) -> Array:
        """``(channels, taps, rows * width)`` of the first channels, a view."""
        return self._buffer[:, :channels, self._margin : self._buffer.shape[2] - self._margin].swapaxes(0, 1)

    def lines(self, first: int, count: int) -> Array:
        """``(taps * channels, count * width)``: some rows, a view."""
        start = self._margin + first * self._width
        return self._buffer.reshape(-1, self._buffer.shape[2])[:, start : start + count * self._width]


def lines_add_less(weight: Shape, groups: int, dilation: Shape, shape: Shape, sizes: Shape) -> bool:
    """Whether :func:`by_lines` can do it, with strides of one, and takes less time than columns of all taps.

    Args:
        weight: ``(channels, in_channels / groups, *kernel)``.
        groups: Into how many groups the channels fall.
        dilation: How far apart taps are.
        shape: ``(batch, in_channels, *spatial)``.
        sizes: The spatial sizes of the output.
    """
    kernel, is_each = weight[2:], groups == weight[0] == shape[1]
    if len(kernel) > 2 or shape[-1] != sizes[-1]:
        return False
    if is_each and (len(kernel) == 1 or kernel[0] == 1):
        return kernel[-1] * math.prod(sizes) <= BLOCK
    if len(kernel) == 1:
        return False
    if is_each:
        copied = sum(kernel) * shape[-2]
        return copied < LESS * math.prod(kernel) * sizes[0] and copied * sizes[1] <= BLOCK
    reach = (kernel[0] - 1) * dilation[0]
    fits = groups == 1 and kernel[0] > 1 and NARROWER * weight[1] <= weight[0] <= WIDER * weight[1]
    is_light = math.prod(weight[1:]) <= HEAVY * shape[0] * math.prod(sizes)
    return fits and is_light and _at_a_time(weight, dilation, shape, sizes) >= AGAIN * reach


def _at_a_time(weight: Shape, dilation: Shape, shape: Shape, sizes: Shape) -> int:
    """How many rows of the output are made at a time, of all channels."""
    channels, in_channels, *kernel = weight
    block = block_of((math.prod(shape[1:]) + channels * math.prod(sizes)) // 8)
    rows = block // ((kernel[1] * in_channels + channels) * sizes[1]) - (kernel[0] - 1) * dilation[0]
    rows = max(1, rows, -(-WIDTH // sizes[1]))
    times = -(-sizes[0] // rows)
    return -(-sizes[0] // (-(-times // parts()) * parts()))


def by_lines(x: Array, weight: Array, out: Array, padding: Pairs, dilation: Shape, epilogue: Epilogue) -> None:
    """Correlate images with strides of one: each channel with a kernel of its own, or all with all.

    Sequences are images of one row, each channel with a kernel of its own.

    Args:
        x: ``(batch, in_channels, height, width)``, as wide as the output, or without height.
        weight: ``(channels, 1, *kernel)``, one for each input channel, or ``(channels, in_channels, *kernel)``.
        out: ``(batch, channels, height, width)``, filled here.
        padding: A pair (before, after) of zeros for each spatial axis.
        dilation: One for each spatial axis.
        epilogue: What follows.
    """
    if x.ndim == 3:
        x, weight, out = x[:, :, None], weight[:, :, None], out[:, :, None]
        padding, dilation = ((0, 0), *padding), (1, *dilation)
    if len(weight) == x.shape[1] and weight.shape[1] == 1:
        _of_each(x, weight, out, padding, dilation, epilogue)
    else:
        _of_all(x, weight, out, padding, dilation, epilogue)


def _of_each(x: Array, weight: Array, out: Array, padding: Pairs, dilation: Shape, epilogue: Epilogue) -> None:
    channels, _, *kernel = weight.shape
    (height, width), places = x.shape[2:], out.shape[2]
    block = block_of((x.size + out.size) // 3)
    together = max(1, min(block // (sum(kernel) * max(height, places) * width), -(-channels // (2 * team_size()))))
    # How far down in the image each row of the kernel looks, and for which rows of the output it is in the image.
    down = [tap * dilation[0] - padding[0][0] for tap in range(kernel[0])]
    spans = [(max(0, -by), min(places, height - by)) for by in down]
    # Where there is one that is in the image for all of them, the others are added to what it gives.
    whole = next((tap for tap, span in enumerate(spans) if span == (0, places)), None)
    is_made_there = kernel[0] == 1 and places == height

    def begin() -> Callable[[tuple[int, int]], None]:
        shifted = _Shifted(together, height, width, kernel[1], dilation[1], padding[1][0], x.dtype)
        product = np.empty((together, kernel[0], 0 if is_made_there else height * width), x.dtype)
        sums = np.empty((together, 0 if whole is not None else places * width), x.dtype)

        def correlate(item: tuple[int, int]) -> None:
            image, first = item
            some = slice(first, min(first + together, channels))
            count = some.stop - first
            shifted.fill(x[image, some], 0)
            target = out[image, some].reshape(count, -1)
            made = target[:, None] if is_made_there else product[:count]
            np.matmul(weight[some, 0], shifted.columns(count), out=made)
            if is_made_there:
                total = target  # the very array: what follows is done in place
            elif whole is None:
                total = sums[:count]
                total.fill(0)
            else:
                total = made[:, whole, down[whole] * width : (down[whole] + places) * width]
            for tap, (by, (low, high)) in enumerate(zip(down, spans, strict=True)):
                if tap != whole and low < high:
                    near = total[:, low * width : high * width]
                    np.add(near, made[:, tap, (low + by) * width : (high + by) * width], out=near)
            epilogue.part(some).step(2, 0, spoils=True)(total, target)

        return correlate

    share(begin, itertools.product(range(len(x)), range(0, channels, together)))


def _of_all(x: Array, weight: Array, out: Array, padding: Pairs, dilation: Shape, epilogue: Epilogue) -> None:
    channels, in_channels, *kernel = weight.shape
    height, width, places = *x.shape[2:], out.shape[2]
    reach, above = (kernel[0] - 1) * dilation[0], padding[0][0]
    rows = _at_a_time(weight.shape, dilation, x.shape, out.shape[2:])
    # For each row of the kernel what its taps are multiplied with, in the order in which columns have them.
    factors = np.ascontiguousarray(weight.transpose(2, 0, 3, 1)).reshape(kernel[0], channels, -1)
    first_factor, *other_factors = map(Matrix, factors)
    finish = epilogue.step(2, 0) if epilogue else None

    def begin() -> Callable[[tuple[int, int]], None]:
        shifted = _Shifted(in_channels, rows + reach, width, kernel[1], dilation[1], padding[1][0], x.dtype)
        lines = [Matrix(shifted.lines(down * dilation[0], rows)) for down in range(kernel[0])]

        def correlate(item: tuple[int, int]) -> None:
            image, first = item
            count = min(rows, places - first)
            size = count * width
            low, high = max(0, first - above), max(0, min(height, first - above + count + reach))
            shifted.fill(x[image, :, low:high], min(max(0, above - first), count + reach))
            made = out[image].reshape(channels, -1)[:, first * width : first * width + size]
            np.matmul(first_factor.array, lines[0].array[:, :size], out=made)
            result = Matrix(made)
            for factor, line in zip(other_factors, lines[1:], strict=True):
                result.add(factor, line, size)
            if finish is not None:
                finish(made, made)

        return correlate

    share(begin, itertools.product(range(len(x)), range(0, places, rows)))
