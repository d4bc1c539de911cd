"""The parameters of a folder alone: of an adapter, of a network that is not said, or because no more was asked for."""

from __future__ import annotations

import os
from typing import Final

from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.huggingface.adapters import ADAPTER
from modelarchive.exchange.huggingface.folder import CONFIG, MAX_CONFIG_BYTES, Folder

#: Under which key of the metadata config.json and the tokenizer's files travel.
KEY: Final = "huggingface"


def without_config(folder: Folder) -> Bundle:
    """The parameters of a folder that does not say of what network they are.

    Raises:
        FormatError: It has none.
    """
    bundle = read_parameters(folder.path, folder.variant)
    if folder.has(ADAPTER):
        bundle.notes = [note for note in bundle.notes if note.where != "(adapter)"]
        bundle.reason = "this is a PEFT adapter, what is added to a model: give base=, the model's folder, to merge it"
    return bundle


def read_parameters(path: str | os.PathLike[str], variant: str | None = None) -> Bundle:
    """The parameters of a folder alone, or of a variant, of whatever network they are."""
    folder = Folder(path, variant)
    bundle = folder.weights(folder.weights_name())
    values = folder.json(CONFIG, most=MAX_CONFIG_BYTES) if folder.has(CONFIG) else None
    if values is not None:
        bundle.metadata[KEY] = {"config": values, "files": {}}
    elif folder.has(ADAPTER):
        bundle.metadata[KEY] = {"adapter": folder.json(ADAPTER, most=MAX_CONFIG_BYTES)}
    bundle.reason = "only the parameters were asked for" if values is not None else f"the folder has no {CONFIG}"
    left = folder.others({CONFIG, ADAPTER, *folder.weights_files()})
    if left:
        bundle.notes.append(Note("(files)", f"left out: {', '.join(left[:8])}" + (", ..." if len(left) > 8 else "")))
    return bundle
