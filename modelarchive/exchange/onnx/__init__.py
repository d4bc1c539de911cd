"""ONNX: models read and written byte by byte, without the onnx package."""

from __future__ import annotations

from modelarchive.exchange.onnx.lifting import OPERATORS
from modelarchive.exchange.onnx.reading import read
from modelarchive.exchange.onnx.writing import LOSSES, WRITTEN, write
from modelarchive.exchange.support import Support

__all__ = ["read", "support", "write"]


def support() -> list[Support]:
    """Every operator that is read, and whether it is written; then every kind and op that is written."""
    there = {name for several in WRITTEN.values() for name in several}
    reading = [
        Support(row.name, row.ours, read=True, written=row.name in there, losses=row.losses)
        for row in sorted(OPERATORS.values(), key=lambda row: row.name)
    ]
    writing = [
        Support(", ".join(several), word, read=False, written=True, losses=LOSSES.get(word, ""))
        for word, several in WRITTEN.items()
    ]
    return [*reading, *writing]
