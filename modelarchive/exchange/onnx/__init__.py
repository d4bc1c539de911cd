"""ONNX: models read and written byte by byte, without the onnx package."""

from __future__ import annotations

from modelarchive.exchange.onnx.lifting import OPERATORS
from modelarchive.exchange.onnx.lowering import LOWERINGS
from modelarchive.exchange.onnx.reading import read
from modelarchive.exchange.onnx.writing import write
from modelarchive.exchange.rows import Support

__all__ = ["read", "support", "write"]


def support() -> list[Support]:
    """Every operator that is read, and whether it is written; then every kind and op that is written."""
    there = {"Constant", *(name for row in LOWERINGS.values() for name in row.names)}
    reading = [
        Support(row.name, row.ours, read=True, written=row.name in there, losses=row.losses)
        for row in sorted(OPERATORS.values(), key=lambda row: row.name)
    ]
    writing = [
        Support(", ".join(row.names), word, read=False, written=True, losses=row.losses)
        for word, row in LOWERINGS.items()
    ]
    return [*reading, *writing, Support("Constant", "constant", read=False, written=True)]
