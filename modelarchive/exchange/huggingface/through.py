"""Folders of any class that transformers has: built by transformers itself, and read as PyTorch runs it."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from modelarchive.errors import ConversionError, ModelArchiveError
from modelarchive.exchange import torch as modules
from modelarchive.exchange.bundle import Bundle, Note, Parameters, deferred
from modelarchive.exchange.huggingface.adapters import Adapter
from modelarchive.exchange.huggingface.arguments import Argument, arguments
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Options that count what is built one after the other, by a part of their names.
_COUNTS: Final = re.compile("layer|depth|block|stage")
#: So many are built of anything, whatever the files hold.
_FEW: Final = 4096
#: Options that choose how the same numbers are computed, which this package does not leave to a file.
_OWN: Final = ("_attn_implementation", "attn_implementation")
#: Options that name other files, or other networks than the class is.
_NEVER: Final = frozenset({"configuration_files", "fusion_config", "per_layer_config", "transformers_weights"})
#: The next step where they are not there.
INSTALL: Final = (
    "pip install 'modelarchive[transformers]': with transformers and PyTorch, folders of its own classes are read as "
    "they build them"
)
#: Words of a text that is tried, where a network takes none of any length.
_LENGTH: Final = 16
#: Batch of what is tried.
_BATCH: Final = 2


def may_read(values: Mapping[str, Any], reason: ConversionError) -> bool:
    """Whether a folder may be read so that is of no family, or has options, which are read without transformers.

    Args:
        values: What config.json says.
        reason: Why it is not read without.
    """
    refused = {where for where, _ in reason.unsupported}
    if refused & _NEVER or not refused <= {*values, "model_type", "architectures"}:
        return False
    return is_installed() and _class_of(values) is not None


def is_installed() -> bool:
    """Whether transformers and PyTorch are there."""
    return all(importlib.util.find_spec(name) for name in ("transformers", "torch"))


def read(weights: Bundle, values: Mapping[str, Any], inputs: Sequence[str] | None, adapter: Adapter | None) -> Bundle:
    """Build the network of a folder with transformers, never with code of the folder, and read it.

    Args:
        weights: The parameters, as the files have them.
        values: What config.json says.
        inputs: Names of arguments of forward; None: those that a network of this kind is usually given.
        adapter: What is merged into it; None: nothing.

    Raises:
        ConversionError: transformers has no such class, the files lack parameters, or PyTorch does not export it.
    """
    if values.get("quantization_config"):
        raise ConversionError([("quantization_config", "quantised weights are not read")])
    kind = _class_of(values)
    stored = deferred(weights.parameters)
    given = adapter.replaced if adapter is not None else {}
    _refuse_counts(values, max(_FEW, len(stored)))
    with _quietly():
        try:
            config = kind.config_class.from_dict({name: each for name, each in values.items() if name not in _OWN})
            _refuse_size(kind, config, len(stored) + len(given), [*stored.values(), *given.values()])
            module, info = kind.from_pretrained(
                None, config=config, state_dict=modules.tensors_of(dict(weights.parameters)), dtype="auto",
                output_loading_info=True, ignore_mismatched_sizes=bool(given),
            )  # fmt: skip
        except ModelArchiveError:
            raise
        except Exception as error:  # whatever its classes raise that are not made of such options or arrays
            words = " ".join(str(error).split())[:300]
            raise ConversionError([("config.json", f"transformers cannot build it: {words}")]) from error
        names = set(modules.named_tensors(module))
        lost = {*info["missing_keys"], *(each[0] for each in info["mismatched_keys"])} - (given.keys() & names)
        if lost:
            raise ConversionError([(name, "is missing: transformers would make it at random") for name in sorted(lost)])
        notes = [] if adapter is None else _merge(adapter, module, values.get("model_type"))
        module.config.use_cache = False
        bundle = _read(module, config, inputs)
    bundle.notes += [*notes, *weights.notes]
    bundle.notes += [Note(name, "left out: transformers does not use it either") for name in info["unexpected_keys"]]
    return bundle


def _merge(adapter: Adapter, module: Any, kind: object) -> list[Note]:
    """Merge an adapter into a network's parameters, which have the names here that the adapter knows."""
    import torch

    first: dict[int, str] = {}
    names = {name: first.setdefault(id(tensor), name) for name, tensor in modules.named_tensors(module).items()}
    tied = {name: own for name, own in names.items() if name != own}
    arrays = modules.arrays_of(module)
    entries = {name: Deferred.of(arrays[name]) for name, own in names.items() if name == own}
    found, notes = adapter.merged(entries, kind=kind, tied=tied)
    adapter.refuse_unused(name for name in found if name not in entries and name not in tied)
    for name, entry in found.items():
        if entry is not entries.get(name):
            path, _, own = name.rpartition(".")
            tensor = modules.tensors_of(entry.read())
            if name in entries:
                getattr(module.get_submodule(path), own).data = tensor  # and of those that share it
            else:
                setattr(module.get_submodule(path), own, torch.nn.Parameter(tensor))
    return notes


