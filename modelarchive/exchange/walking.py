"""A network of ours, walked block by block: each layer, and each op of a graph, is lowered by its row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

import numpy as np

from modelarchive.exchange.drawing import Report
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.names import joined
from modelarchive.nn import Block, Graph, Layer, Node, Parameter, Scan, Sequential, nesting
from modelarchive.nn.evaluate import Evaluator
from modelarchive.nn.graph import apply_op, constant, is_constant

#: Steps of a Scan that are written out, the most.
MOST_STEPS: Final = 256


@dataclass(frozen=True)
class Value:
    """A value of the network while it is lowered.

    Attributes:
        tensor: What the other system has for it; None for a constant that is none there.
        known: Its shape and dtype; None where the network's inputs are not declared.
        constant: What it is, where that is written in the architecture: a Python number (of weak dtype) or an array.
    """

    tensor: Any
    known: Any = None
    constant: Any = None

    @property
    def sizes(self) -> list[int | None]:
        """Its shape, None for sizes that are free.

        Raises:
            Refusal: Nothing is known of it.
        """
        if self.known is None:
            raise Refusal("what it means depends on the input's shape, which is not known: declare the model's inputs")
        found: list[int | None] = self.known.declared
        return found

    @property
    def rank(self) -> int:
        """How many axes it has.

        Raises:
            Refusal: Nothing is known of it.
        """
        return len(self.sizes)


_V = TypeVar("_V", bound=Value)
_R = TypeVar("_R", bound=Lowering)


@dataclass(frozen=True)
class Context(Generic[_V]):
    """What a row works on: one use of a layer, or of an op.

    Attributes:
        walker: What walks the network.
        path: The block, or the node of a graph.
        known: Shape and dtype of each result; None where the network's inputs are not declared.
    """

    walker: Walker[_V, Any]
    path: str
    known: Sequence[Any]

    def note(self, what: str) -> None:
        """Report what is changed or lost."""
        self.walker.report.note(self.path or "(model)", what)


class Walker(ABC, Generic[_V, _R]):
    """Lowers a network to another system, in the order in which it is computed; what is not supported is reported.

    A room's own walker says how its rows are called, and what parameters and constants are there.

    Args:
        lowerings: Kind or op -> its row.

    Attributes:
        system: What the other system is called.
        report: What is changed or lost, and what is not supported.
    """

    system: ClassVar[str]

    def __init__(self, lowerings: Mapping[str, _R]) -> None:
        self.report = Report()
        self._lowerings = lowerings
        self._evaluator = Evaluator()
        #: How many rows are at work.
        self._depth = 0

    @property
    def in_formula(self) -> bool:
        """Whether the row at work is part of another that is a formula."""
        return self._depth > 1

    @abstractmethod
    def lower(self, row: _R, path: str, subject: Any, inputs: list[_V], known: Sequence[Any]) -> Sequence[_V]:
        """The results of one use of a layer or op.

        Args:
            row: Its row.
            path: The block, or the node of a graph.
            subject: The layer, or the op's literal arguments.
            inputs: What it works on.
            known: Shape and dtype of each result.

        Raises:
            Refusal: It is not supported.
        """

    @abstractmethod
    def parameter(self, parameter: Parameter, path: str) -> _V:
        """A parameter that a graph itself uses; `path` is its name. Raises Refusal."""

    @abstractmethod
    def constant(self, value: Any, path: str) -> _V:
        """A Python number, or an array, that is written in the architecture."""

    def walk(self, block: Block, inputs: Sequence[_V]) -> list[_V]:
        """The results of a network, one after another; fewer where something is not supported."""
        return [each for each in self._block(block, "", list(inputs)) if each is not None]

    def layer(self, layer: Layer, path: str, inputs: list[_V]) -> Sequence[_V]:
        """The results of a layer, by its row. Raises Refusal."""
        known = _known(lambda: self._evaluator.layer(layer, [each.known for each in inputs]))
        return self._by_row("kind", layer.kind, path, layer, inputs, known)

    def op(self, word: str, path: str, inputs: list[_V], arguments: dict[str, Any]) -> Sequence[_V]:
        """The results of an op, by its row; one of constants is computed here. Raises Refusal."""
        if word != "shape_of" and all(each.tensor is None for each in inputs):
            found = apply_op(word, [each.constant for each in inputs], arguments)
            return [self.constant(np.asarray(each), path) for each in (found if isinstance(found, tuple) else (found,))]
        known = _known(lambda: self._evaluator.op(word, [each.known for each in inputs], arguments))
        return self._by_row("op", word, path, arguments, inputs, known)

    def _by_row(
        self, what: str, word: str, path: str, subject: Any, inputs: list[_V], known: Sequence[Any]
    ) -> Sequence[_V]:
        if word not in self._lowerings:
            raise Refusal(f"the {what} {word!r} is not supported in {self.system}")
        self._depth += 1
        try:
            return self.lower(self._lowerings[word], path, subject, inputs, known)
        finally:
            self._depth -= 1

    def _block(self, block: Block, path: str, inputs: list[_V | None]) -> list[_V | None]:
        if isinstance(block, Layer):
            return self._lowered(path, inputs, lambda given: self.layer(block, path, given))
        if isinstance(block, Sequential):
            for name, child in block.children.items():
                inputs = self._block(child, joined(path, name), inputs)
            return inputs
        if isinstance(block, Scan):
            return self._scan(block, path, inputs)
        if isinstance(block, Graph):
            return self._graph(block, path, inputs)
        self.report.refuse(path or "(model)", f"{type(block).__name__} is no kind of the vocabulary")
        return [None]

    def _scan(self, scan: Scan, path: str, inputs: list[_V | None]) -> list[_V | None]:
        given = [each for each in inputs if each is not None]
        results: list[_V | None] = [None] * (scan.states + len(scan.output_axes))
        if len(given) < len(inputs):
            return results  # what it works on is not supported, and reported
        try:
            results = self.scan(scan, path, given)
        except (Refusal, ValueError) as error:
            self.report.refuse(path or "(model)", str(error))
        return results

    def scan(self, scan: Scan, path: str, inputs: list[_V]) -> list[_V | None]:
        """The results of a Scan: step by step, where their number is fixed. Raises Refusal."""
        states, sequences, others = scan.parted(inputs)
        count = sequences[0].sizes[scan.axes[0]]
        if count is None or not 0 < count <= MOST_STEPS:
            found = "any number of steps" if count is None else f"{count} steps"
            raise Refusal(
                f"a Scan of {found} is not supported in {self.system}: give inputs= of a fixed size, of 1 to "
                f"{MOST_STEPS} steps"
            )
        row: list[_V | None] = list(states)
        outputs: list[list[_V]] = [[] for _ in scan.output_axes]
        for step in range(count):
            elements = [
                self.op("slice", path, [each], {"index": [*[[None] * 3] * axis, step]})[0]
                for each, axis in zip(sequences, scan.axes, strict=True)
            ]
            found_now = self._block(scan.body, joined(path, "body"), [*row, *elements, *others])
            row, own = scan.results(found_now)
            for each, several in zip(own, outputs, strict=True):
                if each is None:
                    return [None] * (len(row) + len(own))
                several.append(each)
        stacked = [
            self.op("stack", path, several, {"axis": axis})[0]
            for several, axis in zip(outputs, scan.output_axes, strict=True)
        ]
        return [*row, *stacked]

    def _graph(self, graph: Graph, path: str, inputs: list[_V | None]) -> list[_V | None]:
        if not graph.outputs or len(inputs) != len(graph.inputs):
            what = f"it is called with {len(inputs)} inputs" if graph.outputs else "it only declares its children"
            self.report.refuse(path or "(model)", what)
            return [None]
        values: dict[str, list[_V | None]] = {name: [each] for name, each in zip(graph.inputs, inputs, strict=True)}
        for node in graph.nodes:
            if node.inputs is not None:
                values[node.name] = self._node(graph, node, path, [_picked(values, *ref) for ref in node.inputs])
        return [_picked(values, *ref) for ref in graph.outputs]

    def _node(self, graph: Graph, node: Node, path: str, inputs: list[_V | None]) -> list[_V | None]:
        if node.verb in ("block", "call"):
            return self._block(graph.find(node.target), joined(path, node.target), inputs)
        if node.verb == "parameter":
            parameter, name = graph.find_parameter(node.target), joined(path, node.target)
            return self._lowered(name, [], lambda given: [self.parameter(parameter, name)])
        name = joined(path, node.name)
        if is_constant(node):
            value = constant(node.arguments)
            return self._lowered(name, [], lambda given: [self.constant(value, name)])
        return self._lowered(name, inputs, lambda given: self.op(node.target, name, given, dict(node.arguments)))

    def _lowered(
        self, path: str, inputs: list[_V | None], lower: Callable[[list[_V]], Sequence[_V]]
    ) -> list[_V | None]:
        given = [each for each in inputs if each is not None]
        if len(given) < len(inputs):
            return [None]  # what it works on is not supported, and reported
        try:
            return list(lower(given))
        except Refusal as refusal:
            self.report.refuse(path or "(model)", str(refusal))
        return [None]


def _known(evaluate: Callable[[], Any]) -> tuple[Any, ...]:
    """What is known of each result. Raises Refusal."""
    try:
        known = evaluate()
    except (ValueError, LookupError) as error:
        # Inputs that were declared for a model that knows none need not fit it.
        raise Refusal(f"the declared inputs do not fit: {error}") from error
    return known if isinstance(known, tuple) else (known,)


def _picked(values: Mapping[str, list[_V | None]], name: str, index: int | None) -> _V | None:
    """A result of a node; None where that is not supported."""
    several, index = values[name], index or 0
    return several[index] if index < len(several) else None


def owners_of(block: Block, stored: Mapping[str, Any]) -> tuple[dict[int, str], list[tuple[str, str]]]:
    """``id`` of each parameter -> the name under which its array is stored; and what is missing, as problems."""
    found: dict[int, str] = {}
    missing: dict[int, str] = {}
    for name, parameter in block.collect_stored().items():
        if name in stored:
            found.setdefault(id(parameter), name)
        else:
            missing[id(parameter)] = name
    return found, [(name, "the parameter has no values here") for key, name in missing.items() if key not in found]


def output_structure(block: Block, outputs: int) -> Any:
    """The containers around a network's outputs."""
    while isinstance(block, Sequential) and block.children:
        block = list(block.children.values())[-1]
    return block.structure if isinstance(block, Graph) else nesting.usual(outputs)
