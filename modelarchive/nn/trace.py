"""Recording ``forward``: it runs on symbolic arrays, and each call and op becomes a node of a Graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import ModelArchiveError, SpecError
from modelarchive.nn.block import Block, Layer
from modelarchive.nn.evaluate import Abstract, Evaluator, Value, constant_value, declared, is_code
from modelarchive.nn.graph import Node, Ref, constant
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.parameter import Parameter, dtype_name
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.refusal import class_place, here, place, raised_at, refusal, refuse
from modelarchive.nn.signature import free_name, input_names
from modelarchive.nn.state import changed, snapshot
from modelarchive.nn.symbol import Symbol

#: Larger constant arrays belong into a parameter.
MAX_CONSTANT = 64
_SHAPES = "check the shapes and the declared inputs (a batch of any size is tried with 12 and 20)"
_ADVICE = "make forward the same function of its inputs at every call"


@dataclass(frozen=True)
class Recorded:
    """What one block's forward did.

    Attributes:
        inputs: Names of its inputs.
        nodes: Its steps.
        outputs: References to what it returned.
        layers: Layers that no attribute holds (an activation called as a function): name -> kind, fields.
        places: Where in the user's code each node comes from.
    """

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Ref, ...]
    layers: dict[str, tuple[str, dict[str, Any]]]
    places: tuple[str, ...] = field(compare=False)


def record(block: Block, inputs: Sequence[tuple[Sequence[int | None], str]]) -> dict[int, Recorded]:
    """Run `block` twice on symbolic arrays, and compare.

    Unknown parameter shapes below `block` are learned from the inputs, as at a first call.

    Args:
        block: The network.
        inputs: Shape (None where it is not fixed) and dtype name of each input.

    Returns:
        ``id(block)`` -> what it did, for each block below whose forward is Python code and was called.

    Raises:
        SpecError: Something cannot be recorded, with class, file and line.
    """
    first, second = _run(block, inputs), _run(block, inputs)
    for key, (owner, recorded) in first.items():
        again = second.get(key)
        if again is None or again[1] != recorded:
            where = _difference(recorded, again[1] if again else None) or class_place(owner)
            raise refusal("differs", "two recordings differ (random numbers, or changing state?)", _ADVICE, where)
    return {key: recorded for key, (_, recorded) in first.items()}


def _run(block: Block, inputs: Sequence[tuple[Sequence[int | None], str]]) -> dict[int, tuple[Block, Recorded]]:
    try:
        before = snapshot(block)
    except ValueError as error:
        raise refusal("nesting", str(error), "a network is a tree of blocks", class_place(block)) from error
    tracer = Tracer(block)
    token = RECORDER.set(tracer)
    try:
        tracer.block(block, [declared(shape, dtype) for shape, dtype in inputs])
    except ModelArchiveError:
        raise
    except ValueError as error:
        raise refusal("shape", str(error), _SHAPES, class_place(block)) from error
    finally:
        RECORDER.reset(token)
    for owner, attribute in changed(before, snapshot(block)):
        raise refusal(
            "state",
            f"forward changes the attribute {attribute!r}",
            "a forward that is described keeps nothing; pass values as inputs and outputs",
            class_place(owner),
        )
    return tracer.recorded


def _difference(one: Recorded, two: Recorded | None) -> str | None:
    """Where the first node of `one` that `two` does not have comes from."""
    nodes = two.nodes if two is not None else ()
    for position, node in enumerate(one.nodes):
        if position >= len(nodes) or nodes[position] != node:
            return one.places[position]
    return None


class Tracer(Evaluator):
    """Evaluates shapes, and records each forward that is Python code."""

    def __init__(self, root: Block) -> None:
        self.recorded: dict[int, tuple[Block, Recorded]] = {}
        self._scopes: list[Scope] = []
        self._refusals: list[Exception] = []
        self._paths = {id(block): path for path, block in reversed(list(root.named_blocks()))}

    # ------------------------------------------------------------------ the Recorder protocol

    def call(self, block: Block, inputs: tuple[Any, ...]) -> Any:
        """A forward under recording calls a block."""
        return self._scopes[-1].call(block, inputs)

    def parameter(self, parameter: Parameter) -> Any:
        """A forward under recording asks for a parameter's values."""
        return self._scopes[-1].parameter(parameter)

    def refused(self, error: Exception) -> None:
        """Keep the refusal, in case the user's code catches the exception."""
        self._refusals.append(error)

    def changes(self, owner: Block | Parameter, what: str) -> None:
        """Refuse that forward changes a block or parameter."""
        name = type(owner).__name__
        if isinstance(owner, Block) and id(owner) not in self._paths:
            refuse("unregistered", f"a {name} is created in forward", "create blocks in the constructor")
        refuse(
            "state",
            f"{what} on a {name} changes state during forward",
            "a forward that is described keeps nothing; use local variables, inputs and outputs",
        )

    # ------------------------------------------------------------------ evaluation

    def layer(self, layer: Layer, values: Sequence[Value]) -> Value:
        """A layer learns shapes, which is a change that is allowed."""
        token = RECORDER.set(None)
        try:
            return super().layer(layer, values)
        finally:
            RECORDER.reset(token)

    def misfit(self, owner: Block, position: int | None, error: Exception) -> Value:
        """Raise, with the block's path."""
        if isinstance(error, ModelArchiveError):
            raise error
        path = self._paths.get(id(owner), "") or "(model)"
        where = path if position is None else f"{path}, node {owner.nodes[position].name!r}"  # type: ignore[attr-defined]
        if self._scopes:
            refuse("shape", f"{where}: {error}", _SHAPES)
        raise refusal("shape", str(error), _SHAPES, where) from error

    def custom(self, block: Block, values: Sequence[Value]) -> Value:
        """A block whose forward is Python code, called from a container."""
        return self.run(block, values)

    def run(self, block: Block, arguments: Sequence[Any]) -> Value:
        """Record one forward.

        Args:
            block: Its owner.
            arguments: An Abstract for each array, and literals (numbers, strings, None) as they are.
        """
        scope = Scope(self, block, arguments)
        self._scopes.append(scope)
        try:
            result = block.forward(*scope.arguments)
        except ModelArchiveError:
            raise
        except Exception as error:
            where = place(raised_at(error.__traceback__), block)
            found = f"{type(error).__name__}: {error}"
            raise refusal("forward", found, "forward must run on symbolic arrays", where) from error
        finally:
            self._scopes.pop()
        if self._refusals:
            raise self._refusals[0]
        recorded, value = scope.finished(result)
        known = self.recorded.setdefault(id(block), (block, recorded))[1]
        if known != recorded:
            where = _difference(recorded, known) or class_place(block)
            advice = "use one block for each way it is used, or make forward independent of the input's sizes"
            raise refusal("differs", "two calls of this block do different things", advice, where)
        return value