def assembled(values: Mapping[str, Any], arrays: Mapping[str, Deferred], inputs: Sequence[str] | None) -> Bundle:
    """Build the network of a configuration with transformers, around arrays that were read elsewhere, and read it.

    Args:
        values: What config.json would say, of a class for which :func:`may_read` holds.
        arrays: The parameters by transformers' names, lying as they do there; those that are tied to others may be
            left out.
        inputs: As in :func:`read`.

    Raises:
        ConversionError: Parameters are missing, or PyTorch does not export the network.
    """
    kind = _class_of(values)
    _refuse_counts(values, max(_FEW, len(arrays)))
    with _quietly():
        config = kind.config_class.from_dict(dict(values))
        _refuse_size(kind, config, len(arrays), list(arrays.values()))
        _refuse_shapes(kind, config, arrays)
    return read(Bundle(Parameters(arrays)), values, inputs, None)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what transformers says of its own options, and the bars with which it shows how far it is."""
    from transformers.utils import logging

    is_on, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if is_on:
            logging.enable_progress_bar()


def _class_of(values: Mapping[str, Any]) -> Any:
    """The class of the library's own that config.json names, of the type that it says; None: there is none."""
    names = values.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    # Nothing is imported for what can be no class.
    if not isinstance(name, str) or not name.isidentifier() or not _is_modelled(name):
        return None
    import transformers

    kind: Any = getattr(transformers, name, None)
    if not inspect.isclass(kind) or not issubclass(kind, transformers.PreTrainedModel):
        return None
    its = getattr(kind, "config_class", None)
    return kind if its is not None and its.model_type == values.get("model_type") else None


def _is_modelled(name: str) -> bool:
    """Whether transformers' own table has a class of that name in a module of models, which alone is imported.

    A name in a file would import any other part of the library as well: trainers, tools, what they need.
    """
    import transformers

    places = getattr(transformers, "_class_to_module", None)
    place = places.get(name) if isinstance(places, dict) else None
    return isinstance(place, str) and re.fullmatch(r"models(\.\w+)*\.modeling_\w+", place) is not None


