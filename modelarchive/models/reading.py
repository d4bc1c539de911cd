"""Read a file of any format that is known, told by its content."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.bundle import Bundle, bundle_of
from modelarchive.formats import FORMATS, recognise

#: Format -> what its reader takes as inputs: declarations, or names only.
_TAKE_INPUTS: Final[dict[str, Callable[[Sequence[Mapping[str, Any]]], Any]]] = {
    "mxnet": lambda inputs: inputs,
    "onnx": lambda inputs: inputs,
    "keras": lambda inputs: inputs,
    "huggingface": lambda inputs: [each.get("name") for each in inputs],
}


def read(path: str | os.PathLike[str], *, inputs: Sequence[Mapping[str, Any]] | None = None) -> Bundle:
    """Read a file of any format that is known, told by its content.

    Args:
        path: The file, or a Hugging Face folder.
        inputs: As in :func:`convert`.

    Returns:
        Architecture (or why there is none), parameters, metadata, and notes of what was changed or lost.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no format that is known, or damaged.
        UnsafeFileError: It breaks a safety rule.
        ConversionError: It holds what cannot be read; lists all of it.
    """
    name = recognise(path)
    if inputs is None or name not in _TAKE_INPUTS:
        return declared(read_as(name, path), inputs)
    return read_as(name, path, inputs=_TAKE_INPUTS[name](inputs))


def read_as(name: str, path: str | os.PathLike[str], **options: Any) -> Bundle:
    """Read a file of a known format; "archive" too."""
    if name == "archive":
        return bundle_of(path)
    try:
        bundle: Bundle = room(name).read(path, **options)
    except FormatError as error:
        error.hint = error.hint or f"by its first bytes it is {FORMATS[name].what}"
        raise
    return bundle


def declared(bundle: Bundle, inputs: Sequence[Mapping[str, Any]] | None) -> Bundle:
    """The same model with other inputs declared, which must fit it."""
    if inputs is None:
        return bundle
    if bundle.architecture is None:
        hint = "inputs belong to whole models: leave them out"
        raise ConversionError([("(inputs)", f"are not known without an architecture: {bundle.reason}")], hint=hint)
    from modelarchive import spec
    from modelarchive.spec.describe import declared_inputs

    network = spec.build(bundle.architecture)
    architecture = bundle.architecture | {"inputs": declared_inputs(network, list(inputs))}
    spec.validate(architecture)
    return replace(bundle, architecture=architecture)


def refuse_verify(path: str | os.PathLike[str], name: str) -> NoReturn:
    """Say that a file of this format has no digests."""
    hint = "load it without verify=True, or convert it into an archive"
    raise FormatError(f"is {FORMATS[name].what}, which has no digests to verify", file=path, hint=hint)


def room(name: str) -> Any:
    """The room of exchange that reads and writes a format or a framework's models."""
    return importlib.import_module(f"modelarchive.exchange.{name}")
