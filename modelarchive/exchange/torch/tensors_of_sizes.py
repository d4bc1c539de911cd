"""Tensors that a forward makes of sizes and computes sizes of (``torch.div(x.shape[1], 2, rounding_mode="floor")``).

So are whole numbers that a module keeps in tensors which are not in its state, a stride say. To ``torch.export`` they
are arrays with values, and a shape made of them would depend on values.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_false, statically_known_true
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from modelarchive.exchange.torch.flags import Flags

_MAKING: Final = frozenset({torch.tensor, torch.scalar_tensor, torch.as_tensor})
#: What numbers of sizes are counted in.
_COUNTED: Final = frozenset({torch.int64, torch.int32, torch.bool})
#: What sizes are divided in.
_ROUNDED: Final = frozenset({torch.float32, torch.float64})
#: Numbers of a list that is a shape at most, and shapes of a list.
_MOST: Final = 8
_SAME: Final = frozenset({"clone", "contiguous", "cpu", "detach", "double", "float", "int", "long", "squeeze", "to"})
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


class _Quotient(NamedTuple):
    """A size divided by a number, which a tensor of floating-point numbers holds until it is rounded."""

    above: Any
    below: int


class TensorsOfSizes(TorchFunctionMode):
    """Knows which numbers such tensors hold, and gives them where sizes are taken or Python asks.

    Args:
        flags: What is known of tensors' values beside.
    """

    def __init__(self, flags: Flags) -> None:
        super().__init__()
        self._flags = flags
        #: ``id`` -> the tensor, its version, and its number or its list of numbers.
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int, Any]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch, or give a number."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _ASKING and self._is_known(args[0]) and not args[0].is_floating_point():
            value = self._value(args[0])
            if name != "tolist" and isinstance(value, list) and len(value) == 1:
                (value,) = value
            if name != "__bool__" and not isinstance(value, torch.SymBool):
                return value
            truth = value if isinstance(value, bool | torch.SymBool) else value != 0
            if statically_known_true(truth) or statically_known_false(truth):
                return bool(truth)  # else the way of truths that nobody knows is taken
        is_known, value = self._flags.answer(func, args, kwargs)
        if is_known:
            return value
        if name in _CREATING or name in _TAKING:
            kept = 0 if name in _CREATING else 1
            args = (*args[:kept], *self._numbers(args[kept:]))
            kwargs = {key: self._numbers(each) for key, each in kwargs.items()}
        if name == "repeat_interleave" and (found := self._repeated(*args, **kwargs)) is not None:
            return found
        if func is torch.as_tensor and args and _of_data(args[0]) is not None:
            func = torch.tensor  # PyTorch exports the other with the example's size
        found = self._flags.followed(func, args, kwargs)
        if isinstance(found, torch.Tensor):
            if found.dtype in _COUNTED or found.dtype in _ROUNDED:
                self._know(found, _as(found, self._of_call(func, name, args, kwargs)))
        elif name == "unbind" and {0, *args[1:], *kwargs.values()} == {0}:  # along the first axis
            rows = self._known_of(args[0])
            for each, row in zip(found, rows, strict=True) if isinstance(rows, list) else ():
                self._know(each, _as(each, row))
        return found

    def _repeated(self, x: Any, repeats: Any = None, dim: int | None = None, **more: Any) -> torch.Tensor | None:
        """``repeat_interleave`` by numbers that are known; None: they are not."""
        counts = self._flags.value(repeats)
        if counts is None or counts.numel() == 1:
            return None
        with _disable_current_modes():
            rows = torch.repeat_interleave(counts)
        return torch.index_select(x.flatten() if dim is None else x, dim or 0, rows)

    def _know(self, tensor: torch.Tensor, value: Any) -> None:
        if value is not None:
            self._known[id(tensor)] = weakref.ref(tensor), tensor._version, value

    def _known_of(self, value: Any) -> Any:
        """The number that a tensor is known to hold, or its list of numbers; None: none is known."""
        if not isinstance(value, torch.Tensor):
            return None
        tensor, version, number = self._known.get(id(value), (None, 0, None))
        if tensor is not None and version == value._version and tensor() is value:
            return number
        if value.dtype not in (torch.int64, torch.int32):
            return None
        constant = self._flags.value(value, most=_MOST)
        with _disable_current_modes():
            return None if constant is None or not constant.numel() else constant.tolist()

    def _is_known(self, value: Any) -> bool:
        return self._known_of(value) is not None

    def _value(self, value: Any) -> Any:
        known = self._known_of(value)
        return value if known is None else known

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
        if not kwargs and (found := _of_quotients(name, given)) is not None:
            return found
        if name in _SAME and self._is_known(args[0]):
            return given[0]
        of_sizes = bool(given) and all(map(_is_number, given))
        if name in ("div", "divide") and of_sizes and len(given) == 2 and kwargs.get("rounding_mode"):
            one, other = given
            same = kwargs["rounding_mode"] == "floor" or (one >= 0 and other > 0)
            return one // other if same and other != 0 else None
        if kwargs or not any(map(self._is_known, args)):
            return _of_numbers(name, given) if of_sizes and not kwargs else None
        if name in ("__getitem__", "select") and isinstance(given[0], list):
            at = given[-1]
            return _picked(given[0], at) if name == "__getitem__" or given[1] == 0 else None
        return _of_numbers(name, given) if of_sizes else None


def _as(found: torch.Tensor, value: Any) -> Any:
    """What a tensor holds that was made of such a number, or list: a truth of a number, the one number of a list."""
    if isinstance(value, list):
        value = value[0] if not found.ndim and len(value) == 1 else value
        is_list = isinstance(value, list)
        return None if is_list and (found.dtype is torch.bool or tuple(found.shape) != _shape(value)) else value
    if found.dtype in _ROUNDED:
        return _Quotient(value, 1) if _is_number(value) else value if isinstance(value, _Quotient) else None
    if isinstance(value, _Quotient):
        is_positive = statically_known_true(value.above >= 0)
        return value.above if value.below == 1 else value.above // value.below if is_positive else None
    return value != 0 if found.dtype is torch.bool and _is_number(value) else value


def _of_quotients(name: str, given: list[Any]) -> Any:
    """What a call gives of numbers that are divided; None: it is another call, or may be rounded to a whole number."""
    if not given or not all(_is_number(each) or isinstance(each, _Quotient) for each in given):
        return None
    plain = name.removeprefix("__").removesuffix("__")
    is_reversed = plain in ("rdiv", "rsub", "rtruediv")
    plain = plain[1:] if is_reversed else _ALSO.get(plain, plain)
    divides = plain in ("div", "divide", "truediv", "true_divide")
    if not divides and not any(isinstance(each, _Quotient) for each in given):
        return None
    one, *others = (each if isinstance(each, _Quotient) else _Quotient(each, 1) for each in given)
    if not others:
        rounded = {"ceil": (one.above + one.below - 1) // one.below, "floor": one.above // one.below}
        return _Quotient(rounded[plain], 1) if plain in rounded else None
    if len(others) > 1:
        return None
    one, other = (others[0], one) if is_reversed else (one, others[0])
    if other.below != 1 and (divides or one.below != 1):
        return None
    if divides:
        is_fit = type(other.above) is int and other.above > 0
        return _Quotient(one.above, one.below * other.above) if is_fit else None
    if plain == "mul" and one.below == other.below:  # a third times three is rounded before
        return _Quotient(one.above * other.above, 1)
    if plain in ("add", "sub"):
        above = _ARITHMETIC[plain](one.above * other.below, other.above * one.below)
        return _Quotient(above, one.below * other.below)
    return None


def _of_numbers(name: str, given: list[Any]) -> Any:
    plain = name.removeprefix("__").removesuffix("__")
    plain = _ALSO.get(plain, plain)
    if plain in _ARITHMETIC:
        return _ARITHMETIC[plain](*given)
    return _ARITHMETIC[plain[1:]](*reversed(given)) if name.startswith("__r") and plain[1:] in _ARITHMETIC else None


def _of_data(data: Any) -> Any:
    if isinstance(data, list | tuple):
        rows = [_of_data(each) for each in data[: _MOST + 1]]
        is_alike = len({_shape(each) for each in rows}) == 1
        return rows if is_alike and len(rows) <= _MOST and None not in rows else None
    return data if _is_number(data) else None


def _shape(value: Any) -> tuple[int, ...]:
    return (len(value), *_shape(value[0])) if isinstance(value, list) else ()


def _picked(rows: list[Any], index: Any) -> Any:
    """A part of a list, or of a list of lists; None: not in such a way."""
    at, *others = index if isinstance(index, tuple) else (index,)
    if isinstance(at, slice) and all(each is None or type(each) is int for each in (at.start, at.stop, at.step)):
        found = rows[at]
        return ([_picked(each, tuple(others)) for each in found] if others else found) or None
    if type(at) is not int:
        return None
    return _picked(rows[at], tuple(others)) if others else rows[at]


def _is_number(value: Any) -> bool:
    return isinstance(value, torch.SymInt) or type(value) is int
