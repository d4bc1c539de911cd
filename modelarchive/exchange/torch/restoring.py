"""Modules that this package built, as the blocks that they stand for: their kinds and names as they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch

from modelarchive import names as naming
from modelarchive import nn
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch import containers, layers
from modelarchive.exchange.torch.hooks import is_changed
from modelarchive.exchange.torch.leaves import LEAVES
from modelarchive.exchange.torch.naming import Names
from modelarchive.exchange.torch.tensors import array_of
from modelarchive.exchange.torch.wrapping import walk

#: Classes that return more than their kinds do.
_OTHERWISE: Final = (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU, torch.nn.MultiheadAttention)


def has_ours(network: torch.nn.Module) -> bool:
    """Whether a module of this package is in it."""
    return any(
        isinstance(each, layers.Kind | containers.Graph | containers.Scan | containers.Sequential)
        for _, each in walk(network)
    )


def restored(network: torch.nn.Module, arrays: Mapping[int, np.ndarray], names: Names) -> nn.Block | None:
    """The block that a module stands for; None where something in it is more than what this package builds.

    Args:
        network: The module.
        arrays: ``id(tensor)`` -> its array.
        names: What its parts are called in an archive.
    """
    restorer = _Restorer(arrays, names)
    if any(is_changed(each) for _, each in walk(network)):
        return None
    return restorer.block(network, "")


class _Restorer:
    def __init__(self, arrays: Mapping[int, np.ndarray], names: Names) -> None:
        self._arrays = arrays
        self._names = names
        self._blocks: dict[int, nn.Block | None] = {}
        self._parameters: dict[int, nn.Parameter] = {}

    def block(self, module: torch.nn.Module, path: str) -> nn.Block | None:
        """The block of a module, the same one for the same module."""
        if id(module) not in self._blocks:
            layer = _layer(module)
            self._blocks[id(module)] = self._container(module, path) if layer is None else self._filled(layer, module)
        return self._blocks[id(module)]

    def _filled(self, layer: nn.Layer, module: torch.nn.Module) -> nn.Layer:
        for name in layer.collect_params():
            where, _, own = name.rpartition(".")
            self._give(layer.children[where] if where else layer, own, getattr(module.get_submodule(where), own))
        return layer

    def _container(self, module: torch.nn.Module, path: str) -> nn.Block | None:
        block = _empty(module)
        if block is None:
            return None
        ours = self._names.of(module, path)
        for name, child in module._modules.items():
            if child is None:
                continue
            inside = self.block(child, naming.joined(path, name))
            if inside is None:
                return None
            block.adopt(ours[name], inside)
        written = module.constants if isinstance(module, containers.Graph) else frozenset()
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and name not in written:
                self._give(block, ours[name], tensor, persistent=name not in module._non_persistent_buffers_set)
        return block

    def _give(self, block: nn.Block, name: str, tensor: torch.Tensor, *, persistent: bool = True) -> None:
        """Let `block` have a tensor as its parameter; the same one for the same tensor."""
        known = self._parameters.get(id(tensor))
        if known is not None:
            block.adopt(name, known)
            return
        array = self._arrays[id(tensor)] if id(tensor) in self._arrays else array_of(tensor)
        parameter = block.parameters.get(name)
        if parameter is None:
            parameter = nn.Parameter(array.shape, array.dtype, trainable=persistent, persistent=persistent)
            block.adopt(name, parameter)
        parameter.set_data(array)
        parameter.trainable = tensor.requires_grad and parameter.born_trainable
        self._parameters[id(tensor)] = parameter


def _layer(module: torch.nn.Module) -> nn.Layer | None:
    if isinstance(module, layers.Kind):
        made: nn.Layer = nn.KINDS[module.kind].from_config(module.config)
        return made
    if type(module) not in LEAVES or type(module) in _OTHERWISE:
        return None
    try:
        return LEAVES[type(module)](module)
    except Refusal:
        return None


def _empty(module: torch.nn.Module) -> nn.Block | None:
    """The block of a container without its children; None: it is none of those that are built."""
    if isinstance(module, containers.Graph):
        return module.block()
    if isinstance(module, containers.Scan):
        return module.block(nn.Identity())
    return nn.Sequential() if type(module) in (torch.nn.Sequential, containers.Sequential) else None
