"""From a graph of ONNX to an architecture: walks the nodes, and asks the table what each one means."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import ConversionError, SpecError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.onnx.folding import folded
from modelarchive.exchange.onnx.folds import FOLDS
from modelarchive.exchange.onnx.model import Function, Graph, Model, Node
from modelarchive.exchange.onnx.placing import Place, block_path, path_of, scope_of
from modelarchive.exchange.onnx.step import Step
from modelarchive.exchange.onnx.stored import moved
from modelarchive.exchange.onnx.tensors import NoCounterpart
from modelarchive.exchange.onnx.values import (
    Constant,
    Operand,
    Ref,
    Scope,
    Sizes,
    Told,
    abstract,
    needed,
    nested,
    numbers,
)
from modelarchive.exchange.refusal import Refusal, refusing
from modelarchive.nn.dim import Dim
from modelarchive.nn.evaluate import Abstract, Evaluator, Value, constant_value
from modelarchive.nn.kinds import KINDS
from modelarchive.spec.schema import shortened
from modelarchive.store.deferred import Deferred

#: Elements up to which an array may stand in the architecture.
MAX_LITERAL: Final = 64
#: Functions and branches inside each other.
MAX_DEPTH: Final = 32
#: Problems that are told, and characters of each.
MAX_PROBLEMS: Final = 1000
_MAX_TOLD: Final = 600
#: Steps that a node, and a Graph around it, takes once it is in the architecture; references that take one more.
_NODE_STEPS: Final = 2
_REFS_A_STEP: Final = 8

Read: TypeAlias = Callable[[Step], Any]


class Importer:
    """Makes the nodes of one Graph.

    Args:
        model: The model.
        operators: Name of an operator -> what makes its counterpart.
    """

    def __init__(self, model: Model, operators: Mapping[str, Read]) -> None:
        self.model = model
        self.operators = operators
        self.opset = model.opsets.get("", model.opsets.get("ai.onnx", 0))
        paths = [path_of(name) or [] for name in model.graph.stored]
        self.place = Place({path[0] for path in paths if len(path) > 1})
        #: Names of blocks that stored arrays have in front of their own.
        self.prefixes = {".".join(path[:size]) for path in paths for size in range(1, len(path))}
        self.parameters: dict[str, Deferred] = {}
        self.notes: list[Note] = []
        self.problems: list[tuple[str, str]] = []
        #: Name in the file -> dotted name of the parameter that it became.
        self.owner: dict[str, str] = {}
        #: Dotted name of a parameter -> name in the file, and how it was changed.
        self.origin: dict[str, tuple[str, str]] = {}
        #: The two sizes of a free axis -> an input that has it, and where.
        self.origins: dict[tuple[int, int], tuple[Ref, int]] = {}
        #: How often each value is used.
        self.uses: dict[str, int] = {}
        self.depth = 0
        self._values: dict[str, Value] = {}
        self._blocks: dict[str, str] = {}
        #: Result of a Dense without bias -> its path, the block, and what it is known by.
        self._without_bias: dict[str, tuple[str, dict[str, Any], str]] = {}
        self._first_result: dict[str, str] = {}
        self._emitted: dict[int, tuple[Constant, Ref]] = {}
        self._numbers: dict[str, Ref] = {}
        self._parts: dict[int, tuple[Step, tuple[Any, ...]]] = {}
        self._evaluator = Evaluator()

    def run(self, graph: Graph, scope: Scope) -> list[Operand]:
        """Walk the nodes that the outputs need; what has no counterpart is collected in `problems`."""
        for where, what in graph.problems:
            self.tell(where, what)
        for name, message in graph.stored.items():
            try:
                scope.setdefault(name, Constant(self.model.tensors.array(message), name))
            except NoCounterpart as error:
                scope[name] = Told()
                self.tell(name, f"the stored array {error}")
        wanted = self.nodes(graph.nodes, [each.name for each in graph.outputs], scope)
        for name, operand in zip([each.name for each in graph.outputs], wanted, strict=True):
            if operand is None:
                self.tell(name, "is an output, and nothing computes it")
        return wanted

    def nodes(self, nodes: Sequence[Node], outputs: Sequence[str], scope: Scope) -> list[Operand]:
        """Walk the nodes of a graph, a branch or a function."""
        for node in needed(nodes, outputs, self.uses):
            for name, result in zip(node.outputs, self._converted(node, scope), strict=False):
                if name:
                    scope[name] = result
        return [scope.get(name) for name in outputs]

    def _converted(self, node: Node, scope: Scope) -> Sequence[Operand]:
        """The results of one operator; Told where that is told already, or now."""
        where = node.name or (node.outputs[0] if node.outputs else node.op)
        budget.spend(f"{node.op} {where!r}", steps=1)
        unknown = [name for name in node.inputs if name and name not in scope]
        operands = [scope.get(name) if name else None for name in node.inputs]
        told = [Told()] * len(node.outputs)
        if unknown:
            self.tell(where, f"{node.op} takes {unknown[0]!r}, which nothing before it gives")
            return told
        if any(isinstance(each, Told) for each in operands):
            # Of what could not be said nothing can be made; an operator that nobody knows is told all the same.
            if not self._is_known(node.op):
                self.tell(where, f"the operator {node.op!r} has no counterpart")
            return told
        while operands and operands[-1] is None:
            operands.pop()
        step = Step(self, node, operands, scope)
        try:
            with refusing(node.op):
                found = self._result(step)
            results = list(found) if isinstance(found, tuple) else [found]
            for place, name in enumerate(node.outputs):
                if name and self.uses.get(name) and (place >= len(results) or results[place] is None):
                    raise Refusal(f"output {place} of {node.op} has no counterpart")
        except Refusal as refusal:
            self.tell(where, str(refusal))
            return told
        return results

    def tell(self, where: str, what: str) -> None:
        """Note what has no counterpart.

        Raises:
            ConversionError: So much has none that nobody reads on; lists what was noted.
        """
        self.problems.append((shortened(where, 200), shortened(what, _MAX_TOLD)))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(("(model)", f"{MAX_PROBLEMS:,} problems are told, there may be more"))
            raise ConversionError(self.problems, file=self.model.file.path)

    def _result(self, step: Step) -> Any:
        op = step.node.op
        if op in self.model.functions:
            return self._call(step, self.model.functions[op])
        if (stored := moved(step)) is not None:
            return stored
        known = all(each is None or isinstance(each, Constant | Sizes) for each in step.operands)
        if known and op in FOLDS:
            with contextlib.suppress(Refusal, SpecError):
                return folded(step)
        if not self._is_known(op):
            raise Refusal(f"the operator {op!r} has no counterpart")
        found = self.operators[op](step)
        if unread := step.node.unread():
            raise Refusal(f"{op} has attributes that have no counterpart: {', '.join(unread)}")
        return found

    def _is_known(self, op: str) -> bool:
        return op in self.operators or op in self.model.functions

    def _call(self, step: Step, function: Function) -> tuple[Operand, ...]:
        """Put the nodes of a function in its place."""
        budget.spend(f"{step.node.op} {step.name!r}", steps=function.steps)
        given = function.defaults | step.node.attributes
        scope: Scope = dict(zip(function.inputs, step.operands, strict=False))
        opset, self.opset = self.opset, function.opsets.get("", self.opset)
        try:
            return self.inside([each.bound(given) for each in function.nodes], function.outputs, scope)
        finally:
            self.opset = opset

    def inside(self, nodes: Sequence[Node], outputs: Sequence[str], scope: Scope) -> tuple[Operand, ...]:
        """Walk the nodes of a function or branch."""
        if self.depth >= MAX_DEPTH:
            raise Refusal(f"more than {MAX_DEPTH} functions and branches inside each other have no counterpart")
        self.depth += 1
        try:
            return tuple(self.nodes(nodes, outputs, scope))
        finally:
            self.depth -= 1

    def reference(self, operand: Operand, wish: str = "constant") -> Ref:
        """The reference to a value; constants come into the graph when they are first asked for."""
        if isinstance(operand, Sizes):
            return self._sizes(operand.array, wish)
        if not isinstance(operand, Constant):
            if operand is None or isinstance(operand, Told):
                raise Refusal("an input is left out that has to be there")
            return operand
        if id(operand) not in self._emitted:
            self._emitted[id(operand)] = (operand, self._constant(operand, wish))
        return self._emitted[id(operand)][1]

    def _constant(self, constant: Constant, wish: str) -> Ref:
        array = constant.array
        if constant.part is not None and array.dtype.kind not in "biu":
            with contextlib.suppress(Refusal, SpecError):
                return self._part(*constant.part)
        named = bool(constant.stored) and not constant.changed
        if math.prod(array.shape) <= MAX_LITERAL and array.dtype.kind != "c":
            own = self.model.producer.startswith("modelarchive")
            if not (named and (own or (array.shape and array.dtype.kind not in "biu"))):
                return self.literal(constant.numpy(), wish)
        path = (self.owner.get(constant.stored) if named else None) or self._own(constant, wish)
        return self.emit(wish, {"parameter": path}, abstract(array.shape, array.dtype))

    def _part(self, step: Step, place: int) -> Ref:
        """What a step takes out of a parameter, or makes of it, when the network runs."""
        if id(step) not in self._parts:
            found = self.operators[step.node.op](step)
            # The step is kept, and with it its id.
            self._parts[id(step)] = (step, found if isinstance(found, tuple) else (found,))
        result: Ref = self._parts[id(step)][1][place]
        return result

    def _own(self, constant: Constant, wish: str) -> str:
        """Make a constant a parameter of the graph that its name tells."""
        array = constant.array
        if 0 in array.shape:
            raise Refusal(f"the stored array {constant.stored!r} without elements has no counterpart")
        named = bool(constant.stored) and not constant.changed
        path = (path_of(constant.stored) if named else None) or scope_of(constant.stored if named else wish)
        place, last = self.place.find(path[:-1], path[-1])
        name = last if place is self.place else ".".join([*path[:-1], last])
        place.parameters[last] = {"shape": list(array.shape), "dtype": str(array.dtype)}
        if not named or array.dtype.kind in "biuc":
            place.frozen.append(last)
        self.parameters[name] = array
        if named:
            self.owner[constant.stored] = name
        if constant.stored:
            self.origin[name] = (constant.stored, constant.changed)
        return name

    def _sizes(self, array: np.ndarray, wish: str) -> Ref:
        """Sizes as an array: those that are not fixed are asked of an input when the network runs."""
        if array.ndim > 1:
            raise Refusal("sizes that are not fixed, in more than one axis, have no counterpart: pass inputs=")
        parts: list[Ref] = []
        for each in array.reshape(-1):
            if not isinstance(each, Dim):
                parts.append(self.literal(np.asarray(each, np.int64), wish))
                continue
            if each.pair not in self.origins:
                raise Refusal("depends on sizes that are not fixed: pass inputs= with fixed ones")
            ref, axis = self.origins[each.pair]
            parts.append(self.op(wish, "slice", [self.op(wish, "shape_of", [ref], {})], {"index": [axis]}))
        return parts[0] if array.ndim == 0 else self.op(wish, "stack", parts, {"axis": 0})

    def literal(self, array: np.ndarray, wish: str = "constant") -> Ref:
        """A small array, written into the architecture."""
        values = (array if array.dtype.kind in "biuf" else array.astype(np.float32)).reshape(-1).tolist()
        if array.size == 0 and array.ndim > 1:
            # Lists cannot say of which sizes the axes are around one that is 0.
            return self.op(wish, "reshape", [self.literal(array.reshape(-1), wish)], {"shape": list(array.shape)})
        arguments = {"value": nested(values, array.shape), "dtype": str(array.dtype.newbyteorder("="))}
        key = json.dumps(arguments)
        if key not in self._numbers:
            self._numbers[key] = self.op(wish, "constant", [], arguments)
        return self._numbers[key]

    def emit(self, wish: str, node: dict[str, Any], value: Value) -> Ref:
        """Add a node; the reference to its result."""
        budget.spend(f"the node {wish!r}", steps=_NODE_STEPS + len(node.get("inputs", ())) // _REFS_A_STEP)
        name = self.place.free(wish)
        self.place.nodes.append({"name": name, **node})
        self._values[name] = value
        return name

    def declare_input(self, name: str, value: Abstract) -> str:
        """Add an input; its name here."""
        found = self.place.free(name)
        self._values[found] = value
        for axis, pair in enumerate(zip(*value.shapes, strict=True)):
            if pair[0] != pair[1]:
                self.origins.setdefault(pair, (found, axis))
        return found

    def value(self, ref: Ref) -> Value:
        """What is known of a result's shape and dtype; None: nothing."""
        if isinstance(ref, str):
            return self._values.get(ref)
        several = self._values.get(ref[0])
        return several[ref[1]] if isinstance(several, tuple) and ref[1] < len(several) else None

    def op(self, wish: str, name: str, refs: Sequence[Ref], arguments: dict[str, Any]) -> Ref:
        """Add an op of the vocabulary.

        Raises:
            Refusal: Shapes or dtypes do not fit.
        """
        try:
            if name == "constant":
                value = constant_value(np.array(numbers(arguments["value"]), dtypes.DENSE[arguments["dtype"]]))
            else:
                value = self._evaluator.op(name, [self.value(ref) for ref in refs], arguments)
        except (ValueError, LookupError) as error:
            raise Refusal(f"{name}: {error}") from error
        return self.emit(wish, {"op": name, "inputs": list(refs), "arguments": arguments}, value)

    def block(self, wish: str, config: dict[str, Any], refs: Sequence[Ref], parameters: Mapping[str, Constant]) -> Ref:
        """Add a layer, or a further call of one that there is already.

        Args:
            wish: The node's name.
            config: Kind and fields.
            refs: What it is called on.
            parameters: Own name -> array.

        Raises:
            Refusal: Shapes or dtypes do not fit.
        """
        kind = config["kind"]
        try:
            layer = KINDS[kind].from_config({k: v for k, v in config.items() if k != "kind"})
            config = layer.config()
            value = self._evaluator.layer(layer, [self.value(ref) for ref in refs])
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            raise Refusal(f"{kind}: {error}") from error
        # Without a name of its own a constant is itself only.
        ids = {own: each.key or id(each) for own, each in parameters.items()}
        key = json.dumps([kind, config, ids], sort_keys=True)
        if parameters and key in self._blocks:
            self._without_bias.pop(self._first_result.get(key, ""), None)
            return self.emit(wish, {"call": self._blocks[key], "inputs": list(refs)}, value)
        fresh = {own: each.stored for own, each in parameters.items() if each.stored and each.key not in self.owner}
        path = block_path(wish, fresh)
        if not fresh and ".".join(path) in self.prefixes and not self._are_stored(path, parameters):
            path = [*path, kind]  # the name is that of other parameters
        place, last = self.place.find(path[:-1], path[-1]) if parameters else (self.place, self.place.free(wish))
        name = last if place is self.place else ".".join([*path[:-1], last])
        shares = {}
        for own, each in parameters.items():
            array = each.array
            if each.key:
                # What is kept in another order is another array.
                if each.key in self.owner:
                    shares[own] = self.owner[each.key]
                    array = self.parameters[self.owner[each.key]]
                self.owner.setdefault(each.key, f"{name}.{own}")
                self.origin[f"{name}.{own}"] = (each.stored, each.changed)
            self.parameters[f"{name}.{own}"] = array
        self._blocks[key] = name
        block = {"kind": kind, **config} | ({"shares": shares} if shares else {})
        if place is self.place:
            place.nodes.append({"name": name, "block": block, "inputs": list(refs)})
            self._values[name] = value
            ref: Ref = name
        else:
            place.nodes.append({"name": last, "block": block})
            ref = self.emit(path[-1], {"call": name, "inputs": list(refs)}, value)
        if kind == "Dense" and "bias" not in parameters and isinstance(ref, str):
            self._without_bias[ref] = (name, block, key)
            self._first_result[key] = ref
        return ref

    def _are_stored(self, path: Sequence[str], parameters: Mapping[str, Constant]) -> bool:
        """Whether the file has arrays of the names and shapes that a block's parameters would get."""
        stored = self.model.graph.stored
        wanted = {".".join([*path, own]): each.array.shape for own, each in parameters.items()}
        return all(name in stored and tuple(stored[name].get("dims", ())) == shape for name, shape in wanted.items())

    def with_bias(self, ref: str, bias: Constant) -> Ref | None:
        """Give the Dense that made a result a bias; None if there is no such Dense, or it is called again."""
        name, block, key = self._without_bias.get(ref, ("", {}, ""))
        if not block or bias.array.shape != (block["units"],) or self._blocks.get(key) != name:
            return None
        del self._without_bias[ref], self._blocks[key]
        block["use_bias"] = True
        array = bias.array
        if bias.key in self.owner:
            block.setdefault("shares", {})["bias"] = self.owner[bias.key]
            array = self.parameters[self.owner[bias.key]]
        elif bias.key:
            self.owner[bias.key] = f"{name}.bias"
            self.origin[f"{name}.bias"] = (bias.stored, bias.changed)
        self.parameters[f"{name}.bias"] = array
        return ref
