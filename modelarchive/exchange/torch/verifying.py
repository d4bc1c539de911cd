"""What was read of a module, compared with it: on the example, and at sizes where it may do something else."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import torch

from modelarchive.errors import ConversionError, ModelArchiveError
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.torch.assuming import Observed
from modelarchive.exchange.torch.comparing import Comparison, outputs_of
from modelarchive.exchange.torch.given import Given, random
from modelarchive.exchange.torch.guards import Guards, Shapes, Try, further_tries, usual_tries
from modelarchive.exchange.torch.keeping import kept
from modelarchive.exchange.torch.longest import asked, other_lengths, repeated
from modelarchive.exchange.torch.sizes import SizeError
from modelarchive.nn.axes import Axis
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Abstract, Evaluator
from modelarchive.nn.layer import Layer
from modelarchive.nn.trials import Trial

#: Elements of an input that the module and what was read are compared on, beside the example.
_MOST: Final = 2**22
#: Elements of any result on the way, of which several are held at once: attention has the square of a length.
_MOST_ON_THE_WAY: Final = 2**26
#: Inputs of so few elements are not followed before.
_FEW: Final = 2**12
#: How often truths are to be seen that were taken for others.
_TRIES: Final = 40
_OF_LARGEST: Final = (
    "what it does depends on the largest number of an array, and not only where that is the length of an input: give "
    "it that length (x.shape[1], say), or leave that part to what calls the network"
)

#: What is said where loops were taken for the same at all steps.
_OF_LOOPS: Final = (
    "the steps of a loop of any length are not all alike: the last one, or one that is far from the first, does "
    "something else than the others"
)
_FIXED: Final = "declare the length as of one size: then all steps are written out as they are"
#: What is said where it makes a difference whether rows are chosen.
_OF_ROWS: Final = (
    "what it does depends on whether rows are chosen by values, and was not seen to do the same where none is: compute "
    "with masks there (torch.where, sums of truths)"
)


def refuse_unfit(network: torch.nn.Module, known: Given) -> None:
    """Refuse an example that the module itself does not run on.

    Raises:
        ConversionError: It does not.
    """
    if known.example is not None and all(each.device.type == "cpu" for each in known.example):
        outputs_of(network, known.example, is_example=True, arguments=known.arguments)


def verify(network: torch.nn.Module, run: Any, bundle: Bundle, known: Given, guards: Guards | None = None) -> bool:
    """Run both on the example, and at more sizes where axes are free.

    Args:
        network: The module.
        run: What computes its outputs.
        bundle: What was read of it; gets a note where the module runs on nothing that was tried, or what it computes
            depends on more than its inputs.
        known: What it was read on.
        guards: What held of the sizes that it was exported with.

    Returns:
        Whether what was read runs at all sizes that were tried and that the module runs at.

    Raises:
        SizeError: The outputs differ, and axes are free.
        ConversionError: The outputs differ; says by how much.
    """
    trial = bundle.checked().trial
    try:
        return _verify(network, run, bundle, known, trial, guards or Guards())
    except ConversionError as error:
        if _asks(network, known, guards):
            raise ConversionError([("(model)", _OF_LARGEST)]) from error
        if guards is not None and guards.assumed:
            raise SizeError([("(model)", _OF_ROWS)]) from error
        if guards is not None and guards.loops:
            problem = f"{_OF_LOOPS}{' or'.join(guards.loops)} ({error.unsupported[0][1]})"
            raise SizeError([("(model)", problem)], hint=_FIXED) from error
        if isinstance(error, SizeError):
            raise
        raise (SizeError(error.unsupported, hint=error.hint) if trial.sizes else error) from error


def _asks(network: torch.nn.Module, known: Given, guards: Guards | None) -> bool:
    """Whether a module asks for the largest number of an array, by which it may do something else."""
    if guards is not None and guards.largest:
        return True
    with kept(network):
        return known.example is not None and bool(asked(network, known.example, known.arguments))


def _verify(network: torch.nn.Module, run: Any, bundle: Bundle, known: Given, trial: Trial, guards: Guards) -> bool:
    # Casts to them are in it; rounded to so few bits, sums in another order differ.
    is_narrow = "float16" in json.dumps(bundle.architecture)
    comparison = Comparison(network, run, bundle.build(), is_narrow=is_narrow, arguments=known.arguments)
    given: list[list[torch.Tensor]] = []
    fits = True
    if known.example is not None and all(each.device.type == "cpu" for each in known.example):
        given += [known.example] if comparison.runs_alike(known.example, is_example=True) else []
    for shapes in _usual(trial, {each.shape[0] for each in known.example or () if each.ndim}):
        if not _is_small(comparison.block, trial, shapes):
            continue
        tensors = random(trial.inputs, shapes, known.example)
        try:
            is_alike = comparison.runs_alike(tensors)
        except ConversionError as error:
            if not guards.broken(shapes):
                raise
            what = "decides by its sizes, and an architecture does the same for all of them: it does something else at"
            problem = f"{what} {shapes} than where it was followed ({error.unsupported[0][1]})"
            raise SizeError([("(model)", problem)], hint=f"declare axes as of one size: {shapes}") from error
        if is_alike:
            given.append(tensors)
            fits = _compare_further(comparison, bundle, shapes, guards, known.example)
            break
    if guards.largest and known.example is not None:
        _compare_lengths(comparison, known.example, [*trial.sizes], guards.largest)
    if guards.assumed:
        _compare_assumed(comparison, given, guards.assumed)
    bundle.notes += comparison.notes[:1]
    if given:
        bundle.notes += comparison.surprises(given[0], bundle.notes)
    else:
        what = "was not compared with the module, which did not run on the inputs that were tried: pass an example"
        bundle.notes.append(Note("(model)", what))
    return fits


def _compare_further(
    comparison: Comparison, bundle: Bundle, base: Shapes, guards: Guards, example: Sequence[torch.Tensor] | None
) -> bool:
    """Compare at sizes that the module may do something else at.

    Returns:
        Whether what was read runs at all of them that the module runs at.

    Raises:
        SizeError: It does.
    """
    trial = bundle.checked().trial
    met: set[int] = set()
    misfits = []

    def compare(tries: Iterator[Try]) -> None:
        for each in tries:
            if not _is_small(comparison.block, trial, each.shapes):
                continue
            try:
                if comparison.runs_alike(random(trial.inputs, each.shapes, example)):
                    met.update(guards.broken(each.shapes))
            except ConversionError as error:
                raise _size_error(trial, base, each, error) from error
            except (ModelArchiveError, ArithmeticError, IndexError, TypeError, ValueError):
                misfits.append(each)

    compare(usual_tries(trial, base))
    is_short = example is None and any(each.size > 2 for each in misfits)  # of sizes that were declared to be free
    compare(further_tries(trial, base, guards, met))
    if misfits:
        sizes = " and ".join(f"{each.size} ({each.axis})" for each in misfits[:3])
        what = f"the module runs at sizes as {sizes}, and what was read does not"
        if is_short:
            raise SizeError([("(model)", what)], hint="declare those axes as of one size")
        bundle.notes.append(Note("inputs", what))
    return not misfits


def _compare_assumed(comparison: Comparison, given: list[list[torch.Tensor]], number: int) -> None:
    """Compare where each truth that was taken for true is not: where rows are alike, fewer are chosen.

    Raises:
        ConversionError: It makes a difference, or that was not seen of each.
    """
    seen: set[int] = set()
    for seed in range(_TRIES if given else 0):
        observed = Observed()

        def run(*row: Any, observed: Observed = observed) -> Any:
            with observed.watching():
                return comparison.run(*row)

        generator = torch.Generator().manual_seed(seed)
        if not replace(comparison, run=run).runs_alike(
            [_alike(each, generator, seed) for each in given[seed % len(given)]]
        ):
            continue
        if len(observed.truths) != number:
            break
        seen |= {place for place, truth in enumerate(observed.truths) if not truth}
        if len(seen) == number:
            return
    raise ConversionError([("(model)", _OF_ROWS)])


def _compare_lengths(
    comparison: Comparison, example: Sequence[torch.Tensor], free: Sequence[Axis], largest: Sequence[int]
) -> None:
    """Compare at another batch, and where the largest numbers that the module asks for are others.

    Raises:
        ConversionError: The module does run there, and gives something else; or they were not seen to be others.
        ValueError: What was read does not run where the module does; or another error of NumPy's.
    """
    comparison.runs_alike(repeated(example, free, 1 + max(len(each) for each in example if each.ndim)))
    unseen = set(range(len(largest)))
    for each in other_lengths(example):
        comparison.runs_alike(each)
        with kept(comparison.network):
            found = asked(comparison.network, each, comparison.arguments)
        unseen -= {at for at, (one, other) in enumerate(zip(found, largest, strict=False)) if one != other}
    if unseen:
        raise ConversionError([("(model)", _OF_LARGEST)])


def _alike(like: torch.Tensor, generator: torch.Generator, seed: int) -> torch.Tensor:
    """A tensor of the same shape whose rows along the last axis are few."""
    if like.ndim < 2 or not like.is_floating_point():
        order = torch.randint(max(like.numel(), 1), (1 + seed % 2,), generator=generator)
        few = like.reshape(-1)[order.clamp(max=max(like.numel() - 1, 0))] if like.numel() else like.reshape(-1)
        return few[torch.arange(like.numel()) % max(len(few), 1)].reshape(like.shape)
    rows = like.numel() // max(like.shape[-1], 1)
    few = torch.randn((1 + seed % 3, like.shape[-1]), generator=generator) * (1, 4, 0.25)[seed // 3 % 3]
    return few[torch.arange(rows) % len(few)].reshape(like.shape).to(like.dtype)


def _size_error(trial: Trial, base: Shapes, found: Try, error: ConversionError) -> SizeError:
    rows = zip(base, found.shapes, strict=True)
    usual = next(one for row, other in rows for one, two in zip(row, other, strict=True) if one != two)
    problem = (
        f"does something else where {found.axis} is {found.size} than where it is {usual}, and an architecture does "
        f"the same for all sizes ({error.unsupported[0][1]})"
    )
    shapes = [
        each["shape"]
        if one == two
        else [size if size == other else usual for size, other in zip(two, one, strict=True)]
        for each, one, two in zip(trial.inputs, base, found.shapes, strict=True)
    ]
    return SizeError([("(model)", problem)], hint=f"declare {found.axis} as of one size: {shapes}")


def _is_small(block: Block, trial: Trial, shapes: Shapes) -> bool:
    """Whether inputs, and all that is computed of them, fit into little memory."""
    sizes = [math.prod(shape) for shape in shapes]
    if max(sizes, default=0) > _MOST:
        return False
    if sum(sizes) <= _FEW:
        return True
    largest = _LargestResult()
    with contextlib.suppress(ValueError):  # what does not fit is told when it runs
        given = zip(trial.values, shapes, strict=True)
        largest.block(block, [value and replace(value, shapes=(tuple(own), tuple(own))) for value, own in given])
    return largest.elements <= _MOST_ON_THE_WAY


class _LargestResult(Evaluator):
    """Follows inputs through a network.

    Attributes:
        elements: Of the largest result.
    """

    elements = 0

    def layer(self, layer: Layer, values: Sequence[Any]) -> Any:
        """One layer."""
        return self._seen(super().layer(layer, values))

    def op(self, name: str, values: Sequence[Any], arguments: dict[str, Any]) -> Any:
        """One op."""
        return self._seen(super().op(name, values, arguments))

    def _seen(self, result: Any) -> Any:
        for each in result if isinstance(result, tuple) else (result,):
            if isinstance(each, Abstract):
                self.elements = max(self.elements, math.prod(each.shapes[0]))
        return result


def _usual(trial: Trial, taken: set[int]) -> Iterator[Shapes]:
    """Shapes that fit the network, with a small batch that is not the example's.

    The last ones are short: of a network that learns few positions, say.
    """
    free = (size for size in range(2, 99) if size not in taken)
    firsts = {at for at in trial.sizes if at[1] == 0}
    batches = {trial.sizes[at][0]: next(free) for at in sorted(firsts) if trial.sizes[at][0] < 99}
    short = {min(group): 8 + 4 * place for place, group in enumerate(sorted(trial.groups, key=min))}
    of_group = {at: min(group) for group in trial.groups for at in group}
    for way in (0, 1, None):
        sizes = {
            at: batches.get(pair[0]) or (short[of_group[at]] if way is None else pair[way])
            for at, pair in trial.sizes.items()
        }
        shapes = [
            [size if isinstance(size, int) else sizes[number, axis] for axis, size in enumerate(each["shape"])]
            for number, each in enumerate(trial.inputs)
        ]
        yield shapes
