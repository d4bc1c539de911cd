"""What a module gives and what was read of it gives, compared on the same inputs."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch

from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.torch.arguments import IN_A_ROW, Arguments, Place
from modelarchive.exchange.torch.arrays_of_numpy import ArrayOfNumPy
from modelarchive.exchange.torch.inputs import refuse_example
from modelarchive.exchange.torch.keeping import kept, random_state
from modelarchive.exchange.torch.one_column import OneColumn
from modelarchive.exchange.torch.regions import run_plainly
from modelarchive.exchange.torch.sensitivity import steady
from modelarchive.exchange.torch.slow_attention import slow_attention
from modelarchive.exchange.torch.tensors import array_of
from modelarchive.exchange.torch.ties import FirstOfEqual

#: The share of whole numbers that rounding may have made one more or one less.
_ROUNDED: Final = 0.02
#: The share of elements that have to stay where they are when numbers change in their last bits.
_STEADY: Final = 0.5
#: How many times as far as numbers move by rounding they may be apart.
_AS_FAR: Final = 4
#: Random numbers that are tried where a module draws some.
_SEEDS: Final = 4


def contained(value: Any) -> Any:
    """What a forward returned as containers that an architecture has: an object of named fields is a dict of them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Mapping):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return vars(value) if isinstance(value, types.SimpleNamespace) else value


def leaves(value: Any) -> list[Any]:
    """What is inside the containers, dicts by their sorted keys."""
    value = contained(value)
    if isinstance(value, Mapping):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, tuple | list) else [value]


