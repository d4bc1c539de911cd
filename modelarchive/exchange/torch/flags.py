"""Tensors whose values are known while a module runs without values: what it decides by them is decided as they are.

Those are tensors that are not in its state, as an attribute or a buffer, and flags, counters and numbers that are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch.utils._python_dispatch import _disable_current_modes

#: Elements of a tensor at most.
_MOST: Final = 4096
#: What Python takes for a truth.
_TRUTHS: Final = frozenset(
    {torch.Tensor.__bool__, torch.Tensor.is_nonzero, torch.is_nonzero, torch.equal, torch.Tensor.equal,
     torch.allclose, torch.Tensor.allclose}
)  # fmt: skip
#: What gives Python a value to decide by.
_DECIDING: Final = frozenset(
    {*_TRUTHS, torch.Tensor.item, torch.Tensor.__int__, torch.Tensor.__float__, torch.Tensor.__index__,
     torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__array__}
)  # fmt: skip
#: What gives as many elements as values say.
_OF_A_SIZE: Final = frozenset(
    {getattr(where, name) for where in (torch, torch.Tensor) for name in
     ("argwhere", "bincount", "masked_select", "nonzero", "repeat_interleave", "unique", "unique_consecutive", "where")
     if hasattr(where, name)} | {torch.Tensor.__getitem__}
)  # fmt: skip

#: What chooses elements by a mask as its second argument.
_SELECTING: Final = frozenset({torch.masked_select, torch.Tensor.masked_select})
_BY_MASKS: Final = _SELECTING | {torch.Tensor.__getitem__, torch.Tensor.__setitem__}

_WRITING: Final = frozenset(
    {"__set__", "__setitem__", "__iadd__", "__isub__", "__imul__", "__idiv__", "__itruediv__", "__ifloordiv__",
     "__imod__", "__ipow__", "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"}
)  # fmt: skip

#: What makes a tensor of numbers.
_MAKING: Final = frozenset({torch.arange, torch.eye, torch.full, torch.linspace, torch.ones, torch.tensor, torch.zeros})
_OF_SIZES: Final = (torch.SymInt, torch.SymFloat, torch.SymBool)
_PLAIN: Final = (bool, int, float, str, torch.dtype, torch.device, torch.layout)


def constants_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The small buffers that are not in a module's state, by name."""
    return {name: each for name, each in _small(network.named_buffers()) if not _is_state(network, name)}


def flags_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The small parameters, and buffers of a module's state, by name."""
    found = {name: each for name, each in _small(network.named_buffers()) if _is_state(network, name)}
    return {**found, **dict(_small(network.named_parameters()))}


def _small(named: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, each) for name, each in named if _has_values(each) and each.numel() <= _MOST)


def _is_state(network: torch.nn.Module, name: str) -> bool:
    where, _, own = name.rpartition(".")
    return own not in network.get_submodule(where)._non_persistent_buffers_set


def _has_values(tensor: torch.Tensor) -> bool:
    return not tensor.is_meta and tensor.device.type == "cpu" and tensor.layout is torch.strided


def _is_constant(value: Any) -> bool:
    """Whether a tensor is none of those that an export gives a module in the place of its state and inputs."""
    return (
        type(value) is torch.Tensor
        and _has_values(value)
        and value.numel() <= _MOST
        and not torch._C._functorch.is_functorch_wrapped_tensor(value)
    )


class _Known(NamedTuple):
    """A tensor whose value is known as long as its version, which its views share, is this one.

    Attributes:
        tensor: The tensor.
        version: The version.
        value: What it is; None: that is not known any more.
        names: The flags that it was computed from.
    """

    tensor: torch.Tensor
    version: int
    value: torch.Tensor | None
    names: frozenset[str]


class _Computed(NamedTuple):
    """What a function gives of known values, and the flags that it depends on."""

    result: Any
    names: frozenset[str]


