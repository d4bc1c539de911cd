"""Small pictures of arrays: heights of a histogram, matrices and kernels as shades, each a letter a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from modelarchive.models.content import Content

#: The letters that say 0 to 63.
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: Rows and columns of a picture.
_SIDE: Final = 20
#: Kernels of a grid along each side, and the longest side that a kernel is drawn with.
_GRID: Final = 4
_KERNEL: Final = 7
#: Bytes of a compressed array that are inflated for a picture.
_MOST_INFLATED: Final = 1 << 26


def heights(counts: Sequence[int]) -> str:
    """Counts as a letter each; what is not 0 is never the lowest."""
    most = max(*counts, 1)
    return "".join(LETTERS[-(-count * 63 // most)] for count in counts)


def drawn(content: Content, name: str) -> dict[str, Any] | None:
    """A matrix thinned out to a few rows and columns, or a grid of kernels; None for what has no two long axes."""
    leaf = content.leaves[name]
    longer = [length for length in leaf.shape if length > 1]
    if len(longer) < 2 or 0 in leaf.shape or leaf.dtype.startswith("complex"):
        return None
    if leaf.compressed is not None and leaf.nbytes > _MOST_INFLATED:
        return None
    picture = _picture(content.arrays[name])
    with np.errstate(all="ignore"):
        values = picture.astype(np.float64)
        good = np.isfinite(values)
        reach = float(np.abs(values[good]).max()) if good.any() else 0.0
        shades = np.where(good, np.round((values / (reach or 1.0) + 1) * 31), -1).astype(int)
    # "!" is no letter: what is not finite.
    text = "".join("!" if each < 0 else LETTERS[min(each, 62)] for each in shades.reshape(-1).tolist())
    return {"width": picture.shape[1], "shades": text}


def _picture(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4 and max(array.shape[2:]) <= _KERNEL and min(array.shape[2:]) > 1:
        return _kernels(array)
    while array.ndim > 2:
        array = array.reshape(array.shape[0], -1)
    rows, columns = (_spread(length) for length in array.shape)
    thinned: np.ndarray = array[np.ix_(rows, columns)]
    return thinned


def _kernels(array: np.ndarray) -> np.ndarray:
    """The first kernels, beside and below each other: those of the first input, then of the next."""
    height, width = array.shape[2:]
    count = min(_GRID * _GRID, array.shape[0] * array.shape[1])
    inputs = -(-count // array.shape[0])
    flat = array[:count, :inputs].swapaxes(0, 1).reshape(-1, height, width)[:count]
    side = math.ceil(math.sqrt(count))
    grid = np.zeros((side * side, height, width), np.float64)
    grid[:count] = flat
    return grid.reshape(side, side, height, width).swapaxes(1, 2).reshape(side * height, side * width)


def _spread(length: int) -> np.ndarray:
    """A few places, evenly over all."""
    return np.unique(np.linspace(0, length - 1, min(_SIDE, length)).astype(int))
