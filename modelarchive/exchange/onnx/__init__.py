"""ONNX: models read and written byte by byte, without the onnx package."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from modelarchive.exchange import rows
from modelarchive.exchange.rows import Support

if TYPE_CHECKING:
    from modelarchive.exchange.onnx.reading import read
    from modelarchive.exchange.onnx.writing import write

__all__ = ["read", "support", "write"]

#: Imported at their first use: who reads does not wait for what is written, nor the other way round.
_FILES: Final = {"read": "reading", "write": "writing"}


def __getattr__(name: str) -> Any:
    """What is public here, imported at its first use."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)


def support() -> list[Support]:
    """Every operator that is read, and whether it is written; then what is written as others."""
    from modelarchive.exchange.onnx.lifting import LIFTINGS
    from modelarchive.exchange.onnx.lowering import LOWERINGS

    found = rows.support([LIFTINGS[name] for name in sorted(LIFTINGS)], LOWERINGS)
    # Constants are written wherever they are taken, by no row.
    return [replace(each, written=True) if each.theirs == "Constant" else each for each in found]
