"""Folders of Hugging Face's transformers: networks like BERT, GPT-2 and Llama, read and written as whole models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelarchive.exchange.bundle import Bundle, Note, Source

if TYPE_CHECKING:
    from modelarchive.archive.folders import Counterpart

__all__ = ["counterpart", "counterpart_of", "fitting", "read", "way_for", "write"]


def read(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    sentences: bool | None = None,
    parameters_only: bool = False,
    base: str | os.PathLike[str] | None = None,
    variant: str | None = None,
) -> Bundle:
    """Read a folder with ``config.json``, ``model.safetensors`` (one file or shards) and a tokenizer's files.

    The parameters may be in ``pytorch_model.bin``, too: its arrays are read as data, and nothing else of it.

    Args:
        path: The folder, as ``save_pretrained`` writes it and the Hub's cache holds it; one of weights alone, or of
            a PEFT adapter, gives its parameters.
        inputs: What the network takes: the first of ``input_ids``, ``attention_mask`` and ``token_type_ids``;
            None: all that the family has, but ``input_ids`` alone of networks like GPT-2 and Llama, which take a mask
            only where it is named. Each is an int64 array ``(batch, length)``; a mask has 1 for words and 0 for
            padding. What is left out is 1, or 0 for the segments.
        sentences: Whether the output is one vector of each text, as ``modules.json`` of sentence-transformers
            says; None: where there is such a file. Segments are left out then unless `inputs` names them.
        parameters_only: Read the parameters alone, under the names that the files give: of a model of any type, of a
            folder without config.json, of an adapter. What else is in the folder stays there, but for config.json.
        base: Of a PEFT adapter the folder of the model that it was made for: the adapter is merged into it, as
            ``merge_and_unload`` of peft does. Only LoRA is, with its options; others are refused by name.
        variant: Which of several files of parameters is read, by the word in its name, as transformers takes it:
            "fp16" of ``model.fp16.safetensors``; None: the one without such a word.

    Returns:
        The whole model: architecture, parameters as views of the mapped files (GPT-2's dense layers, which lie
        the other way there, are turned when they are read), words as tokens of the embedding, config.json and
        the tokenizer's texts as metadata ``huggingface``.

    Raises:
        OSError: A file cannot be read.
        FormatError: It is no such folder, or damaged, or holds pickles only.
        UnsafeFileError: A file is a link out of the folder.
        ConversionError: The model is of a family, or has options, that cannot be expressed, or parameters are
            missing; lists all of it.
        ValueError: `inputs` are none of the family's, or `variant` is no word.
    """
    from modelarchive.exchange.huggingface.alone import read_parameters
    from modelarchive.exchange.huggingface.reading import read_folder

    if parameters_only:
        return read_parameters(path, variant)
    return read_folder(path, inputs=inputs, sentences=sentences, base=base, variant=variant)


def write(
    source: Source,
    path: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
    max_shard_bytes: int | None = None,
    durable: bool = True,
) -> list[Note]:
    """Write a folder that ``from_pretrained`` of transformers loads.

    Args:
        source: A bundle, an archive or a network of one of the families.
        path: A new folder, or an empty one; it is there as a whole, or not at all.
        config: What ``config.json`` shall say; None: what the source's metadata keep of the folder that it was
            read from, or what its blocks tell. The network that this means is compared with the source's, part by
            part.
        max_shard_bytes: Begin a new file of parameters when one has so many bytes of arrays; None: one file.
        durable: As in :func:`modelarchive.save`.

    Returns:
        What was changed or lost.

    Raises:
        ConversionError: There is no configuration, or the architecture is not the one that it means; lists the
            differences.
        OSError: There are files at `path`, or nothing can be written there.
    """
    from modelarchive.exchange.huggingface.writing import write_folder

    return write_folder(source, path, config=config, max_shard_bytes=max_shard_bytes, durable=durable)


def counterpart(bundle: Bundle) -> tuple[Counterpart | None, list[Note]]:
    """What makes an archive in shards a folder that ``from_pretrained`` of transformers loads, too.

    Args:
        bundle: A model of one of the families.

    Returns:
        The names that transformers has, config.json and the tokenizer's files, and what was changed or lost. None
        where its files have arrays otherwise than an archive has them, and which.

    Raises:
        ConversionError: As :func:`write`.
    """
    from modelarchive.exchange.huggingface.writing import counterpart_of

    return counterpart_of(bundle)


def counterpart_of(model: Any, bundle: Bundle) -> tuple[Counterpart | None, list[Note]]:
    """The same of a model of transformers in memory; None: it is none, or not as its configuration says, with a note.

    Args:
        model: Any model.
        bundle: What was read of it.
    """
    from modelarchive.exchange.huggingface import live

    return live.counterpart_of(model, bundle)


def fitting(model: Any, path: str | os.PathLike[str], bundle: Bundle) -> Bundle:
    """The parameters of a folder under the names that a module of PyTorch has for them.

    Args:
        model: The module.
        path: The folder.
        bundle: What was read of it.
    """
    from modelarchive.exchange.huggingface import live

    return live.fitting(model, path, bundle)


def way_for(model: object) -> str | None:
    """How a model of transformers is saved so that its folder is read as a whole; None: none of that kind is."""
    from modelarchive.exchange.huggingface import live

    return live.way_for(model)