def _refuse_counts(values: Mapping[str, Any], most: int) -> None:
    """Refuse what would be built for longer than the files have parameters."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _refuse_counts(value, most)
        counts = value if isinstance(value, list) else [value]
        if _COUNTS.search(name) and any(isinstance(each, int) and each > most for each in counts):
            raise ConversionError([(name, f"is {short(value)}, more than the files hold arrays")])


def _refuse_size(kind: Any, config: Any, arrays: int, entries: Sequence[Deferred]) -> None:
    """Refuse a network that is larger than its files, before memory is asked for."""
    import torch

    stored = sum(math.prod(entry.shape) for entry in entries)
    left = 2 * arrays + 1000  # some are there under two names, or in parts

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConversionError([("config.json", f"means a network of many more parts than the {arrays:,} arrays")])

    counting = torch.nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            wanted = sum(each.numel() for each in kind(config).parameters())
    finally:
        counting.remove()
    if wanted > stored:
        what = f"means a network of {wanted:,} parameters, and the files hold {stored:,}"
        raise ConversionError([("config.json", what)])


def _refuse_shapes(kind: Any, config: Any, arrays: Mapping[str, Deferred]) -> None:
    """Refuse arrays of other shapes than the network has."""
    import torch

    with torch.device("meta"):
        wanted = {name: tuple(each.shape) for name, each in kind(config).state_dict().items()}
    wrong = [
        (name, f"has the shape {entry.shape}, its configuration makes it {wanted[name]}")
        for name, entry in arrays.items()
        if name in wanted and wanted[name] != entry.shape
    ]
    if wrong:
        raise ConversionError(wrong)


def _read(module: Any, config: Any, inputs: Sequence[str] | None) -> Bundle:
    """The network on inputs of any number and length; where it takes one length only, of that."""
    chosen = _running(module, config, inputs)
    example = [_tried(each, config) for each in chosen]
    called = _by_name(module, [each.name for each in chosen])
    note = Note("inputs", f"texts are of {_LENGTH} words: the network takes none of any length")
    free, same = ([each.declared(length) for each in chosen] for length in (None, _LENGTH))
    single = [each | {"shape": [_BATCH, *each["shape"][1:]]} for each in same]
    ways: list[tuple[tuple[Any, ...], list[Note]]] = [(tuple(free), [])]
    if free != same:
        ways.append((tuple(same), [note]))
    ways.append((tuple(example), [note] if free != same else []))
    batch = Note("inputs", f"the batch is of {_BATCH}: the network takes none of any size")
    ways.append((tuple(single), [batch, *([note] if free != same else [])]))
    reason: ModelArchiveError | None = None
    for given, notes in ways:
        try:
            bundle = modules.read_module(called, given)
        except ModelArchiveError as error:
            reason = reason or error
            continue
        for declared, each in zip((bundle.architecture or {})["inputs"], chosen, strict=True):
            declared["name"] = each.name
        bundle.notes += notes
        return bundle
    raise reason or ConversionError([("inputs", "none are known")])


def _running(module: Any, config: Any, inputs: Sequence[str] | None) -> list[Argument]:
    """The arguments that the network runs on.

    Raises:
        ConversionError: Nothing is known that it would run on, or not of what was asked for.
    """
    import torch

    names = list(inspect.signature(type(module).forward).parameters)
    several = list(arguments(names, module.main_input_name, config, inputs))
    for each in several:
        given = {argument.name: _tried(argument, config) for argument in each}
        with contextlib.suppress(Exception), torch.no_grad():  # whatever a forward raises that takes something else
            module(**given)
            return each
    if several:
        return several[-1]  # what it says of these is the reason
    known = {argument.name for each in arguments(names, module.main_input_name, config, None) for argument in each}
    unknown = [name for name in inputs or [module.main_input_name] if name not in known]
    raise ConversionError([(name, "is an input whose shape is not known") for name in unknown])


def _tried(argument: Argument, config: Any) -> Any:
    """A tensor for an argument: words that end with the end of a text, a mask that leaves some out."""
    import torch

    generator = torch.Generator().manual_seed(0)
    sizes = [_BATCH, *(_LENGTH if axis is None else axis for axis in argument.shape[1:])]
    if argument.name.endswith("mask"):
        mask = torch.ones(sizes, dtype=getattr(torch, argument.dtype))
        mask[1, -2:] = 0
        return mask
    if not argument.below:
        return torch.randn(sizes, generator=generator)
    if argument.name == "position_ids":
        return torch.arange(_LENGTH).expand(sizes) % argument.below
    found = torch.randint(min(3, argument.below - 1), argument.below, sizes, generator=generator)
    if argument.name == "bbox":
        return found.sort(-1)[0]
    end = getattr(config, "eos_token_id", None)
    if argument.name in ("input_ids", "decoder_input_ids") and type(end) is int and 0 <= end < argument.below:
        found[:, -1] = end  # some heads look for the end
    return found


def _by_name(module: Any, names: Sequence[str]) -> Any:
    """The module, whose forward takes in a row what it has names for."""
    forward = type(module).forward

    def called(*inputs: Any) -> Any:
        return forward(module, **dict(zip(names, inputs, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    called.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    module.forward = called
    return module
