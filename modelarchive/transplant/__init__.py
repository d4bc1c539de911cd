"""Parts of one network into another, in memory or from file to file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelarchive.transplant.files import transplant_file
    from modelarchive.transplant.plan import transplant
    from modelarchive.transplant.report import Transplant

__all__ = ["Transplant", "transplant", "transplant_file"]

_ROOMS = {"Transplant": "report", "transplant": "plan", "transplant_file": "files"}


def __getattr__(name: str) -> Any:
    """What is public here, imported at its first use."""
    import importlib

    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
