"""Sizes at which a module may do something else than where it was exported, which it is compared at therefore."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, TypeAlias

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch

from modelarchive.nn.axes import Axis, axis_names
from modelarchive.nn.trials import Trial

Shapes: TypeAlias = list[list[int]]
#: Numbers that have a divisor in common with the parts that networks cut axes into.
_USUAL: Final = 2 * 3 * 5 * 7
#: What has parts of most sizes that networks cut axes into.
_PARTS: Final = 8
#: How many times longer than where shapes were followed an axis is made, the most.
_LONGER: Final = 16
#: Sizes that are tried for what no other size has broken.
_MOST: Final = 6
#: Conditions that sizes are looked for that break them.
_LOOKED_AT: Final = 128
#: A bound that is none.
_UNBOUND: Final = 2**31


@dataclass(frozen=True)
class Try:
    """Shapes to compare at.

    Attributes:
        axis: The axis that is of another size than usual, in words.
        size: Its size there.
        shapes: The shapes of all inputs.
    """

    axis: str
    size: int
    shapes: Shapes


@dataclass(frozen=True)
class Guards:
    """What held of the sizes of a program's inputs while it was exported.

    Attributes:
        axes: Symbol of a size -> an axis that has it.
        conditions: What held, of symbols.
        assumed: How many truths were taken for true: that any row is chosen.
        largest: The largest numbers of arrays that were taken for the length of an axis, as on the example.
        loops: Where loops stand whose steps were taken for alike, in words.
    """

    axes: Mapping[Any, Axis] = field(default_factory=dict)
    conditions: Sequence[Any] = ()
    assumed: int = 0
    largest: tuple[int, ...] = ()
    loops: tuple[str, ...] = ()

    def broken(self, shapes: Shapes) -> set[int]:
        """The conditions, by their places, that do not hold at some shapes."""
        sizes = self._sizes(shapes)
        return {place for place, each in enumerate(self.conditions) if not _holds(each, sizes)}

    def breaks(self, place: int, shapes: Shapes) -> bool:
        """Whether one of the conditions does not hold."""
        return not _holds(self.conditions[place], self._sizes(shapes))

    def _sizes(self, shapes: Shapes) -> dict[Any, Any]:
        return {symbol: sympy.Integer(shapes[at][axis]) for symbol, (at, axis) in self.axes.items()}


def _holds(condition: Any, sizes: Mapping[Any, Any]) -> bool:
    try:
        return bool(condition.xreplace(sizes) != sympy.false)
    except (ZeroDivisionError, AssertionError):  # there is no such size: divided by 0, or a remainder of less
        return True


def guards_of(exported: torch.export.ExportedProgram, inputs: Sequence[torch.fx.Node]) -> Guards:
    """What a program was exported under.

    Args:
        exported: The program.
        inputs: Its inputs.
    """
    axes: dict[Any, Axis] = {}
    known: list[Any] = []
    for number, node in enumerate(inputs):
        for axis, size in enumerate(node.meta["val"].shape):
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                axes.setdefault(size.node.expr, (number, axis))
                known = known or [each.expr for each in size.node.shape_env.guards]
    for symbol, each in exported.range_constraints.items():
        if symbol in axes:
            # From 2 on PyTorch tells every size; 1 is tried in any case.
            known += [symbol >= each.lower] if 2 < each.lower < _UNBOUND else []
            known += [symbol <= each.upper] if each.upper < _UNBOUND else []
    found = [each for each in dict.fromkeys(known) if each.free_symbols and each.free_symbols <= axes.keys()]
    return Guards(axes, found)


def usual_tries(trial: Trial, base: Shapes) -> Iterator[Try]:
    """Each free axis once of size 1; those that are no batch of size 2, and of one that nothing divides, or much does.

    Args:
        trial: The sizes that shapes were followed at.
        base: Shapes that fit.
    """
    for group in sorted(trial.groups, key=min):
        number, axis = min(group)
        usual = base[number][axis]
        yield _try(trial, base, group, 1)
        if axis:
            yield _try(trial, base, group, 2)
        if axis and usual % _PARTS:
            yield _try(trial, base, group, -(-usual // _PARTS) * _PARTS)
        if axis and not _is_odd(usual):
            yield _try(trial, base, group, next(size for size in range(usual + 1, 2 * usual + 99) if _is_odd(size)))


def _is_odd(size: int) -> bool:
    return math.gcd(size, _USUAL) == 1 and size > 1


def further_tries(trial: Trial, base: Shapes, guards: Guards, tried: set[int]) -> Iterator[Try]:
    """Shapes at which conditions do not hold that held so far.

    Args:
        trial: The sizes that shapes were followed at.
        base: Shapes that fit.
        guards: The conditions.
        tried: Places of conditions that need not be broken any more; is asked anew each time.
    """
    tried |= guards.broken(base)
    made: list[Try] = []
    places = [place for place in range(len(guards.conditions)) if place not in tried]
    for place, group in product(places[:_LOOKED_AT], trial.groups):
        if len(made) == _MOST:
            return
        found = None if place in tried else _breaking(trial, base, group, guards, place)
        if found is not None and found not in made:
            made.append(found)
            yield found


def _breaking(trial: Trial, base: Shapes, group: set[Axis], guards: Guards, place: int) -> Try | None:
    """The size of an axis, of those that are nearest to the usual one, at which a condition does not hold."""
    number, axis = min(group)
    usual = base[number][axis]
    sizes = _turning(guards.conditions[place], _LONGER * max(trial.sizes[number, axis]))
    several = (_try(trial, base, group, size) for _, size in sorted((abs(size - usual), size) for size in sizes))
    return next((each for each in several if guards.breaks(place, each.shapes)), None)


def _turning(condition: Any, longest: int) -> set[int]:
    """Sizes around the numbers of a condition."""
    numbers = {abs(int(each)) for each in condition.atoms(sympy.Integer)}
    numbers |= {one // other for one in numbers for other in numbers if other}
    near = {number + by for number in numbers for by in (-1, 0, 1)} | {*range(1, 10)} | {2**at for at in range(20)}
    return {size for size in near if 0 < size <= longest}


def _try(trial: Trial, base: Shapes, group: set[Axis], size: int) -> Try:
    shapes = [list(each) for each in base]
    for number, axis in group:
        shapes[number][axis] = size
    number, axis = min(group)
    return Try(axis_names(trial.inputs, trial.groups)[number][axis], size, shapes)
