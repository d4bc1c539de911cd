"""From a program of torch.export to blocks: frames become blocks, calls of layers layers, all other calls ops."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch.fx import Node

from modelarchive import names as naming
from modelarchive import nn
from modelarchive.errors import ModelArchiveError, SpecError
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.arguments import Place
from modelarchive.exchange.torch.forwards import arguments_of, name_inputs
from modelarchive.exchange.torch.frames import Frame, is_array
from modelarchive.exchange.torch.leaves import LEAVES
from modelarchive.exchange.torch.lifting import FIRST, ROWS, Lifted, arguments, layer_of, lifted, word
from modelarchive.exchange.torch.lifting_context import Context
from modelarchive.exchange.torch.lifting_elementwise import ROWS as ELEMENTWISE
from modelarchive.exchange.torch.lifting_recurrences import ROWS as RECURRENCES
from modelarchive.exchange.torch.lifting_rounding import ROWS as ROUNDING
from modelarchive.exchange.torch.lifting_sizes import number_from
from modelarchive.exchange.torch.lines_of_code import line_of_call
from modelarchive.exchange.torch.naming import Names
from modelarchive.exchange.torch.planning import Plan, own_tensors
from modelarchive.exchange.torch.recorded import cast, has_array, scope
from modelarchive.exchange.torch.recorded import is_array as is_value
from modelarchive.exchange.torch.steps import SCAN, Body
from modelarchive.exchange.torch.tensors import array_of, numpy_dtype
from modelarchive.exchange.torch.wrapping import named_tensors
from modelarchive.nn.dim import Dim
from modelarchive.nn.signature import free_name

#: Operators whose layers are said in ops as well where they are no module's.
_IN_OPS: Final = frozenset({"linear", "embedding", "sigmoid", "tanh", "softmax"})
#: What batch normalisation counts, which is no parameter.
_COUNT: Final = "num_batches_tracked"
#: Operators that may be given numbers computed of sizes.
_OF_NUMBERS: Final = ELEMENTWISE.keys() | ROUNDING.keys() | {"full", "full_like", "new_full", "scalar_tensor"}


class _Called(nn.Block):
    """A module whose forward is a frame of a program."""

    def forward(self, *inputs: Any) -> Any:
        """Replaced by an attribute, with names for the inputs."""
        raise NotImplementedError


class Importer:
    """Makes blocks of the modules of a network, which do what a program says.

    Args:
        plan: What each module becomes.
        arrays: ``id(tensor)`` -> its array.
        names: What the parts of the network are called in an archive.
    """

    def __init__(self, plan: Plan, arrays: Mapping[int, np.ndarray], names: Names) -> None:
        self._plan = plan
        self._arrays = arrays
        self._names = names
        self._parameters: dict[int, nn.Parameter] = {}
        self._blocks: dict[int, nn.Block] = {}
        self._layers: dict[Node, tuple[nn.Block, Lifted]] = {}
        self._environments: list[dict[Node, Any]] = []

    def block(self) -> nn.Block:
        """The network as a block, whose forward records what the program does."""
        block = self._made(self._plan.network, "")
        self._add_layers()
        return block

    # ------------------------------------------------------------------ blocks

    def _made(self, module: torch.nn.Module, path: str) -> nn.Block:
        """The block of a module, the same one for the same module."""
        if id(module) not in self._blocks:
            leaf = self._leaf(module)
            if leaf is not None:
                self._blocks[id(module)] = leaf
            else:
                block = nn.Sequential() if id(module) in self._plan.rows else self._called(module)
                self._blocks[id(module)] = block
                ours = self._names.of(module, path)
                for name, child in module._modules.items():
                    if child is not None:
                        block.adopt(ours[name], self._made(child, naming.joined(path, name)))
                for name, tensor in own_tensors(module):
                    self._give(block, ours[name], tensor)
        return self._blocks[id(module)]

    def _leaf(self, module: torch.nn.Module) -> nn.Block | None:
        call = self._plan.leaves.get(id(module))
        if call is not None:
            layer: nn.Layer | None = nn.KINDS[call.kind].from_config(call.fields)
        elif module is self._plan.network or any(map(self._is_called, module.modules())):
            return None  # what computes its weights, or a part of it, is called where it is not
        else:
            layer = _declared(module)
        if layer is None:
            return None
        wanted = layer.collect_params()
        if call is None and wanted.keys() != {each for each in named_tensors(module) if not each.endswith(_COUNT)}:
            return None  # they are computed of others
        state = dict(own_tensors(module)) if call is not None else {}
        for name in wanted:
            where, _, own = name.rpartition(".")
            tensor = state.get(name) if call is not None else getattr(module.get_submodule(where), own)
            self._give(layer.children[where] if where else layer, own, tensor)
        return layer

    def _is_called(self, module: torch.nn.Module) -> bool:
        return bool(self._plan.frames.get(id(module))) or id(module) in self._plan.leaves

    def _called(self, module: torch.nn.Module) -> _Called:
        block = _Called()
        frames = self._plan.frames.get(id(module), [])
        names = self._input_names(module, frames[0]) if frames else ["x"]
        importer = self

        def forward(*inputs: Any) -> Any:
            return importer._run(block, frames, inputs)

        name_inputs(forward, names)
        object.__setattr__(block, "forward", forward)
        return block

    def _input_names(self, module: torch.nn.Module, frame: Frame) -> list[str]:
        own = arguments_of(module)
        if frame.parent is None:
            own = list(self._plan.program.names) or own
            number = len(self._plan.program.inputs)
            if len(own) < number:
                own = [node.name for node in self._plan.program.inputs]
            return own[:number]
        if len(frame.externals) == 1 and own:
            return own[:1]
        return [node.name for node in frame.externals]

    def _give(self, block: nn.Block, name: str, tensor: torch.Tensor) -> None:
        """Let `block` have a tensor as its parameter; the same one for the same tensor."""
        known = self._parameters.get(id(tensor))
        if known is not None:
            block.adopt(name, known)
            return
        array = self._arrays[id(tensor)] if id(tensor) in self._arrays else array_of(tensor)
        if array.dtype.kind == "c":
            array = array.view(array.real.dtype).reshape(*array.shape, 2)
        parameter = block.parameters.get(name)
        if parameter is None:
            parameter = nn.Parameter(array.shape, array.dtype)
            block.adopt(name, parameter)
        parameter.set_data(array)
        trains = isinstance(tensor, torch.nn.Parameter) and tensor.requires_grad
        parameter.trainable = trains and parameter.born_trainable
        self._parameters[id(tensor)] = parameter

    def _add_layers(self) -> None:
        """The layer of each call; one that is no module's stands in the block of the module that calls it."""
        made: dict[Any, nn.Block] = {}
        for frame in self._plan.top.frames():
            block = self._blocks[id(self._plan.module(frame.path))]
            for node in frame.own():
                call = self._plan.calls.get(node)
                if call is None:
                    continue
                if node.target is SCAN:
                    self._layers[node] = self._scan(block, frame, call, node.meta["body"]), call
                    continue
                owner = self._plan.leaf_of.get(node)
                if owner is not None:
                    self._layers[node] = self._blocks[id(owner)], call
                elif call.parts and word(node) not in _IN_OPS and not self._is_renamed(node, call):
                    key = (
                        id(block),
                        call.kind,
                        repr(call.fields),
                        tuple(id(self._plan.tensors[each]) for each in call.parts.values()),
                    )
                    if key not in made:
                        made[key] = self._shared_layer(block, call)
                    self._layers[node] = made[key], call

    def _scan(self, owner: nn.Block, frame: Frame, call: Lifted, body: Body) -> nn.Block:
        """A loop, whose body does what a graph says."""
        block, importer = _Called(), self

        def forward(*inputs: Any) -> Any:
            importer._environments.append(dict(zip(body.inputs, inputs, strict=True)))
            try:
                here = importer._environments[-1]
                for node in body.graph.nodes:
                    if node.op == "call_function":
                        here[node] = importer._result(node, frame)
                found = tuple(importer._value(node) for node in body.outputs)
            finally:
                importer._environments.pop()
            return found[0] if len(found) == 1 else found

        name_inputs(forward, [node.name for node in body.inputs])
        object.__setattr__(block, "forward", forward)
        scan = nn.Scan(block, *(call.fields[each] for each in ("states", "axes", "output_axes")))
        owner.adopt(free_name("scan", {*owner.children, *owner.parameters}), scan)
        return scan

    def _is_renamed(self, node: Node, call: Lifted) -> bool:
        """Whether a call has parameters that a layer would call otherwise, and can be said in ops."""
        targets = self._plan.program.targets
        return word(node) in ROWS.keys() - RECURRENCES.keys() and any(
            targets[each].rpartition(".")[2] != name for name, each in call.parts.items()
        )

    def _shared_layer(self, block: nn.Block, call: Lifted) -> nn.Block:
        """A layer whose parameters are those of a module that does more."""
        layer = nn.KINDS[call.kind].from_config(call.fields)
        for name, node in call.parts.items():
            layer.adopt(name, self._parameters[id(self._plan.tensors[node])])
        name = free_name(call.kind.lower(), {*block.children, *block.parameters})
        block.adopt(name, layer)
        return layer

    # ------------------------------------------------------------------ while it is recorded

    def _run(self, block: nn.Block, frames: list[Frame], inputs: tuple[Any, ...]) -> Any:
        """The forward of a block, which is called as its frames say."""
        if block is self._blocks[id(self._plan.network)]:
            self._environments.clear()
            return self._whole(inputs)
        frame = frames[0] if frames else None  # all of them do the same
        if frame is None:
            return inputs[0] if len(inputs) == 1 else inputs  # a module that gives what it is given
        self._environments.append(dict(zip(frame.externals, inputs, strict=True)))
        try:
            self._items(frame)
            found = tuple(self._value(node) for node in frame.results)
        finally:
            self._environments.pop()
        return found[0] if len(found) == 1 else found

    def _whole(self, inputs: tuple[Any, ...]) -> Any:
        self._environments.append(dict(zip(self._plan.program.inputs, inputs, strict=True)))
        self._items(self._plan.top)
        outputs = [self._value(each) if isinstance(each, Node) else each for each in self._plan.program.outputs]
        found = _filled(self._plan.program.structure, outputs)
        if found is None:
            what = f"returns {', '.join(self._plan.program.beside)} and no tensors"
            self._plan.tell("", f"{what}: let it return tensors, in tuples, lists, dicts or dataclasses")
            raise Refusal(what)
        return found

    def _items(self, frame: Frame) -> None:
        here = self._environments[-1]
        for item in frame.items:
            if isinstance(item, Frame):
                self._enter(item)
            else:
                here[item] = self._result(item, frame)

    def _enter(self, frame: Frame) -> None:
        block = self._blocks[id(self._plan.module(frame.path))]
        result = block(*(self._value(node) for node in frame.externals))
        found = result if isinstance(result, tuple) else (result,)
        self._environments[-1].update(zip(frame.results, found, strict=True))

    def _value(self, node: Any) -> Any:
        """An argument as it is in the block that is recorded."""
        here = self._environments[-1]
        if node in here:
            return here[node]
        if node in self._plan.tensors:
            return self._parameters[id(self._plan.tensors[node])].data()
        if node in self._plan.values:
            found = _array(self._plan.values[node])
            if isinstance(found, np.ndarray) and found.ndim > 1 and not found.size:
                found = _without_elements(found)
            if self._plan.is_large(node):
                here[node] = found
            return found
        if not is_array(node):
            return self._plan.sizes(node.meta["val"])
        raise Refusal(f"{node.name} is used before it is computed")

    def _given(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self._value(value)
        if isinstance(value, tuple | list):
            return [self._given(item) for item in value]
        if isinstance(value, slice):
            return slice(self._given(value.start), self._given(value.stop), self._given(value.step))
        return self._plan.sizes(value)

    def _result(self, node: Node, frame: Frame) -> Any:
        if node.target is operator.getitem:
            whole = self._value(node.args[0])
            return whole[node.args[1]]
        if not isinstance(node.target, torch._ops.OpOverload):
            what = f"a region of the program that runs by {getattr(node.target, '__name__', node.target)!r}"
            self._plan.tell(frame.path, what)
            raise Refusal(what)
        try:
            return self._checked(node, self._computed(node))
        except Refusal as error:
            self._plan.tell(frame.path, f"{error}{line_of_call(node)}")
            raise
        except SpecError as error:
            for _, _, message in error.problems:
                said = message.removeprefix(f"{error.path}: ")  # a place in code of ours
                self._plan.tell(frame.path, f"{word(node)}: {said}{line_of_call(node)}")
            raise
        except ModelArchiveError:
            raise
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError) as error:
            self._plan.tell(frame.path, f"{word(node)}: {type(error).__name__}: {error}")
            raise Refusal(str(error)) from error

    def _computed(self, node: Node) -> Any:
        context = Context(node, self._plan.sizes)
        if node in self._layers:
            layer, call = self._layers[node]
            found = layer(*(self._given(each) for each in call.inputs))
            if call.kind == "Scan" and not isinstance(found, tuple):
                return (found,)
            return (found,) if word(node) in FIRST else found
        as_layer = None if word(node) in _IN_OPS else layer_of(node)
        if as_layer is not None and not as_layer.parts:
            found = context.layer(as_layer.kind, *(self._given(each) for each in as_layer.inputs), **as_layer.fields)
            return (found,) if word(node) in FIRST else found
        given = {name: self._operand(node, value) for name, value in arguments(node).items()}
        return lifted(context, given)

    def _operand(self, node: Node, value: Any) -> Any:
        """An argument; one of an operator on numbers is computed where no array has it as its size."""
        number = value.meta.get("val") if isinstance(value, Node) else None
        if isinstance(number, torch.SymFloat) and word(node) in _OF_NUMBERS and not self._plan.sizes.is_fixed(number):
            return number_from(number.node.expr, self._plan.sizes.of_symbol)
        found = self._given(value)
        if isinstance(found, Dim) and word(node) in ELEMENTWISE and not has_array(found):
            return number_from(value.meta["val"].node.expr, self._plan.sizes.of_symbol)
        return found

    def _checked(self, node: Node, result: Any) -> Any:
        """The result in the dtype that PyTorch gives it."""
        value = node.meta["val"]
        if isinstance(result, tuple | list):
            return tuple(_in_dtype(one, other) for one, other in zip(result, value, strict=False))
        return _in_dtype(result, value)