class Flags:
    """Follows them through a forward that runs without values.

    Args:
        network: The module, whose tensors have no values now.
        constants: Buffers that are not in its state, by name, with values.
        flags: What is in its state.
        decided: Names of flags that something was decided by; those that are found are added.
        is_lax: Whether all truths of flags are answered, not those of buffers of one element only.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        constants: Mapping[str, torch.Tensor],
        flags: Mapping[str, torch.Tensor],
        decided: dict[str, None],
        *,
        is_lax: bool = False,
    ) -> None:
        self._decided = decided
        self._is_lax = is_lax
        is_open = {name for name, each in flags.items() if each.numel() > 1 or isinstance(each, torch.nn.Parameter)}
        self._unanswered = frozenset[str]() if is_lax else is_open
        self._known: dict[int, _Known] = {}
        values = {**constants, **flags}
        for name, each in (*network.named_buffers(), *network.named_parameters()):
            if name in values:
                with _disable_current_modes():
                    value = values[name].detach().clone()
                self._know(each, value, frozenset({name} & flags.keys()))

    def answer(self, function: Any, args: Any, kwargs: Any) -> tuple[bool, Any]:
        """Whether a function gives what Python decides by, of known values alone; and what it gives."""
        if function not in _DECIDING:
            return False, None
        found = self._computed(function, args, kwargs)
        if found is None or isinstance(found.result, torch.Tensor):
            return False, None
        is_truth = function in _TRUTHS or type(found.result) is bool
        if is_truth and not found.names.isdisjoint(self._unanswered):
            return False, None
        self._decided.update(dict.fromkeys(sorted(found.names)))
        return True, found.result

    def followed(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run a function, and know what it gives of known values alone, and what it writes into them."""
        # Operators are PyTorch's own, while it records; within vmap, say, no tensor is what it seems.
        if isinstance(function, torch._ops.OpOverload) or torch._C._functorch.peek_interpreter_stack() is not None:
            return function(*args, **kwargs)
        given = list(_tensors((args, kwargs)))
        known = [each for each in given if self._value(each) is not None]
        if not known:
            result = function(*args, **kwargs)
            if function in _MAKING and not given:
                self._made(result, function, args, kwargs)
            return result
        if len(known) == len(given) and function in _OF_A_SIZE and (folded := self._folded(function, args, kwargs)):
            return folded[0]
        if function in _BY_MASKS and (placed := self._placed(function, args, kwargs)):
            function, args, kwargs = placed
        if not _writes(function, kwargs):
            result = function(*args, **kwargs)
            found = self._computed(function, args, kwargs) if any(map(_is_small, _tensors(result))) else None
        else:  # whose version tells afterwards that it is not what was known
            found = self._computed(function, args, kwargs)
            result = function(*args, **kwargs)
            self._rewrite(known, None if found is None else found.names)
        if found is not None:
            for one, value in _pairs(result, found.result):
                self._know(one, value, found.names)
        return result

    def value(self, tensor: Any, *, most: int = _MOST) -> torch.Tensor | None:
        """What a tensor is, by which something is decided; None: that is not known, or it is longer than `most`."""
        if not isinstance(tensor, torch.Tensor) or self._value(tensor) is None:
            return None
        known = self._known[id(tensor)]
        if known.value is None or max(known.value.shape, default=0) > most:
            return None
        self._decided.update(dict.fromkeys(sorted(known.names)))
        return known.value

    def _made(self, result: Any, function: Any, args: Any, kwargs: Any) -> None:
        """Know what a function has made of numbers."""
        plain = all(each is None or isinstance(each, _PLAIN) for each in _leaves((args, kwargs)))
        if plain and isinstance(result, torch.Tensor) and result.device.type == "cpu" and _is_small(result):
            with _disable_current_modes(), torch._C.DisableTorchFunction():
                self._know(result, function(*args, **kwargs), frozenset())

    def _know(self, tensor: torch.Tensor, value: torch.Tensor, names: frozenset[str]) -> None:
        if value.numel() <= _MOST:
            self._known[id(tensor)] = _Known(tensor, _version(tensor), value, names)

    def _value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        if id(tensor) not in self._known:
            if not _is_constant(tensor):
                return None
            with _disable_current_modes():
                self._know(tensor, tensor.detach().clone(), frozenset())
        known = self._known[id(tensor)]
        return known.value if known.version == _version(tensor) else None

    def _rewrite(self, written: Sequence[torch.Tensor], names: frozenset[str] | None) -> None:
        """What shares memory with tensors has other values now, of some flags more; None: they are not known."""
        memory = {_memory(each) for tensor in written if (each := self._known[id(tensor)].value) is not None}
        for key, (tensor, _, value, own) in self._known.items():
            if value is not None and _memory(value) in memory:
                now = (None, own) if names is None else (value, own | names)
                self._known[key] = _Known(tensor, _version(tensor), *now)

    def _folded(self, function: Any, args: Any, kwargs: Any) -> tuple[Any] | None:
        """What gives as many elements as values say, as a constant; None: it does not, or they are of the state."""
        if function is torch.Tensor.__getitem__ and not any(each.dtype is torch.bool for each in _tensors(args[1:])):
            return None
        found = self._computed(function, args, kwargs)
        if found is None or not isinstance(found.result, torch.Tensor | tuple):
            return None
        # What a mask chooses of the state is not what it is now: where it chooses is.
        is_known = not found.names if function in _BY_MASKS else self._takes(found.names)
        return (found.result,) if is_known else None

    def _takes(self, names: frozenset[str]) -> bool:
        """Whether as many elements are taken as flags say now, which decide then."""
        if not self._is_lax:
            return not names
        self._decided.update(dict.fromkeys(sorted(names)))
        return True

    def _placed(self, function: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any] | None:
        """A choice by masks of flags as one by places, whose number is known; None: it is by others."""
        if function in _SELECTING:
            x, mask = (*args, *kwargs.values())[:2]
            places = self._places(mask)
            # A mask of other axes than the last ones would be repeated along them.
            if places is None or not _meets(x.shape, mask.shape):
                return None
            return _selected, (x, places), {}
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        found = [self._places(each) for each in index]
        if not any(found):
            return None
        parts = (one or (each,) for one, each in zip(found, index, strict=True))
        return function, (args[0], tuple(part for each in parts for part in each), *args[2:]), kwargs

    def _places(self, mask: Any) -> tuple[torch.Tensor, ...] | None:
        """The places that a mask of flags chooses, an axis each; None: it is none, or not known."""
        if not isinstance(mask, torch.Tensor) or mask.dtype not in (torch.bool, torch.uint8) or not mask.ndim:
            return None
        value = self._value(mask)
        names = self._known[id(mask)].names if value is not None else None
        if value is None or not names or not self._takes(names):
            return None
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return tuple(torch.nonzero(value).unbind(1))

    def _computed(self, function: Any, args: Any, kwargs: Any) -> _Computed | None:
        """What a function gives; None: it is not known."""
        leaves = list(_leaves((args, kwargs)))
        tensors = [each for each in leaves if isinstance(each, torch.Tensor)]
        if not tensors or any(self._value(each) is None for each in tensors):
            return None
        if any(isinstance(each, _OF_SIZES) for each in leaves):
            return None
        names = frozenset[str]().union(*(self._known[id(each)].names for each in tensors))
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            before = torch.get_rng_state()
            given, more = self._given(tuple(args)), self._given(dict(kwargs))
            try:
                found = function(*given, **more)
            except Exception:  # what it raises it raises without values, too
                return None
            if not torch.equal(before, torch.get_rng_state()):
                torch.set_rng_state(before)
                return None
            return _Computed(found, names)

    def _given(self, value: Any) -> Any:
        """What a function is given, of tensors with values."""
        if isinstance(value, torch.Tensor):
            return self._known[id(value)].value
        if isinstance(value, slice):
            return slice(*map(self._given, (value.start, value.stop, value.step)))
        if type(value) in (tuple, list):
            return type(value)(map(self._given, value))
        return {key: self._given(each) for key, each in value.items()} if type(value) is dict else value


