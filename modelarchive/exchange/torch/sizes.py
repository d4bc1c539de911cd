"""Sizes of an exported program as this package has them: numbers, and pairs of tried sizes where they are not fixed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch

from modelarchive.errors import ConversionError
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.axes import Axis, Inputs, by_role, free_axes
from modelarchive.nn.dim import Dim, from_pair
from modelarchive.nn.trials import Pair, Scale, Trial, pairs_of, united


class SizeError(ConversionError):
    """What was read, or is to be read, is right at some sizes only: fixing those of the example may help."""


#: What is known of a symbol: the least and the greatest size.
_Ranges = Mapping[Any, tuple[int, int]]


class Axes:
    """What a program says of the axes of its inputs: which are numbers, and which are one.

    Args:
        inputs: The inputs of the program.
        declared: How they are declared. Of an axis that is not declared free the size is the declared one.

    Attributes:
        fixed: The size that the program needs at an axis that is declared free.
        groups: The free axes that are one, by what the program says and by their names.

    Raises:
        Refusal: Axes depend on each other in a way that no name says.
    """

    def __init__(self, inputs: Sequence[torch.fx.Node], declared: Inputs) -> None:
        self.declared = declared
        self.fixed: dict[Axis, int] = {}
        self._said: dict[Axis, Any] = {}
        self._given: dict[Any, int] = {}
        free = free_axes(declared)
        for number, node in enumerate(inputs):
            for axis, size in enumerate(node.meta["val"].shape):
                expression = sympy.Integer(size) if isinstance(size, int) else size.node.expr
                if (number, axis) not in free:
                    if expression.is_Symbol:
                        self._given[expression] = int(declared[number]["shape"][axis])
                elif expression.is_number:
                    self.fixed[number, axis] = int(expression)
                else:
                    self._said[number, axis] = expression
        self.groups = self._grouped()
        self._refuse_two_names()

    def _grouped(self) -> list[set[Axis]]:
        groups: list[set[Axis]] = []
        for at, expression in self._said.items():
            name = self._name(at)
            alike = [
                each
                for each in groups
                if any(self._said[one] == expression or (name and self._name(one) == name) for one in each)
            ]
            groups = [each for each in groups if each not in alike] + [set().union({at}, *alike)]
        return groups

    def _name(self, at: Axis) -> Any:
        return self.declared[at[0]]["shape"][at[1]]

    def _refuse_two_names(self) -> None:
        for group in self.groups:
            called = sorted({name for at in group if (name := self._name(at)) is not None})
            if len(called) > 1:
                raise Refusal(f"the axes {' and '.join(map(repr, called))} must be of one size: give them one name")

    def united(self, sizes: Mapping[Axis, int]) -> Axes:
        """The same, with axes for one that have no name, and either all stand first or none.

        Args:
            sizes: Those of an example, which are one where axes are.
        """
        found = copy.copy(self)
        may = {
            at: f"{at[1] == 0} {sizes.get(at)}"
            for at, said in self._said.items()
            if said.is_Symbol and self._name(at) is None
        }
        found.groups = list(united(self.groups, by_role(may)))
        return found

    def sizes(self, scale: Scale, ranges: _Ranges) -> Sizes | None:
        """Sizes of a scale for all symbols; None where the program does not allow them."""
        known: tuple[dict[Any, int], dict[Any, int]] = (dict(self._given), dict(self._given))
        found: dict[Axis, Pair] = {}
        for group, pair in pairs_of(self.groups, scale):
            # A plain symbol is settled before what is computed from it.
            for at in sorted(group, key=lambda at: (not self._said[at].is_Symbol, at)):
                settled = found.get(min(group))
                found[at] = self._settled(self._said[at], settled or pair, known, at, is_free=settled is None)
                found.setdefault(min(group), found[at])
            if len({found[at] for at in group}) > 1:
                raise Refusal(f"{self._text(min(group))} and others of its name cannot be of one size")
        trial = Trial(self.declared, self.groups, found)
        tried = [(size, *ranges[symbol]) for each in known for symbol, size in each.items() if symbol in ranges]
        if not all(low <= size <= high for size, low, high in tried):
            return None
        return Sizes(known, trial)

    def _settled(
        self, expression: Any, pair: Pair, known: tuple[dict[Any, int], dict[Any, int]], at: Axis, *, is_free: bool
    ) -> Pair:
        """The sizes of an axis, which settle its symbol if that is not settled."""
        unknown = [each for each in expression.free_symbols if each not in known[0]]
        if len(unknown) > 1:
            raise Refusal(f"{self._text(at)} is {expression}, which depends on more than one size")
        if unknown:
            solutions = [_solved(expression, unknown[0], size, each) for size, each in zip(pair, known, strict=True)]
            if None in solutions and is_free:  # a multiple of something odd, say: any other will do
                solutions = list(pair)
            for each, solution in zip(known, solutions, strict=True):
                if solution is None:
                    raise Refusal(f"{self._text(at)} is {expression}, and cannot be {pair[0]}")
                each[unknown[0]] = solution
        elif is_free:
            raise Refusal(f"{self._text(at)} is {expression}, as the size of another axis decides")
        one, two = (int(_put(expression, each)) for each in known)
        return one, two

    def _text(self, at: Axis) -> str:
        number, axis = at
        name = self.declared[number].get("name", f"input {number}")
        return f"axis {axis} of {name}"


def _put(expression: Any, known: Mapping[Any, int]) -> Any:
    return expression.xreplace({each: sympy.Integer(size) for each, size in known.items()})


def _symbols_of(size: Any) -> Any:
    return size.node.expr.free_symbols


def _solved(expression: Any, symbol: Any, size: int, known: Mapping[Any, int]) -> int | None:
    """The size of a symbol at which an expression is a size."""
    found = sympy.solve(_put(expression, known) - size, symbol)
    return next((int(each) for each in found if each.is_Integer and each > 0), None)


class Calculated(Dim):
    """A size that is not fixed, and how it is calculated.

    Args:
        pair: What is tried for it.
        expression: It of symbols, which stand for sizes.
        of_symbol: The size that a symbol stands for.
    """

    __slots__ = ("expression", "of_symbol")

    def __init__(self, pair: Sequence[int], expression: Any, of_symbol: Callable[[Any], Any]) -> None:
        super().__init__(*pair)
        self.expression, self.of_symbol = expression, of_symbol

    def _with(self, other: Any, combine: Callable[[Any, Any], Any]) -> Any:
        found = super()._with(other, combine)
        its = other.expression if isinstance(other, Calculated) else other
        if not isinstance(found, Dim) or (isinstance(its, Dim)):
            return found
        return Calculated(found.pair, combine(self.expression, sympy.sympify(its)), self.of_symbol)


class Sizes:
    """Gives each size of a program what is tried for it.

    Attributes:
        trial: The sizes of the free axes of its inputs.
    """

    def __init__(self, known: tuple[Mapping[Any, int], Mapping[Any, int]], trial: Trial) -> None:
        self.trial = trial
        self._tried = known
        self._known: dict[Any, Any] = {}

    def __call__(self, value: Any) -> Any:
        """A size as an int, or as a Dim where it is not fixed.

        Raises:
            Refusal: It depends on values.
        """
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            expression = value.node.expr
            if expression not in self._known:
                self._known[expression] = self._evaluated(expression, value)
            return self._known[expression]
        return value

    def is_fixed(self, value: torch.SymFloat) -> bool:
        """Whether a number is the same at all sizes that are tried."""
        one, two = self.both(value.node.expr)
        return bool(one == two)

    def both(self, expression: Any) -> tuple[Any, Any]:
        """What an expression of symbols is at both sizes that are tried."""
        one, two = (_put(expression, known) for known in self._tried)
        return one, two

    def symbols(self, several: Iterable[Iterable[Any]]) -> set[Any]:
        """The symbols of which sizes are computed, without those of fixed sizes."""
        free = {each for sizes in several for size in sizes if not isinstance(size, int) for each in _symbols_of(size)}
        return {each for each in free if each in self._tried[0] and isinstance(self.of_symbol(each), Dim)}

    def of_symbol(self, symbol: Any) -> Any:
        """The size that a symbol stands for: an int, or a Dim."""
        return from_pair(*(known[symbol] for known in self._tried))

    def _evaluated(self, expression: Any, value: Any) -> Any:
        both: list[Any] = []
        for known in self._tried:
            found = _put(expression, known)
            if getattr(found, "free_symbols", ()):
                raise Refusal("a size that depends on the values of an array")
            both.append(
                bool(found)
                if isinstance(value, torch.SymBool)
                else float(found)
                if isinstance(value, torch.SymFloat)
                else int(found)
            )
        if isinstance(value, torch.SymInt):
            return both[0] if both[0] == both[1] else Calculated(both, expression, self.of_symbol)
        if both[0] != both[1]:
            raise Refusal("a number that depends on sizes that are not fixed")
        return both[0]