class Scope:
    """The Graph that grows while one block's forward runs."""

    def __init__(self, tracer: Tracer, block: Block, arguments: Sequence[Any]) -> None:
        self.tracer = tracer
        self.block = block
        self._taken = set(block.children)
        self._nodes: list[Node] = []
        self._places: list[str] = []
        self._layers: dict[str, tuple[str, dict[str, Any]]] = {}
        self._constants: dict[tuple[str, str | None], Symbol] = {}
        self._parameters: dict[int, Symbol] = {}
        self._blocks: dict[int, str] | None = None
        self._declared: set[str] = set()
        self.inputs: list[str] = []
        self.arguments: list[Any] = []
        for name, argument in zip(input_names(block, len(arguments)), arguments, strict=True):
            if isinstance(argument, Abstract):
                self.inputs.append(free_name(name, self._taken))
                argument = Symbol(self, (self.inputs[-1], None), argument)
            self.arguments.append(argument)

    def add(self, node: Node, value: Value) -> Any:
        """Append a node; its results as symbols."""
        self._nodes.append(node)
        self._places.append(here())
        if isinstance(value, tuple):
            return tuple(Symbol(self, (node.name, index), each) for index, each in enumerate(value))
        return Symbol(self, (node.name, None), value)

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
        arguments = _constant_arguments(value if number else np.asarray(value), weak=number)
        key = (repr(arguments["value"]), arguments["dtype"])
        if key not in self._constants:
            node = Node(free_name("constant", self._taken), "op", "constant", (), arguments)
            self._constants[key] = self.add(node, constant_value(constant(arguments)))
        return self._constants[key]

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
        layer = KINDS[kind].from_config(config)
        RECORDER.reset(token)
        value = self._evaluated(kind, self.tracer.block, layer, [each.abstract for each in symbols])
        name = free_name(str(config.get("activation") or kind.lower()), self._taken)
        self._layers[name] = (kind, layer.config())
        return self.add(Node(name, "block", name, tuple(each.ref for each in symbols)), value)

    def call(self, block: Block, inputs: tuple[Any, ...]) -> Any:
        """A block is called."""
        path = self._path(block)
        literal = (str, int, float, type(None)) if is_code(block) else ()
        values = [value if isinstance(value, literal) else self.symbol(value) for value in inputs]
        symbols = [value for value in values if isinstance(value, Symbol)]
        arguments = [value.abstract if isinstance(value, Symbol) else value for value in values]
        run = self.tracer.block if len(symbols) == len(values) else self.tracer.run
        value = self._evaluated(path, run, block, arguments)
        refs = tuple(each.ref for each in symbols)
        if "." in path or path in self._declared:
            return self.add(Node(free_name(path.replace(".", "_"), self._taken), "call", path, refs), value)
        self._declared.add(path)
        return self.add(Node(path, "block", path, refs), value)

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
        several = isinstance(result, tuple | list)
        if several and len(result) < 2:
            refuse(
                "output",
                f"{class_place(self.block)} returns a {type(result).__name__} of {len(result)}",
                "return one array, or a tuple of at least two",
            )
        outputs = [self._output(value) for value in (result if several else [result])]
        recorded = Recorded(
            tuple(self.inputs),
            tuple(self._nodes),
            tuple(each.ref for each in outputs),
            self._layers,
            tuple(self._places),
        )
        values = tuple(each.abstract for each in outputs)
        return recorded, values if several else values[0]

    def _output(self, value: Any) -> Symbol:
        if not isinstance(value, Symbol | np.ndarray | np.generic | int | float):
            where = class_place(self.block)
            advice = "return an array or a tuple of arrays"
            raise refusal("output", f"forward returns a {type(value).__name__}", advice, where)
        return self.symbol(value)

    def _evaluated(self, what: str, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except SpecError:
            raise
        except ValueError as error:
            refuse("shape", f"{what}: {error}", _SHAPES)

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


def _parameters_below(block: Block) -> list[tuple[str, Parameter]]:
    return [
        (f"{path}.{name}" if path else name, parameter)
        for path, each in block.named_blocks()
        for name, parameter in each.parameters.items()
    ]


def _constant_arguments(value: Any, *, weak: bool) -> dict[str, Any]:
    array = np.asarray(value)
    name = None if weak else dtypes.dense_name(array.dtype)
    if array.size > MAX_CONSTANT or array.dtype.kind in "cOSUMm" or (name is None and not weak):
        found = f"shape {array.shape}, dtype {dtype_name(array.dtype)}"
        refuse(
            "constant",
            f"a constant array of {found} does not fit into an architecture",
            f"only {MAX_CONSTANT} real numbers do; make it an attribute nn.Parameter(..., trainable=False)",
        )
    wide = array if array.dtype.kind in "biuf" and array.dtype.itemsize > 1 else _widened(array)
    return {"value": _json_numbers(wide.tolist()), "dtype": name}


def _widened(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array if array.dtype.kind in "biu" else array.astype(np.float64)


def _json_numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_numbers(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value
