"""Convolution in any number of dimensions, in the way that takes the least time for the sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops.accumulating import by_accumulating, layout_of
from modelarchive.ops.columns import SMALL, by_runs, by_windows, pointwise
from modelarchive.ops.epilogue import NOTHING, Epilogue
from modelarchive.ops.lines import by_lines, lines_add_less
from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.products import multiply
from modelarchive.ops.registry import Array, op
from modelarchive.ops.runs import runs_of
from modelarchive.ops.taps import adds_less, by_taps
from modelarchive.ops.threads import threads_if
from modelarchive.ops.windows import Pairs, merged, output_sizes, padded, pairs, split, windows

#: Elements between the rows of a run cost time in the product, for each output channel; up to so many to one that are
#: copied faster they are worth it.
WASTE: Final = 12
#: Taps that share a phase at least, for a layout in runs to be worth its own copy.
REUSE: Final = 1.5
#: Multiplications from which on threads are worth their start: of one place, of windows, of each channel by itself.
POINTS: Final = 1 << 24
WINDOWS: Final = 1 << 25
EACH: Final = 1 << 24
#: Elements of an output that are enough, however few multiplications each takes.
LARGE_OUTPUT: Final = 1 << 19
#: Factors below this are multiplied into the weight.
LARGE: Final = 1e6


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
    epilogue: Epilogue = NOTHING,
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
        epilogue: What follows.

    Returns:
        A new array of the layout of `x`, in the float dtype that input and parameters share; computed in
        float32 where that is narrower.
    """
    dtype = float_dtype(x, weight, *(() if bias is None else (bias,)))
    wide_x, wide_weight = widened(dtype, x, weight)
    if bias is not None:
        epilogue = epilogue.after_bias(widened(dtype, bias)[0])
    kernel = weight.shape[2:]
    if channels_last and groups == 1 and math.prod(kernel) == 1 and not any(map(any, padding)):
        steps = [slice(None, None, step) for step in strides]
        last: Array = multiply(wide_x[(slice(None), *steps)], wide_weight.reshape(weight.shape[:2]).T)
        if epilogue:
            epilogue.into(last, last, last.ndim - 1)
        return rounded(last, dtype)
    if channels_last:
        wide_x = np.moveaxis(wide_x, -1, 1)
    sizes = output_sizes(wide_x.shape[2:], kernel, strides, padding, dilation)
    result = np.empty((len(x), len(weight), *sizes), wide_x.dtype)
    # Between the rows of a run stands what no window has.
    with np.errstate(over="ignore", invalid="ignore"), threads_if(_is_worth(weight, groups, result)):
        _correlate(wide_x, wide_weight, result, strides, padding, dilation, groups, epilogue)
    if channels_last:
        result = np.ascontiguousarray(np.moveaxis(result, 1, -1))
    return rounded(result, dtype)


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


def _correlate(
    x: Array,
    weight: Array,
    out: Array,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int,
    epilogue: Epilogue,
) -> None:
    """Correlate ``(batch, in_channels, *spatial)`` in the way that is fastest for these sizes."""
    kernel, sizes = weight.shape[2:], out.shape[2:]
    epilogue, weight = _folded(epilogue, weight, out)
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    if not out.size or not matrix.size:
        out.fill(0)
        epilogue.into(out, out, 1)
    elif math.prod(kernel) == 1 and all(step == 1 for step in strides) and not any(map(any, padding)):
        pointwise(x, matrix, out, epilogue)
    elif groups == 1 and all(step == 1 for step in strides) and adds_less(weight.shape, sizes):
        by_taps(x, weight, out, padding, tuple(dilation), epilogue)
    elif all(step == 1 for step in strides) and lines_add_less(weight.shape, groups, tuple(dilation), x.shape, sizes):
        by_lines(x, weight, out, padding, tuple(dilation), epilogue)
    elif laid := layout_of(
        weight.shape, tuple(strides), padding, tuple(dilation), sizes, width=x.shape[-1], images=len(x)
    ):
        by_accumulating(x, weight, out, groups, laid, epilogue)
    else:
        runs = runs_of(kernel, tuple(strides), padding, tuple(dilation), sizes, x.shape[-1])
        gaps = runs.row / math.prod(sizes[1:])
        is_small = len(x) > 1 and math.prod(sizes) <= SMALL and matrix.shape[1] > 1
        reused = math.prod(kernel) >= REUSE * len(runs.lattices)
        if reused and not is_small and (gaps - 1) * matrix.shape[1] <= WASTE:
            by_runs(x, matrix, out, runs, epilogue)
        else:
            by_windows(windows(padded(x, padding), kernel, strides, dilation), matrix, out, epilogue)


def _folded(epilogue: Epilogue, weight: Array, out: Array) -> tuple[Epilogue, Array]:
    """The factor in the weight, where that is less work than in the output, and cannot overflow."""
    factor = epilogue.factor
    if factor is None or 2 * weight.size > out.size or not np.abs(factor).max(initial=0) < LARGE:
        return epilogue, weight
    return replace(epilogue, factor=None), weight * factor.reshape(-1, *[1] * (weight.ndim - 1))


def _is_worth(weight: Array, groups: int, out: Array) -> bool:
    """Whether there is so much to do that threads do it faster together; each of them waits for the interpreter."""
    work = out.size * math.prod(weight.shape[1:])
    if len(weight) == groups:
        return work >= EACH
    return work >= (WINDOWS if math.prod(weight.shape[2:]) > 1 else POINTS) or out.size >= LARGE_OUTPUT
