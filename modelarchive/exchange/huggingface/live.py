"""Models of transformers in memory: what their saved folders are good for, and which names of a folder are theirs."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from typing import Any, Final

from modelarchive.archive.folders import Counterpart
from modelarchive.exchange import torch as modules
from modelarchive.exchange.bundle import Bundle, Note, deferred
from modelarchive.exchange.huggingface.alone import read_parameters
from modelarchive.exchange.huggingface.families import FAMILIES
from modelarchive.exchange.huggingface.folder import CONFIG
from modelarchive.exchange.huggingface.reading import float_dtype

_GENERATION: Final = "generation_config.json"


def way_for(model: Any) -> str | None:
    """How a model of transformers is saved to be read as a whole; None: it is none, or of a family that is not read."""
    if not _is_pretrained(model):
        return None
    family = FAMILIES.get(model.config.model_type)
    if family is None or type(model).__name__ not in family.names:
        return None
    folder = 'model.save_pretrained("folder"), then convert("folder", "model.h5")'
    return f"transformers' own way is read as a whole: {folder}"


def fitting(model: Any, path: str | os.PathLike[str], bundle: Bundle) -> Bundle:
    """The parameters of a folder that have more of a module's names and shapes; of equal ones those that were read.

    A folder may be read as the vocabulary's network, with some matrices turned, and as it is stored, which is what
    transformers' own modules have.

    Args:
        model: The ``torch.nn.Module``.
        path: The folder.
        bundle: What was read of it.
    """
    wanted = {
        (tuple(name.split(".")[-2:]), tuple(tensor.shape)) for name, tensor in modules.named_tensors(model).items()
    }

    def count(each: Bundle) -> int:
        entries = deferred(each.parameters).items()
        return sum((tuple(name.split(".")[-2:]), entry.shape) in wanted for name, entry in entries)

    return max(bundle, read_parameters(path), key=count)


def counterpart_of(model: Any, bundle: Bundle) -> tuple[Counterpart | None, list[Note]]:
    """What makes an archive in shards the folder that ``from_pretrained`` loads as a model that is in memory.

    Args:
        model: Any model.
        bundle: What was read of it.

    Returns:
        None for other models, and where it is another one than its configuration builds, with a note: with other
        layers, other ties, hooks, or quantised.
    """
    if not _is_pretrained(model):
        return None, []
    if reason := _difference(model):
        return None, [Note(CONFIG, f"left out, transformers does not load the folder: {reason}")]
    values = json.loads(model.config.to_json_string())
    values |= {"architectures": [type(model).__name__], "dtype": float_dtype(deferred(bundle.parameters))}
    files = {CONFIG: json.dumps(values, indent=2) + "\n"}
    if (generation := getattr(model, "generation_config", None)) is not None:
        files[_GENERATION] = generation.to_json_string()
    return Counterpart(files={name: text.encode() for name, text in files.items()}), []


def _is_pretrained(model: object) -> bool:
    """Whether a model is of a class of transformers, or of one that inherits from its own."""
    kind = getattr(sys.modules.get("transformers"), "PreTrainedModel", None)
    return kind is not None and isinstance(model, kind)


def _difference(model: Any) -> str:
    """Why a model is not what transformers builds of its configuration; "": it is."""
    import torch

    kind = type(model)
    own: Any = getattr(sys.modules["transformers"], kind.__name__, None)
    if own is not kind:
        return f"{kind.__name__} is no class of its own"
    if getattr(model.config, "quantization_config", None) is not None:
        return "the model is quantised"
    if any("forward" in vars(each) or each._forward_hooks or each._forward_pre_hooks for each in model.modules()):
        return "the model has hooks, or a forward of its own"
    with torch.device("meta"):
        again = kind(copy.deepcopy(model.config))
    again.tie_weights()
    is_alike = _layers(again) == _layers(model) and _tensors(again) == _tensors(model)
    return "" if is_alike else "the model is not what its configuration builds"


def _layers(model: Any) -> str:
    """All layers as text, but which row is padding: options of a tokenizer that are said later change no output."""
    return re.sub(r", padding_idx\W\d+", "", repr(model))


def _tensors(model: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> shape, and the first name of the same tensor."""
    first: dict[int, str] = {}
    found = modules.named_tensors(model).items()
    return {name: (tuple(tensor.shape), first.setdefault(id(tensor), name)) for name, tensor in found}
