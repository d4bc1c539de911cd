"""Save, load, convert and transplant models: the native archive, or the right exchange by type or content."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from modelarchive.models.converting import convert
    from modelarchive.models.loading import load, load_model
    from modelarchive.models.reading import read
    from modelarchive.models.saving import save_model
    from modelarchive.models.transplanting import load_parameters, transplant, transplant_file

__all__ = [
    "convert",
    "load",
    "load_model",
    "load_parameters",
    "read",
    "save_model",
    "transplant",
    "transplant_file",
]

#: Imported at their first use: loading an array does not wait for networks.
_FILES: Final = {
    "convert": "converting",
    "load": "loading",
    "load_model": "loading",
    "load_parameters": "transplanting",
    "read": "reading",
    "save_model": "saving",
    "transplant": "transplanting",
    "transplant_file": "transplanting",
}


def __getattr__(name: str) -> Any:
    """What is public here, imported at its first use."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
