"""Numbers computed of sizes that are not fixed, and sizes that no array has, from those that arrays have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.calculating import normal
from modelarchive.exchange.torch.recorded import cast, has_array, in_terms, is_array, scope
from modelarchive.nn.dim import Dim

#: Function of an expression -> the same of arrays; of whole numbers, which give whole ones.
_OF_INTEGERS: Final[dict[str, Callable[..., Any]]] = {"FloorDiv": ops.floor_divide, "CleanDiv": ops.floor_divide,
                                                      "Mod": ops.remainder, "PythonMod": ops.remainder}  # fmt: skip
#: The same of real numbers.
_OF_REALS: Final[dict[str, Callable[..., Any]]] = {
    "ToFloat": lambda x: x, "IntTrueDiv": ops.divide, "FloatTrueDiv": ops.divide, "FloatPow": ops.power,
    "OpaqueUnaryFn_sqrt": ops.sqrt, "OpaqueUnaryFn_log2": lambda x: ops.divide(ops.log(x), math.log(2)),
    "OpaqueUnaryFn_cos": ops.cos, "OpaqueUnaryFn_sin": ops.sin, "OpaqueUnaryFn_tanh": ops.tanh,
}  # fmt: skip
_OF_BOTH: Final[dict[str, Callable[..., Any]]] = {
    "Add": ops.add, "Mul": ops.multiply, "Max": ops.maximum, "Min": ops.minimum, "Abs": ops.abs,
    "RoundToInt": lambda x: cast(ops.round(x), "int64"),
}  # fmt: skip


def counted_from(expression: Any, size_of: Callable[[Any], Any]) -> Any:
    """What an expression of sizes is: a number, or an array without axes, of int64 or float64.

    Args:
        expression: The expression, of numbers, symbols, sums, products, quotients, powers and roots.
        size_of: The size that a symbol stands for.

    Raises:
        Refusal: It is another one, or no array has the size of a symbol.
    """
    if expression.is_Number:
        return int(expression) if expression.is_Integer else float(expression)
    if expression.is_Symbol:
        size = size_of(expression)
        return _size(size) if isinstance(size, Dim) else size
    name = expression.func.__name__
    parts = [counted_from(each, size_of) for each in expression.args]
    if expression.is_Pow or name == "PowByNatural":
        if not isinstance(parts[1], int) or parts[1] <= 0:
            raise _unknown(expression)
        name, parts = "Mul", [parts[0]] * parts[1]
    function = next((table[name] for table in (_OF_BOTH, _OF_INTEGERS, _OF_REALS) if name in table), None)
    if function is None:
        again = normal(expression)
        if again == expression:
            raise _unknown(expression)
        return counted_from(again, size_of)
    is_real = name in _OF_REALS or any(map(_is_real, parts))
    parts = [_real(each) if is_real else each for each in parts]
    if len(parts) == 1:
        return function(parts[0])
    found = parts[0]
    for each in parts[1:]:
        found = function(found, each)
    return found


def _size(size: Dim) -> Any:
    """A size that an array has, or in terms of one."""
    if has_array(size):
        return scope().size(size, ())
    found = in_terms(size)
    if found is None:
        raise Refusal("a size that no array has")
    whole, parts, more = found
    number = scope().size(whole, ())
    return ops.floor_divide(number, parts) if parts > 1 else ops.subtract(number, more)


def _unknown(expression: Any) -> Refusal:
    return Refusal(f"a number that is computed of sizes that are not fixed: {expression}")


def _is_real(value: Any) -> bool:
    return bool(value.dtype.kind == "f") if is_array(value) else isinstance(value, float)


def _real(value: Any) -> Any:
    return cast(value, "float64") if is_array(value) else float(value)
