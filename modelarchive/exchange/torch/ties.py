"""Equal elements among which a module takes some: the first ones, where PyTorch does not say which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_TOPK: Final = torch.ops.aten.topk.default
_AT_RANK: Final = torch.ops.aten.kthvalue.default


class FirstOfEqual(TorchDispatchMode):
    """Has ``topk`` and ``kthvalue`` take the first of equal elements, as an archive does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run an operator."""
        named = kwargs or {}
        if func is _TOPK and args[0].ndim:
            return _largest(*args, **named)
        if func is _AT_RANK and args[0].ndim:
            return _at_rank(*args, **named)
        return func(*args, **named)


def _largest(x: torch.Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    places = torch.argsort(x, dim=dim, descending=largest, stable=True).narrow(dim, 0, k)
    return x.gather(dim, places), places


def _at_rank(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    places = torch.argsort(x, dim=dim, stable=True).narrow(dim, k - 1, 1)
    found = x.gather(dim, places), places
    return found if keepdim else tuple(each.squeeze(dim) for each in found)
