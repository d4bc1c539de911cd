"""What a forward does where rows are chosen (``if mask.any():``, ``for place in mask.nonzero():``).

It is taken for so, and compared where it is not.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
#: What gives the places of what is true, and what gives the same ones in another shape.
_PLACES: Final = frozenset({torch.nonzero, torch.Tensor.nonzero, torch.argwhere, torch.Tensor.argwhere, torch.where})
_NUMBERS: Final = frozenset(
    {torch.Tensor.numel, torch.numel, torch.Tensor.__len__, torch.Tensor.size,
     torch.Tensor.shape.__get__}
)  # fmt: skip


class _Places:
    """Knows tensors that are the places at which a row of truths is true."""

    def __init__(self) -> None:
        self._masks: dict[int, tuple[Any, torch.Tensor]] = {}

    def follow(self, func: Any, args: Any, found: Any) -> None:
        """Remember the places that a call gives."""
        given = args[0] if args else None
        if not isinstance(given, torch.Tensor):
            return
        if func in _PLACES and len(args) == 1 and given.ndim == 1 and type(given.shape[0]) is int:
            mask, each = given, found[0] if isinstance(found, tuple) else found
        elif (func in _SAME_ROWS or _is_column(func, args)) and isinstance(found, torch.Tensor):
            mask, each = self.mask(given), found
        else:
            return
        if mask is not None and _shape_behind(each) in ((), (1,)):
            self._masks[id(each)] = weakref.ref(each), mask

    def mask(self, tensor: Any) -> Any:
        """The truths of which a tensor says the places; None: it does not."""
        known, mask = self._masks.get(id(tensor), (None, None))
        return mask if known is not None and known() is tensor else None


class _Listed(list[Any]):
    """A list that is gone through as something says."""

    def __init__(self, items: Iterable[Any], through: Callable[[Sequence[Any]], Iterator[Any]]) -> None:
        super().__init__(items)
        self._through = through

    def __iter__(self) -> Iterator[Any]:
        return self._through(tuple(super().__iter__()))


def _is_column(func: Any, args: Any) -> bool:
    """Whether a call takes the first column."""
    if func is not torch.Tensor.__getitem__ or not isinstance(args[1], tuple) or len(args[1]) != 2:
        return False
    rows, column = args[1]
    return isinstance(rows, slice) and rows == slice(None) and type(column) is int and column == 0


def _shape_behind(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The sizes behind the first, None for those that are not fixed."""
    return tuple(each if type(each) is int else None for each in tensor.shape[1:])


@contextlib.contextmanager
def _iterated(each: Callable[[torch.Tensor], Iterator[Any] | None]) -> Iterator[None]:
    """Python goes through a tensor in another way; where that is None as ever."""
    plain = torch.Tensor.__iter__

    def iterate(tensor: torch.Tensor) -> Iterator[Any]:
        found = each(tensor)
        return plain(tensor) if found is None else found

    try:
        torch.Tensor.__iter__ = iterate
        yield
    finally:
        torch.Tensor.__iter__ = plain


class Assumed:
    """What was taken for true while a module was exported.

    Attributes:
        number: How many truths were.
    """

    def __init__(self) -> None:
        self.number = 0
        self._any = KnownTensors()
        self._places = _Places()
        self._is_inside = False

    def follow(self, func: Any, args: Any, found: Any) -> Any:
        """Remember what says whether any row is chosen, and which."""
        if func in _ANY:
            self._any.add(found)
        self._places.follow(func, args, found)
        return found

    def every(self, places: torch.Tensor) -> Iterator[torch.Tensor] | None:
        """All places that may be true, one by one, of those that are; None: it is not known which may be.

        Whether rows are chosen at one is not counted again in what is done with it.
        """
        numbers = self.listed(places)
        return None if numbers is None else map(torch.tensor, numbers)

    def listed(self, places: torch.Tensor) -> list[Any] | None:
        """The same in a list of numbers."""
        mask = self._places.mask(places)
        if mask is None or self._is_inside:
            return None
        return _Listed((number if places.ndim == 1 else [number] for number in range(mask.shape[0])), self._each)

    def _each(self, items: Sequence[Any]) -> Iterator[Any]:
        self.number += len(items)
        self._is_inside = True
        try:
            yield from items
        finally:
            self._is_inside = False

    def answers(self, tensor: torch.Tensor) -> bool:
        """Whether a truth is taken for true, which is counted."""
        if tensor not in self._any:
            return False
        self.number += not self._is_inside
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
        self.number += not self._is_inside
        return bool(several[0])


@contextlib.contextmanager
def numbers_answered(assumed: Assumed | None) -> Iterator[None]:
    """Comparisons of the number of chosen rows say what they do where there are some, and all places are gone through.

    Args:
        assumed: What is taken for true; None: nothing is.
    """
    plain = torch.SymBool.__bool__

    def answered(truth: torch.SymBool) -> bool:
        found = None if assumed is None else assumed.of_number(truth)
        return plain(truth) if found is None else found

    try:
        torch.SymBool.__bool__ = answered
        with contextlib.nullcontext() if assumed is None else _iterated(assumed.every):
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
        self._places = _Places()
        self._is_inside = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch."""
        found = func(*args, **(kwargs or {}))
        self._places.follow(func, args, found)
        if func is torch.Tensor.tolist and self._is_open(args[0]):
            return _Listed(found, lambda items: self._each(args[0], items))
        if func in _ANY:
            self._any.add(found)
        elif func in _TRUTHS and args[0] in self._any:
            self._note([bool(found)])
        elif func in _NUMBERS and args[0] in self._rows:
            self._note([bool(args[0].numel())])
        elif self._gives_rows(func, args, kwargs or {}):
            self._rows.add(found)
        return found

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While a module runs."""
        with self, _iterated(self.gone_through):
            yield

    def gone_through(self, places: torch.Tensor) -> Iterator[torch.Tensor] | None:
        """The places that are true, one by one; None: the tensor is no such."""
        return self._each(places, places.unbind(0)) if self._is_open(places) else None

    def _is_open(self, places: torch.Tensor) -> bool:
        return self._places.mask(places) is not None and not self._is_inside

    def _each(self, places: torch.Tensor, items: Sequence[Any]) -> Iterator[Any]:
        self._note([bool(each) for each in self._places.mask(places).unbind(0)])
        self._is_inside = True
        try:
            yield from items
        finally:
            self._is_inside = False

    def _note(self, truths: list[bool]) -> None:
        self.truths += [] if self._is_inside else truths

    def _gives_rows(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> bool:
        if func in _CHOOSING or (func is torch.where and len(args) + len(kwargs) == 1):
            return True
        if func is torch.Tensor.__getitem__ and _is_mask(args[1]):
            return True
        return (func in _SAME_ROWS or func is torch.Tensor.__getitem__) and args[0] in self._rows


def _is_mask(index: Any) -> bool:
    several = index if isinstance(index, tuple) else (index,)
    return any(isinstance(each, torch.Tensor) and each.dtype == torch.bool for each in several)
