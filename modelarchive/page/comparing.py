"""What changed between two files, for the page that shows both."""

from __future__ import annotations

import json
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
    found = compare.diff(first.side(), second.side())
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
    if name not in first.arrays or name not in second.arrays:
        return record
    ours, theirs = (each.arrays[name].reshape(-1) for each in (first, second))
    if ours.dtype.kind not in "biufV" or ours.size != theirs.size:
        return record
    squares = own = 0.0
    pieces = []
    with np.errstate(all="ignore"):
        for start in range(0, ours.size, _PIECE):
            before = ours[start : start + _PIECE].astype(np.float64)
            difference = theirs[start : start + _PIECE].astype(np.float64) - before
            good = np.isfinite(difference)
            squares += float(np.square(difference[good]).sum())
            own += float(np.square(before[np.isfinite(before)]).sum())
            pieces.append(difference.astype(np.float32))
        spread = statistics(pieces, ours.size)
    record["relative"] = f"{np.sqrt(squares / own):.4g}" if own else "inf"
    if spread is not None and spread.histogram is not None:
        record |= {"least": f"{spread.least:.4g}", "greatest": f"{spread.greatest:.4g}"}
        record["histogram"] = heights(spread.histogram.counts)
    return record
