"""Functions of numbers, of Python, ``math`` and NumPy, that also take sizes which have no number yet, and give such."""

from __future__ import annotations

import functools
import math
import operator
import types
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional


def _length(value: Any, /) -> Any:
    size = value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else getattr(value, "steps", None)
    return size if isinstance(size, torch.SymInt) else len(value)


def _quotient(one: Any, other: Any, /) -> Any:
    is_size = any(isinstance(each, torch.SymInt | torch.SymFloat) for each in (one, other))
    return (one // other, one % other) if is_size else divmod(one, other)


def _extreme(function: Callable[..., Any], of_two: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def called(*given: Any, **named: Any) -> Any:
        values = given[0] if len(given) == 1 and type(given[0]) in (tuple, list) else given
        if named or len(values) < 2 or not any(isinstance(each, torch.SymInt) for each in values):
            return function(*given, **named)
        if not all(isinstance(each, torch.SymInt) or type(each) is int for each in values):
            return function(*given, **named)
        return functools.reduce(of_two, values)

    return called


class _Number(type):
    """``int`` or ``float``, but for what a call with a size gives."""

    def __call__(cls, *given: Any, **named: Any) -> Any:
        if len(given) == 1 and isinstance(given[0], torch.SymInt | torch.SymFloat):
            return _OF_SIZES[cls.__mro__[1]](given[0])
        return cls.__mro__[1](*given, **named)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls.__mro__[1])

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.__mro__[1])

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.__mro__[1]

    def __hash__(cls) -> int:
        return hash(cls.__mro__[1])


class _Int(int, metaclass=_Number):
    pass


class _Float(float, metaclass=_Number):
    pass


_OF_SIZES: Final[dict[Any, Callable[[Any], Any]]] = {int: torch.sym_int, float: torch.sym_float}
#: Name of a builtin -> what is called in its place.
BUILTINS: Final = {
    "len": _length, "divmod": _quotient, "min": _extreme(min, torch.sym_min), "max": _extreme(max, torch.sym_max),
}  # fmt: skip
#: Name of a type -> what stands for it, and gives a size of a size.
TYPES: Final = {"int": _Int, "float": _Float}


def _of_a_size(function: Callable[..., float], symbolic: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(value: Any, *more: Any, **named: Any) -> Any:
        return (symbolic if isinstance(value, torch.SymInt | torch.SymFloat) else function)(value, *more, **named)

    return called


def _logarithm(value: Any, base: float | None = None) -> Any:
    return torch._sym_log2(value) * (math.log(2) if base is None else math.log(2, base))


def _rounded(function: Callable[[Any], Any], value: Any) -> Any:
    return torch.sym_float(function(value))


def _attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: Any = False, **more: Any
) -> Any:
    # PyTorch's own takes no truth of a size (`length > 1`).
    return functional.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, bool(is_causal), **more)


_OF_BOTH: Final = {
    **{name: getattr(torch, f"_sym_{name}") for name in ("sqrt", "log2", "cos", "sin", "tanh")},
    "log": _logarithm,
    "log10": functools.partial(_logarithm, base=10.0),
    "exp": functools.partial(operator.pow, math.e),
}
#: Function of ``math`` or NumPy -> the same of numbers, and of sizes that have none yet.
FUNCTIONS: Final = {
    **{getattr(math, name): _of_a_size(getattr(math, name), other) for name, other in _OF_BOTH.items()},
    **{getattr(np, name): _of_a_size(getattr(np, name), other) for name, other in _OF_BOTH.items()},
    math.pow: _of_a_size(math.pow, operator.pow),
    np.ceil: _of_a_size(np.ceil, functools.partial(_rounded, math.ceil)),
    functional.scaled_dot_product_attention: _attention,
    np.floor: _of_a_size(np.floor, functools.partial(_rounded, math.floor)),
}


def _with_functions(module: types.ModuleType) -> types.ModuleType:
    found = types.ModuleType(module.__name__)
    vars(found).update(vars(module))
    vars(found).update({each.__name__: other for each, other in FUNCTIONS.items() if _is_of(each, module)})
    return found


def _is_of(function: Any, module: types.ModuleType) -> bool:
    return getattr(module, function.__name__, None) is function


#: Module -> the same with those functions.
MODULES: Final = {each: _with_functions(each) for each in (math, np)}
