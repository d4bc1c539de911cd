"""Positions of another length or grid: embeddings of positions, interpolated to the target's shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from modelarchive.ops import cubic

#: How to resize: "bicubic" (a grid), "linear" (a length), "interpolate" (which of them the shapes tell), or
#: ("bicubic", the source's grid, the target's) for grids that are no squares.
How: TypeAlias = str | tuple[str, Sequence[int], Sequence[int]]

METHODS: Final = ("interpolate", "bicubic", "linear")
#: Positions before a grid that are no part of it: a class token, and a distillation token.
_PREFIXES: Final = (0, 1, 2)


@dataclass(frozen=True)
class Resizing:
    """How an array becomes one of another shape.

    Attributes:
        words: What is done, for the report.
        apply: Does it; in float64.
    """

    words: str
    apply: Callable[[np.ndarray], np.ndarray]


def resizing(found: tuple[int, ...], expected: tuple[int, ...], how: How) -> Resizing | str:
    """How to bring an array of the shape `found` to `expected`, or why that cannot be.

    A grid that lies in one axis, row by row, may have positions before it (a class token), which are kept as they
    are. Bicubic is that of ``torch.nn.functional.interpolate(mode="bicubic", align_corners=False)``, by which
    vision transformers are moved to other image sizes; linear is that of ``mode="linear"``.

    Raises:
        ValueError: `how` is no such method.
    """
    method, *grids = how if isinstance(how, tuple | list) else (how,)
    if method not in METHODS or (grids and (method != "bicubic" or len(grids) != 2)):
        methods = ", ".join(map(repr, METHODS))
        raise ValueError(f"resize: {how!r}, expected {methods} or ('bicubic', source grid, target grid)")
    if len(found) != len(expected) or 0 in found or 0 in expected:
        return "has another number of axes"
    axes = [axis for axis, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
    if len(axes) == 2 and axes[1] == axes[0] + 1 and method != "linear" and not grids:
        sizes = (found[axes[0]], found[axes[1]]), (expected[axes[0]], expected[axes[1]])
        return Resizing(_grid_words(*sizes), lambda array: _bicubic(array, axes[0], sizes[1]))
    if len(axes) != 1:
        return f"differs in {len(axes)} axes"
    axis = axes[0]
    before, after = found[axis], expected[axis]
    if method == "linear":
        return _linear(axis, before, after)
    if grids:
        one, other = (tuple(int(size) for size in grid) for grid in grids)
        if len(one) != 2 or len(other) != 2 or before - math.prod(one) != after - math.prod(other):
            return f"of {before} and {after} positions is not a grid {one} and {other} with as many before it"
        kept = before - math.prod(one)
        return f"has fewer positions than the grid {one}" if kept < 0 else _grid(axis, kept, one, other)
    prefixes = [each for each in _PREFIXES if _side(before - each) and _side(after - each)]
    if method == "interpolate" and not prefixes:
        return _linear(axis, before, after)
    if not prefixes:
        return f"of {before} and {after} positions is no square grid: give ('bicubic', source grid, target grid)"
    if method == "interpolate" and len(found) == 2 and not prefixes[0]:
        return f"of {before} and {after} positions may be a grid or a length: say 'bicubic' or 'linear'"
    kept = prefixes[0]
    one, other = ((_side(count - kept),) * 2 for count in (before, after))
    return _grid(axis, kept, one, other)


def _side(count: int) -> int:
    """The side of a square of so many positions; 0 if it is none."""
    side = math.isqrt(count) if count > 0 else 0
    return side if side * side == count else 0


def _grid(axis: int, kept: int, one: tuple[int, ...], other: tuple[int, ...]) -> Resizing:
    def apply(array: np.ndarray) -> np.ndarray:
        before, grid = np.split(array.astype(np.float64), [kept], axis=axis)
        unrolled = grid.reshape(*grid.shape[:axis], *one, *grid.shape[axis + 1 :])
        resized = _bicubic(unrolled, axis, other)
        rolled = resized.reshape(*grid.shape[:axis], math.prod(other), *grid.shape[axis + 1 :])
        return np.concatenate([before, rolled], axis=axis)

    words = _grid_words(one, other) + (f", the first {kept} as they are" if kept else "")
    return Resizing(words, apply)


def _grid_words(one: Sequence[int], other: Sequence[int]) -> str:
    return f"bicubic {one[0]} x {one[1]} to {other[0]} x {other[1]}"


def _linear(axis: int, before: int, after: int) -> Resizing:
    def apply(array: np.ndarray) -> np.ndarray:
        return _along(array.astype(np.float64), axis, _linear_weights(before, after))

    return Resizing(f"linear {before} to {after}", apply)


def _bicubic(array: np.ndarray, axis: int, sizes: Sequence[int]) -> np.ndarray:
    found = array.astype(np.float64)
    for place, size in enumerate(sizes, start=axis):
        found = _along(found, place, _cubic_weights(found.shape[place], size))
    return found


def _along(array: np.ndarray, axis: int, weights: np.ndarray) -> np.ndarray:
    """The axis mapped by a matrix (after, before)."""
    return np.moveaxis(np.tensordot(weights, array, axes=(1, axis)), 0, axis)


def _centres(before: int, after: int) -> np.ndarray:
    """Where the middle of each new position lies among the old ones."""
    return (np.arange(after) + 0.5) * (before / after) - 0.5


def _linear_weights(before: int, after: int) -> np.ndarray:
    centres = _centres(before, after).clip(0)
    return _gathered(centres, (0, 1), lambda distance: 1 - distance, before)


def _cubic_weights(before: int, after: int) -> np.ndarray:
    """By Keys' kernel as PyTorch has it; positions beyond an end are that end's."""

    def kernel(distance: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.where(distance <= 1, cubic.near(distance), cubic.far(distance))
        return found

    return _gathered(_centres(before, after), (-1, 0, 1, 2), kernel, before)


def _gathered(
    centres: np.ndarray, taps: Sequence[int], kernel: Callable[[np.ndarray], np.ndarray], before: int
) -> np.ndarray:
    weights = np.zeros((len(centres), before))
    floors = np.floor(centres).astype(int)
    for tap in taps:
        places = (floors + tap).clip(0, before - 1)
        np.add.at(weights, (np.arange(len(centres)), places), kernel(np.abs(centres - floors - tap)))
    return weights
