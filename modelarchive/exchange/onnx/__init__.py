"""ONNX: models read and written byte by byte, without the onnx package."""

from __future__ import annotations

from dataclasses import replace

from modelarchive.exchange import rows
from modelarchive.exchange.onnx.lifting import LIFTINGS
from modelarchive.exchange.onnx.lowering import LOWERINGS
from modelarchive.exchange.onnx.reading import read
from modelarchive.exchange.onnx.writing import write
from modelarchive.exchange.rows import Support

__all__ = ["read", "support", "write"]


def support() -> list[Support]:
    """Every operator that is read, and whether it is written; then what is written as others."""
    found = rows.support([LIFTINGS[name] for name in sorted(LIFTINGS)], LOWERINGS)
    # Constants are written wherever they are taken, by no row.
    return [replace(each, written=True) if each.theirs == "Constant" else each for each in found]
