"""Which tensors' memory is written: seen before it is, so that it can be given the values from before."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Writes(TorchDispatchMode):
    """Copies the memory of known tensors before it is written for the first time; nothing is copied else.

    Args:
        tensors: The tensors, which have memory.
    """

    #: Operators that call others (of exported programs, say) are let through to those.
    supports_higher_order_operators = True

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        super().__init__()
        self._known = {address for each in tensors if (address := _address(each))}
        self._copies: dict[int, tuple[Any, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of PyTorch, after what it will write was copied."""
        for each in _written(func, args, kwargs or {}):
            address = _address(each)
            if address in self._known and address not in self._copies:
                storage = each.untyped_storage()
                self._copies[address] = (storage, storage.clone())
        return func(*args, **(kwargs or {}))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: skipping would import PyTorch's compiler, which takes longer than everything here."""
        return False

    def changed(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor's memory was written since."""
        return _address(tensor) in self._copies

    def undo(self) -> None:
        """Give everything that was written the values it had."""
        for storage, copy in self._copies.values():
            storage.copy_(copy)
        self._copies.clear()


def _address(tensor: torch.Tensor) -> int:
    """Where a tensor's memory begins; 0: it has none of its own."""
    return tensor.untyped_storage().data_ptr() if is_plain(tensor) else 0


def is_plain(value: Any) -> bool:
    """Whether it is a tensor with memory of its own, not one that stands for others or for none."""
    return (
        type(value) in (torch.Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", torch.nn.Parameter))
        and value.layout is torch.strided
        and not value.is_meta
    )


@functools.cache
def _arguments(func: Any) -> tuple[tuple[str, ...], frozenset[str]]:
    """The names of a function's arguments, and of those that it writes."""
    arguments = func._schema.arguments if hasattr(func, "_schema") else ()
    written = frozenset(each.name for each in arguments if each.alias_info is not None and each.alias_info.is_write)
    return tuple(each.name for each in arguments), written


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    names, written = _arguments(func)
    if not written and "running_mean" not in names:
        return
    given = dict(zip(names, args, strict=False)) | kwargs
    if given.get("training", given.get("use_input_stats")):  # what no schema says of them
        written |= {"running_mean", "running_var"}
    for name in written & given.keys():
        values = given[name] if isinstance(given[name], list | tuple) else [given[name]]
        yield from (each for each in values if torch.is_tensor(each))
