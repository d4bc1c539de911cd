"""Sizes of an exported program as this package has them: numbers, and pairs of tried sizes where they are not fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch

from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.nn.dim import from_pair


class Sizes:
    """Gives each symbol of a program the sizes that are tried.

    Args:
        inputs: The inputs of the program.
        tried: For each of them its shape with the first and with the second of the tried sizes.

    Attributes:
        fixed: (input, axis) -> the size that the program needs there, of axes that were to be free.
    """

    def __init__(self, inputs: Sequence[torch.fx.Node], tried: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
        self._tried: tuple[dict[Any, int], dict[Any, int]] = ({}, {})
        self._known: dict[Any, Any] = {}
        self.fixed: dict[tuple[int, int], int] = {}
        later = []
        for number, (node, shapes) in enumerate(zip(inputs, tried, strict=True)):
            for axis, size in enumerate(node.meta["val"].shape):
                pair = (shapes[0][axis], shapes[1][axis])
                if isinstance(size, int) or size.node.expr.is_number:
                    if pair != (int(size), int(size)):
                        self.fixed[number, axis] = int(size)
                elif size.node.expr.is_Symbol:
                    self._learn(size.node.expr, pair, number, axis)
                else:
                    later.append((size.node.expr, pair, number, axis))
        for expression, pair, number, axis in later:
            self._derive(expression, pair, number, axis)

    def _learn(self, symbol: Any, pair: tuple[int, int], number: int, axis: int) -> None:
        for known, size in zip(self._tried, pair, strict=True):
            if known.setdefault(symbol, size) != size:
                raise CannotError(
                    f"axis {axis} of input {number} must be of one size with another axis; fix the sizes of both"
                )

    def _derive(self, expression: Any, pair: tuple[int, int], number: int, axis: int) -> None:
        """An axis that is a multiple of something, say."""
        unknown = [each for each in expression.free_symbols if each not in self._tried[0]]
        for known, size in zip(self._tried, pair, strict=True):
            here = expression.xreplace({each: sympy.Integer(known[each]) for each in known})
            if unknown:
                found = [each for each in sympy.solve(here - size, unknown[0]) if each.is_Integer and each > 0]
                if len(unknown) > 1 or not found:
                    raise CannotError(f"axis {axis} of input {number} is {expression}, and cannot be {size}")
                known[unknown[0]] = int(found[0])
            elif int(here) != size:
                raise CannotError(f"axis {axis} of input {number} is {expression}, and cannot be {size}")

    def __call__(self, value: Any) -> Any:
        """A size as an int, or as a Dim where it is not fixed.

        Raises:
            CannotError: It depends on values.
        """
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            expression = value.node.expr
            if expression not in self._known:
                self._known[expression] = self._evaluated(expression, value)
            return self._known[expression]
        return value

    def of_symbol(self, symbol: Any) -> Any:
        """The size that a symbol stands for: an int, or a Dim."""
        return from_pair(*(known[symbol] for known in self._tried))

    def _evaluated(self, expression: Any, value: Any) -> Any:
        both: list[Any] = []
        for known in self._tried:
            found = expression.xreplace({each: sympy.Integer(size) for each, size in known.items()})
            if getattr(found, "free_symbols", ()):
                raise CannotError("a size that depends on the values of an array")
            both.append(
                bool(found)
                if isinstance(value, torch.SymBool)
                else float(found)
                if isinstance(value, torch.SymFloat)
                else int(found)
            )
        if isinstance(value, torch.SymInt):
            return from_pair(*both)
        if both[0] != both[1]:
            raise CannotError("a number that depends on sizes that are not fixed")
        return both[0]


def trial_shapes(declared: Sequence[Mapping[str, Any]], sizes: Any) -> list[tuple[list[int], list[int]]]:
    """The shapes of declared inputs for both tried sizes."""
    return [
        tuple(
            [sizes[axis > 0][which] if size is None else size for axis, size in enumerate(each["shape"])]
            for which in (0, 1)
        )  # type: ignore[misc]
        for each in declared
    ]
