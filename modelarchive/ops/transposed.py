"""Transposed convolution in any number of dimensions: one matrix product for each tap of the kernel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.ops.epilogue import NOTHING, Epilogue
from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import BLOCK, share, threads_if
from modelarchive.ops.windows import Pairs, Shape, merged, split

#: Multiplications from which on threads are worth their start.
WORTH: Final = 1 << 24


def transposed_sizes(
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    output_padding: Sequence[int],
    dilation: Sequence[int],
) -> Shape:
    """The output's size along each axis (the formula of PyTorch's ConvTranspose documentation).

    Raises:
        ValueError: Nothing is left along an axis.
    """
    result = []
    for axis, size in enumerate(spatial):
        whole = (size - 1) * strides[axis] + dilation[axis] * (kernel[axis] - 1) + 1 if size else 0
        left = whole - sum(padding[axis]) + output_padding[axis]
        if left < 1 or not size:
            raise ValueError(f"expected a size of at least 1 along spatial axis {axis}, found {left} for input {size}")
        result.append(left)
    return tuple(result)


def transposed_shape(
    shape: Sequence[int],
    *,
    channels: int,
    in_channels: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    output_padding: Sequence[int],
    dilation: Sequence[int],
    channels_last: bool,
) -> Shape:
    """The output's shape for an input of `shape`; `in_channels` 0 accepts any number.

    Raises:
        ValueError: The input does not fit.
    """
    batch, found, spatial = split(shape, len(kernel), channels_last=channels_last)
    if in_channels and found != in_channels:
        raise ValueError(f"expected {in_channels} input channels, found {found} in shape {tuple(shape)}")
    sizes = transposed_sizes(spatial, kernel, strides, padding, output_padding, dilation)
    return merged(batch, channels, sizes, channels_last=channels_last)


def convolve_transposed(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    strides: Sequence[int],
    padding: Pairs,
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
    epilogue: Epilogue = NOTHING,
) -> Array:
    """The transpose of a convolution, as ``torch.nn.functional.conv_transpose2d`` in 1, 2, 3 dimensions.

    Each input element adds the kernel, times its value, to the output at its place times the strides.

    Args:
        x: ``(batch, in_channels, *spatial)``, or ``(batch, *spatial, in_channels)`` with `channels_last`.
        weight: ``(in_channels, channels / groups, *kernel)``.
        bias: ``(channels,)`` or None.
        strides: One for each spatial axis.
        padding: A pair (before, after) of elements cut off the output for each spatial axis.
        output_padding: Elements that the output has more at the end of each spatial axis.
        dilation: One for each spatial axis.
        groups: Into how many independent groups the channels fall.
        channels_last: Whether the channels of input and output are the last axis.
        epilogue: What follows.

    Returns:
        A new array of the layout of `x`, in the float dtype that input and parameters share; computed in
        float32 where that is narrower.
    """
    dtype = float_dtype(x, weight, *(() if bias is None else (bias,)))
    wide_x, wide_weight = widened(dtype, x, weight)
    if channels_last:
        wide_x = np.moveaxis(wide_x, -1, 1)
    if bias is not None:
        epilogue = epilogue.after_bias(widened(dtype, bias)[0])
    sizes = transposed_sizes(wide_x.shape[2:], weight.shape[2:], strides, padding, output_padding, dilation)
    result = np.empty((len(x), groups * weight.shape[1], *sizes), wide_x.dtype)
    with threads_if(weight[:, 0].size * result.size >= WORTH * math.prod(strides) * groups):
        _spread(wide_x, wide_weight, result, strides, padding, dilation, groups, epilogue)
    if channels_last:
        result = np.moveaxis(result, 1, -1)
    return rounded(np.ascontiguousarray(result), dtype)


def _spread(
    x: Array,
    weight: Array,
    out: Array,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int,
    epilogue: Epilogue,
) -> None:
    batch, in_channels, *spatial = x.shape
    kernel, channels = weight.shape[2:], out.shape[1]
    matrices = np.ascontiguousarray(
        weight.reshape(groups, in_channels // groups, weight.shape[1], -1).transpose(3, 0, 2, 1)
    )
    columns = x.reshape(batch, groups, in_channels // groups, math.prod(spatial))
    # For each tap the elements of the input that it is seen of, along each axis, and where in the output.
    taps = [
        [
            _inside(size, step, gap * place - before, limit)
            for size, step, gap, place, (before, _), limit in zip(
                spatial, strides, dilation, tap, padding, out.shape[2:], strict=True
            )
        ]
        for tap in itertools.product(*map(range, kernel))
    ]
    # Those that meet at some element of the output are added one after another.
    meeting: dict[tuple[int, ...], list[int]] = {}
    for number, tap in enumerate(itertools.product(*map(range, kernel))):
        if all(source.start < source.stop for source, _ in taps[number]):
            place = tuple(gap * at % step for at, gap, step in zip(tap, dilation, strides, strict=True))
            meeting.setdefault(place, []).append(number)
    # Where each element of the output is of one tap, what follows is done before it is put there.
    is_done = all(len(numbers) == 1 for numbers in meeting.values()) and math.prod(out.shape[2:]) == sum(
        math.prod([source.stop - source.start for source, _ in each]) for each in taps
    )
    finish = epilogue.step(3, 1) if epilogue and is_done else None
    if not is_done:
        out.fill(0)
    row = math.prod(spatial[1:])
    height = min(spatial[0], max(1, BLOCK // max(batch * channels * row, 1)))

    def add(numbers: list[int]) -> None:
        for number, start in itertools.product(numbers, range(0, spatial[0], height)):
            first, *others = taps[number]
            rows = min(height, spatial[0] - start)
            inside = [_within(first, start, start + rows, strides[0]), *others]
            if inside[0][0].start >= inside[0][0].stop:
                continue
            product = np.matmul(matrices[number], columns[..., start * row : (start + rows) * row])
            if finish is not None:
                made = product.reshape(batch, channels, -1)
                finish(made, made)
            taken: tuple[Any, ...] = (..., *(each for each, _ in inside))
            target: tuple[Any, ...] = (..., *(each for _, each in inside))
            part = product.reshape(batch, channels, rows, *spatial[1:])[taken]
            if is_done:
                np.copyto(out[target], part)
            else:
                out[target] += part

    share(lambda: add, list(meeting.values()))
    if epilogue and not is_done:
        epilogue.into(out, out, 1)


def _inside(size: int, step: int, offset: int, limit: int) -> tuple[slice, slice]:
    """The input elements i with ``0 <= i * step + offset < limit``, and those places."""
    first = max(0, -(offset // step))
    last = min(size, (limit - 1 - offset) // step + 1)
    start = first * step + offset
    return slice(first, last), slice(start, start + max(0, last - first - 1) * step + 1, step)


def _within(inside: tuple[slice, slice], start: int, stop: int, step: int) -> tuple[slice, slice]:
    """What :func:`_inside` found, of the input elements from `start` to `stop` only, counted from `start`."""
    source, target = inside
    first, last = max(source.start, start), min(source.stop, stop)
    place = target.start + (first - source.start) * step
    return slice(first - start, last - start), slice(place, place + max(0, last - first - 1) * step + 1, step)