def _meets(shape: Sequence[Any], mask: Sequence[Any]) -> bool:
    """Whether a mask is as long as an array along each of its last axes."""
    last = shape[-len(mask) :]
    return len(last) == len(mask) and all(
        type(size) is int and size == each for size, each in zip(last, mask, strict=True)
    )


def _selected(x: torch.Tensor, places: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return x[(..., *places)].reshape(-1)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    elif isinstance(value, slice):
        yield from _leaves((value.start, value.stop, value.step))
    else:
        yield value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    return (each for each in _leaves(value) if isinstance(each, torch.Tensor))


def _pairs(result: Any, found: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The tensors of a result with what they are."""
    if isinstance(result, torch.Tensor) and isinstance(found, torch.Tensor):
        yield result, found
    elif isinstance(result, tuple | list) and isinstance(found, tuple | list) and len(result) == len(found):
        for one, other in zip(result, found, strict=True):
            yield from _pairs(one, other)


def _writes(function: Any, kwargs: Any) -> bool:
    """Whether a function writes into what it is given, by its name."""
    name = getattr(function, "__name__", "")
    return "out" in kwargs or name in _WRITING or (name.endswith("_") and not name.endswith("__"))


def _is_small(tensor: torch.Tensor) -> bool:
    """Whether it has few elements, as many as everybody knows."""
    return all(type(size) is int for size in tensor.shape) and tensor.numel() <= _MOST


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())
