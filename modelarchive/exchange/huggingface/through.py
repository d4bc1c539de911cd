"""Folders of any class that transformers has: built by transformers itself, and read as PyTorch runs it."""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelarchive.errors import ConversionError, ModelArchiveError
from modelarchive.exchange import torch as modules
from modelarchive.exchange.bundle import Bundle, Note, deferred
from modelarchive.exchange.huggingface.folder import Folder
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Options that count what is built one after the other, by a part of their names.
_COUNTS: Final = ("layer", "depth", "block", "stage")
#: Words of a text that is tried, where a network takes none of any length.
_LENGTH: Final = 16
#: Samples and frames of sounds that are tried.
_SAMPLES, _FRAMES = 4000, 128
#: What forward may be given, in the order in which it is looked for.
_TEXTS: Final[tuple[str, ...]] = ("input_ids", "attention_mask", "decoder_input_ids")


def may_read(values: Mapping[str, Any], reason: ConversionError) -> bool:
    """Whether a folder may be read so that is of no family which is read without transformers.

    Args:
        values: What config.json says.
        reason: Why it is not read without.
    """
    if {where for where, _ in reason.unsupported} - {"model_type", "architectures"}:
        return False
    if not all(importlib.util.find_spec(name) for name in ("transformers", "torch")):
        return False
    return _class_of(values) is not None


def read(folder: Folder, values: Mapping[str, Any], inputs: Sequence[str] | None) -> Bundle:
    """Build the network of a folder with transformers, never with code of the folder, and read it.

    Args:
        folder: The folder.
        values: What its config.json says.
        inputs: Names of arguments of forward; None: those that a network of this kind is usually given.

    Raises:
        ConversionError: transformers has no such class, the files lack parameters, or PyTorch does not export it.
    """
    if values.get("quantization_config"):
        raise ConversionError([("quantization_config", "quantised weights are not read")])
    kind = _class_of(values)
    stored = deferred(folder.weights().parameters)
    _refuse_counts(values, len(stored))
    config = kind.config_class.from_pretrained(folder.path, local_files_only=True)
    _refuse_size(kind, config, sum(math.prod(entry.shape) for entry in stored.values()))
    return _recorded(kind, config, inputs, folder.path, use_safetensors=True)


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
    _refuse_counts(values, len(arrays))
    config = kind.config_class.from_dict(dict(values))
    _refuse_size(kind, config, sum(math.prod(entry.shape) for entry in arrays.values()))
    _refuse_shapes(kind, config, arrays)
    state = modules.tensors_of({name: entry.read() for name, entry in arrays.items()})
    return _recorded(kind, config, inputs, None, state_dict=state)


def _recorded(kind: Any, config: Any, inputs: Sequence[str] | None, path: Path | None, **options: Any) -> Bundle:
    """A network that transformers loads, as PyTorch runs it."""
    module, info = kind.from_pretrained(
        path, config=config, local_files_only=True, trust_remote_code=False, dtype="auto", output_loading_info=True,
        attn_implementation="sdpa" if kind._supports_sdpa else "eager", **options,
    )  # fmt: skip
    if missing := sorted(info["missing_keys"]):
        raise ConversionError([(name, "is missing: transformers would make it at random") for name in missing])
    module.config.use_cache = False
    bundle = _read(module, config, inputs)
    bundle.notes += [Note(name, "left out: transformers does not use it either") for name in info["unexpected_keys"]]
    return bundle


def _class_of(values: Mapping[str, Any]) -> Any:
    """The class of the library's own that config.json names, of the type that it says; None: there is none."""
    import transformers

    names = values.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    kind: Any = getattr(transformers, name, None) if isinstance(name, str) and name.isidentifier() else None
    if not inspect.isclass(kind) or not issubclass(kind, transformers.PreTrainedModel):
        return None
    its = getattr(kind, "config_class", None)
    return kind if its is not None and its.model_type == values.get("model_type") else None


def _refuse_counts(values: Mapping[str, Any], most: int) -> None:
    """Refuse what would be built for longer than the files have parameters."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _refuse_counts(value, most)
        counts = value if isinstance(value, list) else [value]
        if any(part in name for part in _COUNTS) and any(isinstance(each, int) and each > most for each in counts):
            raise ConversionError([(name, f"is {short(value)}, and the files hold {most} arrays")])


def _refuse_size(kind: Any, config: Any, stored: int) -> None:
    """Refuse a network that is larger than its files, before memory is asked for."""
    import torch

    with torch.device("meta"):
        wanted = sum(each.numel() for each in kind(config).parameters())
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
    reason: ModelArchiveError | None = None
    for length in (None, _LENGTH):
        names, declared = _declared(module, config, inputs, length)
        try:
            bundle = modules.read_module(_by_name(module, names), tuple(declared))
        except ModelArchiveError as error:
            reason = reason or error
            continue
        if length is not None:
            bundle.notes.append(Note("inputs", f"texts are of {length} words: the network takes none of any length"))
        return bundle
    raise reason or ConversionError([("inputs", "none are known")])


def _by_name(module: Any, names: Sequence[str]) -> Any:
    """The module, whose forward takes in a row what it has names for."""
    forward = type(module).forward

    def called(*inputs: Any) -> Any:
        return forward(module, **dict(zip(names, inputs, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    called.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    module.forward = called
    return module


def _declared(
    module: Any, config: Any, inputs: Sequence[str] | None, length: int | None
) -> tuple[list[str], list[dict[str, Any]]]:
    known = {name: _shape(name, config, length) for name in inspect.signature(type(module).forward).parameters}
    if inputs is None:
        main = module.main_input_name
        words: list[str] = [name for name in _TEXTS if name in known] if main in _TEXTS else []
        names: list[str] = words or [main, *(["decoder_input_ids"] if "decoder_input_ids" in known else [])]
    else:
        names = list(inputs)
    unknown = [name for name in names if known.get(name) is None]
    if unknown:
        raise ConversionError([(name, "is an input whose shape is not known") for name in unknown])
    return names, [{"name": name, **known[name]} for name in names]  # type: ignore[dict-item]


def _shape(name: str, config: Any, length: int | None) -> dict[str, Any] | None:
    """Shape and dtype of an argument of forward, by its name."""
    if name in (*_TEXTS, "token_type_ids", "position_ids", "decoder_attention_mask"):
        return {"shape": [None, length], "dtype": "int64"}
    if name == "pixel_values":
        sight = getattr(config, "vision_config", None) or config
        side = getattr(sight, "image_size", None) or 224
        height, width = side if isinstance(side, list | tuple) else (side, side)
        return {"shape": [None, getattr(sight, "num_channels", 3), height, width]}
    if name == "input_values":
        return {"shape": [None, _SAMPLES]}
    if name == "input_features":
        bins, frames = getattr(config, "num_mel_bins", 80), getattr(config, "max_source_positions", None)
        return {"shape": [None, bins, _FRAMES if frames is None else 2 * frames]}
    return None
