"""The call that stands for a loop: its body, what it is given, and what takes the place of the steps' results."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch
import torch.fx
from torch.fx import Node
from torch.utils import _pytree as pytree

from modelarchive.exchange.torch.lines_of_code import line_of_call
from modelarchive.exchange.torch.looping import COLLECT, marks_of, unmarked
from modelarchive.exchange.torch.reasons import OfValues
from modelarchive.exchange.torch.steps import SCAN, Body, Row, Step, alike, expression_of

_OF_ONE: Final = "it uses what one of the steps of a loop of any length gave, which is not the last"
#: Steps one after the other, from which on another loop goes through what these gave.
_GOES_THROUGH: Final = 3


class Rolled:
    """The call that stands for a loop.

    Args:
        graph: The program.
        number: The loop's.
        rows: What its steps do.
        count: How many steps it has.
        skipped: How many stand before it.
    """

    def __init__(self, graph: torch.fx.Graph, number: int, rows: Sequence[Row], count: Any, skipped: int) -> None:
        self.graph, self.number, self.rows, self.skipped = graph, number, rows, skipped
        self.count = expression_of(count)
        self._env = count.node.shape_env
        self.inside = {node for row in self.rows for node in row.steps()}
        self.body = torch.fx.Graph()
        #: Row, and how many steps ago -> it in the body.
        self.states: dict[tuple[int, int], Node] = {}
        self.elements: dict[Any, Node] = {}
        self.others: dict[Node, Node] = {}
        self.made: dict[int, Node] = {}
        self.outputs: dict[int, int] = {}
        self.axes: list[int] = []
        #: Row -> the calls that take what a single step gave: step, call, and which of the results of all it is.
        self._handed: dict[int, list[tuple[int, Node, Any]]] = {}

    def make(self) -> None:
        """Make the call, and take the steps out."""
        last = max(self.inside, key=list(self.graph.nodes).index)
        self._next = last.next
        firsts = {
            (each.at, ago): first
            for each in self._given()
            if isinstance(each, Step.Carried) and not isinstance(self.rows[each.at].form, Step.Written)
            for ago, first in enumerate(reversed(each.firsts), start=1)
        }
        for place, first in sorted(firsts.items(), key=lambda pair: pair[0]):
            self.states[place] = self._placeholder(first.name, self.rows[place[0]].value)
        forms = [element for each in self.rows for element in _elements(each.form)]
        counted = [each for each in self._given() if isinstance(each, Step.Counted)]
        for each in dict.fromkeys([*forms, *counted]):
            self.elements[each] = self._placeholder("element", self._value_of(each))
        if not self.elements:
            each = Step.Counted(sympy.Integer(0), 1)
            self.elements[each] = self._placeholder("step", self._value_of(each))
        for node in self._given():
            if isinstance(node, Node) and node not in self.others:
                self.others[node] = self._placeholder(node.name, node.meta.get("val"))
        for at, row in enumerate(self.rows):
            self._copy(at, row)
        wanted = self._wanted()
        inputs = [*self.states.values(), *self.elements.values(), *(
            placeholder for node, placeholder in self.others.items() if isinstance(node.meta.get("val"), torch.Tensor)
        )]  # fmt: skip
        following = [self.states[at, ago - 1] if ago > 1 else self.made[at] for at, ago in self.states]
        for place, each in zip(self.states, following, strict=True):
            if not alike(self.states[place], each):
                line = line_of_call(self.rows[place[0]].nodes[0])
                raise OfValues(f"what a loop of any length hands on changes its shape{line}")
        results = [*following, *(self._element_of(at) for at in self.outputs)]
        self.body.output(tuple(results))
        call = self._insert(firsts, inputs, results)
        self._connect(call, wanted)
        for node in reversed(list(self.graph.nodes)):
            if node in self.inside:
                self.graph.erase_node(node)

    # ------------------------------------------------------------------ the body

    def _given(self) -> Iterator[Any]:
        """What the calls of a step are given, but for what is taken or written element by element."""
        for row in self.rows:
            if isinstance(row.form, Step.Written):
                yield row.form.element
            elif row.form is None:
                yield from pytree.tree_leaves((row.args, row.kwargs))

    def _placeholder(self, name: str, value: Any) -> Node:
        node = self.body.placeholder(name)
        node.meta["val"] = value
        return node

    def _value_of(self, each: Any) -> torch.Tensor:
        """What an element is."""
        if isinstance(each, Step.Counted):
            return _fake(self.rows).new_empty((), dtype=torch.int64)
        value = each.source.meta["val"]
        return value.new_empty([size for at, size in enumerate(value.shape) if at != each.dim])

    def _copy(self, at: int, row: Row) -> None:
        if isinstance(row.form, Step.Element):
            element = self.elements[replace(row.form, keeps=False)]
            self.made[at] = self._unsqueezed(element, row) if row.form.keeps else element
            return
        if isinstance(row.form, Step.Window):
            several = [self.elements[each] for each in row.form.elements()]
            self.made[at] = self.body.call_function(torch.ops.aten.stack.default, (several, row.form.dim))
            self.made[at].meta = dict(row.nodes[-1].meta)
            return
        if isinstance(row.form, Step.Written):
            return
        node = self.body.call_function(row.nodes[0].target, tuple(self._mapped(row.args)), self._mapped(row.kwargs))
        node.meta = dict(row.nodes[-1].meta)
        node.meta["stack_trace"] = unmarked(node.meta.get("stack_trace"))
        self.made[at] = node

    def _unsqueezed(self, element: Node, row: Row) -> Node:
        node = self.body.call_function(torch.ops.aten.unsqueeze.default, (element, row.form.dim))
        node.meta = {**row.nodes[-1].meta}
        return node

    def _mapped(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._mapped(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._mapped(each) for each in value]
        if isinstance(value, Step.Inside):
            return self.made[value.at]
        if isinstance(value, Step.Carried):
            return self.states[value.at, len(value.firsts)]
        if isinstance(value, Step.Counted):
            return self.elements[value]
        return self.others[value] if isinstance(value, Node) else value

    # ------------------------------------------------------------------ what is used of it

    def _wanted(self) -> list[tuple[int, Any]]:
        """What is used outside: (row, the call that uses it; or how many steps from the end it is used as it is)."""
        found: dict[tuple[int, Any], None] = {}
        for at, row in enumerate(self.rows):
            users: dict[int | None, list[tuple[int, Node]]] = {}
            for step, node in enumerate(row.steps()):
                for user in node.users:
                    if user.target is COLLECT and self._is_collected(user, row):
                        found[at, user] = None
                    elif user not in self.inside:
                        users.setdefault(self._place_of(user)[0], []).append((step, user))
            for several in users.values():
                pairs = [(step, self._place_of(user)[1]) for step, user in several]
                for step, user in several:
                    ago = len(row.nodes) - step + 1
                    index = self._index(pairs, (step, self._place_of(user)[1]), ago)
                    if index is None and (ago == 1 or (at, ago) in self.states):
                        found[at, ago] = None
                        continue
                    if isinstance(row.form, Step.Written) or (index is None and step > 1 and ago > 2):
                        raise OfValues(f"{_OF_ONE}{line_of_call(user)}")
                    if index is None:
                        index = sympy.Integer(step) if step <= 1 else sympy.simplify(self.count - ago)
                    self._handed.setdefault(at, []).append((step, user, index))
                    found[at, "steps"] = None
        for at, user in found:
            axis = user.args[1] if isinstance(user, Node) else 0
            if (at, user) not in self.states and at not in self.outputs:
                form = self.rows[at].form
                self.outputs[at] = form.dim if isinstance(form, Step.Written) else axis
        return list(found)

    def _place_of(self, user: Node) -> tuple[int | None, int]:
        """The other loop that a call is made in, and its step there."""
        return next((mark for mark in marks_of(user) if mark[0] != self.number), (None, 0))

    def _index(self, pairs: Sequence[tuple[int, int]], place: tuple[int, int], ago: int) -> Any:
        """Which of all results another loop takes that goes through them, by pairs of steps; None: a single one."""
        step, other = place
        forth = {one for one, another in pairs if one - another == step - other}
        back = {one for one, another in pairs if one + another == step + other}
        if max(len(forth), len(back)) < _GOES_THROUGH:
            return None
        return sympy.Integer(step) if len(forth) >= len(back) else sympy.simplify(self.count - ago)

    def _is_collected(self, user: Node, row: Row) -> bool:
        return list(user.args[0])[self.skipped :] == row.steps()

    def _element_of(self, at: int) -> Node:
        form = self.rows[at].form
        if not isinstance(form, Step.Written):
            return self.made[at]
        found: Node = self._mapped(form.element)
        if not form.keeps:
            return found
        node = self.body.call_function(torch.ops.aten.squeeze.dim, (found, form.dim))
        value = found.meta["val"]
        shape = [size for axis, size in enumerate(value.shape) if axis != form.dim]
        node.meta = {**found.meta, "val": value.new_empty(shape)}
        return node

    # ------------------------------------------------------------------ the program around it

    def _insert(self, firsts: Mapping[tuple[int, int], Node], inputs: list[Node], results: list[Node]) -> Node:
        meta = {
            "nn_module_stack": _common(self.rows),
            "stack_trace": unmarked(self.rows[0].nodes[0].meta.get("stack_trace")),
        }
        self._meta = meta
        sequences = [self._sequence(each) for each in self.elements]
        self.axes = [each.dim if isinstance(each, Step.Element) else 0 for each in self.elements]
        others = [node for node in self.others if isinstance(node.meta.get("val"), torch.Tensor)]
        args = (
            [firsts[at] for at in self.states], sequences, others, self.axes, list(self.outputs.values()),
            _text(self.body, inputs),
        )  # fmt: skip
        call = self._called(SCAN, args, None)
        values = [self.states[at].meta["val"] for at in self.states]
        values += [
            self._with_axis(each.meta["val"], axis)
            for each, axis in zip(results[len(self.states) :], self.outputs.values(), strict=True)
        ]
        call.meta["val"] = tuple(values)
        call.meta["body"] = Body(self.body, inputs, results)
        return call

    def _called(self, target: Callable[..., Any], args: Any, value: Any) -> Node:
        with self.graph.inserting_before(self._next):
            node = self.graph.call_function(target, args)
        node.meta = {**self._meta, "val": value}
        return node

    def _number(self, expression: Any) -> Any:
        """A size as an argument."""
        if expression.is_Integer:
            return int(expression)
        value = self._env.create_symintnode(expression, hint=None)
        return self._called(operator.add, (0, 0), value)

    def _size(self, expression: Any) -> Any:
        return int(expression) if expression.is_Integer else self._env.create_symintnode(expression, hint=None)

    def _with_axis(self, value: torch.Tensor, axis: int) -> torch.Tensor:
        shape = list(value.shape)
        shape.insert(axis, self._size(self.count))
        return value.new_empty(shape)

    def _resized(self, value: torch.Tensor, axis: int, size: Any) -> torch.Tensor:
        return value.new_empty([self._size(size) if at == axis else each for at, each in enumerate(value.shape)])

    def _sequence(self, each: Any) -> Node:
        """The array whose elements are taken one after the other."""
        if isinstance(each, Step.Counted):
            value = _fake(self.rows).new_empty((self._size(self.count),), dtype=torch.int64)
            found = self._called(torch.ops.aten.arange.default, (self._number(self.count),), value)
            if each.by != 1:
                found = self._called(torch.ops.aten.mul.Tensor, (found, each.by), value)
            if each.first != 0:
                found = self._called(torch.ops.aten.add.Tensor, (found, self._number(each.first)), value)
            return found
        value, size = each.source.meta["val"], expression_of(each.source.meta["val"].shape[each.dim])
        step = abs(each.by)
        low = each.first if each.by > 0 else sympy.simplify(each.first - (self.count - 1) * step)
        high = sympy.simplify(low + (self.count - 1) * step + 1)
        found = each.source
        if low != 0 or step != 1 or sympy.simplify(high - size) != 0:
            args = (found, each.dim, self._number(low), self._number(high), step)
            found = self._called(torch.ops.aten.slice.Tensor, args, self._resized(value, each.dim, self.count))
        if each.by < 0:
            found = self._called(torch.ops.aten.flip.default, (found, [each.dim]), found.meta["val"])
        return found

    def _connect(self, call: Node, wanted: list[tuple[int, Any]]) -> None:
        """Let what used the steps use the call."""
        places: list[Any] = [*self.states, *self.outputs]
        items: dict[int, Node] = {}

        def item(number: int) -> Node:
            if number not in items:
                items[number] = self._called(operator.getitem, (call, number), call.meta["val"][number])
            return items[number]

        for at, user in wanted:
            row = self.rows[at]
            if (at, user) in self.states:
                self._replace(row, item(places.index((at, user))), user)
                continue
            whole, axis = item(len(self.states) + list(self.outputs).index(at)), self.outputs[at]
            if isinstance(user, Node):
                self._collect(user, whole, axis)
            elif user == "steps":
                self._hand_on(at, whole, axis)
            elif isinstance(row.form, Step.Written):
                self._replace(row, self._written(row.form, whole))
            else:
                self._replace(row, self._called(torch.ops.aten.select.int, (whole, axis, -1), row.value))

    def _replace(self, row: Row, new: Node, ago: int = 1) -> None:
        steps = [*row.nodes, row.last]
        old = steps[-ago]
        if old is not None:
            old.replace_all_uses_with(new, delete_user_cb=lambda user: user not in self.inside)

    def _collect(self, user: Node, whole: Node, axis: int) -> None:
        steps, dim, _, is_reversed = user.args
        found = whole
        if axis != dim:
            found = self._called(torch.ops.aten.movedim.int, (found, axis, dim), self._moved(user))
        if self.skipped:
            first = self._called(torch.ops.aten.unsqueeze.default, (steps[0], dim), steps[0].meta["val"].unsqueeze(dim))
            found = self._called(torch.ops.aten.cat.default, ([first, found], dim), user.meta["val"])
        if is_reversed:
            found = self._called(torch.ops.aten.flip.default, (found, [dim]), user.meta["val"])
        user.replace_all_uses_with(found)
        self.graph.erase_node(user)

    def _moved(self, user: Node) -> torch.Tensor:
        return self._resized(user.meta["val"], user.args[1], self.count)

    def _hand_on(self, at: int, whole: Node, axis: int) -> None:
        """What takes the results of single steps, as another loop does step by step, takes them out of all."""
        steps = self.rows[at].steps()
        for step, user, place in self._handed[at]:
            number = self._number(place)
            with self.graph.inserting_before(user):
                element = self.graph.call_function(torch.ops.aten.select.int, (whole, axis, number))
            element.meta = {**user.meta, "val": steps[step].meta["val"]}
            user.replace_input_with(steps[step], element)

    def _written(self, form: Step.Written, whole: Node) -> Node:
        """An array of which the steps have written elements."""
        value = form.first.meta["val"]
        if form.by not in (1, -1):
            raise OfValues("a loop of any length writes not every element of what it writes into")
        dim, found = form.dim, whole
        low = form.place if form.by > 0 else sympy.simplify(form.place - (self.count - 1))
        high = sympy.simplify(low + self.count)
        size = expression_of(value.shape[dim])
        if form.by < 0:
            found = self._called(torch.ops.aten.flip.default, (found, [dim]), found.meta["val"])
        parts = [found]
        if low != 0:
            args = (form.first, dim, 0, self._number(low))
            parts.insert(0, self._called(torch.ops.aten.slice.Tensor, args, self._resized(value, dim, low)))
        if sympy.simplify(high - size) != 0:
            args = (form.first, dim, self._number(high), sys.maxsize)
            parts.append(self._called(torch.ops.aten.slice.Tensor, args, self._resized(value, dim, size - high)))
        return found if len(parts) == 1 else self._called(torch.ops.aten.cat.default, (parts, dim), value)


def _elements(form: Any) -> list[Step.Element]:
    """What is taken, element by element."""
    if isinstance(form, Step.Window):
        return form.elements()
    return [replace(form, keeps=False)] if isinstance(form, Step.Element) else []


def _fake(rows: Sequence[Row]) -> torch.Tensor:
    """Some tensor without values."""
    return next(
        value
        for row in rows
        for value in pytree.tree_leaves(row.nodes[0].meta.get("val"))
        if isinstance(value, torch.Tensor)
    )


def _common(rows: Sequence[Row]) -> Any:
    """The calls of modules that all steps stand in."""
    stacks = [list((node.meta.get("nn_module_stack") or {}).items()) for row in rows for node in row.nodes]
    same = []
    for several in zip(*stacks, strict=False):
        if any(each != several[0] for each in several):
            break
        same.append(several[0])
    return dict(same)


def _text(graph: torch.fx.Graph, inputs: Sequence[Node]) -> str:
    """What a body does, in the same words for all that do the same."""
    places = {node: f"%{at}" for at, node in enumerate(graph.nodes)}
    lines = []
    for node in graph.nodes:
        args = torch.fx.node.map_arg((node.args, node.kwargs), lambda each: places[each])
        value = expression_of(node) if node not in inputs and node.op == "placeholder" else ""
        lines.append(f"{places[node]} = {node.op} {node.target if node.op == 'call_function' else ''} {args} {value}")
    return "\n".join(lines)
