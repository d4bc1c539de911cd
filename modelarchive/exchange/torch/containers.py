"""Containers as modules: Sequential with several values, and Graph, which executes its declared steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from modelarchive import names, nn
from modelarchive.exchange.torch.functions import apply
from modelarchive.exchange.torch.tensors import tensor_of, torch_dtype
from modelarchive.nn import nesting
from modelarchive.nn.graph import Node, completed, constant, is_constant, picked


class Sequential(torch.nn.Sequential):
    """Children one after another; several outputs of one are several inputs of the next."""

    def forward(self, *inputs: Any) -> Any:
        """Run the children."""
        values = inputs
        for child in self._modules.values():
            result = child(*values)
            values = result if isinstance(result, tuple) else (result,)
        return values[0] if len(values) == 1 else values


class Scan(torch.nn.Module):
    """Runs its body for each step along an axis, as the kind of this name says."""

    def __init__(self, scan: nn.Scan) -> None:
        super().__init__()
        self.states, self.axes, self.output_axes = scan.states, scan.axes, scan.output_axes

    def forward(self, *inputs: Any) -> Any:
        """Run the body step by step."""
        known = self.block(nn.Sequential())
        states, sequences, others = known.parted(inputs)
        count = known.steps([each.shape for each in sequences])
        body = self._modules["body"]
        several = []
        # Without a step it runs once all the same, where there are outputs: that tells what they would be.
        for step in range(max(count, min(len(self.output_axes), 1))):
            elements = [
                each.select(axis, step) if count else each.new_zeros((*each.shape[:axis], *each.shape[axis + 1 :]))
                for each, axis in zip(sequences, self.axes, strict=True)
            ]
            result = body(*states, *elements, *others)
            following, outputs = known.results(result if isinstance(result, tuple) else (result,))
            known.refuse_others(states, following, lambda each: (tuple(each.shape), each.dtype))
            states = following if count else states
            several.append(outputs)
        stacked = [
            torch.stack(each, known.output_axis(at, each[0].ndim + 1)).narrow(self.output_axes[at], 0, count)
            for at, each in enumerate(zip(*several, strict=True))
        ]
        row = (*states, *stacked)
        return row[0] if len(row) == 1 else row

    def block(self, body: nn.Block) -> nn.Scan:
        """The Scan of the architecture, with its body."""
        return nn.Scan(body, self.states, self.axes, self.output_axes)

    def extra_repr(self) -> str:
        """The numbers of states, sequences and outputs."""
        return f"{self.states} states, {len(self.axes)} sequences, {len(self.output_axes)} outputs"


class Graph(torch.nn.Module):
    """Executes the nodes of an architecture's Graph; children and parameters stand under their names there."""

    def __init__(self, graph: nn.Graph) -> None:
        super().__init__()
        self._inputs = graph.inputs
        self._nodes = graph.nodes
        self._outputs = graph.outputs
        self._structure = copy.deepcopy(graph.structure)
        self._defaults = {name: (number, torch_dtype(dtype)) for name, (number, dtype) in graph.defaults.items()}
        self._numbers: dict[str, Any] = {}
        self._constants: dict[str, str] = {}
        self._own_layers: dict[str, Mapping[str, str]] = {}
        taken = names.Taken([*graph.children, *graph.parameters])
        for node in graph.nodes:
            if is_constant(node):
                value = constant(node.arguments)
                if isinstance(value, int | float):
                    self._numbers[node.name] = value
                else:
                    name = self._constants[node.name] = taken.free(f"constant_{node.name}")
                    # Not persistent: it is in no state_dict. No dot: an export finds it as an attribute.
                    self._buffers[name] = tensor_of(value.copy())
                    self._non_persistent_buffers_set.add(name)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the nodes in order; what has a default may be left out."""
        if self._defaults:
            inputs, named = completed(self._inputs, self._defaults, inputs, named, _filled)
        if named:
            rest = self._inputs[len(inputs) : len(inputs) + len(named)]
            if set(rest) != set(named):
                raise TypeError(f"expected the inputs {list(self._inputs)}, found {sorted(named)} by name")
            inputs = (*inputs, *(named[name] for name in rest))
        if len(inputs) != len(self._inputs):
            raise TypeError(f"expected {len(self._inputs)} inputs {list(self._inputs)}, found {len(inputs)}")
        values: dict[str, Any] = dict(zip(self._inputs, inputs, strict=True))
        for node in self._nodes:
            if node.inputs is not None:
                values[node.name] = nesting.flattened(self._run(node, values))
        return nesting.nested(self._structure, [picked(values, ref) for ref in self._outputs])

    def _run(self, node: Node, values: Mapping[str, Any]) -> Any:
        if is_constant(node):
            return self._numbers[node.name] if node.name in self._numbers else self._buffers[self._constants[node.name]]
        inputs = [picked(values, ref) for ref in node.inputs or ()]
        if node.verb == "op":
            return apply(node.target, inputs, node.arguments)
        if node.verb == "parameter":
            where, _, name = node.target.rpartition(".")
            owner = self._below(where) if where else self
            return owner._parameters[name] if name in owner._parameters else owner._buffers[name]
        return self._below(node.target)(*inputs)

    def _below(self, path: str) -> torch.nn.Module:
        module: torch.nn.Module = self
        for part in path.split("."):
            module = module._modules[part]
        return module

    @property
    def constants(self) -> frozenset[str]:
        """The buffers that are written into the architecture."""
        return frozenset(self._constants.values())

    def block(self) -> nn.Graph:
        """The Graph of the architecture, without its children and parameters."""
        return nn.Graph(self._inputs, self._nodes, self._outputs, structure=self._structure)

    # ------------------------------------------------------------------ layers that are this module's own functions

    def own(self, layers: Mapping[str, Mapping[str, str]]) -> None:
        """Take layers whose parameters are this module's own for its functions: they are in no state_dict.

        Args:
            layers: Child -> name of each of its parameters -> what it is called here.
        """
        self._own_layers = dict(layers)
        self._link()

    def _link(self) -> None:
        for child, own in self._own_layers.items():
            module: Any = self._modules[child]
            for name, mine in own.items():
                tensor = self._parameters[mine] if mine in self._parameters else self._buffers[mine]
                if isinstance(module, torch.nn.RNNBase):
                    setattr(module, name, tensor)  # it keeps a list of them beside
                elif name in module._parameters:
                    module._parameters[name] = tensor
                else:
                    module._buffers[name] = tensor

    def state_dict(self, *args: Any, **named: Any) -> Any:
        """As of every module, without the other names of what this one has."""
        found = super().state_dict(*args, **named)
        for child in self._own_layers:
            start = f"{named.get('prefix', '')}{child}."
            for key in [key for key in found if key.startswith(start)]:
                del found[key]
        return found

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for child, own in self._own_layers.items():
            for name, mine in own.items():
                if f"{prefix}{mine}" in state_dict:
                    state_dict[f"{prefix}{child}.{name}"] = state_dict[f"{prefix}{mine}"]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, *args: Any, **named: Any) -> Any:
        found = super()._apply(*args, **named)
        self._link()
        return found

    def extra_repr(self) -> str:
        """Inputs, and the number of steps."""
        return f"({', '.join(self._inputs)}) -> {len(self._nodes)} steps"


def _filled(like: torch.Tensor, number: float, dtype: torch.dtype) -> torch.Tensor:
    return torch.full_like(like, number, dtype=dtype)
