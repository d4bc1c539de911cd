"""Keras: `.keras`, `.weights.h5` and `.h5` files read without Keras, models built and written by Keras itself."""

from __future__ import annotations

from modelarchive.exchange.keras.assigning import arrays_of, fitting, parameters_of, remarks_on_freezing
from modelarchive.exchange.keras.lifting import LAYERS, OPERATIONS
from modelarchive.exchange.keras.live import read_model
from modelarchive.exchange.keras.reading import bundle_of_config, read
from modelarchive.exchange.keras.writing import build_model, write
from modelarchive.exchange.rows import Support

__all__ = [
    "arrays_of",
    "build_model",
    "bundle_of_config",
    "fitting",
    "parameters_of",
    "read",
    "read_model",
    "remarks_on_freezing",
    "support",
    "write",
]


def support() -> list[Support]:
    """Every layer and operation of Keras that is read or written."""
    from modelarchive.exchange.keras.exporting import losses, written

    there = {theirs for several in written().values() for theirs in several}
    lost = losses()
    rows = [
        Support(prefix + name, row.ours, True, name in there, _told(row.losses, lost.get(name, "")))
        for prefix, table in (("", LAYERS), ("ops: ", OPERATIONS))
        for name, row in table.items()
    ]
    known = {*LAYERS, *OPERATIONS}
    ours = {name: word for word, several in written().items() for name in several}
    return rows + [
        Support(name, ours[name], False, True, _told("", lost.get(name, ""))) for name in sorted(there - known)
    ]


def _told(reading: str, writing: str) -> str:
    return "; ".join(filter(None, [reading, writing and f"written: {writing}"]))
