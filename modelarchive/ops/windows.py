"""Geometry of sliding windows: padding pairs, output sizes, padded copies and strided views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelarchive.ops.registry import Array

Shape = tuple[int, ...]
#: For each spatial axis the elements added (before, after).
Pairs = tuple[tuple[int, int], ...]


def each(name: str, value: Any, rank: int, *, least: int) -> Shape:
    """An int for every spatial axis, or one int each, as a tuple.

    Raises:
        ValueError: There are not `rank` ints of at least `least`.
    """
    items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * rank
    if len(items) != rank or not all(_is_int(size) and size >= least for size in items):
        raise ValueError(f"{name}: expected one int of at least {least}, or {rank} of them, found {value!r}")
    return tuple(int(size) for size in items)


def _is_int(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool | np.bool_ | np.ndarray)


def pairs(value: Any, rank: int) -> Pairs:
    """Padding as pairs: from one int, one int for each spatial axis, or a pair for each.

    Raises:
        ValueError: It is none of these, or negative.
    """
    items = [value] * rank if _is_int(value) else value
    if not isinstance(items, Sequence) or len(items) != rank:
        raise ValueError(f"padding: expected an int, {rank} ints or {rank} pairs, found {value!r}")
    both = [each("padding", item, 2, least=0) for item in items]
    return tuple((before, after) for before, after in both)


def checked_layout(layout: str, rank: int) -> bool:
    """Whether the channels of `layout` come last ("NHWC") instead of second ("NCHW").

    Raises:
        ValueError: It is neither for `rank` spatial axes.
    """
    spatial = "DHW"[3 - rank :]
    if layout not in (f"NC{spatial}", f"N{spatial}C"):
        raise ValueError(f"layout: expected 'NC{spatial}' or 'N{spatial}C', found {layout!r}")
    return layout[-1] == "C"


def split(shape: Sequence[int], rank: int, *, channels_last: bool) -> tuple[int, int, Shape]:
    """Batch, channels and spatial sizes of an input's shape.

    Raises:
        ValueError: The number of dimensions is wrong.
    """
    if len(shape) != rank + 2:
        axes = ["batch", *["depth", "height", "width"][3 - rank :]]
        axes.insert(len(axes) if channels_last else 1, "channels")
        raise ValueError(f"expected an input of shape ({', '.join(axes)}), found {tuple(shape)}")
    if channels_last:
        return shape[0], shape[-1], tuple(shape[1:-1])
    return shape[0], shape[1], tuple(shape[2:])


def merged(batch: int, channels: int, spatial: Sequence[int], *, channels_last: bool) -> Shape:
    """The inverse of :func:`split`."""
    return (batch, *spatial, channels) if channels_last else (batch, channels, *spatial)


def output_sizes(
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    *,
    ceil_mode: bool = False,
) -> Shape:
    """How many windows fit along each axis (the formula of PyTorch's Conv and Pool documentation).

    Raises:
        ValueError: A window is larger than the padded input.
    """
    result = []
    for axis, size in enumerate(spatial):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        padded = size + padding[axis][0] + padding[axis][1]
        room = padded - reach
        # In PyTorch a partial window may be the only one, if the next one would begin behind the end.
        if room < 0 and not (ceil_mode and size and -room < strides[axis]):
            raise ValueError(
                f"expected at least {reach} elements along spatial axis {axis} for the window, "
                f"found {padded} (padding included)"
            )
        windows = max(0, room // strides[axis] + 1)
        # A last, partial window counts if it begins in the input or in the padding before it.
        if ceil_mode and room % strides[axis] and windows * strides[axis] < size + padding[axis][0]:
            windows += 1
        result.append(windows)
    return tuple(result)


def padded(x: Array, padding: Pairs, value: float = 0) -> Array:
    """``(batch, channels, *spatial)`` with `padding` around; `x` itself where there is none."""
    if not any(before or after for before, after in padding):
        return x
    spatial = [size + before + after for size, (before, after) in zip(x.shape[2:], padding, strict=True)]
    result = np.full((*x.shape[:2], *spatial), value, x.dtype)
    inner: list[Any] = [slice(before, before + size) for size, (before, _) in zip(x.shape[2:], padding, strict=True)]
    result[(..., *inner)] = x
    return result


def windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> Array:
    """All windows of ``(batch, channels, *spatial)``: a view ``(batch, channels, *kernel, *positions)``."""
    rank = len(kernel)
    reach = tuple(step * (size - 1) + 1 for size, step in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, rank + 2)))
    steps = [slice(None, None, step) for step in (*strides, *dilation)]
    positions, taps = range(2, rank + 2), range(rank + 2, 2 * rank + 2)
    return view[(slice(None), slice(None), *steps)].transpose(0, 1, *taps, *positions)
