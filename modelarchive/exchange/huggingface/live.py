"""Models of transformers in memory: what their saved folders are good for, and which names of a folder are theirs."""

from __future__ import annotations

import os
import sys
from typing import Any

from modelarchive.exchange import torch
from modelarchive.exchange.bundle import Bundle, deferred
from modelarchive.exchange.huggingface.alone import read_parameters
from modelarchive.exchange.huggingface.families import FAMILIES


def way_for(model: object) -> str | None:
    """How a model of transformers is saved to be read as a whole; None: it is none, or of a family that is not read."""
    kind = getattr(sys.modules.get("transformers"), "PreTrainedModel", None)
    if kind is None or not isinstance(model, kind):
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
    wanted = {(tuple(name.split(".")[-2:]), tuple(tensor.shape)) for name, tensor in torch.named_tensors(model).items()}

    def count(each: Bundle) -> int:
        entries = deferred(each.parameters).items()
        return sum((tuple(name.split(".")[-2:]), entry.shape) in wanted for name, entry in entries)

    return max(bundle, read_parameters(path), key=count)
