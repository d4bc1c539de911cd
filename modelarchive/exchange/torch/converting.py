"""A module as a bundle through torch.export: exported, imported, and compared with the module itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from modelarchive.architecture import Checked, describing
from modelarchive.archive.saving import initialized
from modelarchive.errors import ConversionError, ModelArchiveError, SpecError
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.torch.capturing import Program, captured, program_of
from modelarchive.exchange.torch.comparing import compared, outputs_of
from modelarchive.exchange.torch.importing import Importer
from modelarchive.exchange.torch.inputs import declared as declared_of
from modelarchive.exchange.torch.keeping import kept
from modelarchive.exchange.torch.naming import Names
from modelarchive.exchange.torch.planning import Plan
from modelarchive.exchange.torch.programs import skeleton
from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.exchange.torch.sizes import Sizes, trial_shapes
from modelarchive.exchange.torch.tensors import NAMES, TORCH, tensor_of
from modelarchive.exchange.torch.wrapping import named_tensors
from modelarchive.nn.evaluate import SIZES

#: Sizes of free axes while a module is exported: the first axis, and the others in the order in which they are tried.
_BATCH: Final = 2
_SIDES: Final = (64, 224, 512)


@dataclass
class Given:
    """What a module is read on.

    Attributes:
        declared: Shape, None for an axis that is free, and dtype of each input.
        example: The tensors that were given; None: only declared.
    """

    declared: list[dict[str, Any]]
    example: list[torch.Tensor] | None

    def tensors(self) -> list[torch.Tensor]:
        """The example; where there is none, random tensors that are declared so."""
        return self.example or [_random(each, _SIDES[0]) for each in self.declared]

    @property
    def free(self) -> list[list[int]]:
        """The free axes of each input."""
        return [[axis for axis, size in enumerate(each["shape"]) if size is None] for each in self.declared]


def given(inputs: Any) -> Given:
    """Inputs as the user gives them: tensors, arrays, declarations."""
    several = list(inputs) if isinstance(inputs, tuple) else inputs if _is_list(inputs) else [inputs]
    declared, example = [], []
    for each in several:
        if isinstance(each, Mapping):
            declared.append({"shape": list(each["shape"]), "dtype": each.get("dtype", "float32"), **_named(each)})
            continue
        tensor = each if isinstance(each, torch.Tensor) else tensor_of(np.asarray(each))
        if tensor.dtype not in NAMES:
            raise CannotError(f"an input of dtype {tensor.dtype}")
        declared.append(declared_of(tensor))
        example.append(tensor)
    return Given(declared, example if len(example) == len(declared) else None)


def _named(each: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each[name] for name in ("name", "default") if name in each}


def _is_list(inputs: Any) -> bool:
    return isinstance(inputs, list) and any(hasattr(each, "shape") or isinstance(each, Mapping) for each in inputs)


def bundle_of(network: torch.nn.Module, inputs: Any, arrays: Mapping[int, np.ndarray], notes: Sequence[Note]) -> Bundle:
    """A module, in evaluation, as a bundle.

    Args:
        network: The module, without wrappers.
        inputs: What it is read on.
        arrays: ``id(tensor)`` -> its array.
        notes: What was noted before.

    Raises:
        ConversionError: Something is not supported; lists all that was found.
        CannotError: PyTorch cannot export it.
    """
    known = given(inputs)
    found, program, more = _exported(network, known)
    with _understood():
        return _bundle(network, program, known, found, arrays, [*notes, *more])


def bundle_of_program(
    exported: torch.export.ExportedProgram,
    *,
    fill: Callable[[Sequence[Any]], Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> Bundle:
    """A program of torch.export as a bundle.

    Args:
        exported: The program.
        fill: Puts what it returns into containers; None: those that it says.
        names: Name of a parameter or buffer -> another, by which the model knows it.

    Raises:
        ConversionError: Something is not supported; lists all that was found.
        CannotError: PyTorch cannot take it apart.
    """
    program = program_of(exported, fill, names)
    state = {(names or {}).get(name, name): tensor for name, tensor in exported.state_dict.items()}
    network = skeleton(state, program)
    declared = [
        {
            "name": node.name,
            "shape": [size if isinstance(size, int) else None for size in node.meta["val"].shape],
            "dtype": NAMES[node.meta["val"].dtype],
        }
        for node in program.inputs
    ]
    known = Given(declared, None)
    sizes = Sizes(program.inputs, trial_shapes(declared, SIZES))
    with _understood():
        return _bundle(network, program, known, sizes, {}, [])


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """A program that is not as those are that are known gives a CannotError, whatever it is read by stumbles over."""
    try:
        yield
    except ModelArchiveError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CannotError(f"its program is not understood: {type(error).__name__}: {error}") from error


def _exported(network: torch.nn.Module, known: Given) -> tuple[Sizes, Program, list[Note]]:
    """The program of a module, and its sizes; axes that nobody declared free are fixed where the module fixes them."""
    if known.example is None:
        return (*_of_declared(network, known), [])
    example, repeated = _several(known.example)
    program = _captured(network, example, known.free)
    sizes = Sizes(program.inputs, trial_shapes(known.declared, SIZES))
    if sizes.fixed and repeated:
        example = known.example
        program = _captured(network, example, [[] for _ in example])
        sizes = Sizes(program.inputs, trial_shapes([{"shape": list(each.shape)} for each in example], SIZES))
        for each, tensor in zip(known.declared, example, strict=True):
            each["shape"] = list(tensor.shape)
        return sizes, program, [_fixed(range(len(example)), known)]
    for (number, axis), size in sizes.fixed.items():
        known.declared[number]["shape"][axis] = size
    return sizes, program, [_fixed(sorted({number for number, _ in sizes.fixed}), known)] if sizes.fixed else []


def _captured(network: torch.nn.Module, example: list[torch.Tensor], free: list[list[int]]) -> Program:
    """The program of a module, which is as it was afterwards: what its forward kept meanwhile is gone."""
    with kept(network):
        return captured(network, example, free)


def _fixed(numbers: Sequence[int], known: Given) -> Note:
    sizes = ", ".join(f"input {number} {known.declared[number]['shape']}" for number in numbers)
    return Note("inputs", f"are of fixed sizes, which the module decides by: {sizes}")


def _of_declared(network: torch.nn.Module, known: Given) -> tuple[Sizes, Program]:
    last: CannotError | None = None
    for side in _SIDES if any(axis for each in known.free for axis in each) else _SIDES[:1]:
        example = [_random(each, side) for each in known.declared]
        try:
            program = _captured(network, example, known.free)
        except CannotError as error:
            last = last or error
            continue
        sizes = Sizes(program.inputs, trial_shapes(known.declared, SIZES))
        if not sizes.fixed:
            return sizes, program
        (number, axis), size = next(iter(sizes.fixed.items()))
        last = CannotError(
            f"axis {axis} of input {number} cannot be of any size: the module decides by it; declare it as {size}, say"
        )
    raise last or CannotError("no size was tried")


def _random(declared: Mapping[str, Any], side: int, batch: int = _BATCH) -> torch.Tensor:
    shape = [(side if axis else batch) if size is None else size for axis, size in enumerate(declared["shape"])]
    dtype = TORCH[declared["dtype"]]
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)


def _several(example: list[torch.Tensor]) -> tuple[list[torch.Tensor], bool]:
    """An example whose batch is more than 1, which PyTorch would take for a fixed size."""
    if not all(each.ndim and each.shape[0] == 1 for each in example):
        return example, False
    return [torch.cat([each] * _BATCH) for each in example], True


def _bundle(
    network: torch.nn.Module,
    program: Program,
    known: Given,
    sizes: Sizes,
    arrays: Mapping[int, np.ndarray],
    notes: list[Note],
) -> Bundle:
    names = Names()
    plan = Plan(program, network, sizes)
    if plan.problems:
        raise ConversionError(plan.problems)
    importer = Importer(plan, arrays, names)
    block = importer.block()
    model = _described(block, plan, known.declared)
    parameters = initialized(block)
    wanted = model.shapes
    if program.beside:
        what = (
            f"returns {', '.join(dict.fromkeys(program.beside))} as well, which is left out: tensors alone are outputs"
        )
        notes.append(Note("(model)", what))
    notes += [*names.notes, *_changed(program), *differences(network, names, wanted)]
    return Bundle({name: parameters[name] for name in wanted}, model.architecture, notes=notes, known=model)


def _described(block: Any, plan: Plan, declared: list[dict[str, Any]]) -> Checked:
    try:
        return describing.described(block, declared)
    except (CannotError, ModelArchiveError) as error:
        problems = plan.problems
        if not problems and isinstance(error, SpecError):
            problems = [("(model)", message) for _, _, message in error.problems]
        raise ConversionError(problems or [("(model)", str(error))]) from error


def _changed(program: Program) -> Iterator[Note]:
    for name in program.changed:
        yield Note(name, "is changed by each call of the module; its value before that is kept, and stays")


def differences(network: torch.nn.Module, names: Names, kept: Mapping[str, Any]) -> Iterator[Note]:
    """Notes of tensors that were left out.

    Args:
        network: The module.
        names: What its parts are called.
        kept: The parameters of the architecture.
    """
    state = {names.path(network, name): name for name in named_tensors(network)}
    counts = [name for ours, name in state.items() if name.endswith("num_batches_tracked") and ours not in kept]
    if counts:
        what = "the count of batches is left out: only momentum=None uses it"
        yield Note(counts[0] if len(counts) == 1 else f"{counts[0]} and {len(counts) - 1} more", what)
    for ours, name in state.items():
        if ours not in kept and name not in counts:
            yield Note(name, "is left out: nothing in the network uses it")


def refuse_unfit(network: torch.nn.Module, inputs: Any) -> None:
    """Refuse an example that the module itself does not run on.

    Raises:
        ConversionError: It does not.
    """
    example = given(inputs).example
    if example is not None and all(each.device.type == "cpu" for each in example):
        outputs_of(network, example, is_example=True)


def verify(
    network: torch.nn.Module, run: Any, bundle: Bundle, inputs: Any, example: list[torch.Tensor] | None = None
) -> None:
    """Run both on the example, and on one more size where axes are free.

    Args:
        network: The module.
        run: What computes its outputs.
        bundle: What was read of it; gets a note where the module runs on nothing that was tried.
        inputs: What it was read on.
        example: Tensors to compare it on first; None: those among `inputs`.

    Raises:
        ConversionError: The outputs differ; says by how much.
    """
    known = given(inputs)
    known.example = example or known.example
    declared = bundle.architecture["inputs"] if bundle.architecture else []
    built = bundle.build()
    # Casts to them are in it; rounded to so few bits, sums in another order differ.
    is_narrow = "float16" in json.dumps(bundle.architecture)
    is_compared = False
    if known.example is not None and all(each.device.type == "cpu" for each in known.example):
        is_compared = compared(network, run, built, known.example, is_example=True, is_narrow=is_narrow)
    for side in (SIZES[1][0], SIZES[1][1], 224):
        tensors = [_random(each, side, 3) for each in declared]
        if compared(network, run, built, tensors, is_example=False, is_narrow=is_narrow):
            return
    if not is_compared:
        what = "was not compared with the module, which did not run on the inputs that were tried: pass an example"
        bundle.notes.append(Note("(model)", what))
