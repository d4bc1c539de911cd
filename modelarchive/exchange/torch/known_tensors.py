"""Tensors that are known by what they are and not by their values."""

from __future__ import annotations

import weakref
from typing import Any

import torch


class KnownTensors:
    """Tensors that were added, as long as they live."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def add(self, found: Any) -> None:
        """Add a tensor, or those in a row."""
        for each in found if isinstance(found, tuple | list) else [found]:
            if isinstance(each, torch.Tensor):
                self._known[id(each)] = weakref.ref(each)

    def __contains__(self, tensor: Any) -> bool:
        """Whether a tensor was added."""
        known = self._known.get(id(tensor))
        return known is not None and known() is tensor
