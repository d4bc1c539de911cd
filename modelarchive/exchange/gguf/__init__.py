"""GGUF, the files of llama.cpp: networks like Llama as whole models, and parameters of all others."""

from __future__ import annotations

import os
from collections.abc import Sequence

from modelarchive.exchange.bundle import Bundle, Note, Source

__all__ = ["read", "write"]


def read(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    parameters_only: bool = False,
    dtype: str | None = None,
) -> Bundle:
    """Read a GGUF file, or all files that a model is split into, of which any is given.

    Args:
        path: The file.
        inputs: What the network takes: ``input_ids``, and ``attention_mask`` where it is named, as of a Hugging Face
            folder.
        parameters_only: Read the parameters alone, under the names that the file has, whatever they are of.
        dtype: "float32", "float16" or "bfloat16": what all floats are read as. None: quantised tensors become
            float32; others stay as they are, but in a whole model, which has one dtype: float32 unless all have
            another one.

    Returns:
        The whole model of an architecture that is known, with transformers' names; else the parameters. Words as
        tokens of the embedding, the file's metadata with their types as metadata ``gguf``.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no GGUF file, or damaged.
        UnsafeFileError: It needs more memory than a file of its size may take.
        ConversionError: Metadata or tensors cannot be expressed; lists all of them.
        MissingDependencyError: It has quantised tensors, and the package `gguf` is not installed.
        ValueError: `dtype` is none of these, or `inputs` are none of the network's.
    """
    from modelarchive.exchange.gguf.reading import read_file

    return read_file(path, inputs=inputs, parameters_only=parameters_only, dtype=dtype)


def write(
    source: Source, path: str | os.PathLike[str], *, dtype: str | None = None, durable: bool = True
) -> list[Note]:
    """Write a GGUF file.

    Args:
        source: A bundle, archive, network or mapping of arrays.
        path: The file; an old one is replaced as a whole, or left as it was.
        dtype: What matrices are stored as: "f32", "f16", "bf16", "q8_0", or another type that the package `gguf`
            quantises; None: as they are. What is of one axis stays float32, as llama.cpp wants it.
        durable: As in :func:`modelarchive.save`.

    Returns:
        What was changed or lost.

    Raises:
        ConversionError: Arrays are of dtypes, names or ranks that GGUF does not hold; lists all of them. Nothing is
            written.
        MissingDependencyError: Tensors are to be quantised, and the package `gguf` is not installed.
        OSError: Nothing can be written there.
        ValueError: There is no such `dtype`.
    """
    from modelarchive.exchange.gguf.writing import write_file

    return write_file(source, path, dtype=dtype, durable=durable)
