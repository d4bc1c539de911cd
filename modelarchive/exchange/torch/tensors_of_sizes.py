"""Tensors that a forward makes of sizes and computes sizes of (``torch.div(x.shape[1], 2, rounding_mode="floor")``).

To ``torch.export`` they are arrays with values, and a shape made of them would depend on values.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_false, statically_known_true
from torch.overrides import TorchFunctionMode

_MAKING: Final = frozenset({torch.tensor, torch.scalar_tensor, torch.as_tensor})
#: What numbers of sizes are counted in.
_COUNTED: Final = frozenset({torch.int64, torch.int32, torch.bool})
#: Numbers of a list that is a shape at most.
_MOST: Final = 8
_SAME: Final = frozenset({"clone", "contiguous", "cpu", "detach", "long", "squeeze", "to"})
#: Name of a function, without what says on which side the tensor stands -> the same of numbers.
_ARITHMETIC: Final[dict[str, Callable[..., Any]]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg,
    "floordiv": operator.floordiv, "floor_divide": operator.floordiv, "mod": operator.mod, "remainder": operator.mod,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "maximum": torch.sym_max, "minimum": torch.sym_min,
}  # fmt: skip
_ALSO: Final = {"subtract": "sub", "multiply": "mul", "negative": "neg", "not_equal": "ne", "less": "lt",
                "less_equal": "le", "greater": "gt", "greater_equal": "ge", "rem": "mod"}  # fmt: skip
_ASKING: Final = frozenset({"item", "tolist", "__int__", "__index__", "__bool__"})
#: What makes an array of sizes.
_CREATING: Final = frozenset({"zeros", "ones", "full", "empty", "arange", "linspace", "eye"})
#: What takes sizes, places or lengths beside an array.
_TAKING: Final = frozenset(
    {"view", "reshape", "expand", "repeat", "unflatten", "narrow", "as_strided", "new_zeros", "new_ones", "new_full",
     "new_empty", "split", "chunk", "unfold", "pad", "interpolate", "__getitem__", "roll", "tril", "triu", "topk",
     "one_hot", "repeat_interleave"}
)  # fmt: skip


class TensorsOfSizes(TorchFunctionMode):
    """Knows which numbers such tensors hold, and gives them where sizes are taken or Python asks."""

    def __init__(self) -> None:
        super().__init__()
        #: ``id`` -> the tensor, its version, and its number or its list of numbers.
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int, Any]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch, or give a number."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _ASKING and self._is_known(args[0]):
            value = self._value(args[0])
            if name != "__bool__" and not isinstance(value, torch.SymBool):
                return value
            truth = value if isinstance(value, bool | torch.SymBool) else value != 0
            if statically_known_true(truth) or statically_known_false(truth):
                return bool(truth)  # else the way of truths that nobody knows is taken
        if self._known and (name in _CREATING or name in _TAKING):
            kept = 0 if name in _CREATING else 1
            args = (*args[:kept], *self._numbers(args[kept:]))
            kwargs = {key: self._numbers(each) for key, each in kwargs.items()}
        if func is torch.as_tensor and args and isinstance(args[0], torch.SymInt):
            func = torch.tensor  # PyTorch exports the other with the example's size
        found = func(*args, **kwargs)
        if isinstance(found, torch.Tensor) and found.dtype in _COUNTED:
            value = _as(found, self._of_call(func, name, args, kwargs))
            if value is not None:
                self._known[id(found)] = weakref.ref(found), found._version, value
        return found

    def _is_known(self, value: Any) -> bool:
        if not isinstance(value, torch.Tensor):
            return False
        known = self._known.get(id(value))
        return known is not None and known[1] == value._version and known[0]() is value

    def _value(self, value: Any) -> Any:
        return self._known[id(value)][2] if self._is_known(value) else value

    def _numbers(self, given: Any) -> Any:
        """What a function is given, with numbers for the tensors that hold them."""
        if isinstance(given, slice):
            return slice(*map(self._numbers, (given.start, given.stop, given.step)))
        if type(given) in (tuple, list):
            return type(given)(map(self._numbers, given))
        number = self._value(given)
        return number if _is_number(number) else given

    def _of_call(self, func: Any, name: str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The number, or the list of numbers, that a call gives; None: it is not known."""
        if func in _MAKING:
            return _of_data(args[0] if args else None)
        given = [self._value(each) for each in args]
        of_sizes = bool(given) and all(map(_is_number, given))
        if name in ("div", "divide") and of_sizes and len(given) == 2 and kwargs.get("rounding_mode"):
            one, other = given
            same = kwargs["rounding_mode"] == "floor" or (one >= 0 and other > 0)
            return one // other if same and other != 0 else None
        if kwargs or not any(map(self._is_known, args)):
            return _of_numbers(name, given) if of_sizes and not kwargs else None
        if name in _SAME:
            return given[0]
        if name in ("__getitem__", "select") and isinstance(given[0], list):
            at = given[-1]
            return given[0][at] if type(at) is int and (name == "__getitem__" or given[1] == 0) else None
        return _of_numbers(name, given) if of_sizes else None


def _as(found: torch.Tensor, value: Any) -> Any:
    """What a tensor holds that was made of such a number, or list: a truth of a number, the one number of a list."""
    if isinstance(value, list):
        value = value[0] if not found.ndim and len(value) == 1 else value
        is_list = isinstance(value, list)
        return None if is_list and (found.dtype is torch.bool or tuple(found.shape) != (len(value),)) else value
    return value != 0 if found.dtype is torch.bool and _is_number(value) else value


def _of_numbers(name: str, given: list[Any]) -> Any:
    plain = name.removeprefix("__").removesuffix("__")
    plain = _ALSO.get(plain, plain)
    if plain in _ARITHMETIC:
        return _ARITHMETIC[plain](*given)
    return _ARITHMETIC[plain[1:]](*reversed(given)) if name.startswith("__r") and plain[1:] in _ARITHMETIC else None


def _of_data(data: Any) -> Any:
    if isinstance(data, list | tuple):
        return list(data) if len(data) <= _MOST and all(map(_is_number, data)) else None
    return data if _is_number(data) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, torch.SymInt) or type(value) is int
