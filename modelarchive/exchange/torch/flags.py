"""Flags and counters that a module keeps in buffers of one element: what it decides by them is decided as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes


def flags_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The buffers of one element, by name, which have memory."""
    found = network.named_buffers()
    return {name: each for name, each in found if each.numel() == 1 and not each.is_meta and each.device.type == "cpu"}


def constants_of(network: torch.nn.Module) -> dict[str, int]:
    """The whole numbers that a module keeps in buffers without axes which are not in its state, by name."""
    found = {}
    for name, each in flags_of(network).items():
        where, _, own = name.rpartition(".")
        is_number = not each.ndim and each.dtype in (torch.int32, torch.int64)
        if is_number and own in network.get_submodule(where)._non_persistent_buffers_set:
            found[name] = int(each)
    return found


class Flags:
    """Follows flags through a forward that runs without values.

    Args:
        network: The module, whose tensors have no values now.
        values: Its flags, with values.
        decided: The names of those that something was decided by; those that are found are added.
    """

    def __init__(self, network: torch.nn.Module, values: Mapping[str, torch.Tensor], decided: dict[str, None]) -> None:
        self._decided = decided
        #: ``id`` -> the tensor, what it is, and the flags that it was computed from.
        self._known: dict[int, tuple[torch.Tensor, torch.Tensor, frozenset[str]]] = {}
        for name, each in network.named_buffers():
            if name in values:
                with _disable_current_modes():
                    value = values[name].detach().clone()
                self._known[id(each)] = each, value, frozenset({name})

    def answer(self, function: Any, args: Any, kwargs: Any) -> tuple[bool, Any]:
        """Whether a function gives no tensor but what Python decides by, of flags alone; and what it gives."""
        found = self._computed(function, args, kwargs)
        if found is None or isinstance(found[0], torch.Tensor | tuple):
            return False, None
        self._decided.update(dict.fromkeys(sorted(found[1])))
        return True, found[0]

    def followed(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run a function, and know what it gives of flags alone, and what it writes into them."""
        known = [each for each in pytree.tree_leaves((args, kwargs)) if id(each) in self._known]
        versions = [each._version for each in known]
        result = function(*args, **kwargs)
        written = [each for each, version in zip(known, versions, strict=True) if each._version != version]
        gives_one = isinstance(result, torch.Tensor) and result.numel() == 1
        found = self._computed(function, args, kwargs) if written or (known and gives_one) else None
        if found is None:
            for each in written:  # of something that has no value
                del self._known[id(each)]
        elif gives_one and isinstance(found[0], torch.Tensor):
            self._known[id(result)] = result, *found
        return result

    def _computed(self, function: Any, args: Any, kwargs: Any) -> tuple[Any, frozenset[str]] | None:
        tensors = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        if not tensors or not all(id(each) in self._known for each in tensors):
            return None
        names = frozenset[str]().union(*(self._known[id(each)][2] for each in tensors))
        with _disable_current_modes():
            given, more = pytree.tree_map_only(torch.Tensor, lambda each: self._known[id(each)][1], (args, kwargs))
            try:
                return function(*given, **more), names
            except (RuntimeError, TypeError, ValueError):  # what it raises it raises without values, too
                return None
