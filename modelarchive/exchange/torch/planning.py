"""What each module of a program becomes: a layer, a row of blocks, or a block that does what its frame says."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch.fx import Node

from modelarchive.errors import ConversionError
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.arguments import Place
from modelarchive.exchange.torch.capturing import Program
from modelarchive.exchange.torch.folding import folded, passed_over
from modelarchive.exchange.torch.frames import (
    MAX_LITERAL,
    Frame,
    dissolve,
    dissolve_foreign,
    fingerprint,
    framed,
    is_array,
    needed,
    resolve,
    signature,
    wire,
)
from modelarchive.exchange.torch.leaves import LEAVES
from modelarchive.exchange.torch.lifting import OF_ANY_SIZE, Lifted, is_known, layer_of, word
from modelarchive.exchange.torch.lines_of_code import line_of_call
from modelarchive.exchange.torch.programs import Part
from modelarchive.exchange.torch.sizeless import lacks_sizes, sizes_of
from modelarchive.exchange.torch.sizes import Sizes
from modelarchive.exchange.torch.sizes_of_values import sizes_of_values

#: Calls of operators in a module of somebody's own up to which it is taken for the layer that it calls.
_FEW: Final = 4


class Plan:
    """Looks at a whole program before any block is made.

    Args:
        program: What the network does.
        network: The network.
        sizes: The sizes of the program.

    Attributes:
        problems: (path of the module, what it does) of all that has no place in the vocabulary.
        top: The frames.
        tensors: Input of the program -> the parameter or buffer that it is.
        values: Calls that depend on constants only -> what they give.
        calls: Calls that are those of layers.
        leaves: ``id(module)`` -> the layer that it is.
        leaf_of: Call -> the module that is its layer.
        rows: ``id(module)`` of the modules that are rows of blocks.
        frames: ``id(module)`` -> its calls.
    """

    def __init__(self, program: Program, network: torch.nn.Module, sizes: Sizes) -> None:
        self.program = program
        self.network = network
        self.sizes = sizes
        self.problems: list[tuple[str, str]] = []
        self.tensors = {node: _tensor(network, target) for node, target in program.targets.items()}
        empty = {node: each.detach() for node, each in self.tensors.items() if not each.numel()}
        program.constants |= empty  # no architecture has parameters without elements
        self.tensors = {node: each for node, each in self.tensors.items() if node not in empty}
        self.leaves: dict[int, Lifted] = {}
        self.leaf_of: dict[Node, torch.nn.Module] = {}
        self.rows: set[int] = set()
        self.frames: dict[int, list[Frame]] = defaultdict(list)
        self._modules: dict[str, torch.nn.Module] = {}
        self._below: dict[int, set[int]] = {}
        self._parts: dict[str, set[int]] = {}
        resolve(program)
        passed_over(program)
        nodes = needed(program)
        self.values = folded(program, nodes)
        self.top = framed([node for node in nodes if node not in self.values], program.root)
        dissolve_foreign(self.top, lambda around, frame: self._has_part(around, self.module(frame.path)))
        self.calls = self._lift()
        self._tell_unknown()
        self._tell_complex_inputs()
        for path, what in sizes_of_values(nodes, program.root, self.values):
            self.tell(path, what)
        if self.problems:
            raise ConversionError(self.problems)
        self._drop_unused()
        self._choose_leaves()
        self._place_constants()
        self._wire()
        self._dissolve_sizeless()
        self._separate()
        for frame in self.top.frames():
            self.frames[id(self.module(frame.path))].append(frame)
        for frame in reversed(list(self.top.frames())):
            module = self.module(frame.path)
            if _is_row(module) and all(self._is_chain(each, module) for each in self.frames[id(module)]):
                self.rows.add(id(module))

    def module(self, path: str) -> torch.nn.Module:
        """The module at a path; "" is the network."""
        if path not in self._modules:
            self._modules[path] = self.network.get_submodule(path)
        return self._modules[path]

    def _has_part(self, frame: Frame, module: torch.nn.Module) -> bool:
        """Whether a module is the one of a frame, or below it."""
        if frame.path not in self._parts:
            self._parts[frame.path] = set(map(id, self.module(frame.path).modules()))
        return id(module) in self._parts[frame.path]

    def _lift(self) -> dict[Node, Lifted]:
        """Calls that are those of layers, each argument that is a parameter of the layer one of the network."""
        found = {}
        for frame in self.top.frames():
            for node in frame.own():
                try:
                    call = layer_of(node)
                except Refusal as error:
                    self.tell(frame.path, str(error))
                    continue
                if call is not None and all(each in self.tensors for each in call.parts.values()):
                    found[node] = call
        return found

    def _tell_unknown(self) -> None:
        """List the operators that the table lacks, all of them."""
        for frame in self.top.frames():
            for node in frame.own():
                if isinstance(node.target, torch._ops.OpOverload) and not is_known(node):
                    self.tell(frame.path, f"the operator {word(node)!r} is not supported{line_of_call(node)}")

    def _tell_complex_inputs(self) -> None:
        for node in self.program.inputs:
            if node.meta["val"].is_complex():
                what = "is of complex numbers: let it be real, with two numbers on a last axis, and take"
                self.tell("", f"the input {node.name!r} {what} torch.view_as_complex of it in forward")

    def inputs_of(self, node: Node) -> list[Node]:
        """What a call needs: of a layer its parameters and what it is called on, without states that are zeros."""
        call = self.calls.get(node)
        if call is None:
            return list(node.all_input_nodes)
        return [each for each in (*call.inputs, *call.parts.values()) if isinstance(each, Node)]

    def _given(self, node: Node) -> Any:
        call = self.calls.get(node)
        if call is None:
            sizes = [] if word(node) in OF_ANY_SIZE else list(map(self.sizes, sizes_of(node)))
            return node.args, list(map(list, node.kwargs.items())), sizes
        return call.kind, repr(call.fields), call.inputs, list(call.parts.values())

    def _drop_unused(self) -> None:
        """Leave out calls whose results no other needs."""
        wanted = {each for each in self.program.outputs if isinstance(each, Node)}
        for node in reversed(list(self.top.nodes())):
            if node in wanted:
                wanted.update(self.inputs_of(node))
        for frame in self.top.frames():
            frame.items = [item for item in frame.items if isinstance(item, Frame) or item in wanted]

    def _choose_leaves(self) -> None:
        """Which modules are the layers that they call; their frames go into those around."""
        calls = self.calls
        candidates: dict[int, list[tuple[Node, Lifted]]] = defaultdict(list)
        frames: dict[int, list[Frame]] = defaultdict(list)
        module_of: dict[int, torch.nn.Module] = {}
        for frame in self.top.frames():
            frames[id(self.module(frame.path))].append(frame)
            for node in frame.own():
                module = self._owner(frame, calls[node]) if node in calls else None
                if module is not None:
                    candidates[id(module)].append((node, calls[node]))
                    module_of[id(module)] = module
        for key, found in candidates.items():
            first = found[0][1]
            same = all((each.kind, each.fields) == (first.kind, first.fields) for _, each in found)
            if same and all(self._is_leaf(frame, found) for frame in frames[key]):
                self.leaves[key] = first
                self.leaf_of.update((node, module_of[key]) for node, _ in found)
        for frame in list(self.top.frames()):
            if frame.parent is not None and id(self.module(frame.path)) in self.leaves:
                dissolve(frame)

    def _owner(self, frame: Frame, call: Lifted) -> torch.nn.Module | None:
        """The module that is the layer of a call: it has its parameters, and nothing else."""
        tensors = {name: self.tensors[node] for name, node in call.parts.items()}
        places = [frame.path]
        if call.parts:
            first = next(iter(call.parts.values()))
            places.append(self.program.targets[first].rpartition(".")[0])
        for path in places:
            module = self.module(path)
            if not self._has_part(frame, module):
                continue
            own = {
                name: each
                for name, each in (*module._parameters.items(), *module._buffers.items())
                if each is not None and name != "num_batches_tracked" and name not in module._non_persistent_buffers_set
            }
            if own.keys() == tensors.keys() and all(own[name] is each for name, each in tensors.items()):
                if any(each is not None for each in module._modules.values()):
                    continue
                if call.parts or _is_of_torch(module):
                    return module
        return None

    def _is_leaf(self, frame: Frame, calls: list[tuple[Node, Lifted]]) -> bool:
        if frame.parent is None:
            return self._is_whole(frame, calls)
        own = [node for node in frame.own() if node.target is not operator.getitem]
        inside = sum(node in own for node, _ in calls)
        if any(isinstance(item, Frame) for item in frame.items):
            return False
        if not calls[0][1].parts:
            return own == [node for node, _ in calls if node in own] and inside == 1
        return _is_of_torch(self.module(frame.path)) or (inside == 1 and len(own) <= _FEW)

    def _is_whole(self, frame: Frame, calls: list[tuple[Node, Lifted]]) -> bool:
        """Whether the network itself is one layer."""
        own = [node for node in frame.items if not (isinstance(node, Node) and node.target is operator.getitem)]
        if len(calls) != 1 or own != [calls[0][0]]:
            return False
        node, call = calls[0]
        if list(call.inputs) != self.program.inputs:
            return False
        wanted = [node] if not call.several else []
        return all(
            each in wanted or (isinstance(each, Node) and each.target is operator.getitem and each.args == (node, at))
            for at, each in enumerate(self.program.outputs)
        ) and (not call.several or len(self.program.outputs) == len(node.meta["val"]))

    def _place_constants(self) -> None:
        """Large constants belong to the innermost frame around all that use them."""
        self._homes: dict[Node, Frame] = {}
        for frame in self.top.frames():
            for node in frame.own():
                for each in self.inputs_of(node):
                    if self.is_large(each):
                        self._homes[each] = _common(self._homes.get(each, frame), frame)
        for each in self.program.outputs:
            if isinstance(each, Node) and self.is_large(each):
                self._homes[each] = self.top

    def is_large(self, node: Node) -> bool:
        """Whether a call gives a constant that is too large to be written into an architecture."""
        value = self.values.get(node)
        return isinstance(value, torch.Tensor) and value.numel() > MAX_LITERAL

    def _wire(self) -> None:
        wire(self.top, self.program.outputs, self.inputs_of, self._is_own)

    def _is_own(self, frame: Frame, node: Node) -> bool:
        if node in self.tensors:
            return id(self.tensors[node]) in self._tensors_below(frame.path)
        if node in self.values:
            return not self.is_large(node) or self._homes.get(node) is frame
        return False

    def _tensors_below(self, path: str) -> set[int]:
        module = self.module(path)
        if id(module) not in self._below:
            self._below[id(module)] = {id(each) for each in (*module.parameters(), *module.buffers())}
        return self._below[id(module)]

    def _dissolve_sizeless(self) -> None:
        """Calls of modules that make arrays of sizes which nothing that they are given has go into those around."""
        below = [frame for frame in self.top.frames() if frame.parent is not None]
        found = [frame for frame in below if lacks_sizes(frame, self.inputs_of, self.sizes)]
        for frame in found:
            dissolve(frame)
        if found:
            self._place_constants()
            self._wire()

    def _separate(self) -> None:
        """Calls of one module that do different things become one block's and, for the others, steps around."""
        first: dict[str, str] = {}
        changed = False
        for frame in list(self.top.frames()):
            if frame.parent is None:
                continue
            mine = signature(frame, self._given, self._described)
            if first.setdefault(frame.path, mine) != mine:
                dissolve(frame)
                changed = True
        if changed:
            self._place_constants()
            self._wire()

    def _described(self, node: Node) -> str:
        if node in self.tensors:
            return f"parameter {id(self.tensors[node])}"
        if node in self.values:
            value = self.values[node]
            return f"constant {fingerprint(value)}" if isinstance(value, torch.Tensor) else str(value)
        value = node.meta.get("val")
        if isinstance(value, torch.SymFloat):
            return f"number {self.sizes.both(value.node.expr)}"
        return f"size {self.sizes(value)}" if not is_array(node) else f"outside {node.name}"

    def _is_chain(self, frame: Frame, module: torch.nn.Module) -> bool:
        """Whether a Sequential is a row of blocks here: each takes what the one before gives."""
        if frame.parent is None:
            ends: list[Any] = self.program.outputs
            value = self.program.inputs[0] if len(self.program.inputs) == 1 else None
            if not isinstance(self.program.structure, Place):
                return False
        else:
            ends, value = list(frame.results), frame.externals[0] if len(frame.externals) == 1 else None
        if value is None or len(ends) != 1:
            return False
        children = [each for each in module._modules.values() if each is not None]
        at = 0
        for item in frame.items:
            if isinstance(item, Node) and item.target is operator.getitem and item.args == (value, 0):
                value = item
                continue
            owner, taken, gives = self._link(item)
            if owner is None or taken != [value]:
                return False
            while at < len(children) and children[at] is not owner:
                if id(children[at]) in self.leaves or self.frames.get(id(children[at])):
                    return False  # one that computes something is passed over
                at += 1
            if at == len(children):
                return False
            at += 1
            value = gives
        if any(id(each) in self.leaves or self.frames.get(id(each)) for each in children[at:]):
            return False
        return ends == [value]

    def _link(self, item: Node | Frame) -> tuple[torch.nn.Module | None, list[Any], Any]:
        """The module that an item is a call of, what it takes, what it gives."""
        if isinstance(item, Frame):
            gives = item.results[0] if len(item.results) == 1 else None
            return self.module(item.path), list(item.externals), gives
        owner = self.leaf_of.get(item)
        call = self.leaves.get(id(owner)) if owner is not None else None
        if call is None or call.several:
            return None, [], None
        return owner, list(self.calls[item].inputs), item

    def tell(self, path: str, what: str) -> None:
        """Note what has no place in the vocabulary; each once."""
        problem = (path or "(model)", what)
        if problem not in self.problems:
            self.problems.append(problem)


def _common(one: Frame, other: Frame) -> Frame:
    return next(each for each in other.above() if each in set(one.above()))


def _tensor(network: torch.nn.Module, target: str) -> torch.Tensor:
    where, _, name = target.rpartition(".")
    found: torch.Tensor = getattr(network.get_submodule(where), name)
    return found


def own_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters and persistent buffers of a module itself, by name; those without elements are constants."""
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and tensor.numel() and name not in module._non_persistent_buffers_set:
            yield name, tensor


def _is_row(module: torch.nn.Module) -> bool:
    return type(module).forward is torch.nn.Sequential.forward and not list(own_tensors(module))


def _is_of_torch(module: torch.nn.Module) -> bool:
    """Whether a module computes what a class of the table does: it is one, or changes nothing in its forward."""
    if isinstance(module, Part):
        return module.kind.startswith("torch.nn.modules.")
    forward: Any = type(module).forward
    return any(each in LEAVES and getattr(each, "forward", None) is forward for each in type(module).__mro__)
