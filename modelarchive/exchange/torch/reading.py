"""From modules to blocks: leaves by the table, containers as they are, other forwards by running them on symbols."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch

from modelarchive import names, nn
from modelarchive.architecture import Checked, describing
from modelarchive.architecture.declaring import declared_inputs
from modelarchive.archive.saving import initialized
from modelarchive.errors import ConversionError, SpecError, UnsupportedDataError
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.torch import containers, converting, layers
from modelarchive.exchange.torch.exported import Program, is_exported
from modelarchive.exchange.torch.hooks import found as found_hooks
from modelarchive.exchange.torch.hooks import parametrised
from modelarchive.exchange.torch.inputs import declared, known_inputs, refuse_example
from modelarchive.exchange.torch.keeping import Writes, kept
from modelarchive.exchange.torch.leaves import LEAVES, OTHER_DROPOUTS
from modelarchive.exchange.torch.mistakes import refuse_without_forward
from modelarchive.exchange.torch.naming import Names
from modelarchive.exchange.torch.programs import refuse_program
from modelarchive.exchange.torch.proxy import CannotError, StopReadingError
from modelarchive.exchange.torch.tensors import array_of
from modelarchive.exchange.torch.tracing import ADAPTERS, Traced, Tracing
from modelarchive.exchange.torch.wrapping import named_tensors, refuse_shards, take_off, unwrapped, walk
from modelarchive.nn.trials import last_resort

#: What may be kept of a network that cannot be read.
_KEEPS: Final = "save(path, module.state_dict()) keeps the parameters, without an architecture"
_REMEMBERED: Final = f"give inputs= if it takes others than it was built for; {_KEEPS}"
#: Where in this package a forward was read, which tells nobody anything.
_OURS: Final = re.compile(r"^\w+ \(\S*modelarchive/exchange/torch/\w+\.py, line \d+\): ")
_PLAIN: Final = "make each of them a plain tensor in memory first, in the module or in a copy of it"
_WHOLE: Final = (
    "gather them into a module on one process: load_state_dict(torch.distributed.checkpoint.state_dict."
    "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))"
)


def bundle_of_module(module: Any, inputs: Any) -> Bundle:
    """Architecture and parameters of a module, see :func:`modelarchive.exchange.torch.read_module`."""
    reason: ConversionError | None = None
    if isinstance(module, torch.export.ExportedProgram) and inputs is None:
        try:
            return _of_program(module)
        except ConversionError as error:
            reason = error
        except CannotError as error:
            reason = ConversionError([("(model)", str(error))])
    if is_exported(module):
        module = Program(module)
    refuse_program(module)
    refuse_without_forward(module)
    refuse_shards(module)
    network, notes = unwrapped(module)
    if torch.is_autocast_enabled() or torch.is_autocast_enabled("cpu"):
        notes.append(Note("(model)", "is read as it computes without the autocast that is on where it is read"))
    with kept(network) as writes, _plainly():
        take_off(network)
        network.eval()
        arrays = _arrays(network, writes)
        known = known_inputs(network, inputs)
        if not isinstance(network, Program) and not _is_ours(network):
            try:
                return _of_network(network, known, arrays, notes)
            except ConversionError as error:
                reason = error
            except CannotError:
                pass  # PyTorch does not export it
        try:
            return _imitated(network, inputs, known, arrays, notes)
        except ConversionError as error:
            changed = any(parametrised(each) for _, each in walk(network))
            if reason is None or changed:
                raise
            raise reason from error


def _of_network(network: torch.nn.Module, known: Any, arrays: Any, notes: list[Note]) -> Bundle:
    """Through torch.export."""
    bundle = converting.bundle_of(network, known, arrays, notes)
    converting.verify(network, network, bundle, known)
    return bundle


def _imitated(network: torch.nn.Module, inputs: Any, declared_inputs: Any, arrays: Any, notes: list[Note]) -> Bundle:
    """On stand-ins for tensors, where PyTorch does not export a module, or the table lacks an operator."""
    reader = _Reader(network, arrays, notes)
    example = network.example if isinstance(network, Program) and inputs is None else inputs
    block = reader.block(network, "")
    with reader.tracing.patched():
        model = reader.described(block, declared_inputs)
    if reader.tracing.problems and (given := _example(example)) is not None:
        _outputs(network, given)  # an example that does not fit is the cause of all the rest
    hint = _REMEMBERED if example is None else _KEEPS
    reader.refuse(hint)
    if model is None:
        raise ConversionError(reader.tracing.problems, hint=hint)
    parameters = initialized(block)
    wanted = model.shapes
    left_out = converting.differences(network, reader.names, wanted, shared=())
    notes = [*reader.notes, *reader.names.notes, *left_out]
    if beside := reader.tracing.beside_arrays(network):
        what = f"returns {', '.join(dict.fromkeys(beside))} as well, which is left out: tensors alone are outputs"
        notes.append(Note("(model)", what))
    bundle = Bundle({name: parameters[name] for name in wanted}, model.architecture, notes=notes, known=model)
    _compare(network, bundle, example)
    return bundle


def _of_program(exported: Any) -> Bundle:
    with _plainly():
        bundle = converting.bundle_of_program(exported)
        architecture = bundle.architecture or {}
        converting.verify(exported.module(), exported.module(), bundle, architecture["inputs"])
        return bundle


def _is_ours(network: torch.nn.Module) -> bool:
    """Whether modules of this package are in it, which stand for kinds and not for what they call."""
    return any(isinstance(each, layers.Kind | containers.Graph | containers.Sequential) for each in network.modules())


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """As PyTorch computes where nobody asked for anything else: no gradients, no autocast, nothing compiled."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
            stack.enter_context(torch.autocast(device, enabled=False))
        # Since PyTorch 2.6; who has compiled something has imported dynamo.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _arrays(module: torch.nn.Module, writes: Writes) -> dict[int, np.ndarray]:
    """``id(tensor)`` -> its array, of all parameters and buffers that are stored.

    Raises:
        ConversionError: Some have no values that can be stored; lists all of them.
    """
    arrays: dict[int, np.ndarray] = {}
    problems = []
    for name, tensor in named_tensors(module).items():
        if id(tensor) in arrays:
            continue
        try:
            array = array_of(tensor)
        except UnsupportedDataError as error:
            problems += [(name, what) for _, what in error.problems]
        else:
            # What evaluation alone has changed (merged adapters, say) is changed back in the end.
            arrays[id(tensor)] = array.copy() if writes.changed(tensor) else array
    if problems:
        raise ConversionError(problems, hint=_WHOLE if any("DTensor" in what for _, what in problems) else _PLAIN)
    return arrays