def _in_dtype(result: Any, value: Any) -> Any:
    if is_value(result) and isinstance(value, torch.Tensor):
        # Complex numbers are pairs of real ones.
        return cast(result, numpy_dtype(value.dtype.to_real() if value.is_complex() else value.dtype))
    return result


def _array(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return array_of(torch.view_as_real(value.resolve_conj()).contiguous() if value.is_complex() else value)
    return tuple(_array(each) for each in value) if isinstance(value, tuple | list) else value


def _without_elements(array: np.ndarray) -> Any:
    """An array of several axes without elements: a list of none says no sizes, a part of an array does."""
    one = scope().symbol(np.zeros([size or 1 for size in array.shape], array.dtype))
    return one[tuple(slice(0, size) if not size else slice(None) for size in array.shape)]


def _filled(structure: Any, arrays: list[Any]) -> Any:
    """What a network returns: its structure with the arrays; what is none is left out."""
    if isinstance(structure, Place):
        return arrays[structure.number]
    if isinstance(structure, Mapping):
        return {str(key): found for key, item in structure.items() if (found := _filled(item, arrays)) is not None}
    if isinstance(structure, tuple | list):
        found = [each for item in structure if (each := _filled(item, arrays)) is not None]
        return found if isinstance(structure, list) else tuple(found) or None
    return None


def _declared(module: torch.nn.Module) -> nn.Layer | None:
    """The layer of a module that is never called, or computes nothing in evaluation."""
    forward: Any = type(module).forward
    for each in type(module).__mro__:
        make = LEAVES.get(each)
        if make is not None and getattr(each, "forward", None) is forward:
            try:
                return make(module)
            except (Refusal, ValueError):  # it has no elements, say
                return None
    return None
