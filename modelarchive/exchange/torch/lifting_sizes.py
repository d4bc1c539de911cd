"""Sizes that are not fixed while a network is recorded: as arrays of so many truths, and as numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import reduce
from typing import Any, Final

import numpy as np
import sympy  # type: ignore[import-untyped, unused-ignore]

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.calculating import normal, without_differences
from modelarchive.exchange.torch.counting import counted_from
from modelarchive.exchange.torch.recorded import has_array, in_terms, known_sizes, scope
from modelarchive.exchange.torch.sizes import Calculated
from modelarchive.nn.dim import Dim

#: Quotients that are taken away, one after the other.
_DIFFERENCES: Final = 4
#: Sizes that the least one of what is calculated is looked for at.
_TRIED: Final = 65


# ---------------------------------------------------------------------- so many truths


def row_of(size: Dim) -> Any:
    """An array of truths with one axis, of a size that is not fixed: one that an array has, or calculated of these.

    Raises:
        Refusal: It is calculated in another way.
    """
    if size.pair in known_sizes():
        return _row_with(size.pair)
    row = None
    if isinstance(size, Calculated):
        here = scope()
        before = len(here._symbols)
        expression, of_symbol = _in_known(size.expression, size.of_symbol)
        row = _row_from(normal(expression), of_symbol)
        # What it is made of may be as long as something by chance.
        del here._symbols[before:-1]
    if row is None:
        raise Refusal("a new array of a size that is not fixed, and that no array has")
    return row


def _row_with(pair: tuple[int, int]) -> Any:
    """An array of truths with one axis, of a size that an array has."""
    found = (
        (each, axis)
        for each in scope()._symbols
        for axis, own in enumerate(zip(*each.abstract.shapes, strict=True))
        if own == pair
    )
    each, axis = next(found)
    row = each[tuple(slice(None) if at == axis else 0 for at in range(each.ndim))]
    return ops.equal(row, row)


def _row_from(expression: Any, of_symbol: Callable[[Any], Any]) -> Any:
    """An array of truths with one axis of a size that is calculated; None: not in such a way."""
    if expression.is_Integer:
        return np.ones(int(expression), bool) if expression >= 0 else None
    if expression.is_Symbol:
        size = of_symbol(expression)
        return _row_of_symbol(size) if isinstance(size, Dim) else np.ones(size, bool)
    name, parts = type(expression).__name__, list(expression.args)
    if name in ("Max", "Min") and len(parts) == 2:
        return _bounded(parts, of_symbol, is_least=name == "Max")
    less = 0
    if expression.is_Add:
        for _ in range(_DIFFERENCES):
            expression = without_differences(expression)
        parts = list(expression.args)
        if not expression.is_Add:
            return _row_from(expression, of_symbol)
    if expression.is_Add and parts[0].is_Integer and parts[0] < 0:
        less, *parts = parts
    if expression.is_Pow:
        row = _row_from(parts[0], of_symbol) if parts[1].is_Integer and parts[1] > 0 else None
        return None if row is None else reduce(_merged, [row] * int(parts[1]))
    rows = [_row_from(each, of_symbol) for each in parts]
    if any(each is None for each in rows):
        return None
    if name == "FloorDiv":
        step = parts[1]
        return rows[0][int(step) - 1 :: int(step)] if step.is_Integer and step > 0 else None
    if expression.is_Add:
        found = _joined(rows)
        return found[-int(less) :] if less else found
    return reduce(_merged, rows) if expression.is_Mul else None


def _bounded(parts: list[Any], of_symbol: Callable[[Any], Any], *, is_least: bool) -> Any:
    """A row of at least, or of at most, so many; None: of a number of them that is not fixed."""
    bound, other = sorted(parts, key=lambda each: not each.is_Integer)
    row = _row_from(other, of_symbol) if bound.is_Integer and bound >= 0 else None
    if row is None:
        return None
    return _joined([np.ones(int(bound), bool), row[int(bound) :]]) if is_least else row[: int(bound)]


def _row_of_symbol(size: Dim) -> Any:
    if size.pair in known_sizes():
        return _row_with(size.pair)
    found = in_terms(size)
    if found is None:
        return None
    whole, parts, more = found
    row = _row_with(whole.pair)
    if parts > 1:
        return row[parts - 1 :: parts]
    return row[more:] if more > 0 else _joined([row, np.ones(-more, bool)])


def _joined(rows: list[Any]) -> Any:
    return ops.concatenate(rows, axis=0) if len(rows) > 1 else rows[0]


def _merged(row: Any, other: Any) -> Any:
    """A row of as many truths as the product of two rows has."""
    return ops.reshape(np.logical_or(ops.expand_dims(row, axis=1), ops.expand_dims(other, axis=0)), shape=[-1])


def number_from(expression: Any, of_symbol: Callable[[Any], Any]) -> Any:
    """A number that is calculated of sizes, as an array without axes, or itself where it is fixed.

    Args:
        expression: How it is calculated, of symbols.
        of_symbol: The size that a symbol stands for.

    Raises:
        Refusal: It is calculated in another way, or of a size that no array has.
    """
    return counted_from(*_in_known(expression, of_symbol))


def _in_known(expression: Any, of_symbol: Callable[[Any], Any]) -> tuple[Any, Callable[[Any], Any]]:
    """How a size is calculated, of sizes that arrays have, and the size that a symbol stands for.

    In a block that is given what another made of the inputs, no array has the sizes of these.
    """
    known = known_sizes()
    ways = [{each: _tried(of_symbol(each))[way] for each in expression.free_symbols} for way in (0, 1)]
    if all(pair in known or pair[0] == pair[1] for pair in zip(*(each.values() for each in ways), strict=True)):
        return expression, of_symbol
    of_parts: dict[Any, Dim] = {}

    def said(part: Any) -> Any:
        pair = tuple(part.xreplace(way) for way in ways)
        if pair in known:
            of_parts[symbol := sympy.Dummy(integer=True, positive=True)] = Dim(*map(int, pair))
            return symbol
        return part if part.is_Atom else part.func(*map(said, part.args))

    found = said(expression)
    return found, lambda symbol: of_parts[symbol] if symbol in of_parts else of_symbol(symbol)


def _tried(size: Any) -> tuple[int, int]:
    return size.pair if isinstance(size, Dim) else (size, size)


# ---------------------------------------------------------------------- numbers


def number_of(size: Any) -> Any:
    """A size as an array of int64 without axes.

    Raises:
        Refusal: It is not fixed, no array has it, and it is not known how it is calculated.
    """
    if not isinstance(size, Dim):
        return np.asarray(size, np.int64)
    if has_array(size):
        return scope().size(size, ())
    if isinstance(size, Calculated):
        with contextlib.suppress(Refusal):
            return counted_from(*_in_known(size.expression, size.of_symbol))
    return ops.sum(ops.cast(row_of(size), dtype="int64"))


def least(size: Dim) -> int:
    """The least that a size that is not fixed may be: of a length that is filled up to a multiple, that multiple."""
    if not isinstance(size, Calculated):
        return 1
    symbols = size.expression.free_symbols
    found = (size.expression.xreplace(dict.fromkeys(symbols, sympy.Integer(each))) for each in range(1, _TRIED))
    return int(min(found))


def calculated(size: Dim) -> Any:
    """A size that is not fixed: itself where an array has it, else a number calculated from those that arrays have."""
    known = known_sizes()
    if size.pair in known:
        return size
    if isinstance(size, Calculated):
        with contextlib.suppress(Refusal):
            return counted_from(*_in_known(size.expression, size.of_symbol))
    one, two = size.pair
    for first, second in known:
        own = scope().size(Dim(first, second), ())
        if one % first == two % second == 0 and one // first == two // second:
            return ops.multiply(own, one // first)
        if one - first == two - second:
            return ops.add(own, one - first)
        if one % first == two % second == 0 and (one // first, two // second) in known:
            return ops.multiply(own, scope().size(Dim(one // first, two // second), ()))
    return size
