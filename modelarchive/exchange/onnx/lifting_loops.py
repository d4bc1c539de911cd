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
from modelarchive.exchange.onnx.values import NAMES_A_STEP, Operand, captured
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.dim import Dim, from_pair
from modelarchive.nn.evaluate import Abstract, without_axis

_WHOLE: Final = [None, None, None]


class Rolled:
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
        return around if by > 0 else self.turned(around, axis)

    def turned(self, ref: Ref, axis: int) -> Ref:
        """An array around the loop, with an axis from its end to its beginning."""
        return self.context.op("slice", ref, index=[*[_WHOLE] * axis, [None, None, -1]])

    def _used(self, refs: Sequence[Ref]) -> set[str]:
        inputs = (each for node in self.builder.nodes for each in node.get("inputs", ()))
        return {each if isinstance(each, str) else each[0] for each in inputs} | {each.name for each in refs}

    def _with_axis(self, value: Abstract, axis: int) -> Abstract:
        sizes = self._count.pair if isinstance(self._count, Dim) else (self._count, self._count)
        one, two = ((*shape[:axis], size, *shape[axis:]) for shape, size in zip(value.shapes, sizes, strict=True))
        return Abstract((one, two), value.array_dtype)
