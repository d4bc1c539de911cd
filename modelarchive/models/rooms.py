"""The rooms of exchange, and of which system an object in memory is a model; no framework is imported to tell."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from modelarchive.formats.systems import SYSTEMS, ModelClass, System, listed


def room(name: str) -> Any:
    """The room of exchange that reads and writes a format or a framework's models."""
    return importlib.import_module(f"modelarchive.exchange.{name}")


def system_of(model: object, *, receiving: bool = False) -> System | None:
    """The system whose model an object in memory is; None: of none, or of none that is imported.

    Where it is one of two systems, as a Keras model on PyTorch is, its own class is of the nearer one.

    Args:
        model: The object.
        receiving: Ask for models only that parameters can be copied into.
    """
    nearest = list(type(model).__mro__)
    found = {
        kind: system
        for system in SYSTEMS.values()
        for each in system.classes
        if (kind := _imported(each)) in nearest and (each.receives or not receiving)
    }
    return found[min(found, key=nearest.index)] if found else None


def systems_of(model: object) -> list[System]:
    """Every system whose model an object in memory is: a Keras model on PyTorch is a module, too."""
    kinds = type(model).__mro__
    return [system for system in SYSTEMS.values() if any(_imported(each) in kinds for each in system.classes)]


def _imported(known: ModelClass) -> Any:
    """The class itself, if somebody has imported it: who has a model has."""
    return getattr(sys.modules.get(known.module), known.name, None)


def expected(*before: str, after: str) -> str:
    """What a network may be, in words: "a Block, a torch.nn.Module or a Bundle"."""
    classes = [
        f"a {each.module}.{each.name}" for system in SYSTEMS.values() for each in system.classes if each.receives
    ]
    return listed([*before, *classes, after], last="or")