def _compare(module: torch.nn.Module, bundle: Bundle, inputs: Any) -> None:
    """Run both on the example, where it is one: code may decide by what stand-ins do not show (their class).

    Raises:
        ConversionError: The outputs differ.
    """
    given = _example(inputs)
    wanted = None if given is None else _outputs(module, given)
    if given is None or wanted is None:
        return
    found = _leaves(bundle.build()(*(array_of(each.clone()) for each in given)))
    for number, (one, other) in enumerate(zip(found, wanted, strict=False)):
        if one.shape != tuple(other.shape) or not _agrees(one, array_of(other)):
            what = f"output {number} of what was read differs from the module's on the example input"
            raise ConversionError([("(model)", what)], hint="its forward may depend on the class of its inputs")


def _example(inputs: Any) -> list[torch.Tensor] | None:
    """The inputs where all of them are tensors in memory."""
    given = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    is_example = given and all(isinstance(each, torch.Tensor) and each.device.type == "cpu" for each in given)
    return given if is_example else None


def _outputs(module: torch.nn.Module, given: list[torch.Tensor]) -> list[torch.Tensor] | None:
    """What the module gives for an example; None where it cannot be run here.

    Raises:
        ConversionError: It does not run on the example.
    """
    try:
        # Copies: it may work in place.
        found = _leaves(module(*(each.clone() for each in given)))
    except Exception as error:  # anything may be raised by somebody's forward
        devices = {each.device.type for each in (*module.parameters(), *module.buffers())}
        if devices - {"cpu"} or "not implemented for" in str(error):
            return None  # it is on another device, or too narrow to be run here
        refuse_example(module, given)
    return [each for each in found if torch.is_tensor(each)]


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


