"""One file that is an HDF5 file, a safetensors file and a whole model that rebuilds itself, with no code inside.

Arrays: :func:`save`, :func:`load`. Networks: :mod:`modelarchive.nn`, :func:`save_model`, :func:`load_model`.
Archives as objects: :func:`open`. Parts of networks: :func:`transplant`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from modelarchive.version import VERSION

if TYPE_CHECKING:
    from modelarchive import nn, ops
    from modelarchive.architecture.building import build
    from modelarchive.architecture.checking import validate
    from modelarchive.architecture.describing import describe
    from modelarchive.archive import Archive, Report, save, save_stream, verify
    from modelarchive.archive import open_archive as open
    from modelarchive.checkpoints import Checkpoints, DamagedCheckpointWarning
    from modelarchive.errors import (
        CheckpointError,
        ConversionError,
        DeferredShapeError,
        FormatError,
        IntegrityError,
        MissingDependencyError,
        ModelArchiveError,
        OutOfMemoryError,
        ParameterError,
        RemoteError,
        SpecError,
        UnsafeFileError,
        UnsupportedDataError,
        UnsupportedVersionError,
    )
    from modelarchive.models import convert, load, load_model, load_parameters, save_model, transplant
    from modelarchive.store.deferred import Deferred
    from modelarchive.store.guarded.trust import trusted
    from modelarchive.store.opening import StaleIndexWarning

__version__ = VERSION

__all__ = [
    "Archive",
    "CheckpointError",
    "Checkpoints",
    "ConversionError",
    "DamagedCheckpointWarning",
    "Deferred",
    "DeferredShapeError",
    "FormatError",
    "IntegrityError",
    "MissingDependencyError",
    "ModelArchiveError",
    "OutOfMemoryError",
    "ParameterError",
    "RemoteError",
    "Report",
    "SpecError",
    "StaleIndexWarning",
    "UnsafeFileError",
    "UnsupportedDataError",
    "UnsupportedVersionError",
    "build",
    "convert",
    "describe",
    "load",
    "load_model",
    "load_parameters",
    "nn",
    "open",
    "ops",
    "save",
    "save_model",
    "save_stream",
    "transplant",
    "trusted",
    "validate",
    "verify",
]

#: Where each public name comes from, if not from `errors`: it is imported at its first use, so that loading an
#: array does not wait for layers, nor a network for other formats.
_ROOMS: Final = {
    "Archive": "archive",
    "Checkpoints": "checkpoints",
    "DamagedCheckpointWarning": "checkpoints",
    "Deferred": "store.deferred",
    "Report": "archive",
    "StaleIndexWarning": "store.opening",
    "build": "architecture",
    "convert": "models",
    "describe": "architecture",
    "load": "models",
    "load_model": "models",
    "load_parameters": "models",
    "open": "archive",
    "save": "archive",
    "save_model": "models",
    "save_stream": "archive",
    "transplant": "models",
    "trusted": "store.guarded.trust",
    "validate": "architecture",
    "verify": "archive",
}
_NAMES: Final = {"open": "open_archive"}
#: What is reached as an attribute without being imported by its own name.
_MODULES: Final = ("architecture", "archive", "errors", "exchange", "models", "nn", "ops", "zoo")


def __getattr__(name: str) -> Any:
    """A public name, imported at its first use."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = importlib.import_module(f"{__name__}.{_ROOMS.get(name, 'errors')}")
    found = globals()[name] = getattr(room, _NAMES.get(name, name))
    return found


def __dir__() -> list[str]:
    """What is there, imported or not yet."""
    return sorted({*globals(), *__all__})


# The room of this name is imported before the function takes its place here: importing it later would undo that.
importlib.import_module(f"{__name__}.transplant")
globals().pop("transplant")
