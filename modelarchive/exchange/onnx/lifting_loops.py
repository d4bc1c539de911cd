"""How ONNX's loops become a Scan, whose steps are as many as an axis has elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.bodies import BodyBuilder
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_sizes import counted
from modelarchive.exchange.onnx.model import Graph
from modelarchive.exchange.onnx.naming import part, path_of
from modelarchive.exchange.onnx.values import BEFORE, NAMES_A_STEP, Constant, Operand, Several, Unsupported, captured
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.dim import Dim, from_pair
from modelarchive.nn.evaluate import Abstract, without_axis
from modelarchive.store.deferred import Deferred

_WHOLE: Final = [None, None, None]


class _Body:
    """A loop that becomes a Scan.

    Args:
        context: The loop's operator.
        graph: What is done at each step.
        count: How many steps there are.
    """

    def __init__(self, context: Context, graph: Graph, count: Any) -> None:
        self.context, self.graph, self._count = context, graph, count
        around = context.builder
        name = around.inside(context.name)
        path = path_of(name) if f"{name}.body" in around.prefixes else None
        self._where = around.find(path or [part(name)])
        self.builder = BodyBuilder(around, self._where[-1])
        self._states: list[tuple[Ref, Ref]] = []
        self._sequences: list[tuple[Ref, int, Ref]] = []
        self._step: Ref | None = None
        if around.rolled is not None and not isinstance(count, Dim):
            around.rolled.append(name)

    # ------------------------------------------------------------------ what a step is given

    def state(self, operand: Operand) -> Ref:
        """A state, of what it is at first."""
        first = self.context.builder.reference(operand, self.context.name)
        known = self.context.known_of(first)
        inner = self.builder.input("state", Abstract(known.shapes, known.array_dtype))
        self._states.append((first, inner))
        return inner

    def element(self, sequence: Ref, axis: int) -> Ref:
        """The element of a sequence."""
        inner = self.builder.input("element", without_axis(self.context.known_of(sequence), axis))
        self._sequences.append((sequence, axis, inner))
        return inner

    def step(self) -> Ref:
        """The number of the step."""
        self._step = self.builder.input("step", Abstract(((), ()), np.dtype(np.int64)))
        return self._step

    def results(self, given: Sequence[Operand]) -> tuple[Operand, ...]:
        """What a step gives, which sees what is around it."""
        graph, scope = self.graph, self.context.scope
        if len(given) != len(graph.inputs):
            raise Refusal(f"the graph in {self.context.node.op} takes {len(graph.inputs)} inputs, found {len(given)}")
        names = {name for node in graph.nodes for name in (*node.inputs, *captured(node.attributes))}
        names.update(each.name for each in graph.outputs)
        budget.spend(f"{self.context.node.op} {self.context.name!r}", steps=1 + len(names) // NAMES_A_STEP)
        inside = {name: self.builder.moved(scope[name]) for name in sorted(names) if name in scope}
        inside.update(zip((each.name for each in graph.inputs), given, strict=True))
        return self.context.branch(graph, inside, self.builder)

    # ------------------------------------------------------------------ the Scan

    def made(self, following: Sequence[Operand], outputs: Sequence[Operand], axes: Sequence[int]) -> list[Ref]:
        """The states after the last step, and the outputs of all.

        Args:
            following: The states of the next step.
            outputs: What a step puts out.
            axes: Where the steps of each output stand; below 0 from the end.
        """
        context, builder = self.context, self.builder
        refs = [builder.reference(each, context.name) for each in (*following, *outputs)]
        if not refs:
            return []
        values = [builder.known(each, context.node.op) for each in refs]
        for at, ((_, before), after) in enumerate(zip(self._states, values, strict=False)):
            first = builder.known(before, context.node.op)
            if first.shapes != after.shapes or first.array_dtype != after.array_dtype:
                raise Refusal(
                    f"what a {context.node.op} hands on from step to step is supported where its shape and dtype stay: "
                    f"number {at} is {first.array_dtype} {first.declared} at first, and then {after.array_dtype} "
                    f"{after.declared}"
                )
        places = [axis % (len(value.shapes[0]) + 1) for axis, value in zip(axes, values[len(following) :], strict=True)]
        values[len(following) :] = [
            self._with_axis(value, axis) for axis, value in zip(places, values[len(following) :], strict=True)
        ]
        self._take_elements()
        used = self._used(refs)
        if self._step is not None and (self._step.name in used or not self._sequences):
            self._sequences.insert(0, (counted(context, self._count), 0, self._step))
        others = [(outer, own) for outer, own in builder.others.items() if own.name in used]
        inputs = [*self._states, *((outer, own) for outer, _, own in self._sequences), *others]
        builder.inputs[:] = [own.name for _, own in inputs]
        block = {
            "kind": "Scan", "states": len(following), "axes": [axis for _, axis, _ in self._sequences],
            "output_axes": places, "body": builder.graph(refs),
        }  # fmt: skip
        value = values[0] if len(values) == 1 else tuple(values)
        ref = context.builder.placed(self._where, block, [outer for outer, _ in inputs], value)
        return [ref] if len(values) == 1 else list(ref.parts(len(values)))

    def _take_elements(self) -> None:
        """Make sequences of the arrays of which each step takes the element of its number, or so many beside it."""
        outer = {own.name: around for around, own in self.builder.others.items()}
        nodes = {node["name"]: node for node in self.builder.nodes}
        for node in list(self.builder.nodes) if self._step is not None else ():
            if node.get("op") != "take" or node["inputs"][0] not in outer or type(node["inputs"][1]) is not str:
                continue
            place = self._place(node["inputs"][1], nodes)
            axis, around = node["arguments"]["axis"], outer[node["inputs"][0]]
            sequence = None if place is None else self._part(around, axis, *place)
            if sequence is not None:
                self._sequences.append((sequence, axis, Ref(node["name"])))
                self.builder.nodes.remove(node)

    def _place(self, name: str, nodes: Mapping[str, Any]) -> tuple[int, Any] | None:
        """A number of the body, as that of the step times a number, and a size; None: it is something else."""
        if self._step is not None and name == self._step.name:
            return 1, 0
        if name in self.builder.sizes:
            return 0, self.builder.sizes[name]
        node = nodes.get(name, {})
        value = node.get("arguments", {}).get("value")
        if node.get("op") == "constant" and type(value) is int:
            return 0, value
        if node.get("op") not in ("add", "subtract", "multiply"):
            return None
        one, two = (self._place(each, nodes) if type(each) is str else None for each in node["inputs"])
        if one is None or two is None:
            return None
        if node["op"] == "multiply":
            one, two = (one, two) if two[0] == 0 else (two, one)
            return None if two[0] or isinstance(two[1], Dim) else (one[0] * two[1], one[1] * two[1])
        sign = 1 if node["op"] == "add" else -1
        return one[0] + sign * two[0], one[1] + sign * two[1]

    def _part(self, around: Ref, axis: int, by: int, first: Any) -> Ref | None:
        """The elements of an array that the steps take one by one; None: they are not side by side within it."""
        size = from_pair(*(shape[axis] for shape in self.context.known_of(around).shapes))
        low = first if by > 0 else first - (self._count - 1)
        behind = size - low - self._count
        if by not in (1, -1) or isinstance(low, Dim) or isinstance(behind, Dim) or min(low, behind) < 0:
            return None
        if low or behind:
            index = [*[_WHOLE] * axis, [low or None, -behind or None, None]]
            around = self.context.op("slice", around, index=index)
        return around if by > 0 else _turned(self.context, around, axis)

    def _used(self, refs: Sequence[Ref]) -> set[str]:
        inputs = (each for node in self.builder.nodes for each in node.get("inputs", ()))
        return {each if isinstance(each, str) else each[0] for each in inputs} | {each.name for each in refs}

    def _with_axis(self, value: Abstract, axis: int) -> Abstract:
        sizes = self._count.pair if isinstance(self._count, Dim) else (self._count, self._count)
        one, two = ((*shape[:axis], size, *shape[axis:]) for shape, size in zip(value.shapes, sizes, strict=True))
        return Abstract((one, two), value.array_dtype)


def scan(
    context: Context,
    graph: Graph,
    sequences: Sequence[tuple[int, int, bool]],
    outputs: Sequence[tuple[int, bool]],
) -> tuple[Operand, ...]:
    """A Scan.

    Args:
        context: It.
        graph: Its body.
        sequences: Of each the input that it is, its axis of steps, and whether it is gone through backwards.
        outputs: Of each the axis of steps, and whether they are put together backwards.
    """
    first, axis, _ = sequences[0]
    body = _Body(context, graph, from_pair(*(shape[axis] for shape in context.known(first).shapes)))
    states = [body.state(context.operands[index]) for index in range(first)]
    elements = [
        body.element(_turned(context, context.ref(index), axis) if turned else context.ref(index), axis)
        for index, axis, turned in sequences
    ]
    results = body.results([*states, *elements])
    if any(isinstance(each, Unsupported) for each in results):
        return (Unsupported(),) * len(context.node.outputs)
    made = body.made(results[:first], results[first:], [axis for axis, _ in outputs])
    return (
        *made[:first],
        *(
            _turned(context, each, axis % len(context.known_of(each).shapes[0])) if turned else each
            for each, (axis, turned) in zip(made[first:], outputs, strict=True)
        ),
    )


def _turned(context: Context, ref: Ref, axis: int) -> Ref:
    return context.op("slice", ref, index=[*[_WHOLE] * axis, [None, None, -1]])


def loop(context: Context, graph: Graph, count: Any) -> tuple[Operand, ...]:
    """A Loop of so many rounds, whatever is computed in them."""
    body = _Body(context, graph, count)
    carried = context.operands[2:]
    stays = _unchanged(graph)
    is_state = [not isinstance(each, Several) and at not in stays for at, each in enumerate(carried)]
    given: list[Operand] = []
    for at, each in enumerate(carried):
        if is_state[at]:
            given.append(body.state(each))
        else:
            given.append(body.builder.moved(each) if at in stays else Several((), BEFORE))
            if isinstance(each, Several) and each.rows == BEFORE:
                raise Refusal("a sequence that two loops inside of each other add to is not supported")
    go_on = Constant(Deferred.of(np.asarray(True)))
    goes_on, *results = body.results([body.step(), go_on, *given])
    if any(isinstance(each, Unsupported) for each in (goes_on, *results)):
        return (Unsupported(),) * len(context.node.outputs)
    if not isinstance(goes_on, Constant) or goes_on.array.size != 1 or not goes_on.numpy().all():
        raise Refusal("a Loop whose end depends on values is not supported, only one of as many rounds as an axis has "
                      "elements, or a known number")  # fmt: skip
    following = [each for at, each in enumerate(results[: len(carried)]) if is_state[at]]
    grown = [at for at, each in enumerate(is_state) if not each and at not in stays]
    added = [_added(results[at]) for at in grown]
    outputs = [*(each for each in added if each is not None), *results[len(carried) :]]
    made = body.made(following, outputs, [0] * len(outputs))
    states, stacked = made[: len(following)], made[len(following) :]
    found: list[Operand] = []
    for at, each in enumerate(carried):
        if is_state[at]:
            found.append(states.pop(0))
        elif at in stays or added[grown.index(at)] is None:
            found.append(each)
        else:
            found.append(_behind(context, each, stacked.pop(0)))
    return (*found, *stacked)


def _unchanged(graph: Graph) -> set[int]:
    """What each round hands on as it is given."""
    copies = {node.outputs[0]: node.inputs[0] for node in graph.nodes if node.op == "Identity"}
    found = set()
    for at, (one, other) in enumerate(zip(graph.inputs[2:], graph.outputs[1:], strict=False)):
        name = other.name
        while name in copies:
            name = copies.pop(name)
        if name == one.name:
            found.add(at)
    return found


def _added(operand: Operand) -> Operand:
    """What a round adds to a sequence; None: nothing."""
    if not isinstance(operand, Several) or operand.rows != BEFORE or len(operand.parts) > 1:
        raise Refusal("a Loop that changes a sequence is supported where each round adds one part at its end")
    return operand.parts[0] if operand.parts else None


def _behind(context: Context, operand: Operand, rows: Ref) -> Several:
    """A sequence with rows added."""
    parts = operand.parts if isinstance(operand, Several) else ()
    before = [operand.rows] if isinstance(operand, Several) and operand.rows is not None else []
    if parts:
        before.append(context.op("stack", *(context.builder.reference(each) for each in parts), axis=0))
    return Several((), context.op("concatenate", *before, rows, axis=0) if before else rows)
