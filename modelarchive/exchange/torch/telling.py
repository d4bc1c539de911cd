"""At which sizes a program is followed: at such as tell apart what it calculates of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch

from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.calculating import normal
from modelarchive.exchange.torch.guards import Guards
from modelarchive.exchange.torch.sizes import Axes, Sizes
from modelarchive.nn.trials import SCALES, UNEVEN, Scale

#: Calculated sizes that are looked at.
_MOST: Final = 256
#: Batches of such scales, as no bound of a usual size has them.
_FIRST: Final = 7
#: Bounds that are looked at, and scales for each.
_BOUNDS: Final = 8
_BOUNDING: Final = ("Max", "Min")
#: Operators that cut an array or put something around it.
_CUTTING: Final = ("slice", "narrow", "pad", "constant_pad_nd")
_NONE: Final = (-1, 0)
#: What makes one size of two, or a number of both.
_ROUNDING: Final = (
    "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilToInt", "FloorToInt", "TruncToInt", *_BOUNDING
)  # fmt: skip


def telling(
    graph: torch.fx.Graph, axes: Axes, ranges: Mapping[Any, tuple[int, int]], guards: Guards
) -> tuple[Scale, ...]:
    """The scales in the order in which they are tried: the usual ones, before them one that tells more sizes apart.

    An axis that is filled up to a multiple of 8 is as long as before where it is one already: then 64 and 224, which
    are, say nothing of it.

    Args:
        graph: The calls of the program.
        axes: What it says of its inputs' axes.
        ranges: Symbol of a size -> the least and the greatest one that is allowed.
        guards: What held of the sizes where it was exported.
    """
    calculated = _calculated(graph)
    if not calculated:
        return SCALES
    usual = _told(SCALES[0], calculated, axes, ranges, guards)
    bounded = [each for each in calculated if type(each).__name__ in _BOUNDING]
    scales = [*dict.fromkeys(scale for each in bounded[:_BOUNDS] for scale in _around(each))]
    found = [(_told(scale, calculated, axes, ranges, guards), scale) for scale in (*UNEVEN, *scales)]
    most = max(told for told, _ in found)
    return (next(scale for told, scale in found if told == most), *SCALES) if most > usual else SCALES


def _around(bounded: Any) -> Iterator[Scale]:
    """Scales whose sizes may lie on both sides of where a bound begins to count."""
    numbers = {abs(int(each)) for each in bounded.atoms(sympy.Integer)} - {0}
    turns = numbers | {one + other for one in numbers for other in numbers}
    turns |= {one * other for one in turns for other in numbers}
    for turn in sorted(turns - {1})[:_BOUNDS]:
        # The first axis of a scale is twice as long as it says, and three times.
        low, step = turn - max(1, turn // 4), max(2, turn // 2)
        yield Scale(_FIRST, step, low - 2 * step)


def coincidences(graph: torch.fx.Graph, sizes: Sizes) -> list[Any]:
    """What holds at the sizes that a program was followed at and need not hold at others: sizes that are one there.

    Args:
        graph: The calls of the program.
        sizes: The sizes.

    Returns:
        Conditions on the symbols of the program.
    """
    found = []
    first: dict[tuple[int, int], Any] = {}
    for each in _calculated(graph):
        one, two = pair = sizes.both(each)
        other = sympy.Integer(one) if one == two else first.setdefault(pair, each)
        if other is not each and sympy.expand(normal(each) - normal(other)) != 0:
            found.append(sympy.Eq(each, other, evaluate=False))
    return found


def _calculated(graph: torch.fx.Graph) -> list[Any]:
    """All sizes, and those that they are calculated by, where some are rounded on the way."""
    found = dict.fromkeys(each.node.expr for node in graph.nodes for each in _sizes(node.meta.get("val")))
    found |= dict.fromkeys(each for node in graph.nodes for each in _cut(node))
    if not any(type(part).__name__ in _ROUNDING for each in found for part in sympy.preorder_traversal(each)):
        return []
    parts = dict(found)
    for each in [*found][:_MOST]:
        for said in (each, normal(each)):
            parts |= dict.fromkeys(part for part in sympy.preorder_traversal(said) if part.free_symbols)
    return [*parts][:_MOST]


def _is_bounded(expression: Any) -> bool:
    return any(type(part).__name__ in _BOUNDING for part in sympy.preorder_traversal(expression))


def _sizes(value: Any) -> Iterator[Any]:
    for each in value if isinstance(value, tuple | list) else [value]:
        for size in each.shape if isinstance(each, torch.Tensor) else [each]:
            if isinstance(size, torch.SymInt) and not size.node.expr.is_number:
                yield size


def _cut(node: torch.fx.Node) -> Iterator[Any]:
    """How much a call cuts off an array, or puts around it, of sizes that are not fixed."""
    if getattr(getattr(node.target, "overloadpacket", None), "__name__", "") not in _CUTTING:
        return
    before, after = (getattr(each.meta.get("val"), "shape", ()) for each in (node.args[0], node))
    for one, other in zip(before, after, strict=False):
        if isinstance(one, torch.SymInt) and isinstance(other, torch.SymInt):
            difference = sympy.expand(one.node.expr - other.node.expr)
            if difference.free_symbols:
                yield difference


def _told(scale: Scale, calculated: list[Any], axes: Axes, ranges: Any, guards: Guards) -> tuple[int, int]:
    """How many of the sizes are told apart, and how few are numbers; less than none where a scale does not fit.

    Of three remainders by two some are one at any two sizes, but none need be a number.
    """
    sizes: Sizes | None = None
    with contextlib.suppress(Refusal):  # told where it is followed
        sizes = axes.sizes(scale, ranges)
    if sizes is None:
        return _NONE
    for way in (0, 1):
        shapes = [
            [
                size if isinstance(size, int) else sizes.trial.sizes[at, axis][way]
                for axis, size in enumerate(each["shape"])
            ]
            for at, each in enumerate(axes.declared)
        ]
        # Where a bound counts is compared at sizes on both sides of it.
        if not all(_is_bounded(guards.conditions[place]) for place in guards.broken(shapes)):
            return _NONE
    pairs = [sizes.both(each) for each in calculated]
    free = [(one, two) for one, two in pairs if one != two]
    return len(set(free)), len(free)