class _Reader:
    """Makes blocks of modules.

    Args:
        module: The whole network.
        arrays: ``id(tensor)`` -> its array.
        notes: What was noted before.
    """

    def __init__(self, module: torch.nn.Module, arrays: Mapping[int, np.ndarray], notes: list[Note]) -> None:
        self.tracing = Tracing()
        self.names = Names()
        self.notes = notes
        self._module = module
        self._arrays = arrays
        self._runs = 0

    def refuse(self, hint: str) -> None:
        """Raise what was told.

        Args:
            hint: The next step.

        Raises:
            ConversionError: Something was; lists all of it.
        """
        # What a parametrisation computes is told once, where it stands.
        told = tuple(f"{names.joined(path, 'parametrizations')}.{name}." for path, name in self._parametrised())
        problems = [
            (where, _OURS.sub("", what)) for where, what in self.tracing.problems if not f"{where}.".startswith(told)
        ]
        if problems:
            raise ConversionError(problems, hint=hint)

    def _parametrised(self) -> Iterator[tuple[str, str]]:
        for path, module in walk(self._module):
            yield from ((path, name) for name in parametrised(module))

    def described(self, block: nn.Block, inputs: Any) -> Checked | None:
        """The model; None where there are problems."""
        if self.tracing.problems and not isinstance(block, Traced):
            return None
        try:
            found = declared_inputs(block, declared(inputs))
            # At the usual sizes only: what does not fit at others would be told, too.
            return describing.described(block, found, last_resort(found).values)
        except StopReadingError:
            pass
        except SpecError as error:
            if not self.tracing.problems:
                self.tracing.problems += [("(model)", message) for _, _, message in error.problems]
        return None

    def block(self, module: torch.nn.Module, path: str) -> nn.Block:
        """The block of a module, the same one for the same module."""
        if id(module) not in self.tracing.blocks:
            self.tracing.paths[id(module)] = path
            self._tell_hooks(module)
            block = self._leaf(module, path)
            self.tracing.blocks[id(module)] = self._container(module, path) if block is None else block
        return self.tracing.blocks[id(module)]

    def _tell_hooks(self, module: torch.nn.Module) -> None:
        self.tracing.problems += found_hooks(module, self.tracing.paths[id(module)])
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
        ours = self.names.of(module, path)
        for name, child in module._modules.items():
            if child is not None:
                block.adopt(ours[name], self.block(child, names.joined(path, name)))
        kept = {name for name in module._buffers if name not in module._non_persistent_buffers_set}
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and (name in module._parameters or name in kept):
                self._give(block, ours[name], tensor)
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
            # It is read several times, on several sizes: what it keeps for the next time is not for that.
            with contextlib.nullcontext() if self._runs else kept(module):
                self._runs += 1
                try:
                    return tracing.forward(module, inputs, named)
                finally:
                    self._runs -= 1

        forward.__signature__ = inspect.signature(module.forward)  # type: ignore[attr-defined]
        object.__setattr__(block, "forward", forward)
        return block

    def _give(self, block: nn.Block, name: str, tensor: torch.Tensor) -> None:
        """Let `block` have a tensor as its parameter; the same one for the same tensor."""
        known = self.tracing.parameters.get(id(tensor))
        if known is not None:
            block.adopt(name, known)
            return
        try:
            # What a layer keeps outside of its parameters is in no state_dict.
            array = self._arrays[id(tensor)] if id(tensor) in self._arrays else array_of(tensor)
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
