"""A module as a bundle: one that this package built as it was, any other as ``torch.export`` says what it calls."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from modelarchive.architecture import describing
from modelarchive.archive.saving import initialized
from modelarchive.errors import ConversionError, ModelArchiveError, UnsupportedDataError
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch import converting
from modelarchive.exchange.torch.adopting import adopted, is_of_keras
from modelarchive.exchange.torch.arguments import IN_A_ROW
from modelarchive.exchange.torch.exported import bundle_of_exported, is_exported
from modelarchive.exchange.torch.given import Given, given
from modelarchive.exchange.torch.hooks import parametrised
from modelarchive.exchange.torch.inputs import declared, known_inputs, taken_for_one
from modelarchive.exchange.torch.keeping import kept_but_for_values, kept_often
from modelarchive.exchange.torch.leaves import OTHER_DROPOUTS
from modelarchive.exchange.torch.lines_of_code import has_line
from modelarchive.exchange.torch.mistakes import refuse_without_forward
from modelarchive.exchange.torch.naming import Names
from modelarchive.exchange.torch.programs import refuse_program
from modelarchive.exchange.torch.reasons import OfValues
from modelarchive.exchange.torch.restoring import has_ours, restored
from modelarchive.exchange.torch.sizes import SizeError
from modelarchive.exchange.torch.tensors import array_of
from modelarchive.exchange.torch.verifying import refuse_unfit, verify
from modelarchive.exchange.torch.wrapping import named_tensors, refuse_shards, take_off, unwrapped, walk
from modelarchive.exchange.torch.writes import Writes
from modelarchive.nn.trials import FURTHER

#: What may be kept of a network that cannot be read.
_KEEPS: Final = "save(path, module.state_dict()) keeps the parameters, without an architecture"
#: Parts that a hint names.
_MOST: Final = 8
_REMEMBERED: Final = f"give inputs= if it takes others than it was built for; {_KEEPS}"
_PLAIN: Final = "make each of them a plain tensor in memory first, in the module or in a copy of it"
_WHOLE: Final = (
    "gather them into a module on one process: load_state_dict(torch.distributed.checkpoint.state_dict."
    "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))"
)


def bundle_of_module(module: Any, inputs: Any) -> Bundle:
    """Architecture and parameters of a module, see :func:`modelarchive.exchange.torch.read_module`."""
    if is_exported(module):
        with _plainly(), _hinted(_KEEPS):
            return bundle_of_exported(module, inputs)
    if is_of_keras(module):
        module, inputs = adopted(module, inputs)
    refuse_program(module)
    refuse_without_forward(module)
    refuse_shards(module)
    network, notes = unwrapped(module)
    if torch.is_autocast_enabled() or torch.is_autocast_enabled("cpu"):
        notes.append(Note("(model)", "is read as it computes without the autocast that is on where it is read"))
    notes += _left_out(network)
    with kept_but_for_values(network) as writes, _plainly():
        with writes:
            take_off(network)
            _evaluate(network)
            arrays = _arrays(network, writes)
        with kept_often(network):
            return _of_evaluated(network, inputs, arrays, notes)


def _of_evaluated(network: torch.nn.Module, inputs: Any, arrays: Mapping[int, Any], notes: list[Note]) -> Bundle:
    row, arguments = known_inputs(network, inputs)
    notes += [
        Note("inputs", f"{name}={value!r} is no array: forward is given it") for name, value in arguments.literals
    ]
    if has_ours(network) and arguments is IN_A_ROW and (bundle := _restored(network, row, arrays, notes)) is not None:
        return bundle
    hint = f"{taken_for_one(network, arguments)}{_REMEMBERED if inputs is None else _KEEPS}"
    with _hinted(hint, network):
        return _of_network(network, given(row, arguments), arrays, notes)


def _of_network(network: torch.nn.Module, known: Given, arrays: Mapping[int, Any], notes: list[Note]) -> Bundle:
    try:
        try:
            bundle, fits = _verified(network, known, arrays, notes)
            return bundle if fits or known.example is not None else _at_others(network, known, arrays, notes) or bundle
        except SizeError as error:
            if known.example is None:
                if (found := _at_others(network, known, arrays, notes)) is not None:
                    return found
                raise
            why = Note("(model)", error.unsupported[0][1])
            try:
                return _verified(network, replace(known, is_fixed=True), arrays, [*notes, why])[0]
            except (Refusal, ConversionError):
                raise error from None
    except (Refusal, ConversionError) as error:
        if not isinstance(error, OfValues):  # which has come further than an example would that does not fit
            refuse_unfit(network, known)  # the cause of all the rest
        problems = error.unsupported if isinstance(error, ConversionError) else [("(model)", str(error))]
        told = [where for where, _ in problems]
        computed = [
            each
            for path, module in walk(network)
            if not path or any(f"{where}.".startswith(f"{path}.") for where in told)
            for each in parametrised(module, path)
        ]
        if computed:  # where the cause is
            raise ConversionError(computed) from error
        raise


def _at_others(network: torch.nn.Module, known: Given, arrays: Mapping[int, Any], notes: list[Note]) -> Bundle | None:
    """What is read of a module at sizes that nothing divides, if that runs at all others: it may have fewer cases."""
    for scales in FURTHER:
        with contextlib.suppress(Refusal, ConversionError):
            bundle, fits = _verified(network, replace(known, scales=scales), arrays, notes)
            if fits:
                return bundle
    return None


def _verified(
    network: torch.nn.Module, known: Given, arrays: Mapping[int, Any], notes: list[Note]
) -> tuple[Bundle, bool]:
    """What is read of a module, and whether it runs wherever the module was seen to."""
    bundle, guards = converting.bundle_of(network, known, arrays, notes)
    try:
        fits = verify(network, network, bundle, known, guards)
    except ModelArchiveError:
        raise
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:  # a table that the module makes longer, say
        what = f"what was read does not run where the module does: {error}"
        of_sizes = SizeError if bundle.checked().trial.sizes else ConversionError  # which those of the example may mend
        raise of_sizes([("(model)", what)]) from error
    return bundle, fits


def _evaluate(network: torch.nn.Module) -> None:
    try:
        network.eval()
    except NotImplementedError:  # a part is an exported program, which has one mode
        for _, module in walk(network):
            module.training = False


@contextlib.contextmanager
def _hinted(hint: str, network: torch.nn.Module | None = None) -> Iterator[None]:
    """What cannot be read as a refusal, with the next step; where a part of `network` cannot, with the other parts."""
    try:
        yield
    except Refusal as error:
        beside = _beside(network, error.inside) if isinstance(error, OfValues) and network is not None else []
        raise ConversionError([("(model)", str(error))], hint=f"{_alone(beside)}{hint}") from error
    except ConversionError as error:
        if not error.hint:
            told = set() if network is None else _told(network, error)
            is_a_line = told or any(has_line(what) for _, what in error.unsupported)
            error.hint = f"{_alone(_beside(network, told) if network is not None and is_a_line else [])}{hint}"
        raise


def _told(network: torch.nn.Module, error: ConversionError) -> set[int]:
    """``id`` of the modules that problems are told of, and of those around them."""
    places = [f"{where}." for where, _ in error.unsupported]
    return {
        id(module) for path, module in walk(network) if path and any(each.startswith(f"{path}.") for each in places)
    }


def _beside(module: torch.nn.Module, inside: Collection[int], path: str = "") -> list[str]:
    """The largest parts with parameters that are none of those `inside`: a backbone, and heads."""
    found = []
    for name, each in module.named_children():
        where = f"{path}[{name}]" if name.isdigit() else f"{path}.{name}"
        if id(each) in inside or type(each).forward is torch.nn.Module.forward:
            found += _beside(each, inside, where)
        elif next(each.parameters(), None) is not None:
            found.append(where)
    return found


def _alone(parts: list[str]) -> str:
    """The parts that may be saved alone, in words."""
    if not parts:
        return ""
    named = ", ".join(f"module{each}" for each in parts[:_MOST])
    few = f", of {named}{', ...' if len(parts) > _MOST else ''}" if len(parts) > 1 else ""
    return f"a part alone may do without: save_model(path, module{parts[0]}, inputs=...){few}; "


def _restored(network: torch.nn.Module, inputs: Any, arrays: Mapping[int, Any], notes: list[Note]) -> Bundle | None:
    """What this package built, as it was; None where it is more than that now."""
    names = Names()
    block = restored(network, arrays, names)
    if block is None:
        return None
    try:
        model = describing.described(block, declared(inputs))
        parameters = initialized(block)
        notes = [*notes, *names.notes, *converting.differences(network, names, model.shapes)]
        bundle = Bundle({name: parameters[name] for name in model.shapes}, model.architecture, notes=notes, known=model)
        with contextlib.suppress(ValueError):  # a size that it does not take, and a module of PyTorch's does
            verify(network, network, bundle, given(inputs))
    except ModelArchiveError:
        return None  # it was changed since
    return bundle


def _left_out(network: torch.nn.Module) -> Iterator[Note]:
    for path, module in walk(network):
        if type(module).get_extra_state is not torch.nn.Module.get_extra_state:
            yield Note(path, "its extra state is left out")
        if isinstance(module, OTHER_DROPOUTS):
            yield Note(path, f"{type(module).__name__} is kept as Dropout, which drops single elements")


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
