"""Truths that say whether any row is chosen (``if mask.any():``): taken for true, and compared where they are not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.overrides import TorchFunctionMode

from modelarchive.exchange.torch.known_tensors import KnownTensors

_ANY: Final = frozenset({torch.any, torch.Tensor.any})
_TRUTHS: Final = frozenset({torch.Tensor.__bool__, torch.Tensor.item, torch.is_nonzero})
#: What gives rows, or their places.
_CHOOSING: Final = frozenset({torch.nonzero, torch.Tensor.nonzero, torch.masked_select, torch.Tensor.masked_select})
#: What gives the same rows again.
_SAME_ROWS: Final = frozenset(
    {torch.squeeze, torch.Tensor.squeeze, torch.Tensor.view, torch.Tensor.reshape, torch.reshape, torch.flatten,
     torch.Tensor.flatten, torch.Tensor.unbind, torch.unbind}
)  # fmt: skip
_NUMBERS: Final = frozenset(
    {torch.Tensor.numel, torch.numel, torch.Tensor.__len__, torch.Tensor.size,
     torch.Tensor.shape.__get__}
)  # fmt: skip


class Assumed:
    """What was taken for true while a module was exported.

    Attributes:
        number: How many truths were.
    """

    def __init__(self) -> None:
        self.number = 0
        self._any = KnownTensors()

    def follow(self, func: Any, found: Any) -> Any:
        """Remember what says whether any row is chosen."""
        if func in _ANY:
            self._any.add(found)
        return found

    def answers(self, tensor: torch.Tensor) -> bool:
        """Whether a truth is taken for true, which is counted."""
        if tensor not in self._any:
            return False
        self.number += 1
        return True

    def of_number(self, truth: torch.SymBool) -> bool | None:
        """What a comparison of the number of chosen rows says where there are some; None: it is none, or says more."""
        symbols = free_unbacked_symbols(truth)
        if len(symbols) != 1:
            return None
        (symbol,) = symbols
        none, *several = (truth.node.expr.xreplace({symbol: number}) for number in (0, 1, 2, 3, 1000))
        if any(each not in (True, False) for each in (none, *several)) or len(set(several)) > 1 or none == several[0]:
            return None
        self.number += 1
        return bool(several[0])


@contextlib.contextmanager
def numbers_answered(assumed: Assumed | None) -> Iterator[None]:
    """Comparisons of the number of chosen rows say what they do where there are some; None: as PyTorch has it."""
    plain = torch.SymBool.__bool__

    def answered(truth: torch.SymBool) -> bool:
        found = None if assumed is None else assumed.of_number(truth)
        return plain(truth) if found is None else found

    try:
        torch.SymBool.__bool__ = answered
        yield
    finally:
        torch.SymBool.__bool__ = plain


class Observed(TorchFunctionMode):
    """Sees, while a module runs, which of the truths that were taken for true are not.

    Attributes:
        truths: Each that was asked for, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.truths: list[bool] = []
        self._any = KnownTensors()
        self._rows = KnownTensors()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch."""
        found = func(*args, **(kwargs or {}))
        if func in _ANY:
            self._any.add(found)
        elif func in _TRUTHS and args[0] in self._any:
            self.truths.append(bool(found))
        elif func in _NUMBERS and args[0] in self._rows:
            self.truths.append(bool(args[0].numel()))
        elif self._gives_rows(func, args, kwargs or {}):
            self._rows.add(found)
        return found

    def _gives_rows(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> bool:
        if func in _CHOOSING or (func is torch.where and len(args) + len(kwargs) == 1):
            return True
        if func is torch.Tensor.__getitem__ and _is_mask(args[1]):
            return True
        return (func in _SAME_ROWS or func is torch.Tensor.__getitem__) and args[0] in self._rows


def _is_mask(index: Any) -> bool:
    several = index if isinstance(index, tuple) else (index,)
    return any(isinstance(each, torch.Tensor) and each.dtype == torch.bool for each in several)
