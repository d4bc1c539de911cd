"""The recording of one forward: a Graph that grows with each call and op."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import SpecError
from modelarchive.nn import nesting
from modelarchive.nn.block import Block
from modelarchive.nn.dim import Dim
from modelarchive.nn.evaluate import Abstract, Evaluator, Value, constant_value, is_code
from modelarchive.nn.graph import Graph, Node, Ref, constant
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array, Parameter, dtype_name
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.refusal import class_place, here, refusal, refuse
from modelarchive.nn.signature import bound, free_name, input_names, positional
from modelarchive.nn.symbol import Symbol

#: What a block may be given beside arrays: it decides what forward does, and is not in the architecture.
_LITERALS = (str, int, float, type(None), Dim, type, np.dtype)
#: Larger constant arrays are stored beside the parameters.
MAX_CONSTANT = 64
SHAPES = "check the shapes and the declared inputs (a free axis is tried at several sizes, a batch with 12 and 20)"


@dataclass(frozen=True)
class Recorded:
    """What one block's forward did.

    Attributes:
        inputs: Names of its inputs.
        nodes: Its steps.
        outputs: References to what it returned.
        layers: Layers that no attribute holds (an activation called as a function): name -> kind, fields.
        places: Where in the user's code each node comes from.
        structure: The containers around the outputs; None: one bare array, or a tuple of several.
        stored: Constant arrays that are parameters of the block: name -> digest.
        arrays: Those arrays by name.
    """

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Ref, ...]
    layers: dict[str, tuple[str, dict[str, Any]]]
    places: tuple[str, ...] = field(compare=False)
    structure: Any = None
    stored: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict, compare=False)


class Scope:
    """The Graph that grows while one block's forward runs.

    Args:
        tracer: Who evaluates shapes.
        block: The owner of the forward.
        arguments: An Abstract for each array, and literals as they are.
        named: What is given by keyword, likewise.
    """

    def __init__(self, tracer: Evaluator, block: Block, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        self.tracer = tracer
        self.block = block
        self._taken = set(block.children)
        self._nodes: list[Node] = []
        self._places: list[str] = []
        self._layers: dict[str, tuple[str, dict[str, Any]]] = {}
        self._constants: dict[tuple[str, str | None], Symbol] = {}
        self._parameters: dict[int, Symbol] = {}
        self._stored: dict[str, Array] = {}
        self._digests: dict[str, str] = {}
        self._blocks: dict[int, str] | None = None
        self._declared: set[str] = set()
        self._symbols: list[Symbol] = []
        self._sizes: dict[tuple[Any, str], Symbol] = {}
        self.inputs: list[str] = []
        names = input_names(block, len(arguments))
        self.arguments = [self._input(name, each) for name, each in zip(names, arguments, strict=True)]
        self.named = {name: self._input(name, each) for name, each in named.items()}

    def _input(self, name: str, argument: Any) -> Any:
        if nesting.is_container(argument):
            numbers = count()
            return nesting.mapped(argument, lambda each: self._input(f"{name}_{next(numbers)}", each))
        if not isinstance(argument, Abstract):
            return argument
        self.inputs.append(free_name(name, self._taken))
        return self._symbol((self.inputs[-1], None), argument)

    def _symbol(self, ref: Ref, abstract: Abstract) -> Symbol:
        self._symbols.append(Symbol(self, ref, abstract))
        return self._symbols[-1]

    def add(self, node: Node, value: Value) -> Any:
        """Append a node; its results as symbols, in the containers of `value`."""
        self._nodes.append(node)
        self._places.append(here())
        if not nesting.is_container(value):
            return self._symbol((node.name, None), value)
        symbols = [self._symbol((node.name, index), each) for index, each in enumerate(nesting.leaves(value))]
        return nesting.nested(nesting.structure_of(value), symbols)

    # ------------------------------------------------------------------ values

    def symbol(self, value: Any) -> Symbol:
        """A value used in this forward: a symbol of it, or a number or array that becomes a constant."""
        if isinstance(value, Symbol):
            if value.scope is not self:
                refuse(
                    "closure",
                    f"{value!r} belongs to another forward",
                    "pass arrays from block to block as inputs and outputs",
                )
            return value
        number = type(value) in (int, float)
        if not number and not isinstance(value, np.ndarray | np.generic | bool):
            advice = "pass arrays one by one; other options belong into the constructor"
            if isinstance(value, Parameter):
                advice = "write .data() behind the parameter"
            refuse("argument", f"an input is a {type(value).__name__}, which is no array", advice)
        array = np.asarray(value)
        if not number and array.size > MAX_CONSTANT:
            return self._stored_constant(array)
        arguments = _constant_arguments(array, weak=number)
        key = (repr(arguments["value"]), arguments["dtype"])
        if key not in self._constants:
            node = Node(free_name("constant", self._taken), "op", "constant", (), arguments)
            self._constants[key] = self.add(node, constant_value(constant(arguments)))
        return self._constants[key]

    def _stored_constant(self, array: Array) -> Symbol:
        """A large constant, stored beside the parameters of this block, where an earlier recording may have put it."""
        name = dtypes.dense_name(array.dtype)
        if name is None:
            refuse("constant", f"a constant array of dtype {dtype_name(array.dtype)}", "use an array of numbers")
        shape = array.shape
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        key = (f"{shape} {digest}", name)
        if key not in self._constants:
            known = (own for own, parameter in self.block.parameters.items() if _holds(own, parameter, array))
            target = next(known, None)
            if target is None:
                target = free_name("constant", {*self._taken, *self.block.parameters, *self._stored})
                self._stored[target], self._digests[target] = array.copy(), key[0]
            node = Node(free_name(target, self._taken), "parameter", target)
            self._constants[key] = self.add(node, Abstract((shape, shape), array.dtype))
        return self._constants[key]

    def size(self, dim: Dim, others: Sequence[Any]) -> Symbol:
        """A size that is not fixed, among the inputs of an op: read from the shape of an array that has it.

        Args:
            dim: The size.
            others: The other inputs, whose dtype it takes as a Python number would.
        """
        strong = [each.abstract.dtype for each in others if isinstance(each, Symbol)]
        found = [dtype for dtype in strong if isinstance(dtype, np.dtype) and dtype.kind != "b"]
        dtype = dtype_name(found[0] if found else np.dtype(np.int64))
        if (dim.pair, dtype) not in self._sizes:
            found_at = (
                (each, axis)
                for each in self._symbols
                for axis, pair in enumerate(zip(*each.abstract.shapes, strict=True))
                if pair == dim.pair
            )
            source, axis = next(found_at, (None, 0))
            if source is None:
                advice = "use sizes as x.shape has them, and calculate with the arrays instead"
                refuse("argument", f"{dim!r} is a calculated size that is not fixed, and that no array has", advice)
            whole = self.op("shape_of", [source], {})
            self._sizes[dim.pair, dtype] = self.op("cast", [whole[axis]], {"dtype": dtype})
        return self._sizes[dim.pair, dtype]

    def with_shape(self, shape: Sequence[Any]) -> Symbol | None:
        """An array that has each free size of `shape` at the same axis."""
        wanted = [(axis, size.pair) for axis, size in enumerate(shape) if isinstance(size, Dim)]
        for each in self._symbols:
            pairs = list(zip(*each.abstract.shapes, strict=True))
            if all(axis < len(pairs) and pairs[axis] == pair for axis, pair in wanted):
                return each
        return None

    # ------------------------------------------------------------------ steps

    def op(self, name: str, inputs: Sequence[Any], arguments: dict[str, Any]) -> Any:
        """An op of the vocabulary is called."""
        symbols = [self.symbol(value) for value in inputs]
        value = self._evaluated(name, self.tracer.op, name, [each.abstract for each in symbols], arguments)
        refs = tuple(each.ref for each in symbols)
        return self.add(Node(free_name(name, self._taken), "op", name, refs, arguments), value)

    def layer(self, kind: str, inputs: Sequence[Any], config: dict[str, Any]) -> Any:
        """A function that means a layer is called: it becomes a child of its own."""
        symbols = [self.symbol(value) for value in inputs]
        token = RECORDER.set(None)
        try:
            layer = self._evaluated(kind, KINDS[kind].from_config, config)
        finally:
            RECORDER.reset(token)
        value = self._evaluated(kind, self.tracer.block, layer, [each.abstract for each in symbols])
        name = free_name(str(config.get("activation") or kind.lower()), self._taken)
        self._layers[name] = (kind, layer.config())
        return self.add(Node(name, "block", name, tuple(each.ref for each in symbols)), value)

    def call(self, block: Block, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """A block is called."""
        path = self._path(block)
        if is_code(block):
            given, keywords = bound(block.forward, inputs, named)
            values = [nesting.mapped(value, self._argument) for value in (*given, *keywords.values())]
        else:
            if isinstance(block, Graph | Layer):
                given, keywords = block.ordered(inputs, named), {}
            else:
                given, keywords = positional(block.forward, inputs, named), {}
            values = [self.symbol(value) for value in given]
        symbols = [leaf for value in values for leaf in nesting.leaves(value) if isinstance(leaf, Symbol)]
        arguments = [nesting.mapped(value, _abstract) for value in values]
        if not keywords and all(isinstance(value, Symbol) for value in values):
            value = self._evaluated(path, self.tracer.block, block, arguments)
        else:
            by_name = dict(zip(keywords, arguments[len(given) :], strict=True))
            value = self._evaluated(path, self.tracer.run, block, arguments[: len(given)], by_name)
        refs = tuple(each.ref for each in symbols)
        if "." in path or path in self._declared:
            return self.add(Node(free_name(path.replace(".", "_"), self._taken), "call", path, refs), value)
        self._declared.add(path)
        return self.add(Node(path, "block", path, refs), value)

    def _argument(self, value: Any) -> Any:
        """What a forward that is Python code is given: a literal as it is, else a symbol."""
        return value if isinstance(value, _LITERALS) else self.symbol(value)

    def parameter(self, parameter: Parameter) -> Symbol:
        """A parameter's values are used."""
        if id(parameter) not in self._parameters:
            path = next((path for path, own in _parameters_below(self.block) if own is parameter), None)
            if path is None:
                refuse(
                    "unregistered",
                    f"{parameter!r} does not belong to this block or a block below it",
                    "assign it to an attribute in the constructor: it is shared then",
                )
            shape = parameter.known_shape
            node = Node(free_name(path.replace(".", "_"), self._taken), "parameter", path)
            self._parameters[id(parameter)] = self.add(node, Abstract((shape, shape), parameter.dtype))
        return self._parameters[id(parameter)]

    def finished(self, result: Any) -> tuple[Recorded, Value]:
        """The recording, and the abstract value of what forward returned."""
        outputs = [self._output(value) for value in nesting.leaves(result)]
        try:
            structure = nesting.structure_of(result)
        except ValueError as error:
            raise self._refused_output(str(error)) from error
        if not outputs:
            raise self._refused_output(f"an empty {type(result).__name__}")
        recorded = Recorded(
            tuple(self.inputs),
            tuple(self._nodes),
            tuple(each.ref for each in outputs),
            self._layers,
            tuple(self._places),
            None if structure == nesting.usual(len(outputs)) else structure,
            self._digests,
            self._stored,
        )
        return recorded, nesting.nested(structure, [each.abstract for each in outputs])

    def _output(self, value: Any) -> Symbol:
        if not isinstance(value, Symbol | np.ndarray | np.generic | int | float):
            raise self._refused_output(f"a {type(value).__name__}")
        return self.symbol(value)

    def _refused_output(self, found: str) -> SpecError:
        advice = "return an array, or tuples, lists and dicts of arrays"
        return refusal("output", f"forward returns {found}", advice, class_place(self.block))

    def _evaluated(self, what: str, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except SpecError:
            raise
        except ValueError as error:
            refuse("shape", f"{what}: {error}", SHAPES)

    def _path(self, block: Block) -> str:
        if self._blocks is None:
            below = [(path, each) for path, each in self.block.named_blocks() if path]
            self._blocks = {id(each): path for path, each in reversed(below)}
            self._blocks |= {id(child): name for name, child in reversed(self.block.children.items())}
        path = self._blocks.get(id(block))
        if block is self.block:
            refuse("recursion", f"{type(block).__name__} calls itself", "an architecture is finite: write a loop")
        if path is None:
            refuse(
                "unregistered",
                f"the {type(block).__name__} that is called is no block below {type(self.block).__name__}",
                "assign it to an attribute in the constructor, or keep it in nn.Sequential",
            )
        return path


def _abstract(value: Any) -> Any:
    return value.abstract if isinstance(value, Symbol) else value


def _parameters_below(block: Block) -> list[tuple[str, Parameter]]:
    return [
        (f"{path}.{name}" if path else name, parameter)
        for path, each in block.named_blocks()
        for name, parameter in each.parameters.items()
    ]


def _holds(name: str, parameter: Parameter, array: Array) -> bool:
    """Whether a parameter is the constant `array` of an earlier recording."""
    if not name.startswith("constant") or parameter.trainable or not parameter.is_initialized:
        return False
    value = parameter.value()
    return value.shape == array.shape and value.dtype == array.dtype and value.tobytes() == array.tobytes()


def _constant_arguments(array: Array, *, weak: bool) -> dict[str, Any]:
    name = None if weak else dtypes.dense_name(array.dtype)
    if array.dtype.kind in "cOSUMm" or (name is None and not weak):
        found = f"dtype {dtype_name(array.dtype)}"
        refuse("constant", f"a constant array of {found} does not fit into an architecture", "use real numbers")
    wide = array if array.dtype.kind in "biuf" and array.dtype.itemsize > 1 else _widened(array)
    return {"value": json_numbers(wide.tolist()), "dtype": name}


def _widened(array: Array) -> Array:
    return array if array.dtype.kind in "biu" else array.astype(np.float64)


def json_numbers(value: Any) -> Any:
    """Numbers as JSON has them: infinities and NaN as strings."""
    if isinstance(value, list):
        return [json_numbers(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value
