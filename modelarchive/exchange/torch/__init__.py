"""PyTorch: networks as ``torch.nn.Module`` trees and back, and files of parameters, which are read without it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelarchive.errors import MissingDependencyError
from modelarchive.exchange.bundle import Bundle, Note, Source, bundle_of, deferred
from modelarchive.exchange.rows import Support
from modelarchive.tensors import arrays_of as as_arrays

if TYPE_CHECKING:
    import numpy as np
    import torch

    from modelarchive.nn import Block
    from modelarchive.store.deferred import Deferred


def build_module(
    source: Source, *, inputs: Any = None, device: Any = None, dtype: Any = None, verify: bool = False
) -> torch.nn.Module:
    """A model as a real ``torch.nn.Module`` tree, with the names of the architecture.

    PyTorch's own classes stand where they say what the kind says, else small subclasses and modules of this
    package. ``state_dict`` has the archive's parameter names, parameters are on the memory of the mapped file
    (copy-on-write: training changes memory only), frozen ones have ``requires_grad`` False.

    Args:
        source: The path of an archive, an open one, a bundle with an architecture, or a network in NumPy.
        inputs: For a network that is Python code: an example of what it takes.
        device: Where the parameters go, from the file through small buffers of several threads; None: they stay where
            they are.
        dtype: The dtype of all floating-point parameters, PyTorch's or a name; None: their own.
        verify: Compare each parameter that has a digest with it, on its way to the device.

    Returns:
        The module, in evaluation mode.

    Raises:
        MissingDependencyError: PyTorch is not installed.
        SpecError: There is no architecture, or an invalid one.
        ParameterError: Parameters are missing or of other shapes.
        IntegrityError: With `verify`, bytes differ from their digest; names all of them.
        ValueError: There is no such device.
    """
    # Not needed to read parameters, which shall not wait for networks.
    from modelarchive.architecture.declaring import declared_inputs
    from modelarchive.nn import Block, Graph
    from modelarchive.nn.calling import DECLARED
    from modelarchive.nn.fitting import called_names

    building = _part("building")
    elsewhere = is_elsewhere(device)
    tensors: dict[str, torch.Tensor] = {}
    if isinstance(source, Block) and _is_declared(source):
        block = source
    else:
        bundle = bundle_of(source, inputs=inputs)
        block = bundle.build()
        tensors = tensors_on(device, deferred(bundle.parameters), verify=verify) if elsewhere else {}
    module: torch.nn.Module = building.module_of(block, device=device, dtype=dtype, tensors=tensors)
    if inputs is not None or hasattr(block, DECLARED):
        own = getattr(block, DECLARED, None)
        known = own if callable(own) else declared_inputs(block, inputs if own is None else None)
        _part("inputs").remember(module, known)
        # Layers alone are the same at every size.
        if not callable(known) and any(isinstance(each, Graph) for _, each in block.named_blocks()):
            _part("holding").hold(module, called_names(block, known))
    return module


def read_module(module: torch.nn.Module | torch.export.ExportedProgram, inputs: Any = None) -> Bundle:
    """A module's architecture and parameters; nothing of it is kept that the vocabulary does not say.

    ``torch.export`` says what the module calls. Modules of torch.nn that are a kind become that kind, ``Sequential``
    stays one, and the hierarchy of modules is the hierarchy of blocks. The parameters are on the memory of the
    module's tensors, with their names. What was read is compared with the module.

    Wrappers (``torch.compile``, ``DataParallel``, ``AveragedModel`` and the like) are looked through, with a note.

    Args:
        module: The network. It is read as it is in evaluation, and left as it was, whatever its forward writes. A
            program of ``torch.export`` is one too, and what its ``module()`` gives.
        inputs: A tensor, an array or a declaration ``{"shape": [None, 3, 32, 32]}``, or a tuple of several; the
            first axis is the batch, of any size. A dict is what forward takes by name, or its only argument; other
            arguments may be dicts, lists, named tuples and dataclasses of such. None for a module that
            :func:`build_module` made, which remembers, and for exported programs, which say what they take.

    Returns:
        The bundle, with notes on what was changed or left out.

    Raises:
        MissingDependencyError: PyTorch is not installed.
        ConversionError: The module does what the vocabulary cannot say, or is a program of TorchScript,
            or has parameters without values; lists all that was found. Or `inputs` are no such.
    """
    bundle: Bundle = _part("reading").bundle_of_module(module, inputs)
    return bundle


def named_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A module's parameters and persistent buffers by name, a shared one under each of its names."""
    found: dict[str, torch.Tensor] = _part("wrapping").named_tensors(module)
    return found


def arrays_of(model: torch.nn.Module | torch.export.ExportedProgram) -> dict[str, np.ndarray]:
    """Parameters and persistent buffers of a module or a program, as arrays on the same memory."""
    # A program's state_dict is a mapping, a module's a method.
    values = model.state_dict if isinstance(model.state_dict, Mapping) else named_tensors(model)
    return as_arrays(values)


