"""Pooling over sliding windows and over whole images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import piece_of, share
from modelarchive.ops.windows import Pairs, merged, output_sizes, split

#: Elements from which on threads are worth their start.
WORTH: Final = 1 << 20


def pooling_shape(
    shape: Sequence[int],
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    ceil_mode: bool,
    channels_last: bool,
) -> tuple[int, ...]:
    """The output's shape for an input of `shape`.

    Raises:
        ValueError: The input does not fit.
    """
    batch, channels, spatial = split(shape, len(kernel), channels_last=channels_last)
    sizes = output_sizes(spatial, kernel, strides, padding, (1,) * len(kernel), ceil_mode=ceil_mode)
    return merged(batch, channels, sizes, channels_last=channels_last)


def max_pool(
    x: Array,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    ceil_mode: bool,
    channels_last: bool,
) -> Array:
    """Largest element of each window, as ``torch.nn.functional.max_pool2d`` in 1, 2, 3 dimensions.

    Args:
        x: ``(batch, channels, *spatial)``, or channels last; any real dtype. NaN wins.
        kernel: Window size for each spatial axis.
        strides: Steps between windows.
        padding: Pairs (before, after) that never win, each smaller than the window.
        ceil_mode: Whether a last, partial window counts.
        channels_last: Whether the channels are the last axis.

    Returns:
        A new array of the dtype and layout of `x`.
    """
    return _swept(np.maximum, x, _lowest(x.dtype), kernel, strides, padding, ceil_mode, channels_last)


def avg_pool(
    x: Array,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    ceil_mode: bool,
    count_include_pad: bool,
    channels_last: bool,
) -> Array:
    """Mean of each window, as ``torch.nn.functional.avg_pool2d`` in 1, 2, 3 dimensions.

    Args:
        x: ``(batch, channels, *spatial)``, or channels last; integers give float32.
        kernel: Window size for each spatial axis.
        strides: Steps between windows.
        padding: Pairs (before, after) of zeros, each smaller than the window.
        ceil_mode: Whether a last, partial window counts; what lies beyond the padding never does.
        count_include_pad: Whether the padding counts in the divisor.
        channels_last: Whether the channels are the last axis.

    Returns:
        A new array of the layout of `x`, float16 and bfloat16 summed in float32.
    """
    dtype = float_dtype(x)
    (wide,) = widened(dtype, x)
    total = _swept(np.add, wide, 0, kernel, strides, padding, ceil_mode, channels_last)
    spatial = x.shape[1:-1] if channels_last else x.shape[2:]
    first = 1 if channels_last else 2
    divisor = np.ones((), np.int64)
    for axis, size in enumerate(spatial):
        begin = np.arange(total.shape[first + axis]) * strides[axis] - padding[axis][0]
        end = np.minimum(begin + kernel[axis], size + padding[axis][1])
        if not count_include_pad:
            begin, end = np.maximum(begin, 0), np.minimum(end, size)
        divisor = divisor[..., None] * (end - begin)
    divisor = divisor[..., None] if channels_last else divisor
    total /= divisor.astype(total.dtype)
    return rounded(total, dtype)


def global_max_pool(x: Array, *, channels_last: bool) -> Array:
    """Largest element of each channel, spatial axes kept with size 1; the dtype is kept."""
    return np.max(x, axis=_spatial(x, channels_last=channels_last), keepdims=True)  # type: ignore[no-any-return]


def global_avg_pool(x: Array, *, channels_last: bool) -> Array:
    """Mean of each channel, spatial axes kept with size 1; dtypes as in :func:`avg_pool`."""
    dtype = float_dtype(x)
    (wide,) = widened(dtype, x)
    return rounded(np.mean(wide, axis=_spatial(x, channels_last=channels_last), keepdims=True), dtype)


def global_pooling_shape(shape: Sequence[int], *, rank: int, channels_last: bool) -> tuple[int, ...]:
    """The output's shape: every spatial axis is 1.

    Raises:
        ValueError: The number of dimensions is wrong, or a spatial axis is empty.
    """
    batch, channels, spatial = split(shape, rank, channels_last=channels_last)
    if not math.prod(spatial):
        raise ValueError(f"expected at least one element to pool, found shape {tuple(shape)}")
    return merged(batch, channels, (1,) * rank, channels_last=channels_last)


def _spatial(x: Array, *, channels_last: bool) -> tuple[int, ...]:
    return tuple(range(1, x.ndim - 1)) if channels_last else tuple(range(2, x.ndim))


def _lowest(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "b":
        return False
    if dtype.kind in "iu":
        return np.iinfo(dtype).min
    lowest = np.asarray(-math.inf).astype(dtype)
    # float8_e4m3fn has no infinity.
    return np.asarray(-448.0).astype(dtype) if np.isnan(lowest) else lowest


def _swept(
    combine: np.ufunc,
    x: Array,
    neutral: Any,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    ceil_mode: bool,
    channels_last: bool,
) -> Array:
    """Combine the elements of each window, one spatial axis after the other, one tap at a time."""
    first = 1 if channels_last else 2
    spatial = x.shape[first : first + len(kernel)]
    sizes = output_sizes(spatial, kernel, strides, padding, (1,) * len(kernel), ceil_mode=ceil_mode)
    geometry = list(zip(kernel, strides, (before for before, _ in padding), sizes, strict=True))
    result = np.empty(
        merged(x.shape[0], x.shape[-1 if channels_last else 1], sizes, channels_last=channels_last), x.dtype
    )
    # Images, or single channels of them, one after another: what is between the axes stays in the cache.
    parts, targets = (each.reshape(math.prod(x.shape[:first]), *each.shape[first:]) for each in (x, result))
    several = max(1, piece_of(x.size) // max(1, math.prod(parts.shape[1:])))

    def sweep(start: int) -> None:
        part = parts[start : start + several]
        for axis, (taps, step, before, count) in enumerate(geometry, start=1):
            part = _along(combine, part, neutral, axis, taps, step, before, count)
        targets[start : start + several] = part

    share(lambda: sweep, range(0, len(parts), several), alone=x.size < WORTH)
    return result


def _along(
    combine: np.ufunc, x: Array, neutral: Any, axis: int, taps: int, step: int, before: int, count: int
) -> Array:
    """Combine windows of `taps` elements along one axis; what lies outside is neutral."""
    lead = (slice(None),) * axis
    # For each tap, the windows [low, high) that have it inside the input, and the elements it takes there.
    inside: list[tuple[int, int, Array]] = []
    for tap in range(taps):
        offset = tap - before
        low, high = max(0, -(offset // step)), min(count, (x.shape[axis] - 1 - offset) // step + 1)
        if low < high:
            taken = slice(low * step + offset, (high - 1) * step + offset + 1, step)
            inside.append((low, high, x[(*lead, taken)]))
    whole = next((place for place, (low, high, _) in enumerate(inside) if (low, high) == (0, count)), None)
    if whole is None:
        result = np.full((*x.shape[:axis], count, *x.shape[axis + 1 :]), neutral, x.dtype)
    else:
        result = inside.pop(whole)[2]
        if inside and inside[0][:2] == (0, count):
            result = combine(result, inside.pop(0)[2])
        elif inside:
            result = result.copy()
    for low, high, elements in inside:
        target = result[(*lead, slice(low, high))]
        combine(target, elements, out=target)
    return result
