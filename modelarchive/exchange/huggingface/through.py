"""Folders of any class that transformers has: built by transformers itself, and read as PyTorch runs it."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from modelarchive.errors import ConversionError, ModelArchiveError
from modelarchive.exchange import torch as modules
from modelarchive.exchange.bundle import Bundle, Note, Parameters, deferred
from modelarchive.exchange.huggingface.adapters import Adapter
from modelarchive.exchange.huggingface.arguments import Argument, arguments
from modelarchive.exchange.huggingface.sentences import Pooling
from modelarchive.exchange.huggingface.sizes import refuse_counts, refuse_size
from modelarchive.exchange.huggingface.stepping import goes_by_words
from modelarchive.store.deferred import Deferred

#: Options that choose how the same numbers are computed, which this package does not leave to a file.
_OWN: Final = ("_attn_implementation", "attn_implementation")
#: Options that name other files, or other networks than the class is.
_NEVER: Final = frozenset({"configuration_files", "fusion_config", "per_layer_config", "transformers_weights"})
#: The name under which transformers writes infinity, and what is no number: {"__float__": "Infinity"}.
_TAG: Final = "__float__"
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


def read(
    weights: Bundle,
    values: Mapping[str, Any],
    inputs: Sequence[str] | None,
    adapter: Adapter | None,
    pooling: Pooling | None = None,
    behind: Mapping[str, Deferred] | None = None,
) -> Bundle:
    """Build the network of a folder with transformers, never with code of the folder, and read it.

    Args:
        weights: The parameters, as the files have them.
        values: What config.json says.
        inputs: Names of arguments of forward; None: those that a network of this kind is usually given.
        adapter: What is merged into it; None: nothing.
        pooling: How sentence-transformers goes on behind the class without a head; None: it does not.
        behind: The parameters of dense layers there.

    Raises:
        ConversionError: transformers has no such class, the files lack parameters, or PyTorch does not export it.
    """
    if values.get("quantization_config"):
        raise ConversionError([("quantization_config", "quantised weights are not read")])
    kind = _class_of(values)
    if pooling is not None:
        kind = _without_head(kind)
    stored = deferred(weights.parameters)
    given = adapter.replaced if adapter is not None else {}
    refuse_counts(values, stored.values())
    with _quietly():
        try:
            config = kind.config_class.from_dict(_decoded({name: values[name] for name in values if name not in _OWN}))
            refuse_size(lambda: kind(config), [*stored.values(), *given.values()])
            module, info = kind.from_pretrained(
                None, config=config, state_dict=modules.tensors_of(dict(weights.parameters)), dtype="auto",
                output_loading_info=True, ignore_mismatched_sizes=bool(given),
            )  # fmt: skip
        except ModelArchiveError:
            raise
        except Exception as error:  # whatever its classes raise that are not made of such options or arrays
            raise _cannot_be_built(error) from error
        names = set(modules.named_tensors(module))
        lost = {*info["missing_keys"], *(each[0] for each in info["mismatched_keys"])} - (given.keys() & names)
        if lost:
            raise ConversionError([(name, "is missing: transformers would make it at random") for name in sorted(lost)])
        notes = [] if adapter is None else _merge(adapter, module, values.get("model_type"))
        module.config.use_cache = False
        bundle = _read(module, config, inputs) if pooling is None else _of_sentences(module, pooling, behind or {})
    bundle.notes += [*notes, *weights.notes]
    bundle.notes += [Note(name, "left out: transformers does not use it either") for name in info["unexpected_keys"]]
    return bundle


def _decoded(value: Any) -> Any:
    """What config.json says, its numbers that JSON has none for as transformers writes them."""
    if isinstance(value, dict):
        tag = value.get(_TAG) if len(value) == 1 else None
        is_number = isinstance(tag, str) and tag in ("Infinity", "-Infinity", "NaN")
        return float(tag) if is_number else {name: _decoded(each) for name, each in value.items()}  # type: ignore[arg-type]
    return [_decoded(each) for each in value] if isinstance(value, list) else value


def _cannot_be_built(error: Exception) -> ConversionError:
    return ConversionError([("config.json", f"transformers cannot build it: {' '.join(str(error).split())[:300]}")])


def _without_head(kind: Any) -> Any:
    """The class without a head of the same type, which sentence-transformers takes."""
    import transformers

    found = transformers.MODEL_MAPPING.get(kind.config_class, None)
    return found if inspect.isclass(found) and _is_modelled(found.__name__) else kind


def _of_sentences(module: Any, pooling: Pooling, behind: Mapping[str, Deferred]) -> Bundle:
    """The network with what stands behind it, on texts of any number and length."""
    from modelarchive.exchange.huggingface.through_sentences import Sentences

    names = ("input_ids", "attention_mask")
    declared = tuple({"name": name, "shape": [None, None], "dtype": "int64"} for name in names)
    bundle = modules.read_module(Sentences(module, pooling, behind).eval(), declared)
    for each, name in zip((bundle.architecture or {})["inputs"], names, strict=True):
        each["name"] = name
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
    refuse_counts(values, arrays.values())
    with _quietly():
        try:
            config = kind.config_class.from_dict(_decoded(dict(values)))
            refuse_size(lambda: kind(config), arrays.values())
            _refuse_shapes(kind, config, arrays)
        except ModelArchiveError:
            raise
        except Exception as error:  # whatever its classes raise that are not made of such options
            raise _cannot_be_built(error) from error
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
    name = names[0] if isinstance(names, list) and names else None if names else _usual(values.get("model_type"))
    # Nothing is imported for what can be no class.
    if not isinstance(name, str) or not name.isidentifier() or not _is_modelled(name):
        return None
    import transformers

    kind: Any = getattr(transformers, name, None)
    if not inspect.isclass(kind) or not issubclass(kind, transformers.PreTrainedModel):
        return None
    its = getattr(kind, "config_class", None)
    return kind if its is not None and its.model_type == values.get("model_type") else None


def _usual(kind: object) -> str | None:
    """The name of the class without a head of a type, which is meant where none is named."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name = MODEL_MAPPING_NAMES.get(kind) if isinstance(kind, str) else None
    return name if isinstance(name, str) else None


