"""A network of transformers' families as one of llama.cpp's architectures: metadata, names, and how tensors lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Bundle, Note, deferred, shared_names
from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.architectures import OF_KIND
from modelarchive.exchange.gguf.encodings import BY_NAME
from modelarchive.exchange.gguf.files import Contents, Tensor
from modelarchive.exchange.gguf.importing import together
from modelarchive.exchange.gguf.lifting import Options, options_of
from modelarchive.exchange.gguf.lowering import metadata_of, without_window
from modelarchive.exchange.huggingface import reading as folders
from modelarchive.exchange.huggingface import through
from modelarchive.exchange.huggingface.alone import KEY
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.identifying import Model, differences, recognised
from modelarchive.exchange.huggingface.recognising import configurations
from modelarchive.exchange.huggingface.writing import theirs
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred

_PLACES: Final = 3
#: Why transformers is asked: nobody here reads networks of that type.
_NO_FAMILY: Final = ConversionError([("model_type", "is of no family that is read by itself")])
_ROPE: Final = ("rope_parameters", "rope_scaling", "rope_theta", "original_max_position_embeddings")


@dataclass(frozen=True)
class _Exported:
    """A network as llama.cpp has it.

    Attributes:
        metadata: Key -> type and value.
        arrays: Name -> array.
        embedding: The name that the embedding has in the bundle.
        notes: What was changed or lost.
    """

    metadata: dict[str, tuple[str, Any]]
    arrays: dict[str, Deferred]
    embedding: str
    notes: list[Note]


def exported(bundle: Bundle) -> _Exported:
    """The network of a bundle.

    Raises:
        Refusal: It is none that llama.cpp's files can say, which is compared part by part.
    """
    try:
        model, notes = recognised(bundle, None)
    except ConversionError as error:
        if (found := _of_transformers(bundle)) is not None:
            return found
        raise Refusal(f"it is no network of a family that is known: {_listed(error.unsupported)}") from error
    architecture = OF_KIND.get(model.family.name)
    if architecture is None:
        raise Refusal(f"there is no architecture for networks like {model.family.name}")
    if not architecture.model.endswith(model.traits.head) or model.traits.head == "Model":
        raise Refusal("a network without its last layer, which guesses words, would be taken for a tied one")
    # What its blocks say, and of what they do not say, such as how long texts may be, what its configuration does.
    config = model.config | next(configurations(bundle.architecture or {}), {})
    config, windows = without_window(architecture, config | {"model_type": model.family.name})
    notes += windows
    metadata, made, told = metadata_of(architecture, config)
    notes += told
    if len((bundle.architecture or {})["inputs"]) > 1:
        notes.append(Note("attention_mask", "is left out: a GGUF file does not say what the network takes"))
    named, told = theirs(model)
    notes += [note for note in told if note not in notes]
    arrays = tensors_of(architecture, named, config)
    arrays |= {name: Deferred.of(array) for name, array in made.items()}
    _compare(architecture, model, metadata, arrays, config, is_without_windows=bool(windows))
    return _Exported(metadata, arrays, model.embedding, notes)


def _of_transformers(bundle: Bundle) -> _Exported | None:
    """A network that transformers built, and which it builds again from what would be written; None: it is none.

    Raises:
        Refusal: It builds another one.
    """
    kept = bundle.metadata.get(KEY)
    config = kept.get("config") if isinstance(kept, dict) else None
    architecture = OF_KIND.get(str(config.get("model_type"))) if isinstance(config, dict) else None
    if not isinstance(config, dict) or architecture is None or not through.may_read(config, _NO_FAMILY):
        return None
    shared = shared_names(bundle.parameters)
    named = {name: entry for name, entry in deferred(bundle.parameters).items() if name not in shared}
    try:
        metadata, made, notes = metadata_of(architecture, config)
        arrays = tensors_of(architecture, named, config) | {name: Deferred.of(each) for name, each in made.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(f"its configuration says too little: {error}") from error
    options = _options(architecture, metadata, arrays)
    inputs = [str(each["name"]) for each in (bundle.architecture or {})["inputs"]]
    try:
        again = through.assembled(options.config, named, inputs)
    except ConversionError as error:
        raise Refusal(_listed(error.unsupported)) from error
    if again.architecture != bundle.architecture:
        raise Refusal(f"{architecture.name} means another network than it is")
    embedding = architecture.names["token_embd"] + ".weight"
    return _Exported(metadata, arrays, embedding, notes)


def _options(
    architecture: Architecture, metadata: Mapping[str, tuple[str, Any]], arrays: Mapping[str, Deferred]
) -> Options:
    """What would be read of what would be written.

    Raises:
        Refusal: It could not be read.
    """
    plain = BY_NAME["f32"]
    contents = Contents(
        {key: value for key, (_, value) in metadata.items()},
        {key: kind for key, (kind, _) in metadata.items()},
        {name: Tensor(each.shape, plain, each) for name, each in arrays.items()},
        0,
    )
    options = options_of(architecture, contents)
    if options.problems:
        raise Refusal(_listed(options.problems))
    return options


def tensors_of(
    architecture: Architecture, named: Mapping[str, Deferred], config: Mapping[str, Any]
) -> dict[str, Deferred]:
    """Arrays by transformers' names as tensors by llama.cpp's, lying as they do there."""
    found: dict[str, Deferred] = {}
    for name, array in named.items():
        if parts := architecture.parts(name):
            found |= _of_experts(array, parts)
            continue
        ours = architecture.ours(name)
        if ours is None:
            raise Refusal(f"{architecture.name} has no name for {name}")
        if architecture.permuted and (part := re.search(r"\.([qk])_proj\.", name)):
            heads = config["num_attention_heads" if part[1] == "q" else "num_key_value_heads"]
            array = array.changed(_joining(heads))
        elif architecture.shifted and name.endswith("norm.weight"):
            array = array.changed(lambda each: each.astype(np.float32) + np.float32(1), dtype=np.dtype(np.float32))
        elif re.fullmatch(architecture.turned, name):
            array = array.changed(lambda each: np.ascontiguousarray(each.T), array.shape[::-1])
        found[ours] = array
    return found


def _of_experts(array: Deferred, names: list[str]) -> dict[str, Deferred]:
    """The parts of an array of all experts, which lie behind each other in its second axis."""
    experts, rows, columns = array.shape
    length = rows // len(names)

    def part(at: int) -> Deferred:
        taken = slice(at * length, (at + 1) * length)
        return array.changed(lambda each: np.ascontiguousarray(each[:, taken]), (experts, length, columns))

    return {name: part(at) for at, name in enumerate(names)}


def _joining(heads: int) -> Any:
    return lambda each: together(each, heads)


def _compare(
    architecture: Architecture,
    model: Model,
    metadata: Mapping[str, tuple[str, Any]],
    arrays: Mapping[str, Deferred],
    config: Mapping[str, Any],
    *,
    is_without_windows: bool,
) -> None:
    """Refuse what would be read as another network: an activation, say, that the format takes for granted.

    Raises:
        Refusal: The metadata mean another one.
    """
    options = _options(architecture, metadata, arrays)
    if "rope_freqs.weight" in arrays:
        # Settings that are found for these factors mean the same, and may be others.
        options.config |= {key: config[key] for key in _ROPE if key in config}
    said = Config(options.config)
    family, head = folders.family_of(said)
    if family is None or head is None:
        raise Refusal(_listed(said.problems))
    bundle = model.bundle
    if is_without_windows:
        # Which was noted: the rest is compared.
        network = model.family.make(Config(config), model.traits, len(bundle.parameters))
        names = [str(each["name"]) for each in (bundle.architecture or {})["inputs"]]
        if network is not None:
            bundle = replace(bundle, architecture=folders.described(network, names, Config(config)).architecture)
    traits = replace(model.traits, is_tied="output.weight" not in arrays)
    if found := differences(bundle, said, family, traits):
        raise Refusal(f"{architecture.name} means another network: {_listed(found)}")


def _listed(problems: list[tuple[str, str]]) -> str:
    more = "; ..." if len(problems) > _PLACES else ""
    said = (what if where == "(architecture)" else f"{where} {what}" for where, what in problems[:_PLACES])
    return "; ".join(said) + more
