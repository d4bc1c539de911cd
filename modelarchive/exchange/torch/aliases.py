"""Constants of a program that lie in the memory of a parameter: they are that parameter, or change with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch


@dataclass
class Aliases:
    """Tells which constants are parameters.

    Attributes:
        state: Name -> parameter or buffer.
        partial: Names of those of which a constant is another view: it stays as it is now.
    """

    state: Mapping[str, torch.Tensor]
    partial: dict[str, None] = field(default_factory=dict)

    def name_of(self, constant: torch.Tensor) -> str | None:
        """The parameter that a constant is; None: it is none."""
        for name in self._names.get(_memory(constant), ()):
            if _view(self.state[name]) == _view(constant):
                return name
            self.partial[name] = None
        return None

    @cached_property
    def _names(self) -> dict[int | None, list[str]]:
        """Where memory begins -> what lies in it; what has none is not there."""
        found: dict[int | None, list[str]] = {}
        for name, tensor in self.state.items():
            if (place := _memory(tensor)) is not None:
                found.setdefault(place, []).append(name)
        return found


def _memory(tensor: torch.Tensor) -> int | None:
    """Where a tensor's memory begins; None: it has none."""
    if tensor.is_meta or tensor.layout is not torch.strided or not tensor.numel():
        return None
    return tensor.untyped_storage().data_ptr() or None


def _view(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