def remarks_on_freezing(module: torch.nn.Module) -> list[str]:
    """What is to be known once parameters of a module are frozen: no more than each parameter says itself."""
    return []


def parameters_of(module: torch.nn.Module, inputs: object = None) -> dict[str, Any]:
    """A module's parameters and persistent buffers as ``modelarchive.nn.target.TargetParameter``, by name.

    Args:
        module: The module.
        inputs: What the source declares, by which other frameworks build a model first; not needed here.
    """
    found: dict[str, Any] = _part("assigning").parameters_of(module)
    return found


def tensors_of(data: Any, *, device: Any = None) -> Any:
    """What :func:`modelarchive.load` returns, with tensors in place of arrays, on the arrays' memory or on a device.

    Raises:
        MissingDependencyError: PyTorch is not installed.
    """
    return _part("tensors").tensors_of(data, device)


def is_elsewhere(device: Any) -> bool:
    """Whether tensors on a device have memory of their own there, which bytes are to be copied to.

    Raises:
        MissingDependencyError: PyTorch is not installed.
        ValueError: There is no such device.
    """
    found: bool = _part("devices").is_elsewhere(device)
    return found


def tensors_on(device: Any, arrays: Mapping[str, Deferred], *, verify: bool = False) -> dict[str, torch.Tensor]:
    """Arrays of files as tensors on a device: read by several threads, hashed on the way, and copied meanwhile.

    Args:
        device: Where they go, as PyTorch takes it.
        arrays: Name -> array; the same object under two names is one tensor.
        verify: Compare each array that has a digest with it.

    Raises:
        MissingDependencyError: PyTorch is not installed.
        ValueError: There is no such device.
        IntegrityError: With `verify`, bytes differ from their digest; names all of them.
        OutOfMemoryError: The device has no room for them.
    """
    found: dict[str, torch.Tensor] = _part("staging").tensors_on(device, arrays, verify=verify)
    return found


def read(path: str | os.PathLike[str]) -> Bundle:
    """Read the tensors of a file that ``torch.save`` wrote; PyTorch is not needed, and never used for it.

    The pickle in the file is followed as data. What it names beside tensors, plain containers and arrays of NumPy
    (classes, functions, whole modules) is neither imported nor called: a note says what was left out.

    Args:
        path: A ``.pt``, ``.pth``, ``.bin`` or ``.ckpt`` file, of any version of PyTorch since 0.1.10: a
            ``state_dict``, a dict of such, a tensor, a whole module, or a checkpoint that holds one of these among
            other things; or the index of several files (``pytorch_model.bin.index.json``).

    Returns:
        The parameters, views of the mapped file; plain values beside them as metadata, and a note on everything else.
        There is no architecture: such files have none.

    Raises:
        UnsafeFileError: The file holds no tensors but what only code would make, or breaks another rule.
        FormatError: It is no such file, damaged, or goes on behind its end.
        ConversionError: Tensors are sparse or quantised, say; lists all of them.
    """
    from modelarchive.exchange.torch import stored

    return stored.read(path)


def write(source: Source, path: str | os.PathLike[str], *, durable: bool = True) -> list[Note]:
    """Write the parameters as a ``state_dict`` that ``torch.load(path, weights_only=True)`` reads.

    Args:
        source: The path of an archive, an open one, a bundle, a network, or a mapping of arrays.
        path: The file; an old one is replaced as a whole, or left as it was.
        durable: As in :func:`modelarchive.save`.

    Returns:
        What was left out: architecture, metadata, tokens.

    Raises:
        MissingDependencyError: PyTorch is not installed.
        ConversionError: Arrays are of dtypes that PyTorch has not; lists all of them.
    """
    notes: list[Note] = _part("writing").write(bundle_of(source).state(), path, durable=durable)
    return notes


def mistaken(model: object) -> tuple[str, str] | None:
    """What somebody gave for a network (a state_dict, a class, an optimizer), and the next step; None: not known.

    Raises:
        MissingDependencyError: PyTorch is not installed.
    """
    found: tuple[str, str] | None = _part("mistakes").mistaken(model)
    return found


def support() -> list[Support]:
    """What is read and written of PyTorch, layer by layer.

    Raises:
        MissingDependencyError: PyTorch is not installed.
    """
    rows: list[Support] = _part("table").support()
    return rows


def _is_declared(block: Block) -> bool:
    from modelarchive.nn.evaluate import is_code

    return not any(is_code(each) for _, each in block.named_blocks())


def _part(name: str) -> Any:
    """A module of this package that needs PyTorch.

    Raises:
        MissingDependencyError: PyTorch is not installed.
    """
    try:
        importlib.import_module("torch")
    except ImportError as error:
        raise MissingDependencyError(f"PyTorch cannot be imported: {error}", extra="torch") from error
    return importlib.import_module(f"{__name__}.{name}")


__all__ = [
    "Bundle",
    "arrays_of",
    "build_module",
    "is_elsewhere",
    "mistaken",
    "named_tensors",
    "parameters_of",
    "read",
    "read_module",
    "remarks_on_freezing",
    "support",
    "tensors_of",
    "tensors_on",
    "write",
]
