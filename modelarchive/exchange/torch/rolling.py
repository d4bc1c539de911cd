"""The first steps of a loop in a program, as one call that stands for all of its steps."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch
import torch.fx
from torch.fx import Node
from torch.utils import _pytree as pytree

from modelarchive.exchange.torch.lifting import CHECKS, word
from modelarchive.exchange.torch.lines_of_code import line_of_call
from modelarchive.exchange.torch.looping import COLLECT, STEPS, marks_of, unmarked
from modelarchive.exchange.torch.reasons import OfValues
from modelarchive.exchange.torch.rolled import Rolled
from modelarchive.exchange.torch.steps import Row, Step, alike, expression_of

#: What may be given the number of a step as an array.
_COUNTING: Final = (torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor, torch.ops.aten.mul.Tensor,
                    torch.ops.aten.div.Tensor)  # fmt: skip

#: Calls that are given places.
_PLACING: Final = frozenset({"select", "slice", "select_scatter", "slice_scatter"})
#: Elements side by side that a step takes at most.
_WIDEST: Final = 64

#: Sizes, and what is calculated of them: a step takes it as it is.
_NUMBERS: Final = (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool)


def roll(graph: torch.fx.Graph, loops: Mapping[int, Any], passed: Collection[int] = ()) -> None:
    """Put one call in the place of each loop's steps.

    Args:
        graph: The program.
        loops: Number of a loop -> how many steps it has.
        passed: Those of which it was not seen where they end.

    Raises:
        OfValues: The steps do different things.
    """
    _simplify(graph)
    for number, count in loops.items():
        _Loop(graph, number, count, number in passed).roll()
    for node in list(graph.nodes):
        if node.target is COLLECT:
            raise OfValues(f"it puts together what several loops gave{line_of_call(node)}")
    graph.lint()


# ------------------------------------------------------------------ what stands in the way


def _simplify(graph: torch.fx.Graph) -> None:
    """Leave out what is the whole of an axis, and copies: writing into one step's place is one call then."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        name, args = word(node), node.args
        if name == "slice" and _is_whole(args[2:]):
            node.replace_all_uses_with(args[0])
        elif (name == "slice_scatter" and _is_whole(args[3:])) or (name == "copy" and alike(args[0], args[1])):
            node.replace_all_uses_with(args[1])
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and marks_of(node):
            graph.erase_node(node)


def _is_whole(bounds: Sequence[Any]) -> bool:
    start, end, step = (*bounds, None, None, None)[:3]
    return start in (None, 0) and (end is None or (type(end) is int and end >= sys.maxsize)) and step in (None, 1)


# ------------------------------------------------------------------ what a step is given


class _OtherError(Exception):
    """Steps do different things."""


def _differing(node: Node) -> _OtherError:
    return _OtherError(f"the steps of a loop of any length do different things{line_of_call(node)}")


