"""Shapes and dtypes through a network without running it.

Sizes that are not fixed (the batch) are tried twice, as :mod:`modelarchive.nn.trials` chooses them: every shape is
computed for both, in plain ints, and an axis on which the two differ is one that depends on them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

import numpy as np

from modelarchive import ops
from modelarchive.nn import nesting
from modelarchive.nn.block import Block
from modelarchive.nn.graph import Graph, Node, constant, is_constant, picked
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.layer import Layer
from modelarchive.nn.scan import Scan
from modelarchive.nn.sequential import Sequential

Shape: TypeAlias = tuple[int, ...]

MAX_RANK: Final = 64
MAX_ELEMENTS: Final = 2**40


#: Name of a node or target of which nothing is known; outside the grammar of names.
UNKNOWN: Final = "?"


@dataclass(frozen=True, eq=False)
class Abstract:
    """What is known of an array before it exists. Equal ones give equal results: 1 is not the number 1.0 or True.

    Attributes:
        shapes: Its shape for each of the two tried sizes.
        dtype: Its dtype; a Python number has a weak one, and stands for itself.
    """

    shapes: tuple[Shape, Shape]
    dtype: Any

    def __eq__(self, other: object) -> bool:
        """Whether shapes, dtype and the type of a Python number agree."""
        if not isinstance(other, Abstract) or self.shapes != other.shapes:
            return False
        return type(self.dtype) is type(other.dtype) and bool(self.dtype == other.dtype)

    def __hash__(self) -> int:
        """The same for equal ones."""
        return hash((self.shapes, self.dtype))

    @property
    def declared(self) -> list[int | None]:
        """The shape as an architecture writes it: None where it is not fixed."""
        return [one if one == two else None for one, two in zip(*self.shapes, strict=True)]

    @property
    def array_dtype(self) -> np.dtype[Any]:
        """The dtype as an array of its own."""
        return self.dtype if isinstance(self.dtype, np.dtype) else np.asarray(self.dtype).dtype


#: An Abstract, containers of them (several outputs), or None: unknown, told already.
Value: TypeAlias = Any


#: Forwards that an architecture says in fields of its own.
_DECLARED: Final = (Sequential.forward, Graph.forward, Scan.forward)


def is_kind(block: Block) -> TypeGuard[Layer]:
    """Whether `block` is a layer of the vocabulary itself, not a subclass with a forward of its own."""
    return isinstance(block, Layer) and type(block) is KINDS.get(block.kind)


def is_code(block: Block) -> bool:
    """Whether the forward of `block` is Python code that has to be recorded."""
    return not is_kind(block) and type(block).forward not in _DECLARED


class Evaluator:
    """Walks a network from input shapes to output shapes, learning deferred parameter shapes."""

    def block(self, block: Block, values: Sequence[Value]) -> Value:
        """What `block` returns for `values`.

        Raises:
            ValueError: They do not fit.
        """
        for value in values:
            if value is not None and type(value) is not Abstract:
                raise ValueError(f"expected arrays as inputs, found a {type(value).__name__}")
        if is_kind(block):
            return self.layer(block, values)
        if is_code(block):
            return self.custom(block, values)
        if isinstance(block, Scan):
            return self.scan(block, values)
        return self.graph(block, values) if isinstance(block, Graph) else self.sequential(block, values)

    def layer(self, layer: Layer, values: Sequence[Value]) -> Value:
        """One layer."""
        if _is_unknown(values):
            return None
        try:
            shapes = [layer.infer(*[value.shapes[which] for value in values]) for which in (0, 1)]
            dtype = layer.result_dtype(*[value.array_dtype for value in values])
        except (TypeError, IndexError, ArithmeticError) as error:
            raise ValueError(f"{layer.kind}: {error}") from error
        if shapes[0] and isinstance(shapes[0][0], tuple):
            return tuple(checked(each, dtype) for each in zip(*shapes, strict=True))
        return checked((shapes[0], shapes[1]), dtype)

    def sequential(self, block: Block, values: Sequence[Value]) -> Value:
        """Children one after another; what does not fit is told at the child."""
        row = tuple(values)
        for child in block.children.values():
            try:
                result = self.block(child, row)
            except ValueError as error:
                result = self.misfit(child, None, error)
            row = result if isinstance(result, tuple) else (result,)
        return row[0] if len(row) == 1 else row

    def scan(self, scan: Scan, values: Sequence[Value]) -> Value:
        """One step of the body, which all the others are like; what does not fit in it is told at the body."""
        if _is_unknown(values):
            return None
        states, sequences, others = scan.parted(values)
        counts = [scan.steps([each.shapes[which] for each in sequences]) for which in (0, 1)]
        elements = [without_axis(each, axis) for each, axis in zip(sequences, scan.axes, strict=True)]
        strong = [Abstract(each.shapes, each.array_dtype) for each in states]
        try:
            result = nesting.flattened(self.block(scan.body, [*strong, *elements, *others]))
        except ValueError as error:
            result = self.misfit(scan.body, None, error)
        found = result if isinstance(result, tuple) else (result,)
        if _is_unknown(found):
            return None
        following, outputs = scan.results(found)
        scan.refuse_others(strong, following, lambda each: (tuple(each.declared), each.array_dtype))
        if any(one.shapes != other.shapes for one, other in zip(strong, following, strict=True)):
            raise ValueError("Scan: expected states to keep their sizes from step to step")
        stacked = [_with_axis(each, scan.output_axis(at, len(each.shapes[0]) + 1), counts)
                   for at, each in enumerate(outputs)]  # fmt: skip
        row = (*strong, *stacked)
        return row[0] if len(row) == 1 else row

    def graph(self, graph: Graph, values: Sequence[Value]) -> Value:
        """Nodes in order; what does not fit is told at the node."""
        if not graph.outputs:
            raise ValueError("it only declares its children and cannot be called")
        if len(values) != len(graph.inputs):
            raise ValueError(f"expected {len(graph.inputs)} inputs {list(graph.inputs)}, found {len(values)}")
        known: dict[str, Value] = {UNKNOWN: None} | dict(zip(graph.inputs, values, strict=True))
        for position, node in enumerate(graph.nodes):
            if node.inputs is None:
                continue
            try:
                inputs = [_picked(known, ref) for ref in node.inputs]
                known[node.name] = nesting.flattened(self.node(graph, node, inputs))
            except (ValueError, LookupError) as error:
                known[node.name] = self.misfit(graph, position, error)
        return nesting.nested(graph.structure, [_picked(known, ref) for ref in graph.outputs])

    def node(self, graph: Graph, node: Node, inputs: Sequence[Value]) -> Value:
        """One node of a graph."""
        if node.target == UNKNOWN:
            return None
        if is_constant(node):
            return constant_value(constant(node.arguments))
        if node.verb == "op":
            return self.op(node.target, inputs, dict(node.arguments))
        if node.verb == "parameter":
            parameter = graph.find_parameter(node.target)
            shape = parameter.known_shape
            return checked((shape, shape), parameter.dtype)
        return self.block(graph.find(node.target), inputs)

    def op(self, name: str, values: Sequence[Value], arguments: dict[str, Any]) -> Value:
        """One op of the vocabulary.

        Raises:
            ValueError: Shapes, dtypes or the number of inputs do not fit.
        """
        entry = ops.OPS[name]
        if len(values) != entry.arrays if entry.arrays is not None else not values:
            raise ValueError(f"expected {entry.arrays or 'some'} inputs, found {len(values)}")
        if _is_unknown(values):
            return None
        try:
            one, two = [entry.infer(*[value.shapes[which] for value in values], **arguments) for which in (0, 1)]
            dtype = np.dtype(entry.dtype(*[value.dtype for value in values], **arguments))
        except (TypeError, OverflowError, IndexError, ZeroDivisionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if one and isinstance(one[0], tuple):
            if len(one) != len(two):
                raise ValueError("the number of results depends on the batch")
            if all(each is one[0] for each in one) and all(each is two[0] for each in two):
                return (checked((one[0], two[0]), dtype),) * len(one)
            return tuple(checked(each, dtype) for each in zip(one, two, strict=True))
        return checked((one, two), dtype)

    def custom(self, block: Block, values: Sequence[Value]) -> Value:
        """A block whose forward is Python code."""
        return self.run(block, values)

    def run(self, block: Block, arguments: Sequence[Any], named: Mapping[str, Any] | None = None) -> Value:
        """The same with literals among its arguments, and some by keyword; only the tracer can say what it does."""
        raise ValueError(f"{type(block).__name__} is no kind of the vocabulary")

    def misfit(self, owner: Block, position: int | None, error: Exception) -> Value:
        """A child of a Sequential (position None), or a node of a Graph, does not fit.

        Returns:
            None to go on with an unknown value, where it does not raise.
        """
        raise error


def without_axis(value: Abstract, axis: int) -> Abstract:
    """What an element along an axis is."""
    one, two = ((*shape[:axis], *shape[axis + 1 :]) for shape in value.shapes)
    return Abstract((one, two), value.array_dtype)


def _with_axis(value: Abstract, axis: int, sizes: Sequence[int]) -> Abstract:
    one, two = ((*shape[:axis], size, *shape[axis:]) for shape, size in zip(value.shapes, sizes, strict=True))
    return checked((one, two), value.array_dtype)


def _is_unknown(values: Sequence[Value]) -> bool:
    for value in values:  # noqa: SIM110 - any() takes twice as long, and this runs for every node
        if value is None:
            return True
    return False


def checked(shapes: tuple[Shape, Shape], dtype: np.dtype[Any]) -> Abstract:
    """An abstract array within the limits.

    Raises:
        ValueError: It has too many axes or elements.
    """
    for shape in shapes:
        if len(shape) > MAX_RANK:
            raise ValueError(f"expected at most {MAX_RANK} axes, found {len(shape)}")
        if max(shape, default=0) > MAX_ELEMENTS or math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"expected at most 2**40 elements, found shape {shape}")
    if len(shapes[0]) != len(shapes[1]):
        raise ValueError(f"the number of axes depends on the batch: {shapes[0]} and {shapes[1]}")
    return Abstract((tuple(shapes[0]), tuple(shapes[1])), dtype)


def constant_value(value: Any) -> Abstract:
    """The abstract value of a Python number or an array."""
    if isinstance(value, np.ndarray):
        return Abstract((value.shape, value.shape), value.dtype)
    return Abstract(((), ()), value)


def _picked(values: dict[str, Value], ref: tuple[str, int | None]) -> Value:
    value = values[ref[0]]
    if value is None or (type(value) is Abstract and ref[1] is None):
        return value
    try:
        return picked(values, ref)
    except IndexError:
        raise ValueError(f"node {ref[0]!r} has {len(values[ref[0]])} outputs, found index {ref[1]}") from None