def numbered(value: Any, arrays: list[Any]) -> Any:
    """`value` with places for its arrays, those of NumPy among them."""
    if isinstance(value, ArrayOfNumPy):
        value = value.tensor()
    if isinstance(value, np.ndarray):
        value = torch.tensor(value)
    if isinstance(value, torch.Tensor):
        arrays.append(value)
        return Place(len(arrays) - 1)
    value = contained(value)
    if isinstance(value, Mapping):
        return {key: numbered(item, arrays) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [numbered(item, arrays) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def outputs_of(
    network: torch.nn.Module,
    given: list[torch.Tensor],
    *,
    is_example: bool,
    run: Callable[..., Any] | None = None,
    seed: int = 1,
    arguments: Arguments = IN_A_ROW,
) -> list[torch.Tensor] | None:
    """The tensors that a module gives; None where it does not run.

    Args:
        network: The module.
        given: The inputs.
        is_example: Whether they are the user's.
        run: What computes its outputs; None: itself.
        seed: What random numbers begin with meanwhile, which were others when it was exported.
        arguments: How it is called with the inputs.

    Raises:
        ConversionError: The module does not run on the user's example.
    """
    try:
        # What it counts or keeps is not for the next run, nor for what was read of it; and without kernels that have
        # rows of attention that see nothing otherwise.
        with kept(network, seed=seed), slow_attention():
            return _called(run or network, given, arguments)
    except Exception as error:  # anything may be raised by somebody's forward
        devices = {each.device.type for each in (*network.parameters(), *network.buffers())}
        if is_example and not devices - {"cpu"} and "not implemented for" not in str(error):
            refuse_example(network, given, error)
        return None


def _called(run: Callable[..., Any], given: list[torch.Tensor], arguments: Arguments) -> list[torch.Tensor]:
    with run_plainly(), OneColumn():
        found = leaves(arguments.call(run, [each.clone() for each in given]))  # copies: it may work in place
    found = [torch.tensor(each) if isinstance(each, np.ndarray) else each for each in found]
    return [each.detach().clone() for each in found if torch.is_tensor(each)]


@dataclass(frozen=True)
class Comparison:
    """A module beside a network in NumPy.

    Attributes:
        network: The module.
        run: What computes its outputs.
        block: The network in NumPy.
        is_narrow: Whether floats of 16 bits or less are computed with on the way, whatever the outputs are.
        arguments: How the module is called with inputs in a row.
        notes: What was noticed while they were compared.
    """

    network: torch.nn.Module
    run: Callable[..., Any]
    block: Any
    is_narrow: bool = False
    arguments: Arguments = IN_A_ROW
    notes: list[Note] = field(default_factory=list)

    def runs_alike(self, given: list[torch.Tensor], *, is_example: bool = False) -> bool:
        """Whether the module runs on some inputs, where both give the same.

        Args:
            given: The inputs.
            is_example: Whether they are the user's.

        Raises:
            ConversionError: The outputs differ, or the module does not run on the user's example.
            ValueError: The network in NumPy does not run where the module does; or another error of NumPy's.
        """
        wanted = self._outputs(given, is_example=is_example)
        if wanted is None:
            return False
        with np.errstate(all="ignore"):
            found = leaves(self.block(*(array_of(each.clone()) for each in given)))
        where = (
            "on the example input" if is_example else f"on inputs of the shapes {[list(each.shape) for each in given]}"
        )
        if len(found) != len(wanted):
            raise ConversionError([("(model)", f"what was read gives {len(found)} outputs, the module {len(wanted)}")])
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            what = _difference(one, array_of(other.detach()), is_narrow=self.is_narrow)
            if what and not self._is_unsteady(given, one, other, number):
                self._refuse_random(given, wanted)
                self._refuse_ties(given, found, number)
                problem = f"output {number} of what was read differs from the module's {where}: {what}"
                raise ConversionError([("(model)", problem)], hint="this is a fault of modelarchive; please report it")
        return True

    def _is_unsteady(self, given: list[torch.Tensor], one: np.ndarray, other: torch.Tensor, number: int) -> bool:
        """Whether an output differs where the module's own does when numbers change in their last bits; notes it.

        Raises:
            ConversionError: It does, and so do most elements: the others say too little.
        """

        def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
            return _apart(one, other, is_narrow=self.is_narrow)

        expected = array_of(other)
        if one.shape != expected.shape or one.dtype != expected.dtype:
            return False
        wrong = apart(one, expected)
        found = steady(self._outputs, given, other, number, wrong, apart)
        if found is None or (wrong & found.stays).any():
            return False
        with np.errstate(invalid="ignore"):
            is_rounding = np.abs(one - expected) <= _AS_FAR * found.by
        what = "on the last bits of numbers (a rounding, a choice among near equals, what cancels out)"
        if (found.stays | is_rounding).mean() < _STEADY:
            problem = f"output {number} hangs {what}: what was read cannot be compared with the module"
            raise ConversionError([("(model)", problem)], hint="pass an example of other values")
        some = f"{wrong.sum()} of {wrong.size} elements of output {number} hang {what}"
        self.notes.append(Note("(model)", f"{some}, and differ from the module's on what was compared"))
        return True

    def _outputs(
        self, given: list[torch.Tensor], *, is_example: bool = False, seed: int = 1
    ) -> list[torch.Tensor] | None:
        return outputs_of(self.network, given, is_example=is_example, run=self.run, seed=seed, arguments=self.arguments)

    def _refuse_random(self, given: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
        """Refuse a module that gives something else with other random numbers, or each time."""
        for seed in range(2, 2 + _SEEDS):
            again = self._outputs(given, seed=seed)
            if again is not None and not self._same(again, wanted):
                what = "gives something else each time, by random numbers or the clock"
                raise ConversionError([("(model)", f"{what}: draw them outside and pass them in")])

    def _refuse_ties(self, given: list[torch.Tensor], found: list[Any], number: int) -> None:
        """Refuse a module that gives what was read of it where it takes the first of equal elements."""
        with FirstOfEqual():
            again = self._outputs(given)
        if again is None or len(again) != len(found):
            return
        if any(
            _difference(one, array_of(other), is_narrow=self.is_narrow) for one, other in zip(found, again, strict=True)
        ):
            return
        what = (
            f"output {number} depends on which of equal elements topk or kthvalue takes: an architecture takes the "
            f"first, PyTorch any"
        )
        hint = "take them by torch.sort(stable=True), or give an example without elements that are equal by chance"
        raise ConversionError([("(model)", what)], hint=hint)

    def surprises(self, given: list[torch.Tensor], known: list[Note]) -> list[Note]:
        """What the module's outputs depend on beside its inputs.

        Args:
            given: Inputs that it runs on.
            known: What was noted before.

        Raises:
            ConversionError: They depend on random numbers.
        """
        try:
            with kept(self.network, seed=1), slow_attention():
                before = random_state()
                first = _called(self.run, given, self.arguments)
                draws = random_state() != before
                with torch.enable_grad():
                    second = _called(self.run, given, self.arguments)
        except Exception:  # it records no gradients
            return []
        is_same = self._same(first, second)
        if draws or not is_same:
            self._refuse_random(given, first)
        if is_same or any(each.what.startswith("is changed by each call") for each in known):
            return []
        with kept(self.network, seed=1), slow_attention(), torch.enable_grad():
            if self._same(first, _called(self.run, given, self.arguments)):
                what = "gives something else when it is called again; it is read as it is now, with what it has kept"
            else:
                what = "computes something else where gradients are recorded; it is read as it does without them"
        return [Note("(model)", what)]

    def _same(self, ones: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
        return len(ones) == len(others) and not any(
            _difference(array_of(one), array_of(other), is_narrow=self.is_narrow)
            for one, other in zip(ones, others, strict=True)
        )


def _difference(one: np.ndarray, other: np.ndarray, *, is_narrow: bool) -> str:
    """How two outputs differ, in words; "" where they agree."""
    if one.shape != other.shape:
        return f"the shape {one.shape} is not {other.shape}"
    if one.dtype != other.dtype:
        return f"the dtype {one.dtype} is not {other.dtype}"
    if not _apart(one, other, is_narrow=is_narrow).any():
        return ""
    one, other = _real(one), _real(other)
    if (np.isfinite(one) != np.isfinite(other)).any():
        return f"{int((np.isfinite(one) != np.isfinite(other)).sum())} elements are finite in one of them only"
    with np.errstate(invalid="ignore"):
        largest = np.abs(other[np.isfinite(other)]).max(initial=0.0)
        return f"by up to {np.nanmax(np.abs(one - other)):.2g}, where the largest element is {largest:.2g}"


def _apart(one: np.ndarray, other: np.ndarray, *, is_narrow: bool) -> np.ndarray:
    """Which elements of two outputs of the same shape and dtype are not the same, but for rounding."""
    is_narrow |= other.dtype.itemsize < 4 and other.dtype.kind not in "biu"
    limit = 5e-2 if is_narrow else 1e-3
    differ: np.ndarray = one != other
    if other.dtype.kind in "iu" and not is_narrow and differ.any() and differ.mean() > _ROUNDED:
        return differ
    ones, others = _real(one), _real(other)
    largest = np.abs(others[np.isfinite(others)]).max(initial=0.0)
    found: np.ndarray = ~np.isclose(ones, others, limit, limit * largest, equal_nan=True)
    return np.any(found, axis=-1) if other.dtype.kind == "c" else found


def _real(array: np.ndarray) -> np.ndarray:
    """Numbers of 64 bits; of complex ones the two parts along an axis more."""
    if array.dtype.kind == "c":
        array = np.stack((array.real, array.imag), axis=-1)
    return array.astype(np.float64)
