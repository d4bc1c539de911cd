"""From modules to blocks: leaves by the table, containers as they are, other forwards by running them on symbols."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from modelarchive import names, nn, spec
from modelarchive.archive.saving import initialized
from modelarchive.errors import ConversionError, SpecError, UnsupportedDataError
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.torch import containers, layers
from modelarchive.exchange.torch.leaves import LEAVES, OTHER_DROPOUTS
from modelarchive.exchange.torch.proxy import CannotError, StopReadingError
from modelarchive.exchange.torch.tensors import array_of, numpy_dtype
from modelarchive.exchange.torch.tracing import ADAPTERS, Traced, Tracing
from modelarchive.nn.parameter import dtype_name


def bundle_of_module(module: torch.nn.Module, inputs: Any) -> Bundle:
    """Architecture and parameters of a module, see :func:`modelarchive.exchange.torch.read_module`."""
    reader = _Reader()
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        block = reader.block(module, "")
        with torch.no_grad(), reader.tracing.patched():
            architecture = reader.described(block, inputs)
        if reader.tracing.problems:
            raise ConversionError(
                reader.tracing.problems, hint="read() of its state_dict keeps the parameters, without an architecture"
            )
        parameters = initialized(block)
        wanted = spec.parameter_shapes(architecture)
        notes = [*reader.notes, *_differences(module, wanted)]
        bundle = Bundle({name: parameters[name] for name in wanted}, architecture, notes=notes)
        _compare(module, bundle, inputs)
        return bundle
    finally:
        for each, mode in modes.items():
            each.training = mode


def _compare(module: torch.nn.Module, bundle: Bundle, inputs: Any) -> None:
    """Run both on the example, where it is one: code may decide by what stand-ins do not show (their class).

    Raises:
        ConversionError: The outputs differ.
    """
    given = inputs if isinstance(inputs, tuple | list) else [inputs]
    if not given or not all(isinstance(each, torch.Tensor) and each.device.type == "cpu" for each in given):
        return
    try:
        with torch.no_grad():
            # Copies: it may work in place.
            wanted = [each for each in _leaves(module(*(each.clone() for each in given))) if torch.is_tensor(each)]
    except RuntimeError:
        return  # it is on another device, or too narrow to be run here
    found = _leaves(bundle.build()(*(array_of(each.clone()) for each in given)))
    for number, (one, other) in enumerate(zip(found, wanted, strict=False)):
        if one.shape != tuple(other.shape) or not _agrees(one, array_of(other)):
            what = f"output {number} of what was read differs from the module's on the example input"
            raise ConversionError([("(model)", what)], hint="its forward may depend on the class of its inputs")


def _agrees(one: Any, other: Any) -> bool:
    narrow = other.dtype.itemsize < 4 and other.dtype.kind not in "biu"
    limit = 5e-2 if narrow else 1e-3
    if other.dtype.kind == "c" or not other.size:
        return True
    one, other = one.astype(np.float64), other.astype(np.float64)
    largest = np.abs(other[np.isfinite(other)]).max(initial=0.0)
    return bool(np.allclose(one, other, limit, limit * largest, equal_nan=True))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key])]
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, tuple | list) else [value]


def _differences(module: torch.nn.Module, kept: Mapping[str, Any]) -> Iterator[Note]:
    state = {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    counts = [name for name in state if name.endswith("num_batches_tracked") and name not in kept]
    if counts:
        what = "the count of batches is left out: only momentum=None uses it"
        yield Note(counts[0] if len(counts) == 1 else f"{counts[0]} and {len(counts) - 1} more", what)
    for name in state:
        if name not in kept and name not in counts:
            yield Note(name, "is left out: nothing in the network uses it")
    for name in kept:
        if name not in state:
            yield Note(name, "a constant of the code, kept as a parameter that is not trained")


class _Reader:
    def __init__(self) -> None:
        self.tracing = Tracing()
        self.notes: list[Note] = []

    def described(self, block: nn.Block, inputs: Any) -> dict[str, Any]:
        """The architecture; {} where there are problems."""
        if self.tracing.problems and not isinstance(block, Traced):
            return {}
        try:
            return spec.describe(block, _declared(inputs))
        except StopReadingError:
            pass
        except SpecError as error:
            if not self.tracing.problems:
                self.tracing.problems += [("(model)", message) for _, _, message in error.problems]
        return {}

    def block(self, module: torch.nn.Module, path: str) -> nn.Block:
        """The block of a module, the same one for the same module."""
        if id(module) not in self.tracing.blocks:
            self.tracing.paths[id(module)] = path
            self._tell_hooks(module)
            block = self._leaf(module, path)
            self.tracing.blocks[id(module)] = self._container(module, path) if block is None else block
        return self.tracing.blocks[id(module)]

    def _tell_hooks(self, module: torch.nn.Module) -> None:
        if module._forward_hooks or module._forward_pre_hooks:
            self.tracing.tell("a forward hook, which is code that no architecture holds", module)
        if type(module).get_extra_state is not torch.nn.Module.get_extra_state:
            self.notes.append(Note(self.tracing.paths[id(module)], "its extra state is left out"))

    def _leaf(self, module: torch.nn.Module, path: str) -> nn.Block | None:
        if isinstance(module, layers.Kind):
            layer: nn.Layer | None = nn.KINDS[module.kind].from_config(module.config)
        else:
            try:
                layer = LEAVES[type(module)](module) if type(module) in LEAVES else None
            except CannotError as error:
                self.tracing.tell(f"{type(module).__name__}: {error}", module)
                return nn.Identity()
        if layer is None:
            return None
        if isinstance(module, OTHER_DROPOUTS):
            self.notes.append(Note(path, f"{type(module).__name__} is kept as Dropout, which drops single elements"))
        for name in layer.collect_params():
            where, _, own = name.rpartition(".")
            tensor = getattr(module.get_submodule(where), own)
            self._give(layer.children[where] if where else layer, own, tensor)
        return layer

    def _container(self, module: torch.nn.Module, path: str) -> nn.Block:
        block = self._empty(module)
        for name, child in module._modules.items():
            if child is not None and self._is_name(name, module):
                block.adopt(name, self.block(child, f"{path}.{name}" if path else name))
        kept = {name for name in module._buffers if name not in module._non_persistent_buffers_set}
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            stored = name in module._parameters or name in kept
            if tensor is not None and stored and self._is_name(name, module):
                self._give(block, name, tensor)
        return block

    def _empty(self, module: torch.nn.Module) -> nn.Block:
        """The block without its children."""
        if isinstance(module, containers.Graph):
            return nn.Graph(module._inputs, module._nodes, module._outputs, structure=module._structure)
        row = type(module) in (torch.nn.Sequential, containers.Sequential)
        # What is called in another way than its kind can stand in no row of blocks.
        if row and not any(type(child) in ADAPTERS for child in module.children()):
            return nn.Sequential()
        block = Traced()
        tracing = self.tracing

        def forward(*inputs: Any, **named: Any) -> Any:
            return tracing.forward(module, inputs, named)

        forward.__signature__ = inspect.signature(module.forward)  # type: ignore[attr-defined]
        object.__setattr__(block, "forward", forward)
        return block

    def _is_name(self, name: str, module: torch.nn.Module) -> bool:
        problem = names.problem_with_part(name)
        if problem is not None:
            self.tracing.tell(problem, module)
        return problem is None

    def _give(self, block: nn.Block, name: str, tensor: torch.Tensor) -> None:
        """Let `block` have a tensor as its parameter; the same one for the same tensor."""
        known = self.tracing.parameters.get(id(tensor))
        if known is not None:
            block.adopt(name, known)
            return
        try:
            array = array_of(tensor)
        except UnsupportedDataError as error:
            self.tracing.problems += [(name, what) for _, what in error.problems]
            return
        parameter = block.parameters.get(name)
        if parameter is None:
            parameter = nn.Parameter(array.shape, array.dtype)
            block.adopt(name, parameter)
        parameter.set_data(array)
        trains = isinstance(tensor, torch.nn.Parameter) and tensor.requires_grad
        parameter.trainable = trains and parameter.born_trainable
        self.tracing.parameters[id(tensor)] = parameter


def _declared(inputs: Any) -> Any:
    """Inputs as :func:`modelarchive.describe` takes them; of tensors only shape and dtype count."""
    if isinstance(inputs, tuple | list):
        return type(inputs)(_declared(each) for each in inputs)
    if isinstance(inputs, torch.Tensor):
        return {"shape": [None, *inputs.shape[1:]], "dtype": dtype_name(numpy_dtype(inputs.dtype))}
    return inputs if isinstance(inputs, Mapping) or inputs is None else np.asarray(inputs)
