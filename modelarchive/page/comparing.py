"""What changed between two files, for the page that shows both."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from modelarchive import compare
from modelarchive.models.content import Content
from modelarchive.page.thumbnails import heights
from modelarchive.statistics import statistics

#: Characters of a value that changed.
_LONGEST: Final = 200
#: Numbers of two arrays that are compared together.
_PIECE: Final = 1 << 18


def changes(first: Content, second: Content) -> dict[str, Any]:
    """What differs, as `modelarchive diff` finds it; of each changed array how far, and where."""
    # What is damaged stands on the page already.
    sides = (replace(each.side(), damaged=lambda names: {}) for each in (first, second))
    found = compare.diff(*sides)
    arrays: dict[str, dict[str, Any]] = {name: _change(first, second, name) for name in found.changed}
    arrays |= {name: {"state": "replaced", "said": f"{a} → {b}"} for name, (a, b) in found.reshaped.items()}
    arrays |= {name: {"state": "removed"} for name in found.only_a} | {
        name: {"state": "added"} for name in found.only_b
    }
    return {
        "equal": len(found.equal),
        "arrays": arrays,
        "architecture": [_values(each) for each in found.architecture],
        "metadata": [_values(each) for each in found.metadata],
    }


def _values(change: compare.Change) -> list[str]:
    texts = (
        repr(each) if each is compare.ABSENT else json.dumps(each, ensure_ascii=False, default=str)
        for each in (change.a, change.b)
    )
    return [change.where or "(whole)", *(text[:_LONGEST] + ("…" if len(text) > _LONGEST else "") for text in texts)]


def _change(first: Content, second: Content, name: str) -> dict[str, Any]:
    """The norm of the difference, relative to that of the first, and how the difference is distributed."""
    record: dict[str, Any] = {"state": "changed"}
    if name not in first.arrays or name not in second.arrays or not _has_differences(first, second, name):
        return record
    squares = own = 0.0

    def pieces() -> Iterator[np.ndarray]:
        """The differences, one piece in memory; what is summed up on the way is known afterwards."""
        nonlocal squares, own
        for before, difference in differences(first.arrays[name], second.arrays[name]):
            squares, own = squares + square(difference), own + square(before)
            yield difference.astype(np.float32)

    spread = statistics(pieces(), first.arrays[name].size)
    record["relative"] = f"{math.sqrt(squares / own):.4g}" if own else "inf"
    if spread is not None and spread.histogram is not None:
        record |= {"least": f"{spread.least:.4g}", "greatest": f"{spread.greatest:.4g}"}
        record["histogram"] = heights(spread.histogram.counts)
    return record


def _has_differences(first: Content, second: Content, name: str) -> bool:
    ours, theirs = first.arrays[name], second.arrays[name]
    return ours.dtype.kind in "biufV" and theirs.dtype.kind in "biufV" and ours.size == theirs.size


def differences(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Two arrays of as many real numbers, piece by piece: the first, and what the second has more, in float64."""
    ours, theirs = first.reshape(-1), second.reshape(-1)
    for start in range(0, ours.size, _PIECE):
        before = ours[start : start + _PIECE].astype(np.float64)
        with np.errstate(all="ignore"):
            difference = theirs[start : start + _PIECE].astype(np.float64) - before
        yield before, difference


def square(numbers: np.ndarray) -> float:
    """The sum of the squares of what is finite."""
    with np.errstate(over="ignore"):
        return float(np.square(numbers[np.isfinite(numbers)]).sum())
