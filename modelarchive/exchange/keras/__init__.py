"""Keras: `.keras`, `.weights.h5` and `.h5` files read without Keras, models built and written by Keras itself."""

from __future__ import annotations

from dataclasses import replace

from modelarchive.exchange import rows
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
    """Every layer and operation of Keras that is read, and whether it is written; then what is written as others."""
    from modelarchive.exchange.keras.lowering import LOWERINGS

    layers, operations = (list(dict.fromkeys(table.values())) for table in (LAYERS, OPERATIONS))
    found = rows.support([*layers, *operations], LOWERINGS)
    of_ops = range(len(layers), len(layers) + len(operations))
    return [replace(row, theirs=f"ops: {row.theirs}") if at in of_ops else row for at, row in enumerate(found)]
