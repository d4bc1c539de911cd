"""The rooms of exchange, and to which of them an object in memory belongs; no framework is imported to tell."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def room(name: str) -> Any:
    """The room of exchange that reads and writes a format or a framework's models."""
    return importlib.import_module(f"modelarchive.exchange.{name}")


def is_keras_model(model: object) -> bool:
    """Whether it is one; Keras is not imported for that: who has a model has imported it."""
    found = getattr(sys.modules.get("keras"), "Model", None)
    return found is not None and isinstance(model, found)


def is_torch_module(model: object) -> bool:
    """Whether it is one; torch is not imported for that: who has a module has imported it."""
    module = getattr(sys.modules.get("torch"), "nn", None)
    return module is not None and isinstance(model, module.Module)


def is_exported_program(model: object) -> bool:
    """Whether it is what ``torch.export.export`` gives, which is no module."""
    found = getattr(sys.modules.get("torch.export"), "ExportedProgram", None)
    return found is not None and isinstance(model, found)