@dataclass
class _Loop:
    """One loop of a program."""

    graph: torch.fx.Graph
    number: int
    count: Any
    is_passed: bool = False
    rows: list[Row] = field(default_factory=list)

    def roll(self) -> None:
        """Put one call in the place of its steps."""
        steps = self._steps()
        if not any(steps):
            return
        if self.is_passed and not all(steps):
            self._end(each for step in steps for each in step)
            return
        self._lift_out(steps)
        skipped = 0
        try:
            self.rows = self._aligned(steps)
        except _OtherError:
            skipped = 1  # the first step often makes what the others are given
            try:
                self.rows = self._aligned(steps[1:])
            except _OtherError as error:
                raise OfValues(str(error)) from None
        Rolled(self.graph, self.number, self.rows, self.count - skipped, skipped).make()

    def _end(self, nodes: Iterable[Node]) -> None:
        """Take calls for what comes after the loop."""
        for node in nodes:
            marks = [mark for mark in marks_of(node) if mark[0] != self.number]
            node.meta["stack_trace"] = unmarked(node.meta.get("stack_trace"), marks)

    def _steps(self) -> list[list[Node]]:
        found: list[list[Node]] = [[] for _ in range(STEPS)]
        beside: dict[int, set[int]] = {}
        for node in list(self.graph.nodes):
            marks = marks_of(node)
            own = next((step for loop, step in marks if loop == self.number), None)
            if own is None or isinstance(node.meta.get("val"), _NUMBERS):
                continue
            if word(node).startswith(CHECKS):
                self.graph.erase_node(node)
                continue
            found[own].append(node)
            for loop, _ in marks:
                beside.setdefault(loop, set()).add(own)
        # One that goes on beside this one (``zip``) is there in several of its steps, one inside of it begins anew.
        if any(len(each) == 1 for each in beside.values()) and len(beside) > 1:
            what = "it goes through a loop of any length inside of another"
            raise OfValues(f"{what}{line_of_call(next(iter(found[0]), found[-1][-1]))}")
        return found

    def _lift_out(self, steps: list[list[Node]]) -> None:
        """What does not depend on the step stands before the loop, once."""
        inside = {node for step in steps for node in step}
        while True:
            same: dict[Any, dict[int, Node]] = {}
            for at, step in enumerate(steps):
                for node in step:
                    if inside.isdisjoint(node.all_input_nodes):
                        same.setdefault((node.target, repr(node.args), repr(node.kwargs)), {}).setdefault(at, node)
            found = [each for each in same.values() if each.keys() >= set(range(1, STEPS))]
            if not found:
                return
            for each in found:
                first, *others = (each[at] for at in sorted(each))
                for node in others:
                    node.replace_all_uses_with(first)
                    self.graph.erase_node(node)
                for step in steps:
                    step[:] = [node for node in step if node not in each.values()]
                inside.difference_update(each.values())

    def _aligned(self, steps: list[list[Node]]) -> list[Row]:
        """The calls of the steps side by side.

        Raises:
            _OtherError: They do different things.
        """
        *steps, last = steps
        for nodes in zip(*steps, strict=False):
            if len({node.target for node in nodes}) > 1:
                raise _differing(nodes[-1])
        if len({len(step) for step in steps}) > 1:
            raise _differing(max(steps, key=len)[-1])
        rows = [Row(list(nodes)) for nodes in zip(*steps, strict=True)]
        places = {node: (step, at) for at, row in enumerate(rows) for step, node in enumerate(row.nodes)}
        for row in rows:
            row.args = self._merged([each.args for each in row.nodes], places, row)
            row.kwargs = self._merged([dict(each.kwargs) for each in row.nodes], places, row)
            row.form = self._form(row, places)
        self._match(rows, last, len(steps))
        self._check_states(rows)
        return rows

    def _match(self, rows: Sequence[Row], last: Sequence[Node], step: int) -> None:
        """Find what the calls of the last step are, in which those are left out that no step needs after it.

        Raises:
            _OtherError: It does something else.
        """
        found: dict[Node, int] = {}

        def fits(form: Any, value: Any) -> bool:
            if isinstance(form, dict):
                return all(fits(each, value[key]) for key, each in form.items())
            if isinstance(form, list) and isinstance(value, tuple | list):
                return len(form) == len(value) and all(map(fits, form, value))
            if isinstance(form, Step.Inside):
                return found.get(value) == form.at
            if isinstance(form, Step.Carried):
                return value is rows[form.at].nodes[-len(form.firsts)]
            if isinstance(form, Step.Counted):
                other = expression_of(value)
                return other is not None and sympy.simplify(form.first + form.by * step - other) == 0
            return type(form) is type(value) and bool(form == value)

        for place, node in enumerate(last):
            each = next(
                (
                    (at, row)
                    for at, row in enumerate(rows)
                    if row.last is None and row.nodes[0].target is node.target
                    if fits(row.args, node.args) and fits(row.kwargs, dict(node.kwargs))
                ),
                None,
            )
            if each is None and self.is_passed:
                self._end(last[place:])
                return
            if each is None:
                raise _differing(node)
            at, row = each
            row.last, found[node] = node, at

    def _merged(self, values: Sequence[Any], places: Mapping[Node, tuple[int, int]], row: Row) -> Any:
        """What an argument is at all steps."""
        first = values[0]
        if isinstance(first, dict):
            return {key: self._merged([each[key] for each in values], places, row) for key in first}
        if isinstance(first, tuple | list) and all(
            isinstance(each, tuple | list) and len(each) == len(first) for each in values
        ):
            return [self._merged(each, places, row) for each in zip(*values, strict=True)]
        if all(isinstance(each, Node) for each in values):
            where = [places.get(each) for each in values]
            if len({each[1] for each in where if each}) == 1:
                at = next(each[1] for each in where if each)
                if [each and each[0] for each in where] == list(range(len(values))):
                    return Step.Inside(at)
                ago = next(ago for ago, each in enumerate(where) if each)
                earlier = [each and each[0] for each in where]
                if ago and earlier == [*[None] * ago, *range(len(values) - ago)]:
                    return Step.Carried(at, tuple(values[:ago]))
            elif len(set(values)) == 1:
                return first
        elif all(type(each) is type(first) and each == first for each in values):
            return first
        counted = self._counted(values)
        if counted is None:
            raise _differing(row.nodes[-1])
        return counted

    @staticmethod
    def _counted(values: Sequence[Any]) -> Any:
        found = [expression_of(each) for each in values]
        if any(each is None for each in found):
            return None
        gaps = {sympy.simplify(two - one) for one, two in pairwise(found)}
        gap = gaps.pop() if len(gaps) == 1 else None
        if gap is None or not gap.is_Integer:
            return None
        return Step.Counted(found[0], int(gap)) if gap else values[0]

    def _form(self, row: Row, places: Mapping[Node, tuple[int, int]]) -> Any:
        """What a call is that takes, or writes, another element at each step; None: a call like any other."""
        name, args = word(row.nodes[0]), row.args
        counted = [each for each in pytree.tree_leaves((args, row.kwargs)) if isinstance(each, Step.Counted)]
        if name in _PLACING and any(each.first.is_negative for each in counted):
            raise _OtherError(f"a loop of any length counts its first places from the end{line_of_call(row.nodes[0])}")
        if name == "select" and isinstance(args[2], Step.Counted) and isinstance(args[0], Node):
            return Step.Element(args[0], args[1] % args[0].meta["val"].ndim, args[2].first, args[2].by)
        if name == "slice" and isinstance(args[0], Node) and (size := _width(args[2:])):
            dim = args[1] % args[0].meta["val"].ndim
            if size == 1:
                return Step.Element(args[0], dim, args[2].first, args[2].by, keeps=True)
            return Step.Window(args[0], dim, args[2].first, args[2].by, size)
        scatters = name == "select_scatter" and isinstance(args[3], Step.Counted)
        if scatters or (name == "slice_scatter" and _width(args[3:]) == 1):
            own = places[row.nodes[0]][1]
            readers = {places[user][1] for node in row.nodes[:-1] for user in node.users if user in places}
            if args[0] == Step.Carried(own, getattr(args[0], "firsts", ())[:1]) and readers <= {own}:
                dim = args[2] % args[0].firsts[0].meta["val"].ndim
                return Step.Written(args[0].firsts[0], args[1], dim, args[3].first, args[3].by, keeps=not scatters)
        if any(isinstance(each, Step.Counted) for each in pytree.tree_leaves(args)):
            if row.nodes[0].target not in _COUNTING:
                raise _OtherError(f"a loop of any length calculates with the number of its step in a way that is not "
                                  f"known{line_of_call(row.nodes[0])}")  # fmt: skip
        elif any(isinstance(each, Step.Counted) for each in pytree.tree_leaves(row.kwargs)):
            raise _OtherError(f"a loop of any length calculates with its step{line_of_call(row.nodes[0])}")
        return None

    @staticmethod
    def _check_states(rows: Sequence[Row]) -> None:
        """Refuse what is handed on in another shape or dtype than at first."""
        firsts: dict[tuple[int, int], Node] = {}
        for row in rows:
            for each in () if isinstance(row.form, Step.Written) else pytree.tree_leaves((row.args, row.kwargs)):
                if not isinstance(each, Step.Carried):
                    continue
                for ago, first in enumerate(reversed(each.firsts), start=1):
                    if not alike(first, rows[each.at].nodes[-1]):
                        raise _OtherError(
                            f"what a loop of any length hands on is of another shape or dtype than at first"
                            f"{line_of_call(rows[each.at].nodes[-1])}"
                        )
                    if firsts.setdefault((each.at, ago), first) is not first:
                        raise _OtherError(f"a loop hands on two arrays as one{line_of_call(row.nodes[-1])}")


def _width(bounds: Sequence[Any]) -> int:
    """How far apart two places are at all steps; 0: they are not, not always as far, or too far."""
    start, end, by = (*bounds, None, None, None)[:3]
    if not isinstance(start, Step.Counted) or not isinstance(end, Step.Counted) or start.by != end.by:
        return 0
    found = sympy.simplify(end.first - start.first)
    return int(found) if by in (None, 1) and found.is_Integer and 0 < found <= _WIDEST else 0
