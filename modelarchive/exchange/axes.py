"""Axes, and what is taken along them, as other systems' operators ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def several(axis: int | Sequence[int]) -> list[int]:
    """One axis, or some, as a list."""
    return [axis] if isinstance(axis, int) else list(axis)


def added(axis: int | Sequence[int], rank: int) -> list[int]:
    """Where the new axes of an array of `rank` axes are in the result, the first one first."""
    axes = several(axis)
    return sorted(each % (rank + len(axes)) for each in axes)


def channels_first(layout: str) -> list[int] | None:
    """The order of axes that brings the channels of a layout behind the batch; None: they are there."""
    last = len(layout) - 1
    return [0, last, *range(1, last)] if layout[-1] == "C" else None


def channels_last(layout: str) -> list[int] | None:
    """The order of axes that undoes :func:`channels_first`."""
    return [0, *range(2, len(layout)), 1] if layout[-1] == "C" else None


def sliced(index: Sequence[Any]) -> tuple[list[tuple[int, int | None, int | None, int]], list[int], list[int]]:
    """What the index of a slice does.

    Args:
        index: As the op has it: a number, a range ``[start, stop, step]``, or None for a new axis.

    Returns:
        Ranges: axis, start, stop (None: to the end) and step, without those of a whole axis; then the axes that
        numbers drop; then the new axes, where they are in the result.
    """
    ranges: list[tuple[int, int | None, int | None, int]] = []
    dropped: list[int] = []
    new: list[int] = []
    axis = result = 0
    for each in index:
        if each is None:
            new.append(result)
            result += 1
            continue
        if isinstance(each, int):
            ranges.append((axis, each, None if each == -1 else each + 1, 1))
            dropped.append(axis)
        else:
            start, stop, step = each
            if (start, stop, step or 1) != (None, None, 1):
                ranges.append((axis, start, stop, step or 1))
            result += 1
        axis += 1
    return ranges, dropped, new
