"""Images in another size: nearest and linear upsampling, and pooling to a given size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.registry import Array


def upsample(x: Array, *, sizes: Sequence[int], linear: bool, align_corners: bool, channels_last: bool) -> Array:
    """The spatial axes of `x` in other sizes, as ``torch.nn.functional.interpolate``.

    Args:
        x: ``(batch, channels, *spatial)``, or channels last; integers give float32 with `linear`.
        sizes: The new size of each spatial axis.
        linear: Interpolate between neighbours; otherwise take the nearest: element ``floor(i in / out)``,
            computed in integers.
        align_corners: Whether the corner elements of input and output are at the same place, or the outer
            edges of the corner elements.
        channels_last: Whether the channels are the last axis.

    Returns:
        A new array of the layout of `x`.
    """
    first = 1 if channels_last else 2
    if not linear:
        result = x
        for axis, size in reversed(list(enumerate(sizes, start=first))):
            result = _nearest(result, axis, size)
        return result
    dtype = float_dtype(x)
    (result,) = widened(dtype, x)
    for axis, size in enumerate(sizes, start=first):
        result = _interpolated(result, axis, size, align_corners=align_corners)
    return rounded(result, dtype)


def _nearest(x: Array, axis: int, size: int) -> Array:
    old = x.shape[axis]
    if not old or size % old:
        taken: Array = np.take(x, np.arange(size) * old // size, axis=axis)
        return taken
    result = np.empty((*x.shape[: axis + 1], size // old, *x.shape[axis + 1 :]), x.dtype)
    for place in range(size // old):
        result[(slice(None),) * (axis + 1) + (place,)] = x
    return result.reshape(*x.shape[:axis], size, *x.shape[axis + 1 :])


def _interpolated(x: Array, axis: int, size: int, *, align_corners: bool) -> Array:
    old = x.shape[axis]
    places = np.arange(size, dtype=np.float64)
    if align_corners:
        places *= (old - 1) / (size - 1) if size > 1 else 0.0
    else:
        places = np.maximum((places + 0.5) * (old / size) - 0.5, 0)
    below = np.minimum(places.astype(np.int64), old - 1)
    above = np.minimum(below + 1, old - 1)
    share = (places - below).astype(x.dtype).reshape(-1, *[1] * (x.ndim - axis - 1))
    low: Array = np.take(x, below, axis=axis)
    high: Array = np.take(x, above, axis=axis)
    low *= 1 - share
    high *= share
    low += high
    return low


def adaptive_avg_pool(x: Array, *, sizes: Sequence[int], channels_last: bool) -> Array:
    """Means of windows that share `x` out evenly, as ``torch.nn.functional.adaptive_avg_pool2d``.

    Args:
        x: ``(batch, channels, *spatial)``, or channels last; integers give float32.
        sizes: How many windows along each spatial axis; window i reaches from ``floor(i in / out)`` to
            ``ceil((i + 1) in / out)``.
        channels_last: Whether the channels are the last axis.

    Returns:
        A new array of the layout of `x`, float16 and bfloat16 summed in float32.
    """
    dtype = float_dtype(x)
    (result,) = widened(dtype, x)
    for axis, size in enumerate(sizes, start=1 if channels_last else 2):
        result = _shared_out(result, axis, size)
    # Windows of one element each are the input itself until here.
    return rounded(result.copy() if np.may_share_memory(result, x) else result, dtype)


def _shared_out(x: Array, axis: int, size: int) -> Array:
    old = x.shape[axis]
    if old == size:
        return x
    if old % size == 0:
        return np.mean(x.reshape(*x.shape[:axis], size, old // size, *x.shape[axis + 1 :]), axis=axis + 1)  # type: ignore[no-any-return]
    result = np.empty((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    lead = (slice(None),) * axis
    for place in range(size):
        window = slice(place * old // size, -(-(place + 1) * old // size))
        source: tuple[Any, ...] = (*lead, window)
        target: tuple[Any, ...] = (*lead, place)
        np.mean(x[source], axis=axis, out=result[target])
    return result
