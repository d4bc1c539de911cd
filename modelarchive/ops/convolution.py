"""Convolution in any number of dimensions: windows gathered into columns, then one matrix product."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops.activation import activate
from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.registry import Array, op
from modelarchive.ops.windows import Pairs, merged, output_sizes, padded, pairs, split, windows

#: Elements of the column matrices gathered at a time; bounds memory and stays near the cache.
BLOCK: Final = 1 << 21
#: Images of at most so many output positions share one matrix product.
SMALL: Final = 256


def convolution_shape(
    shape: Sequence[int],
    *,
    channels: int,
    in_channels: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    channels_last: bool,
) -> tuple[int, ...]:
    """The output's shape for an input of `shape`; `in_channels` 0 accepts any number.

    Raises:
        ValueError: The input does not fit.
    """
    batch, found, spatial = split(shape, len(kernel), channels_last=channels_last)
    if in_channels and found != in_channels:
        raise ValueError(f"expected {in_channels} input channels, found {found} in shape {tuple(shape)}")
    sizes = output_sizes(spatial, kernel, strides, padding, dilation)
    return merged(batch, channels, sizes, channels_last=channels_last)


def convolve(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
    activation: str | None = None,
) -> Array:
    """Cross-correlation as ``torch.nn.functional.conv2d`` defines it, in 1, 2, 3 dimensions.

    Args:
        x: ``(batch, in_channels, *spatial)``, or ``(batch, *spatial, in_channels)`` with `channels_last`.
        weight: ``(channels, in_channels / groups, *kernel)``.
        bias: ``(channels,)`` or None.
        strides: One for each spatial axis.
        padding: A pair (before, after) of zeros for each spatial axis.
        dilation: One for each spatial axis.
        groups: Into how many independent groups the channels fall.
        channels_last: Whether the channels of input and output are the last axis.
        activation: Name of an activation that follows, or None.

    Returns:
        A new array of the layout of `x`, in the float dtype that input and parameters share; computed in
        float32 where that is narrower.
    """
    dtype = float_dtype(x, weight, *(() if bias is None else (bias,)))
    wide_x, wide_weight = widened(dtype, x, weight)
    kernel = weight.shape[2:]
    if channels_last and groups == 1 and math.prod(kernel) == 1 and not any(map(any, padding)):
        steps = [slice(None, None, step) for step in strides]
        result: Array = wide_x[(slice(None), *steps)] @ wide_weight.reshape(weight.shape[:2]).T
        if bias is not None:
            result += widened(dtype, bias)[0]
        return rounded(activate(activation, result), dtype)
    if channels_last:
        wide_x = np.moveaxis(wide_x, -1, 1)
    source = padded(wide_x, padding)
    sizes = output_sizes(source.shape[2:], kernel, strides, ((0, 0),) * len(kernel), dilation)
    result = _correlated(source, wide_weight, sizes, strides, dilation, groups)
    if bias is not None:
        result += widened(dtype, bias)[0].reshape(-1, *[1] * len(kernel))
    if channels_last:
        result = np.ascontiguousarray(np.moveaxis(result, 1, -1))
    return rounded(activate(activation, result), dtype)


def _conv_shape(
    shape: Sequence[int],
    weight: Sequence[int],
    *,
    strides: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    rank = len(weight) - 2
    if rank not in (1, 2, 3) or len(shape) != rank + 2:
        raise ValueError(
            f"expected an array (batch, channels, ...) and weights (channels, inputs, ...) with one to three axes of "
            f"space, found {tuple(shape)} and {tuple(weight)}"
        )
    if not len(strides) == len(padding) == len(dilation) == rank:
        raise ValueError(f"expected strides, padding and dilation for {rank} axes of space")
    groups = shape[1] // (weight[1] or 1)
    if not groups or weight[1] * groups != shape[1] or weight[0] % groups:
        raise ValueError(f"expected weights whose inputs divide {shape[1]} channels into groups, found {tuple(weight)}")
    return convolution_shape(
        shape,
        channels=weight[0],
        in_channels=shape[1],
        kernel=weight[2:],
        strides=strides,
        padding=pairs(padding, rank),
        dilation=dilation,
        channels_last=False,
    )


def _conv_dtype(x: Any, weight: Any, **arguments: Any) -> np.dtype[Any]:
    return float_dtype(x, weight)


@op(infer=_conv_shape, dtype=_conv_dtype)
def conv(
    x: ArrayLike,
    weight: ArrayLike,
    /,
    strides: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
) -> Array:
    """Convolution with weights that are computed; a layer's own are a kind's, ``Conv2D``.

    Args:
        x: ``(batch, channels, *spatial)`` with one to three axes of space; a float dtype.
        weight: ``(channels, inputs, *kernel)``; the channels of `x` divided by `inputs` are the number of groups.
        strides: One for each axis of space.
        padding: A pair (before, after) of zeros for each of them.
        dilation: One for each of them.

    Returns:
        A new array ``(batch, channels, *spatial)``, in the dtype that both share.

    Raises:
        ValueError: Shapes do not fit.
    """
    array, kernel = np.asarray(x), np.asarray(weight)
    _conv_shape(array.shape, kernel.shape, strides=strides, padding=padding, dilation=dilation)
    return convolve(
        array,
        kernel,
        None,
        strides=strides,
        padding=pairs(padding, kernel.ndim - 2),
        dilation=dilation,
        groups=array.shape[1] // kernel.shape[1],
        channels_last=False,
    )


def _correlated(
    x: Array,
    weight: Array,
    sizes: tuple[int, ...],
    strides: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Array:
    """Correlate a padded ``(batch, in_channels, *spatial)``: column matrices (taps, positions), block by block."""
    batch, kernel = x.shape[0], weight.shape[2:]
    channels, taps, positions = len(weight), math.prod(weight.shape[1:]), math.prod(sizes)
    matrix = weight.reshape(groups, channels // groups, taps)
    if math.prod(kernel) == 1 and all(step == 1 for step in strides):
        # A kernel of one tap needs no columns: the input is the matrix already.
        product: Array = np.matmul(matrix, x.reshape(batch, groups, taps, positions))
        return product.reshape(batch, channels, *sizes)
    view = windows(x, kernel, strides, dilation)
    result = np.empty((batch, groups, channels // groups, positions), x.dtype)
    row = positions // sizes[0]
    buffer = np.empty(min(BLOCK, batch * groups * taps * positions), x.dtype)
    for images, rows in _blocks(batch, sizes[0], groups * taps * row):
        part = view[(images, slice(None), *[slice(None)] * len(kernel), rows)]
        count = len(part)
        # Small images side by side make one product that is worth it, instead of one each.
        together = count > 1 and positions <= SMALL
        if together:
            part = np.moveaxis(part, 0, 1 + len(kernel))
        columns = buffer[: part.size] if part.size <= buffer.size else np.empty(part.size, x.dtype)
        np.copyto(columns.reshape(part.shape), part)
        if together:
            product = np.matmul(matrix, columns.reshape(groups, taps, count * positions))
            apart = product.reshape(groups, channels // groups, count, positions)
            result[images] = apart.transpose(2, 0, 1, 3)
        else:
            place = slice(rows.start * row, rows.stop * row)
            np.matmul(matrix, columns.reshape(count, groups, taps, -1), out=result[images, :, :, place])
    return result.reshape(batch, channels, *sizes)


def _blocks(batch: int, rows: int, row: int) -> Iterator[tuple[slice, slice]]:
    """Cut a batch into whole images, or images too large for that into rows of output."""
    if rows * row <= BLOCK:
        images = max(1, BLOCK // max(rows * row, 1))
        for first in range(0, batch, images):
            yield slice(first, min(first + images, batch)), slice(0, rows)
        return
    step = max(1, BLOCK // row)
    for image in range(batch):
        for first in range(0, rows, step):
            yield slice(image, image + 1), slice(first, min(first + step, rows))
