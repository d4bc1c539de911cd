"""What the inputs of blocks are called that do what a program says."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch

from modelarchive.exchange.torch.adopting import Adopted
from modelarchive.nn.signature import free_name


def name_inputs(forward: Any, names: Iterable[str]) -> None:
    """Let a function say that its inputs have these names, as far as they are names in Python, and each comes once."""
    taken: set[str] = set()
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(_identifier(name, taken), kind) for name in names]
    forward.__signature__ = inspect.Signature(parameters)


def arguments_of(module: torch.nn.Module) -> list[str]:
    """What a module calls its inputs, as far as it does."""
    if isinstance(module, Adopted):
        return module.names
    try:
        found = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each.name for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]


def _identifier(name: str, taken: set[str]) -> str:
    found = free_name(name.replace("-", "_"), taken)
    return found if found.isidentifier() else free_name(f"x_{found}", taken)
