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
from modelarchive.ops.threads import WORTH, share
from modelarchive.ops.windows import Pairs, Shape, merged, split

#: Elements of one product at most, as far as rows of the input go, so that it stays in the cache.
BLOCK: Final = 1 << 18


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
    result = _spread(wide_x, wide_weight, strides, padding, output_padding, dilation, groups)
    if bias is not None:
        epilogue = epilogue.after_bias(widened(dtype, bias)[0])
    if epilogue:
        epilogue.into(result, result, 1)
    if channels_last:
        result = np.moveaxis(result, 1, -1)
    return rounded(np.ascontiguousarray(result), dtype)


def _spread(
    x: Array,
    weight: Array,
    strides: Sequence[int],
    padding: Pairs,
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Array:
    batch, in_channels, *spatial = x.shape
    kernel = weight.shape[2:]
    channels = groups * weight.shape[1]
    sizes = transposed_sizes(spatial, kernel, strides, padding, output_padding, dilation)
    taps = np.ascontiguousarray(
        weight.reshape(groups, in_channels // groups, weight.shape[1], -1).transpose(3, 0, 2, 1)
    )
    columns = x.reshape(batch, groups, in_channels // groups, math.prod(spatial))
    result = np.zeros((batch, channels, *sizes), x.dtype)
    # Taps that meet at no element of the output need no sum.
    apart = all(step >= gap * (size - 1) + 1 for step, gap, size in zip(strides, dilation, kernel, strict=True))

    row = math.prod(spatial[1:])
    height = min(spatial[0], max(1, BLOCK // max(batch * channels * row, 1)))

    def add(item: tuple[tuple[Array, tuple[int, ...]], int]) -> None:
        (matrix, tap), start = item
        rows = min(height, spatial[0] - start)
        inside = [
            _inside(size, strides[axis], dilation[axis] * tap[axis] - padding[axis][0], sizes[axis])
            for axis, size in enumerate(spatial)
        ]
        inside[0] = _within(inside[0], start, start + rows, strides[0])
        if any(source.start >= source.stop for source, _ in inside):
            return
        product = np.matmul(matrix, columns[..., start * row : (start + rows) * row])
        taken: tuple[Any, ...] = (..., *(each for each, _ in inside))
        target: tuple[Any, ...] = (..., *(each for _, each in inside))
        part = product.reshape(batch, channels, rows, *spatial[1:])[taken]
        if apart:
            np.copyto(result[target], part)
        else:
            result[target] += part

    each_tap = zip(taps, itertools.product(*map(range, kernel)), strict=True)
    items = itertools.product(each_tap, range(0, spatial[0], height))
    share(lambda: add, items, alone=not apart or columns.size * channels * len(taps) < WORTH * groups)
    return result


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
