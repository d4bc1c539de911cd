"""A block whose forward pass is a declared list of nodes instead of Python code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np

from modelarchive import ops
from modelarchive.nn import nesting
from modelarchive.nn.block import Block
from modelarchive.nn.calling import at_node
from modelarchive.nn.fusing import MAKER_OPS, activated, makes_new, over, run_as_one, together
from modelarchive.nn.parameter import Parameter, as_dtype
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.sequential import Sequential

#: The result of a node or input by its name; with an index where it has several.
Ref: TypeAlias = tuple[str, int | None]


@dataclass(frozen=True)
class Node:
    """One step of a graph.

    Attributes:
        name: The name of its result, unique among the graph's nodes and inputs.
        verb: What the step does: "block" declares a child and, with inputs, calls it; "call" calls a
            block declared elsewhere in the graph; "op" applies a function of the vocabulary;
            "parameter" gives a parameter's values.
        target: The child's name, the dotted path of the block or parameter, or the op.
        inputs: What the step works on; None for a block that is declared only.
        arguments: The literal arguments of an op.
    """

    name: str
    verb: Literal["block", "call", "op", "parameter"]
    target: str
    inputs: tuple[Ref, ...] | None = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        """Itself: nothing in it changes."""
        return self


class Graph(Block):
    """Executes its nodes in order; what :func:`modelarchive.build` makes of a recorded ``forward``.

    Children and parameters are attributes under their names in the architecture.

    Args:
        inputs: Names of the inputs, in the order of the call.
        nodes: The steps; each refers to inputs and to earlier nodes.
        outputs: What the call returns: one reference gives the bare value, several give a tuple.
        structure: The containers around the outputs instead (``modelarchive.nn.nesting``).
        children: The blocks that the nodes declare.
        parameters: The graph's own parameters.

    Attributes:
        defaults: Name of an input that may be left out -> the number and the dtype that it is filled with then.
    """

    defaults: Mapping[str, tuple[float, str]] = MappingProxyType({})

    def __init__(
        self,
        inputs: Sequence[str],
        nodes: Sequence[Node],
        outputs: Sequence[Ref],
        children: Mapping[str, Block] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        structure: Any = None,
    ) -> None:
        super().__init__()
        self._structure = nesting.usual(len(outputs)) if structure is None else structure
        self._inputs = tuple(inputs)
        self._nodes = tuple(nodes)
        self._outputs = tuple(outputs)
        self._drops = _last_uses(self._nodes, self._outputs)
        self._plan: tuple[_Step, ...] | None = None
        self._constants = {node.name: constant(node.arguments) for node in self._nodes if is_constant(node)}
        for name, parameter in (parameters or {}).items():
            self.adopt(name, parameter)
        for name, child in (children or {}).items():
            self.adopt(name, child)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return self._inputs

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The steps in order."""
        return self._nodes

    @property
    def outputs(self) -> tuple[Ref, ...]:
        """References to what a call returns."""
        return self._outputs

    @property
    def structure(self) -> Any:
        """The containers around the outputs (``modelarchive.nn.nesting``)."""
        return self._structure

    def ordered(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """A call's arguments by position; `named` goes by the names of the inputs.

        Inputs that have a default are filled with it where they are left out, or None.

        Raises:
            TypeError: A name is unknown or given already, or one in between is missing.
        """
        if self.defaults:
            inputs, named = completed(self._inputs, self.defaults, inputs, named, _filled)
        rest = self._inputs[len(inputs) : len(inputs) + len(named)]
        if set(rest) != set(named):
            raise TypeError(f"expected {len(self._inputs)} inputs {list(self._inputs)}, found {sorted(named)} by name")
        return (*inputs, *(named[name] for name in rest))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the nodes in order."""
        inputs = self.ordered(inputs, named)
        if not self._outputs:
            raise TypeError("this Graph only declares its children and cannot be called; call one of them")
        if len(inputs) != len(self._inputs):
            raise TypeError(f"expected {len(self._inputs)} inputs {list(self._inputs)}, found {len(inputs)}")
        values: dict[str, Any] = dict(zip(self._inputs, inputs, strict=True))
        fuses = RECORDER.get() is None
        if fuses and self._plan is None:
            # At the first call: most graphs that are built are not run.
            self.__dict__["_plan"] = _planned(self._nodes, self._outputs)
        done = -1
        try:
            for position, (node, drops) in enumerate(zip(self._nodes, self._drops, strict=True)):
                if position > done and node.inputs is not None:
                    given = [picked(values, ref) for ref in node.inputs]
                    result, more = self._fused(position, given) if fuses else (None, 0)
                    done = position + more
                    result = self._run(node, given) if result is None else result
                    # A value that is dropped is freed before the next step, and not held by this list.
                    del given
                    values[self._nodes[done].name] = nesting.flattened(result)
                    del result
                if node.inputs is not None:
                    for name in drops:
                        values.pop(name, None)
        except Exception as error:
            if node.verb == "op":
                at_node(error, node.name, node.target, _explained(error, node, values))
            raise
        return nesting.nested(self._structure, [picked(values, ref) for ref in self._outputs])

    def _fused(self, position: int, given: list[Any]) -> tuple[Any, int]:
        """What a node and those that run with it give, or a node that writes over its input; and how many more ran.

        None as the result where it runs by itself.
        """
        node, step = self._nodes[position], (self._plan or ())[position]
        if node.verb == "op":
            spare = step.spare if step.spare is not None and self._is_new(step.maker) else None
            return (None, 0) if spare is None else (over(node.target, given, spare), 0)
        if node.verb == "parameter":
            return None, 0
        block = self.find(node.target)
        if step.followers:
            blocks = [block, *(self.find(each) for each in step.followers)]
            count = together(blocks)
            if count > 1:
                return run_as_one(blocks[:count], given[0]), count - 1
        if step.spare is not None and self._is_new(step.maker):
            return activated(block, given[step.spare]), 0
        return None, 0

    def _is_new(self, maker: Node | None) -> bool:
        """Whether the result of a node is an array that nobody else holds."""
        if maker is None or maker.verb == "parameter":
            return False
        if maker.verb == "op":
            return maker.target in MAKER_OPS
        return gives_new(self.find(maker.target))

    def _run(self, node: Node, inputs: list[Any]) -> Any:
        if node.verb == "op":
            if node.name in self._constants:
                return self._constants[node.name]
            return apply_op(node.target, inputs, node.arguments)
        if node.verb == "parameter":
            return self.find_parameter(node.target).data()
        return self.find(node.target)(*inputs)

    def find(self, path: str) -> Block:
        """The block at a dotted path below this graph.

        Raises:
            LookupError: There is none.
        """
        block: Block = self
        for part in path.split("."):
            found = block._children.get(part)
            if found is None:
                raise LookupError(f"there is no block {path!r} in this Graph (nothing at {part!r})")
            block = found
        return block

    def find_parameter(self, path: str) -> Parameter:
        """The parameter at a dotted path below this graph.

        Raises:
            LookupError: There is none.
        """
        where, _, name = path.rpartition(".")
        owner = self.find(where) if where else self
        if name not in owner._parameters:
            raise LookupError(f"there is no parameter {path!r} in this Graph")
        return owner._parameters[name]


def completed(
    names: Sequence[str],
    defaults: Mapping[str, tuple[float, Any]],
    inputs: Sequence[Any],
    named: Mapping[str, Any],
    filled: Callable[[Any, float, Any], Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's arguments with the defaults of what is left out, or None; as they are where they do not fit.

    Args:
        names: The inputs; the first has no default.
        defaults: Name -> number and dtype.
        inputs: What is given by position.
        named: What is given by name.
        filled: Makes an array: in the shape of an array, of a number, in a dtype.
    """
    given = dict(zip(names, inputs, strict=False))
    if len(inputs) > len(names) or not named.keys() <= set(names) - given.keys():
        return tuple(inputs), dict(named)
    given |= named
    left_out = [name for name in names if given.get(name) is None]
    if not left_out or not set(left_out) <= defaults.keys():
        return tuple(inputs), dict(named)
    first = given[names[0]]
    return tuple(filled(first, *defaults[name]) if name in left_out else given[name] for name in names), {}


def _filled(like: Any, number: float, dtype: str) -> Any:
    """An array of one number, in the shape of another."""
    if RECORDER.get() is None:
        return np.full(np.shape(like), number, as_dtype(dtype))
    ones = ops.cast(ops.equal(like, like), dtype=dtype)
    return ones if number == 1 else ops.multiply(ones, ops.cast(number, dtype=dtype))


def _explained(error: Exception, node: Node, values: Mapping[str, Any]) -> str:
    """What is wrong with an op's inputs, by its own rule for shapes where that says it."""
    try:
        shapes = [np.shape(picked(values, ref)) for ref in node.inputs or ()]
        ops.OPS[node.target].infer(*shapes, **node.arguments)
    except Exception as problem:  # whatever it is, it explains more than NumPy does
        return str(problem)
    return str(error)


def apply_op(name: str, inputs: Sequence[Any], arguments: Mapping[str, Any]) -> Any:
    """Run an op of the vocabulary on arrays, with its literal arguments."""
    return ops.OPS[name](*inputs, **arguments)


def is_constant(node: Node) -> bool:
    """Whether the node is a small constant written into the architecture."""
    return node.verb == "op" and node.target == "constant"


def constant(arguments: Mapping[str, Any]) -> Any:
    """The value of a constant: a Python number (weak dtype) without "dtype", else a read-only array."""
    value = _numbers(arguments["value"])
    if arguments["dtype"] is None:
        return value
    array = np.array(value, as_dtype(arguments["dtype"]))
    array.flags.writeable = False
    return array


def _numbers(value: Any) -> Any:
    """JSON has no infinities and no NaN: they are written as strings."""
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    return float(value) if isinstance(value, str) else value


def picked(values: Mapping[str, Any], ref: Ref) -> Any:
    """The value that `ref` names.

    Raises:
        ValueError: The reference has an index and the value is no tuple, or the other way round.
    """
    name, index = ref
    value = values[name]
    if isinstance(value, tuple) != (index is not None):
        has = f"{len(value)} outputs, choose one by [name, index]" if index is None else "one output"
        raise ValueError(f"{name!r} has {has}")
    return value if index is None else value[index]


@dataclass(frozen=True)
class _Step:
    """What can be saved at a node.

    Attributes:
        followers: The blocks of the next nodes, at most two, while each works on nothing but the result before it, and
            nothing else does.
        spare: The place of an input that nothing else uses, neither another node nor the caller.
        maker: The node that made it.
    """

    followers: tuple[str, ...] = ()
    spare: int | None = None
    maker: Node | None = None


def _planned(nodes: Sequence[Node], outputs: Sequence[Ref]) -> tuple[_Step, ...]:
    """For each node what can be saved there."""
    uses = Counter(name for node in nodes for name, _ in node.inputs or ())
    uses.update(name for name, _ in outputs)
    makers = {node.name: node for node in nodes if node.inputs is not None and uses[node.name] == 1}
    steps = []
    for position, node in enumerate(nodes):
        followers: list[str] = []
        last = node
        for each in nodes[position + 1 : position + 3]:
            alone = each.inputs == ((last.name, None),) and last.name in makers
            if not alone or each.verb not in ("block", "call") or len(node.inputs or ()) != 1:
                break
            followers.append(each.target)
            last = each
        places = [at for at, (name, index) in enumerate(node.inputs or ()) if name in makers and index is None]
        spare = places[0] if places else None
        maker = None if spare is None else makers[(node.inputs or ())[spare][0]]
        steps.append(_Step(tuple(followers), spare, maker))
    return tuple(steps)


def gives_new(block: Block) -> bool:
    """Whether the result of a block is an array that nobody else holds, as far as its structure tells."""
    if type(block) is Sequential:
        return bool(block._children) and gives_new(next(reversed(block._children.values())))
    if type(block) is Graph:
        name, index = block._outputs[0] if len(block._outputs) == 1 else ("", None)
        # The last nodes first: there the output is, as a rule.
        maker = next((node for node in reversed(block._nodes) if node.name == name), None)
        return index is None and block._is_new(maker)
    return makes_new(block)


def _last_uses(nodes: Sequence[Node], outputs: Sequence[Ref]) -> tuple[list[str], ...]:
    """For each node the values that nobody needs after it, so that memory is freed early."""
    last: dict[str, int] = {}
    for position, node in enumerate(nodes):
        last[node.name] = position
        for name, _ in node.inputs or ():
            last[name] = position
    for name, _ in outputs:
        last.pop(name, None)
    drops: list[list[str]] = [[] for _ in nodes]
    for name, position in last.items():
        drops[position].append(name)
    return tuple(drops)