def _is_modelled(name: str) -> bool:
    """Whether transformers' own table has a class of that name in a module of models, which alone is imported.

    A name in a file would import any other part of the library as well: trainers, tools, what they need.
    """
    import transformers

    places = getattr(transformers, "_class_to_module", None)
    place = places.get(name) if isinstance(places, dict) else None
    return isinstance(place, str) and re.fullmatch(r"models(\.\w+)*\.modeling_\w+", place) is not None


def _refuse_shapes(kind: Any, config: Any, arrays: Mapping[str, Deferred]) -> None:
    """Refuse arrays that the network has no place for, or in other shapes."""
    import torch

    with torch.device("meta"):
        wanted = {name: tuple(each.shape) for name, each in kind(config).state_dict().items()}
    wrong = [
        (name, f"has the shape {entry.shape}, its configuration makes it {wanted[name]}")
        for name, entry in arrays.items()
        if name in wanted and wanted[name] != entry.shape
    ]
    wrong += [(name, "has no place in the network") for name in arrays if name not in wanted]
    if wrong:
        raise ConversionError(wrong)


def _read(module: Any, config: Any, inputs: Sequence[str] | None) -> Bundle:
    """The network on inputs of any number and length; where it takes one length only, of that."""
    chosen = _running(module, config, inputs)
    example = [_tried(each, config) for each in chosen]
    by_words = _goes_by_words(module, chosen, config)
    called = _by_name(module, [each.name for each in chosen])
    why = "the network goes over them word by word" if by_words else "the network takes none of any length"
    note = Note("inputs", f"texts are of {_LENGTH} words: {why}")
    free, same = ([each.declared(length) for each in chosen] for length in (None, _LENGTH))
    single = [each | {"shape": [_BATCH, *each["shape"][1:]]} for each in same]
    ways: list[tuple[tuple[Any, ...], list[Note]]] = [] if by_words else [(tuple(free), [])]
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
        bundle.notes = [*_compared(bundle, called, example), *notes]
        return bundle
    raise reason or ConversionError([("inputs", "none are known")])


def _compared(bundle: Bundle, module: Any, example: list[Any]) -> list[Note]:
    """The notes, once what was read is compared on texts that are short enough for the network, if it was not yet.

    Raises:
        ConversionError: The outputs differ.
    """
    left = [note for note in bundle.notes if note.where != "(model)" or "was not compared" not in note.what]
    if len(left) == len(bundle.notes):
        return bundle.notes
    from modelarchive.exchange.torch.comparing import Comparison

    is_narrow = "float16" in json.dumps(bundle.architecture)
    comparison = Comparison(module, module, bundle.build(), is_narrow)
    try:
        is_done = comparison.runs_alike(example)
    except ModelArchiveError:
        raise
    except (ArithmeticError, IndexError, TypeError, ValueError):  # what was read takes no texts as short as these
        is_done = False
    return left if is_done else bundle.notes


def _running(module: Any, config: Any, inputs: Sequence[str] | None) -> list[Argument]:
    """The arguments that the network runs on.

    Raises:
        ConversionError: Nothing is known that it would run on, or not of what was asked for.
    """
    import torch

    from modelarchive.exchange.huggingface.noise import NOISE, noise_of

    names = list(inspect.signature(type(module).forward).parameters)
    asked = None if inputs is None else [name for name in inputs if name != NOISE]
    needs_noise = inputs is not None and NOISE in inputs
    several = list(arguments(names, module.main_input_name, config, asked))
    for each in several:
        given = {argument.name: _tried(argument, config) for argument in each}
        with contextlib.suppress(Exception), torch.no_grad():  # whatever a forward raises that takes something else
            module(**given)
            noise = noise_of(module, names, given) if inputs is None or needs_noise else []
            if noise or not needs_noise:
                return [*each, *noise]
    if several and not needs_noise:
        return several[-1]  # what it says of these is the reason
    known = {argument.name for each in arguments(names, module.main_input_name, config, None) for argument in each}
    unknown = [name for name in inputs or [module.main_input_name] if name not in known]
    raise ConversionError([(name, "is an input whose shape is not known") for name in unknown])


def _goes_by_words(module: Any, chosen: Sequence[Argument], config: Any) -> bool:
    import torch

    if not any(None in each.shape[1:] for each in chosen):
        return False
    with torch.no_grad():
        return goes_by_words(
            module, lambda length: {each.name: _tried(each, config, length) for each in chosen}, _LENGTH
        )


def _tried(argument: Argument, config: Any, length: int = _LENGTH) -> Any:
    """A tensor for an argument: words that end with the end of a text, a mask that leaves some out."""
    import torch

    generator = torch.Generator().manual_seed(0)
    sizes = [_BATCH, *(length if axis is None else axis for axis in argument.shape[1:])]
    if argument.name.endswith("mask"):
        mask = torch.ones(sizes, dtype=getattr(torch, argument.dtype))
        mask[1, -2:] = 0
        return mask
    if not argument.below:
        return torch.randn(sizes, generator=generator)
    if argument.name == "position_ids":
        return torch.arange(length).expand(sizes) % argument.below
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
