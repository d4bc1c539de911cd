"""Programs of torch.export as models: as they are, or exported anew with all their arrays in one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
import torch.export
import torch.fx
from torch.utils import _pytree as pytree

from modelarchive.errors import UnsafeFileError
from modelarchive.exchange.budget import attempt, spend
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch import converting
from modelarchive.exchange.torch.capturing import exported_module
from modelarchive.exchange.torch.given import given as given_inputs
from modelarchive.exchange.torch.inputs import refuse_example, remember
from modelarchive.exchange.torch.lifting import CHECKS, word
from modelarchive.exchange.torch.tensors import NAMES
from modelarchive.exchange.torch.verifying import verify

#: Stands for an input that is given.
TENSOR: Final = object()


@dataclass
class Flat:
    """A program that takes its arrays in one row, and returns them so.

    Attributes:
        module: The program.
        fill: Puts what it returns into the containers that the model returns.
        example: What it is exported on.
        free: The axes of each input that may have any size.
        names: Name of a parameter or buffer here -> what the model calls it, where that is another.
        changed: Names of buffers that each call changes.
        is_foreign: Whether it is of a file, which may ask for more work than anybody has time for.
        row: Its inputs and what they were fixed to, in order; `TENSOR` for each input.
        notes: What was left out.
    """

    module: torch.fx.GraphModule
    fill: Callable[[Sequence[Any]], Any]
    example: list[torch.Tensor]
    free: list[list[int]]
    names: Mapping[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    is_foreign: bool = False
    row: list[Any] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def is_exported(model: object) -> bool:
    """Whether it is an ``ExportedProgram``, or the module that one gives."""
    return isinstance(model, torch.export.ExportedProgram) or (
        _is_aten(model) and hasattr(model, "_in_spec") and hasattr(model, "_out_spec")
    )


def _is_aten(model: object) -> bool:
    """Whether it is a module made of a graph of ATen calls."""
    graph = model.graph if isinstance(model, torch.fx.GraphModule) else None
    return graph is not None and any(isinstance(node.target, torch._ops.OpOverload) for node in graph.nodes)


def bundle_of_exported(model: Any, inputs: Any) -> Bundle:
    """A program, or its module, as a bundle.

    Args:
        model: The program.
        inputs: What it is read on; None: what it was exported on.

    Raises:
        ConversionError: Something is not supported; lists all that was found.
    """
    flat = flattened(model.module() if isinstance(model, torch.export.ExportedProgram) else model)
    if inputs is not None:
        known = given_inputs(inputs)
        _refuse_others(model, flat, known.tensors())
        flat.example, flat.free = known.tensors(), known.free
        return bundle_of_flat(flat)
    if not isinstance(model, torch.export.ExportedProgram):
        return bundle_of_flat(flat)
    if model.example_inputs is not None:
        own = [each for each in pytree.tree_leaves(model.example_inputs) if isinstance(each, torch.Tensor)]
        flat.example = own if len(own) == len(flat.example) else flat.example
    return _compared(converting.bundle_of_program(model), flat)


def _refuse_others(model: Any, flat: Flat, given: list[torch.Tensor]) -> None:
    """Refuse inputs that a program does not take.

    Raises:
        ConversionError: It does not.
    """
    module = model.module() if isinstance(model, torch.export.ExportedProgram) else model
    values = iter(given)
    row = [next(values, None) if each is TENSOR else each for each in flat.row]
    try:
        args, kwargs = pytree.tree_unflatten(row, module._in_spec)
        module(*args, **kwargs)
        fits = next(values, TENSOR) is TENSOR
    except Exception:  # whatever PyTorch raises
        fits = False
    if not fits:
        shapes = zip(flat.example, flat.free, strict=True)
        declared = [
            {
                "shape": [None if axis in free else size for axis, size in enumerate(each.shape)],
                "dtype": NAMES[each.dtype],
            }
            for each, free in shapes
        ]
        remember(flat.module, declared)
        refuse_example(flat.module, given)


def bundle_of_flat(flat: Flat) -> Bundle:
    """A program, exported anew, as a bundle.

    Raises:
        ConversionError: Something is not supported; lists all that was found.
    """
    program = exported_module(flat.module, flat.example, flat.free)
    bundle = converting.bundle_of_program(program, fill=flat.fill, names=flat.names)
    bundle.notes += [
        Note(name, "is changed by each call of the module; its value before that is kept, and stays")
        for name in flat.changed
    ]
    if flat.is_foreign:
        work, nbytes = _cost(program)
        try:
            with attempt():
                spend("a call of the program", steps=work // _WORK_A_STEP, nbytes=nbytes)
        except UnsafeFileError:
            what = f"whose call takes {work:.1g} steps, and {nbytes >> 20:,} MiB for one array"
            bundle.notes.append(Note("(model)", f"was not compared with the program, {what}"))
            return bundle
    return _compared(bundle, flat)


def _cost(program: torch.export.ExportedProgram) -> tuple[int, int]:
    """How many numbers a call computes, and products for them; and the bytes of the largest array on the way.

    Both are about right, and rather too many.
    """
    work = nbytes = 0
    for node in program.graph.nodes:
        value = node.meta.get("val")
        results = value if isinstance(value, tuple | list) else [value]
        given = [each.meta.get("val") for each in node.all_input_nodes]
        # What is summed over is an axis of the second operand, or several.
        is_product = word(node).startswith(_PRODUCTS) and len(given) > 1
        times = max(map(_count, given)) // max(_least(given[1]), 1) if is_product else 1
        work += sum(map(_count, results)) * times
        nbytes = max([nbytes, *(_count(each) * each.itemsize for each in results if isinstance(each, torch.Tensor))])
    return work, nbytes


def _count(value: Any) -> int:
    shape = value.shape if isinstance(value, torch.Tensor) else ()
    return math.prod(_hint(size) for size in shape) if isinstance(value, torch.Tensor) else 0


def _least(value: Any) -> int:
    return min((_hint(size) for size in value.shape), default=1) if isinstance(value, torch.Tensor) else 1


def _hint(size: Any) -> int:
    return size if isinstance(size, int) else int(size.node.hint or 1)


#: Numbers and products that are one step of reading; a call of a ResNet-50 takes some 1e11.
_WORK_A_STEP: Final = 1 << 20
_PRODUCTS: Final = (
    "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "conv", "einsum", "bilinear", "scaled_dot_product",
    "lstm", "gru", "rnn", "tensordot",
)  # fmt: skip


def _compared(bundle: Bundle, flat: Flat) -> Bundle:
    declared = (bundle.architecture or {}).get("inputs", [])
    fixed = [
        f"{each['name']} {each['shape']}"
        for each, free in zip(declared, flat.free, strict=True)
        if any(isinstance(each["shape"][axis], int) for axis in free)
    ]
    if fixed:
        bundle.notes.append(Note("inputs", f"are of fixed sizes, which the program decides by: {', '.join(fixed)}"))
    bundle.notes += flat.notes
    known = replace(given_inputs(declared), example=flat.example)
    verify(flat.module, lambda *given: flat.fill(flat.module(*given)), bundle, known)
    return bundle


def flattened(model: torch.fx.GraphModule) -> Flat:
    """The module of a program, without what it checks of its inputs, and what they were fixed to.

    Raises:
        Refusal: An input is a number that is not fixed.
    """
    graph = torch.fx.Graph()
    made: dict[torch.fx.Node, Any] = {}
    example: list[torch.Tensor] = []
    free: list[list[int]] = []
    notes: list[Note] = []
    row: list[Any] = []
    for node in model.graph.nodes:
        if node.op == "call_module" or word(node).startswith(CHECKS):
            continue
        value = node.meta.get("val")
        if node.op == "placeholder" and not isinstance(value, torch.Tensor):
            if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
                raise Refusal(f"its input {node.name!r} is a number; export it with tensors only")
            notes.append(Note(node.name, f"is fixed to {value!r}, as it was when the program was exported"))
            made[node] = value
            row.append(value)
            continue
        if node.op == "placeholder":
            row.append(TENSOR)
            example.append(_example(value))
            free.append([axis for axis, size in enumerate(value.shape) if not isinstance(size, int)])
        made[node] = graph.node_copy(node, lambda each: made[each])
    spec: Any = model._out_spec
    module = torch.fx.GraphModule(model, graph)
    _add_unused(module, model)
    for path, each in model.named_modules():
        mark_constants(module, [f"{path}.{name}" if path else name for name in each._non_persistent_buffers_set])
    return Flat(module, lambda leaves: pytree.tree_unflatten(list(leaves), spec), example, free, row=row, notes=notes)


def mark_constants(module: torch.nn.Module, paths: Iterable[str]) -> None:
    """Let buffers be in no state_dict; torch.fx forgets that."""
    for path in paths:
        where, _, name = path.rpartition(".")
        try:
            owner = module.get_submodule(where)
        except AttributeError:
            continue
        if name in owner._buffers:
            owner._non_persistent_buffers_set.add(name)


def _add_unused(module: torch.nn.Module, model: torch.nn.Module) -> None:
    """Give a module the parameters and buffers of another one that no call names."""
    kept = model.state_dict(keep_vars=True)
    have = module.state_dict(keep_vars=True)
    for path, tensor in kept.items():
        if path in have:
            continue
        *where, name = path.split(".")
        owner = module
        for part in where:
            owner = owner._modules.setdefault(part, torch.nn.Module())
        (owner._parameters if isinstance(tensor, torch.nn.Parameter) else owner._buffers)[name] = tensor


def _example(value: torch.Tensor) -> torch.Tensor:
    """A tensor of the sizes that a program was exported on."""
    shape = [size if isinstance(size, int) else size.node.hint for size in value.shape]
    if value.dtype.is_floating_point or value.dtype.is_complex:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(shape, generator=generator).to(value.dtype)
    return torch.ones(shape, dtype=value.dtype)


__all__ = ["Flat", "bundle_of_exported", "bundle_of_flat", "flattened", "is_exported", "mark_constants"]
