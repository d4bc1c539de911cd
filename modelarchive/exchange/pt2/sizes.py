"""Sizes as a program's JSON has them: whole numbers, and sums and products of symbols, computed and never run."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from modelarchive.errors import FormatError
from modelarchive.exchange.pt2.records import Record

#: Characters of an expression, and values of what is in it.
_LONGEST: Final = 2_000
_MOST: Final = 1 << 62
_SYMBOL: Final = re.compile(r"[A-Za-z_]\w{0,60}")


def whole(size: Record) -> int:
    """A size that is fixed.

    Raises:
        FormatError: It is none.
    """
    word, value = size.only()
    if word != "as_int" or type(value) is not int or not 0 <= value < _MOST:
        raise FormatError(f"is damaged: {size.where} is {value!r:.60}, expected a whole number from 0 on")
    return value


def symbols_of(text: str) -> set[str]:
    """The symbols in an expression."""
    return {name for each in ast.walk(_parsed(text)) if (name := _symbol(each)) is not None}


def computed(text: str, sizes: Mapping[str, int]) -> int:
    """What an expression is for sizes of its symbols.

    Args:
        text: As sympy writes it: ``s0``, ``2*s0 + 1``, ``Add(Symbol('s0', integer=True), Integer(1))``.
        sizes: The sizes of the symbols.

    Raises:
        FormatError: It is no such expression.
    """
    found = _computed(_parsed(text), sizes, text)
    if found != int(found):
        raise _not_known(text)
    return int(found)


def _parsed(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise _not_known(text)
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _not_known(text) from error


def _computed(node: ast.expr, sizes: Mapping[str, int], text: str) -> Any:
    name = _symbol(node)
    if name is not None:
        if name not in sizes:
            raise FormatError(f"is damaged: nothing tells the size of {name[:60]!r}")
        return sizes[name]
    found: Any = None
    if isinstance(node, ast.Constant) and type(node.value) is int:
        found = node.value
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        found = _applied(_BINARY[type(node.op)], [node.left, node.right], sizes, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        found = -_computed(node.operand, sizes, text)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        found = _applied(_CALLS[node.func.id], node.args, sizes, text)
    if found is None or not -_MOST < found < _MOST:
        raise _not_known(text)
    return found


def _applied(function: Callable[..., Any], given: list[ast.expr], sizes: Mapping[str, int], text: str) -> Any:
    values = [_computed(each, sizes, text) for each in given]
    try:
        return function(*values)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise _not_known(text) from error


def _symbol(node: Any) -> str | None:
    """The name of a symbol, as a bare name or as ``Symbol('s0', ...)``."""
    found: Any = node.id if isinstance(node, ast.Name) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Symbol" and node.args:
        found = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
    is_name = isinstance(found, str) and found not in _CALLS and found != "Symbol"
    return found if is_name and _SYMBOL.fullmatch(str(found)) else None


def _power(base: Any, exponent: Any) -> Any:
    if not 0 <= exponent <= 64 and exponent != -1:
        raise ValueError
    return base**exponent


def _product(*values: Any) -> Any:
    found = 1
    for each in values:
        found = found * each
    return found


def _not_known(text: str) -> FormatError:
    return FormatError(f"is damaged: a size in it is {text!r:.80}, which is no expression that is known")


_BINARY: Final[dict[type, Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "Add": lambda *values: sum(values),
    "Mul": _product,
    "Pow": _power,
    "Integer": lambda value: value,
    "Rational": operator.truediv,
    "Max": max,
    "Min": min,
    "Mod": operator.mod,
    "PythonMod": operator.mod,
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "CeilDiv": lambda one, other: -(-one // other),
    "floor": lambda value: int(value // 1),
    "FloorToInt": lambda value: int(value // 1),
    "IntTrueDiv": operator.truediv,
    "Identity": lambda value: value,
}
