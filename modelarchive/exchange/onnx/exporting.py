"""From a network to an ONNX graph: walks the blocks, and asks the tables how each one is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.onnx.lowering_context import Composition, Context, Entry, Lowering, Value, computed
from modelarchive.exchange.onnx.words import CODES
from modelarchive.exchange.refusal import Refusal
from modelarchive.names import joined
from modelarchive.nn import Block, Layer, Sequential, nesting
from modelarchive.nn.evaluate import Abstract, Evaluator, constant_value
from modelarchive.nn.graph import Graph, Node, constant, is_constant
from modelarchive.ops.precision import is_narrow


class Exporter:
    """Says a network, block by block.

    Args:
        graph: What collects the nodes.
        lowerings: How each kind and op is lowered.
    """

    def __init__(self, graph: Composition, lowerings: Mapping[str, Lowering]) -> None:
        #: What cannot be said.
        self.problems: list[tuple[str, str]] = []
        self.graph = graph
        self._lowerings = lowerings
        self._evaluator = Evaluator()

    def run(self, block: Block, inputs: Sequence[tuple[str, Abstract]]) -> list[tuple[Entry, Abstract]]:
        """The results of a network; what cannot be said is collected in `problems`."""
        self.problems += self.graph.own(block)
        for name, known in inputs:
            if problem := _problem_with(known.array_dtype):
                self.problems.append((name, problem))
        if self.problems:
            return []
        given: list[Value | None] = [Value(name, known) for name, known in inputs]
        found = [each for each in self._block(block, "", given) if each is not None]
        return [(self.graph.array(each, each.dtype, "output"), each.known) for each in found]

    def _block(self, block: Block, path: str, given: list[Value | None]) -> list[Value | None]:
        if isinstance(block, Layer):
            known = self._known(lambda values: self._evaluator.layer(block, values), path, given)
            return self._said(block.kind, f"the kind {block.kind!r}", path, block, given, known)
        if isinstance(block, Sequential):
            for name, child in block.children.items():
                given = self._block(child, joined(path, name), given)
            return given
        if isinstance(block, Graph):
            return self._graph(block, path, given)
        self.problems.append((path or "(model)", f"{type(block).__name__} is no kind of the vocabulary"))
        return [None]

    def _graph(self, graph: Graph, path: str, given: list[Value | None]) -> list[Value | None]:
        if not graph.outputs or len(given) != len(graph.inputs):
            what = f"it is called with {len(given)} inputs" if graph.outputs else "it only declares its children"
            self.problems.append((path or "(model)", what))
            return [None]
        values: dict[str, list[Value | None]] = {name: [each] for name, each in zip(graph.inputs, given, strict=True)}
        for node in graph.nodes:
            if node.inputs is None:
                continue
            inputs = [_picked(values, ref) for ref in node.inputs]
            values[node.name] = self._node(graph, node, joined(path, node.name), path, inputs)
        return [_picked(values, ref) for ref in graph.outputs]

    def _node(self, graph: Graph, node: Node, name: str, path: str, given: list[Value | None]) -> list[Value | None]:
        if node.verb in ("block", "call"):
            return self._block(graph.find(node.target), joined(path, node.target), given)
        if node.verb == "parameter":
            parameter = graph.find_parameter(node.target)
            if problem := _problem_with(parameter.dtype):
                self.problems.append((name, problem))
                return [None]
            shape = parameter.known_shape
            return [Value(self.graph.parameter(parameter), Abstract((shape, shape), parameter.dtype))]
        if is_constant(node):
            value = constant(node.arguments)
            known = constant_value(value)
            if not isinstance(value, np.ndarray):
                return [Value(None, known, value)]
            return [Value(self.graph.made(value, name), known)]
        arguments = dict(node.arguments)
        known = self._known(lambda values: self._evaluator.op(node.target, values, arguments), name, given)
        return self._said(node.target, f"the op {node.target!r}", name, arguments, given, known)

    def _known(self, evaluate: Callable[[list[Abstract]], Any], path: str, given: list[Value | None]) -> Any:
        """Shape and dtype of a result; None where something before it could not be said."""
        if any(each is None for each in given):
            return None
        try:
            return evaluate([each.known for each in given if each is not None])
        except (ValueError, LookupError) as error:
            self.problems.append((path or "(model)", str(error)))
            return None

    def _said(
        self,
        word: str,
        what: str,
        path: str,
        subject: Any,
        given: list[Value | None],
        known: Any,
    ) -> list[Value | None]:
        if known is None:
            return [None]  # of what could not be said nothing can be made
        several = known if isinstance(known, tuple) else (known,)
        since = len(self.graph.steps)
        try:
            if word not in self._lowerings:
                raise Refusal(f"{what} has no counterpart in ONNX")
            results = self._say(
                self._lowerings[word], path, subject, [each for each in given if each is not None], several
            )
        except Refusal as refusal:
            self.problems.append((path or "(model)", str(refusal)))
            return [None] * len(several)
        results = self.graph.rename(results, path, since)
        return [Value(entry, shape) for entry, shape in zip(results, several, strict=True)]

    def _say(
        self, row: Lowering, path: str, subject: Any, given: list[Value], known: Sequence[Abstract]
    ) -> Sequence[Entry]:
        for known_one in (*(each.known for each in given), *known):
            if problem := _problem_with(known_one.array_dtype):
                raise Refusal(problem)
        context = Context(self.graph, path, known, computed(known[0].array_dtype))
        if row.single:
            context = context.single()
        if row.wide:
            if any(each.dtype == np.uint64 for each in given):
                context.note("unsigned numbers of 64 bits are computed as signed ones")
            inside = [context.dtype] * len(known)
            given = [self._cast(each, context.dtype, path) for each in given]
        else:
            inside = [_movable(each.array_dtype) for each in known]
            moved = [Abstract(each.shapes, dtype) for each, dtype in zip(known, inside, strict=True)]
            context = replace(context, known=moved)
            given = [each if each.entry is None else self._cast(each, _movable(each.dtype), path) for each in given]
        results = row.lower(context, subject, given)
        entries = list(results) if isinstance(results, tuple) else [results]
        return [
            self.graph.cast(entry, dtype, each.array_dtype, path)
            for entry, dtype, each in zip(entries, inside, known, strict=True)
        ]

    def _cast(self, given: Value, dtype: np.dtype[Any], path: str) -> Value:
        return Value(self.graph.array(given, dtype, path), Abstract(given.known.shapes, dtype))


def _movable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which elements are moved: of eight bits there are no floats that ONNX's operators move."""
    return np.dtype(np.float32) if is_narrow(dtype) and dtype.itemsize == 1 else dtype


