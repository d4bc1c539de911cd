"""One file that is an HDF5 file, a safetensors file and a whole model that rebuilds itself, with no code inside.

Arrays: :func:`save`, :func:`load`. Networks: :mod:`modelarchive.nn`, :func:`save_model`, :func:`load_model`.
Archives as objects: :func:`open`. Parts of networks: :func:`transplant`.
"""

from modelarchive import nn, ops
from modelarchive.archive import Archive, Report, save
from modelarchive.archive import open_archive as open
from modelarchive.errors import (
    ConversionError,
    DeferredShapeError,
    FormatError,
    IntegrityError,
    MissingDependencyError,
    ModelArchiveError,
    ParameterError,
    SpecError,
    UnsafeFileError,
    UnsupportedDataError,
    UnsupportedVersionError,
)
from modelarchive.models import convert, load, load_model, save_model
from modelarchive.spec import build, describe, validate
from modelarchive.store.reader import StaleIndexWarning
from modelarchive.transplant import transplant
from modelarchive.version import VERSION

__version__ = VERSION

__all__ = [
    "Archive",
    "ConversionError",
    "DeferredShapeError",
    "FormatError",
    "IntegrityError",
    "MissingDependencyError",
    "ModelArchiveError",
    "ParameterError",
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
    "nn",
    "open",
    "ops",
    "save",
    "save_model",
    "transplant",
    "validate",
]
