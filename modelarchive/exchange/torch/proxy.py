"""Stand-ins for tensors: PyTorch code runs on them, and the table of calls says what each call means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
import torch

from modelarchive.errors import ModelArchiveError
from modelarchive.exchange.torch.tensors import array_of, torch_dtype
from modelarchive.nn.symbol import Symbol


class StopReadingError(ModelArchiveError):
    """A forward cannot go on: it needs the value of something that could not be expressed."""

    def __init__(self) -> None:
        super().__init__("a forward needs a value that is not known")


class CannotError(Exception):
    """Something has no place in the vocabulary; the message says what."""


class Storage:
    """What a value and its views share: how often it was changed in place."""

    def __init__(self) -> None:
        self.version = 0


class Proxy:
    """A tensor of a forward that is being read.

    Changes in place are followed: the changed proxy has the new value, and others of the same memory must not
    be used any more.

    Args:
        symbol: The array in the recording.
        tracing: What resolves calls, see :class:`modelarchive.exchange.torch.tracing.Tracing`.
        storage: The memory of the value that this is a view of.
    """

    def __init__(self, symbol: Any, tracing: Any, storage: Storage | None = None) -> None:
        self._symbol = symbol
        self._tracing = tracing
        self.storage = storage or Storage()
        self._version = self.storage.version

    @property
    def symbol(self) -> Any:
        """The array in the recording.

        Raises:
            CannotError: It was changed through another view of its memory.
        """
        if self._version != self.storage.version:
            raise CannotError("a tensor is used after a view of it was changed in place")
        return self._symbol

    def change(self, symbol: Any) -> Proxy:
        """Give it another value, as a function that works in place does."""
        self.storage.version += 1
        self._symbol, self._version = symbol, self.storage.version
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A function of PyTorch is called with this among its arguments."""
        tracing = next(each._tracing for each in _flat((args, kwargs or {})) if type(each) is Proxy)
        return tracing.call(func, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        """A method or attribute of tensors."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._tracing.attribute(self, name)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape; sizes that are not fixed are no ints."""
        return tuple(self.symbol.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype."""
        return torch_dtype(self.symbol.dtype)

    def __iter__(self) -> Any:
        """The parts along the first axis.

        Raises:
            TypeError: It has none, or one whose size is not fixed.
        """
        if not self.shape or not isinstance(self.shape[0], int):
            raise TypeError("iteration over an axis whose size is not fixed (the batch)")
        return (self[index] for index in range(len(self)))

    def __len__(self) -> int:
        """The size of the first axis."""
        return len(self.symbol)

    def __getitem__(self, index: Any) -> Any:
        """Indexing."""
        return self._tracing.named("getitem", (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        """Refused."""
        self._tracing.tell("x[...] = y changes a part of a tensor in place")
        self.storage.version += 1

    def _decides(self, *args: Any) -> NoReturn:
        self._tracing.tell("a branch, a loop or a Python number depends on the values of a tensor")
        raise StopReadingError

    __bool__ = __int__ = __float__ = __index__ = __contains__ = _decides
    __hash__ = object.__hash__


def _operator(name: str, *, swapped: bool = False) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        args = (others[0], self) if swapped else (self, *others)
        return self._tracing.named(name, args, {})

    return method


def _in_place(name: str) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        return self._tracing.named(name, (self, other), {}, in_place=True)

    return method


for _name, _word in {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "pow": "pow", "matmul": "matmul",
    "and": "logical_and", "or": "logical_or", "floordiv": "floor_divide", "mod": "remainder",
}.items():  # fmt: skip
    setattr(Proxy, f"__{_name}__", _operator(_word))
    setattr(Proxy, f"__r{_name}__", _operator(_word, swapped=True))
    setattr(Proxy, f"__i{_name}__", _in_place(_word))
for _name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "abs"):
    setattr(Proxy, f"__{_name}__", _operator(_name))
setattr(Proxy, "__invert__", _operator("logical_not"))  # noqa: B010, a function here is no method to mypy


class Unknown:
    """Stands for what could not be expressed, so that the rest of a forward is read too.

    Args:
        tracing: What resolves calls, and tells of those that are not in the vocabulary either.
    """

    def __init__(self, tracing: Any) -> None:
        self._tracing = tracing

    def __call__(self, *args: Any, **kwargs: Any) -> Unknown:
        """Unknown again."""
        return self

    def __getattr__(self, name: str) -> Any:
        """Unknown again, to be called if it is a method."""
        if name.startswith("__"):
            raise AttributeError(name)
        # Results by name (of sort, say) are called as methods of sparse tensors are.
        if name not in ("values", "indices") and callable(getattr(torch.Tensor, name, None)):
            self._tracing.knows(name.removesuffix("_"))
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Unknown again."""
        tracing = next(each._tracing for each in _flat((args, kwargs or {})) if isinstance(each, Unknown))
        return tracing.call(func, args, kwargs or {})

    def __setitem__(self, index: Any, value: Any) -> None:
        """Nothing more to tell."""

    def _stops(self, *args: Any) -> NoReturn:
        raise StopReadingError

    __bool__ = __int__ = __float__ = __index__ = __len__ = __iter__ = __contains__ = _stops
    __hash__ = object.__hash__


def _absorb(self: Unknown, *others: Any) -> Unknown:
    return self


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or"):
    for _prefix in ("", "r", "i"):
        setattr(Unknown, f"__{_prefix}{_name}__", _absorb)
for _name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "abs", "invert", "getitem"):
    setattr(Unknown, f"__{_name}__", _absorb)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _flat(item)]
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _flat(item)]
    if isinstance(value, slice):
        return _flat((value.start, value.stop, value.step))
    return [value]


def unknowns(*values: Any) -> list[Unknown]:
    """What is unknown among `values` and inside them."""
    return [each for each in _flat(values) if isinstance(each, Unknown)]


def proxies(*values: Any) -> list[Proxy]:
    """The proxies among `values` and inside them."""
    return [each for each in _flat(values) if type(each) is Proxy]


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """`value` with `function` applied to what is inside its containers."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, function) for item in value))
    if isinstance(value, tuple | list):
        row = [mapped(item, function) for item in value]
        return tuple(row) if isinstance(value, tuple) else row
    if isinstance(value, Mapping):
        items = {key: mapped(item, function) for key, item in value.items()}
        # Dataclasses that are dicts too, as transformers returns them.
        return items if type(value) is dict else type(value)(**items)
    if isinstance(value, slice):
        return slice(*(mapped(item, function) for item in (value.start, value.stop, value.step)))
    return function(value)


def as_array(value: Any) -> Any:
    """A tensor that is no proxy as an array; what is no tensor stays."""
    return array_of(value) if isinstance(value, torch.Tensor) else value


def is_symbol(value: Any) -> bool:
    """Whether the result of a call is an array: of the recording, or a constant."""
    return isinstance(value, Symbol | np.ndarray | np.generic)