def output_names(structure: Any, wish: str = "output") -> list[str]:
    """Names for the outputs of a model: the keys of dicts, and numbers in tuples and lists."""
    if isinstance(structure, int):
        return [wish]
    if "dict" in structure:
        inside = structure["dict"]
        pairs = [(key if wish == "output" else f"{wish}_{key}", inside[key]) for key in sorted(inside)]
    else:
        pairs = [(f"{wish}_{index}", each) for index, each in enumerate(next(iter(structure.values())))]
    return [name for key, each in pairs for name in output_names(each, key)]


def structure_of(block: Block, outputs: int) -> Any:
    """The containers around a network's outputs."""
    while isinstance(block, Sequential) and block.children:
        block = list(block.children.values())[-1]
    return block.structure if isinstance(block, Graph) else nesting.usual(outputs)


def _problem_with(dtype: np.dtype[Any]) -> str | None:
    name = dtypes.dense_name(dtype)
    if name is None or name not in CODES:
        return f"ONNX has no {dtype}"
    return "ONNX's operators take no complex numbers" if dtype.kind == "c" else None


def _picked(values: Mapping[str, list[Value | None]], ref: tuple[str, int | None]) -> Value | None:
    several = values[ref[0]]
    index = ref[1] or 0
    return several[index] if index < len(several) else None
