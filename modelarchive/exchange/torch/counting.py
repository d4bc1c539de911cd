"""Sizes that no array has, such as the number of all elements, computed from those that arrays have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import scope
from modelarchive.nn.dim import Dim


def has_array(size: Dim) -> bool:
    """Whether an array of the recording has an axis of this size."""
    pairs = (pair for each in scope()._symbols for pair in zip(*each.abstract.shapes, strict=True))
    return any(pair == size.pair for pair in pairs)


def counted_from(expression: Any, size_of: Callable[[Any], Any]) -> Any:
    """What an expression of sizes is: a number, or an array without axes.

    Args:
        expression: The expression, of whole numbers, symbols, sums, products and powers.
        size_of: The size that a symbol stands for.

    Raises:
        Refusal: It is another one, or no array has the size of a symbol.
    """
    if expression.is_Integer:
        return int(expression)
    if expression.is_Symbol:
        size = size_of(expression)
        if isinstance(size, Dim) and not has_array(size):
            raise Refusal("a size that no array has")
        return scope().size(size, []) if isinstance(size, Dim) else size
    parts = [counted_from(each, size_of) for each in expression.args]
    if expression.is_Pow and isinstance(parts[1], int) and parts[1] > 0:
        parts = [parts[0]] * parts[1]
    elif not expression.is_Add and not expression.is_Mul:
        raise Refusal(f"a number that is computed of sizes that are not fixed: {expression}")
    combine = ops.add if expression.is_Add else ops.multiply
    found = parts[0]
    for each in parts[1:]:
        found = combine(found, each)
    return found
