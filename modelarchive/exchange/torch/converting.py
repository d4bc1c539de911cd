"""A module as a bundle through torch.export: exported, imported, and compared with the module itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import torch

from modelarchive.architecture import Checked, describing
from modelarchive.archive.saving import initialized
from modelarchive.errors import ConversionError, ModelArchiveError, SpecError, UnsafeFileError
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.capturing import Look, Program, captured, program_of
from modelarchive.exchange.torch.given import Example, Given, examples, made_up
from modelarchive.exchange.torch.guards import Guards
from modelarchive.exchange.torch.importing import Importer
from modelarchive.exchange.torch.keeping import kept
from modelarchive.exchange.torch.longest import answering, asked
from modelarchive.exchange.torch.naming import Names
from modelarchive.exchange.torch.planning import Plan
from modelarchive.exchange.torch.programs import skeleton
from modelarchive.exchange.torch.reads import NOW
from modelarchive.exchange.torch.reasons import OfValues
from modelarchive.exchange.torch.sizes import Axes, SizeError
from modelarchive.exchange.torch.telling import coincidences, telling
from modelarchive.exchange.torch.tensors import NAMES
from modelarchive.exchange.torch.wrapping import named_tensors
from modelarchive.nn.axes import Axis, by_role, free_axes, roles_of
from modelarchive.nn.trials import SCALES, NoFit, Trial, advice, fitting, merged, united


def bundle_of(
    network: torch.nn.Module, known: Given, arrays: Mapping[int, np.ndarray], notes: Sequence[Note]
) -> tuple[Bundle, Guards]:
    """A module, in evaluation, as a bundle, and what held of the sizes that it was exported with.

    Args:
        network: The module, without wrappers.
        known: What it is read on.
        arrays: ``id(tensor)`` -> its array.
        notes: What was noted before.

    Raises:
        ConversionError: Something is not supported; lists all that was found.
        Refusal: PyTorch cannot export it.
    """
    found = _exported(network, known)
    with _understood():
        bundle, held = _bundle(network, found, arrays, [*notes, *found.notes], is_usual=known.scales is SCALES)
    guards = found.program.guards
    held = [each for each in held if each.free_symbols <= guards.axes.keys()]
    return bundle, replace(guards, conditions=[*held, *guards.conditions])


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
        Refusal: PyTorch cannot take it apart.
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
    with _understood():
        return _bundle(network, _Exported(program, Axes(program.inputs, declared)), {}, [])[0]


@dataclass
class _Exported:
    """A module's program.

    Attributes:
        program: The program.
        axes: What it says of its inputs' axes.
        notes: What is fixed of them.
        sizes: Those of the user's example.
    """

    program: Program
    axes: Axes
    notes: list[Note] = field(default_factory=list)
    sizes: Mapping[Axis, int] = field(default_factory=dict)


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """A program that is not as those are that are known gives a Refusal, whatever it is read by stumbles over."""
    try:
        yield
    except ModelArchiveError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        what = "" if isinstance(error, KeyError) else f": {error}"  # a key is an object of ours
        raise Refusal(f"its program is not understood ({type(error).__name__}{what})") from error


def _exported(network: torch.nn.Module, known: Given) -> _Exported:
    """The program of a module; axes that nobody declared free are fixed where the module fixes them."""
    if known.example is None:
        return _of_declared(network, known)
    first: _Exported | None = None
    for example in () if known.is_fixed else examples(known.example):
        try:
            found = _of_example(network, known, example, is_made_up=example.is_made_up)
        except OfValues:
            raise
        except Refusal:
            continue
        if not known.example[0].ndim or (0, 0) in free_axes(found.axes.declared):
            return found
        first = first or found
    if first is not None:
        return first
    # As it is: an error is PyTorch's own then.
    declared = [
        each | {"shape": list(tensor.shape)} for each, tensor in zip(known.declared, known.example, strict=True)
    ]
    program = _captured(network, Example(known.example, frozenset()), known)
    return _Exported(program, Axes(program.inputs, declared), [_fixed(range(len(declared)), declared)])


def _of_example(network: torch.nn.Module, known: Given, example: Example, *, is_made_up: bool) -> _Exported:
    """The program, and what it says of the axes of an example.

    Raises:
        Refusal: PyTorch cannot export it, or it fixes an axis that was made up.
    """
    program = _captured(network, example, known)
    sizes = [node.meta["val"].shape for node in program.inputs]
    batch = _expression(sizes[0][0]) if len(sizes[0]) else None
    shapes: list[list[Any]] = [list(each["shape"]) for each in known.declared]
    settled = [at for at in free_axes(known.declared) if at not in example.free]
    for at, axis in settled:
        shapes[at][axis] = int(example.tensors[at].shape[axis])
    for at, axis in example.batch:
        is_one = _expression(sizes[at][axis]) == batch
        shapes[at][axis] = None if is_one else int(example.tensors[at].shape[axis])
    found = [each | {"shape": shape} for each, shape in zip(known.declared, shapes, strict=True)]
    axes = Axes(program.inputs, found)
    given_sizes = {
        (at, axis): size for at, each in enumerate(known.example or ()) for axis, size in enumerate(each.shape)
    }
    if not axes.fixed:
        axes.sizes(SCALES[0], {})  # which refuses what cannot be said
    if is_made_up and any(at not in {(number, 0) for number, _ in example.batch} for at in axes.fixed):
        raise Refusal("the module decides by a size that was made up")
    for (number, axis), size in axes.fixed.items():
        found[number]["shape"][axis] = size
    # A state that has the batch second is no surprise.
    decided = {number for number, _ in (*axes.fixed, *settled)}
    surprising = sorted(number for number in decided if not any(map(_is_free, found[number]["shape"])))
    notes = [_fixed(surprising, found)] if surprising else []
    axes = Axes(program.inputs, found) if axes.fixed else axes
    return _Exported(program, axes, notes, given_sizes)


def _is_free(size: Any) -> bool:
    return not isinstance(size, int)


def _expression(size: Any) -> Any:
    return size if isinstance(size, int) else size.node.expr


def _captured(network: torch.nn.Module, example: Example, known: Given, look: Look | None = None) -> Program:
    """The program of a module, which is as it was afterwards: what its forward kept meanwhile is gone.

    Raises:
        OfValues: It does other things for other values than that the longest of some lengths is that of an input.
        Refusal: PyTorch cannot export it, with its reason.
    """
    try:
        with kept(network):
            return captured(network, example.tensors, example.axes, known.arguments, look)
    except OfValues as error:
        if known.example is None:
            raise
        with kept(network):
            numbers = asked(network, example.tensors, known.arguments)
        if not numbers:
            raise
        try:
            with kept(network):
                arguments = answering(known.arguments, numbers)
                program = captured(network, example.tensors, example.axes, arguments, look)
        except Refusal:
            raise error from None
        return replace(program, guards=replace(program.guards, largest=numbers))


def _fixed(numbers: Sequence[int], declared: Sequence[Mapping[str, Any]]) -> Note:
    sizes = ", ".join(f"input {number} {declared[number]['shape']}" for number in numbers)
    return Note("inputs", f"are of fixed sizes, which the module decides by: {sizes}")


class _FixedError(Refusal):
    """A module decides by the size of an axis that is declared free.

    Attributes:
        what: It in words that are the same at all sizes.
    """

    def __init__(self, what: str, size: int) -> None:
        super().__init__(f"{what}; declare it as {size}, say")
        self.what = what


def _of_declared(network: torch.nn.Module, known: Given) -> _Exported:
    """The program of a module whose inputs are declared, at the first sizes that it runs at and leaves free."""
    declared = known.declared
    found: list[_Exported] = []
    errors: list[Refusal] = []

    def look(inputs: Sequence[torch.fx.Node]) -> None:
        for (number, axis), size in Axes(inputs, declared).fixed.items():
            name = declared[number].get("name", f"input {number}")
            raise _FixedError(f"axis {axis} of {name} cannot be of any size: the module decides by it", size)

    def attempt(trial: Trial) -> list[str]:
        try:
            program = _captured(network, made_up(trial), known, look)
            look(program.inputs)  # again: PyTorch may have fixed an axis on its way to other operators
            axes = Axes(program.inputs, declared)
        except OfValues:
            raise
        except Refusal as error:
            errors.append(error)
            return [error.what if isinstance(error, _FixedError) else str(error)]
        found.append(_Exported(program, axes))
        return []

    # PyTorch tells axes of one size apart: most modules run where those of one role have one.
    own, *others = merged(declared)
    alike = united(own, by_role(roles_of(declared)))
    usual = own if len(alike) == len(own) else alike
    several = [usual, *(each for each in (own, *others) if each != usual)]
    try:
        fitting(declared, attempt, several, known.scales)
    except NoFit as none:
        hint = f"; {advice(named)}" if none.by_size and (named := _called(declared)) else ""
        raise Refusal(f"{errors[0]}{hint}") from errors[0]
    return found[-1]


def _called(declared: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"input {number}", **each} for number, each in enumerate(declared)]


def _bundle(
    network: torch.nn.Module,
    found: _Exported,
    arrays: Mapping[int, np.ndarray],
    notes: Sequence[Note],
    *,
    is_usual: bool = True,
) -> tuple[Bundle, list[Any]]:
    """The bundle, at the first sizes of free axes that fit, and what of sizes held there by chance."""
    first: Exception | None = None
    plan: Plan | None = None
    united = found.axes.united(found.sizes)
    # What PyTorch says nothing of may be one, too: what is written at places, and the places.
    both = [found.axes] if united.groups == found.axes.groups else [found.axes, united]
    # Exported at other sizes it says more than what held there.
    guards = found.program.guards if is_usual else Guards()
    scales = telling(found.program.graph, found.axes, found.program.ranges, guards)
    for scale, axes in product(scales, both):
        sizes = axes.sizes(scale, found.program.ranges)
        if sizes is None:
            continue
        if plan is None:
            plan = Plan(found.program, network, sizes)
        plan.sizes = sizes
        if plan.problems and first is None:
            raise ConversionError(plan.problems)
        plan.problems = []
        try:
            bundle = _bundle_at(network, found.program, plan, arrays, notes)
            return bundle, coincidences(found.program.graph, sizes)
        except (ConversionError, Refusal) as error:
            if not sizes.trial.sizes:
                raise
            if first is not None and str(error) == str(first):
                break
            first = first or error
    raise _size_error(first or Refusal("no size that was tried is one that the module takes")) from first


def _size_error(error: Exception) -> SizeError:
    """What other sizes may help with, as an error that says so."""
    problems = error.unsupported if isinstance(error, ConversionError) else [("(model)", str(error))]
    return SizeError(problems, hint=getattr(error, "hint", None))


def _bundle_at(
    network: torch.nn.Module, program: Program, plan: Plan, arrays: Mapping[int, np.ndarray], before: Sequence[Note]
) -> Bundle:
    names = Names()
    importer = Importer(plan, arrays, names)
    block = importer.block()
    model = _described(block, plan)
    parameters = initialized(block)
    wanted = model.shapes
    notes = list(before)
    if program.beside:
        what = (
            f"returns {', '.join(dict.fromkeys(program.beside))} as well, which is left out: tensors alone are outputs"
        )
        notes.append(Note("(model)", what))
    notes += [*names.notes, *_changed(program), *differences(network, names, wanted)]
    return Bundle({name: parameters[name] for name in wanted}, model.architecture, notes=notes, known=model)


def _described(block: Any, plan: Plan) -> Checked:
    trial = plan.sizes.trial
    try:
        return describing.described(block, trial.named(), trial.values)
    except UnsafeFileError:
        raise
    except (Refusal, ModelArchiveError) as error:
        problems = plan.problems
        if not problems and isinstance(error, SpecError):
            problems = [("(model)", message) for _, _, message in error.problems]
        raise ConversionError(problems or [("(model)", str(error))], hint=getattr(error, "hint", None)) from error


def _changed(program: Program) -> Iterator[Note]:
    for line in program.checks:
        yield Note("(model)", f"a check of values that raises an error is left out ({line})")
    for number in dict.fromkeys(program.guards.largest):
        what = f"the largest number of an array, which the forward asks for, is taken for {number}, as in the example"
        yield Note("(model)", f"{what}: the module was not seen to run where it is another")
    for name in program.decided:
        yield Note(name, f"decides what the forward does; it is read as it does by {NOW}")
    for name in program.aliased:
        yield Note(name, f"is seen by the forward through another view of its memory, which is kept with {NOW}")
    for name in program.changed:
        yield Note(name, "is changed by each call of the module; its value before that is kept, and stays")


def differences(network: torch.nn.Module, names: Names, kept: Mapping[str, Any]) -> Iterator[Note]:
    """Notes of tensors that were left out.

    Args:
        network: The module.
        names: What its parts are called.
        kept: The parameters of the architecture.
    """
    state_of = named_tensors(network)
    state = {names.path(network, name): name for name in state_of}
    counts = [name for ours, name in state.items() if name.endswith("num_batches_tracked") and ours not in kept]
    if counts:
        what = "the count of batches is left out: only momentum=None uses it"
        yield Note(counts[0] if len(counts) == 1 else f"{counts[0]} and {len(counts) - 1} more", what)
    for ours, name in state.items():
        if ours not in kept and name not in counts:
            what = "nothing in the network uses it" if state_of[name].numel() else "it has no elements"
            yield Note(name, f"is left out: {what}")
        elif state_of[name].is_complex():
            yield Note(name, "is of complex numbers, and is kept as pairs of real ones on a last axis")
