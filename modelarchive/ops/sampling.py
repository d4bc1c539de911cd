"""An op that reads an image between its elements, at places that are computed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops import cubic
from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.registry import Array, op
from modelarchive.ops.shapes import Shape

MODES: Final = ("linear", "nearest", "cubic")
PADDING_MODES: Final = ("zeros", "border", "reflection")


def _sampled(
    shape: Shape,
    grid: Shape,
    *,
    mode: str = "linear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
) -> Shape:
    rank = len(shape) - 2
    if rank not in (2, 3) or len(grid) != len(shape) or grid[-1] != rank or grid[0] != shape[0]:
        raise ValueError(
            f"expected an array (batch, channels, height, width) and a grid (batch, rows, columns, 2), or both with "
            f"three axes of space, found {tuple(shape)} and {tuple(grid)}"
        )
    if mode not in MODES or (mode == "cubic" and rank == 3):
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, cubic for two axes only, found {mode!r}")
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"padding_mode: expected one of {', '.join(PADDING_MODES)}, found {padding_mode!r}")
    return (*shape[:2], *grid[1:-1])


def _dtype(x: Any, grid: Any, **arguments: Any) -> np.dtype[Any]:
    return float_dtype(x, grid)


@op(infer=_sampled, dtype=_dtype)
def grid_sample(
    x: ArrayLike,
    grid: ArrayLike,
    /,
    mode: str = "linear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
) -> Array:
    """Elements of images at places between them (``torch.nn.functional.grid_sample``, ONNX's GridSample).

    Args:
        x: ``(batch, channels, height, width)``, or with a depth in front of the height; a float dtype.
        grid: ``(batch, rows, columns, 2)``, the horizontal place first, or ``(batch, planes, rows, columns, 3)``: -1
            is the left, upper, front end of the image, 1 the other one.
        mode: "linear", "nearest" (of two as near the even place), "cubic" (of images without depth).
        padding_mode: What is outside: "zeros", "border" (the nearest element), "reflection" (mirrored).
        align_corners: Whether the ends are the middles of the outermost elements; else their outer edges.

    Returns:
        A new array ``(batch, channels, rows, columns)``, in the dtype that both share.

    Raises:
        ValueError: Shapes do not fit, or there is no such mode.
    """
    image, places = np.asarray(x), np.asarray(grid)
    shape = _sampled(image.shape, places.shape, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    dtype = float_dtype(image, places)
    image, places = widened(dtype, image, places)
    sizes = image.shape[2:]
    # The last axis of the grid counts the axes of the image from the end.
    coordinates = [
        _unnormalised(places[..., len(sizes) - 1 - axis], size, align_corners=align_corners)
        for axis, size in enumerate(sizes)
    ]
    pads = [_padding(padding_mode, size, align_corners=align_corners) for size in sizes]
    taps = [_TAPS[mode](each, pad) for each, pad in zip(coordinates, pads, strict=True)]
    flat = image.reshape(*image.shape[:2], -1)
    total = np.zeros(shape, image.dtype)
    for corner in itertools.product(*taps):
        place, weight = _corner(corner, sizes)
        found = np.take_along_axis(flat, place.reshape(len(place), 1, -1), 2).reshape(shape)
        total += found * weight[:, None].astype(image.dtype, copy=False)
    return rounded(total, dtype)


def _corner(corner: Any, sizes: tuple[int, ...]) -> tuple[Array, Array]:
    """Places in the image as one axis, and what the elements there count; nothing outside."""
    place: Any = 0
    weight: Any = 1
    for (position, share), size in zip(corner, sizes, strict=True):
        inside = (position >= 0) & (position <= size - 1)
        place = place * size + np.where(inside, position, 0).astype(np.int64)
        weight = weight * np.where(inside, share, share * 0)  # NaN where the place is none
    return place, weight


def _unnormalised(place: Array, size: int, *, align_corners: bool) -> Array:
    if align_corners:
        return (place + 1) / 2 * (size - 1)
    return ((place + 1) * size - 1) / 2


Pad = Callable[[Array], Array]


def _padding(mode: str, size: int, *, align_corners: bool) -> Pad:
    def border(place: Array) -> Array:
        # NaN is the first place.
        return np.minimum(np.fmax(place, 0), size - 1)

    def reflection(place: Array) -> Array:
        low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        if span == 0:
            return np.zeros_like(place)
        away = np.abs(place - low)
        extra = np.fmod(away, span)
        turned = np.floor(away / span) % 2 == 1
        return border(np.where(turned, span - extra, extra) + low)

    return {"zeros": lambda place: place, "border": border, "reflection": reflection}[mode]


def _nearest(place: Array, pad: Pad) -> list[tuple[Array, Any]]:
    return [(np.rint(pad(place)), 1)]


def _linear(place: Array, pad: Pad) -> list[tuple[Array, Any]]:
    place = pad(place)
    first = np.floor(place)
    share = place - first
    return [(first, 1 - share), (first + 1, share)]


def _cubic(place: Array, pad: Pad) -> list[tuple[Array, Any]]:
    first = np.floor(place)
    share = place - first
    shares = (cubic.far(share + 1), cubic.near(share), cubic.near(1 - share), cubic.far(2 - share))
    return [(pad(first + step), each) for step, each in zip((-1, 0, 1, 2), shares, strict=True)]


_TAPS: Final = {"linear": _linear, "nearest": _nearest, "cubic": _cubic}
