"""Save, load and convert models: the native archive or the right exchange, by an object's type or a file's content."""

from modelarchive.models.converting import convert
from modelarchive.models.loading import load, load_model
from modelarchive.models.reading import read
from modelarchive.models.saving import save_model

__all__ = ["convert", "load", "load_model", "read", "save_model"]
