"""Save whole models: the native archive, or through the exchange of the framework that made the model."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from modelarchive import archive
from modelarchive.archive.choices import Choice
from modelarchive.archive.folders import SHARD_BYTES, Counterpart, is_for_shards
from modelarchive.errors import ConversionError, UnsupportedDataError
from modelarchive.exchange.bundle import Bundle, Note, Progress, bundle_of, save_bundle
from modelarchive.formats.systems import SYSTEMS, System
from modelarchive.models.folders import save_folder
from modelarchive.models.rooms import expected, room, system_of, systems_of


def save_model(
    path: str | os.PathLike[str],
    model: Any,
    *,
    inputs: Any = None,
    metadata: Mapping[str, Any] | None = None,
    tokens: Mapping[str, Sequence[str]] | None = None,
    training: object = None,
    compression: Choice = None,
    max_shard_size: int | str | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> list[Note] | None:
    """Save a whole model: the architecture that its ``forward`` draws, and its parameters.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        model: A network: a Block, a ``torch.nn.Module``, an ``ExportedProgram``, a ``keras.Model``, or a
            Bundle that an exchange has read.
        inputs: An example input, or a tuple of several, to record ``forward`` on with a symbolic batch axis. Of a
            module also a dict: what its forward takes by name, or its only argument.
            A network that was rebuilt remembers its own, as a module too; a Block that was called what it was given
            last; an exported program says them.
        metadata: Anything JSON can say, under string keys: licence, training data, measured accuracy.
        tokens: Parameter name -> the word that each of its rows belongs to, for embeddings.
        training: What training goes on from, whatever :func:`save` takes; it lies beside the parameters, and
            ``Archive.training`` gives it.
        compression: "deflate" compresses the arrays that shrink by it; a dict chooses by name; as in :func:`save`.
        max_shard_size: Write a folder of shards, a new one where one would have more bytes of arrays: "5GB", "512MiB"
            or a number. A `path` that ends in a slash is such a folder, of 5 GB each. If transformers has a class for
            the model, its ``from_pretrained`` loads the folder.
        durable: As in :func:`save`.
        progress: As in :func:`save`.

    Returns:
        What was changed or lost of another framework's model; None for a Block, of which nothing is.

    Raises:
        SpecError: ``forward`` cannot be recorded; names class, file and line.
        ConversionError: Another framework's model does what the vocabulary cannot say; lists all of it.
        UnsupportedDataError: `model` is no network but a state_dict, a class, an optimizer, say; a TypeError.
        DeferredShapeError: Parameters have no values yet; lists all of them.
        OSError: The file cannot be written.
    """
    from modelarchive.nn import Block

    in_shards = is_for_shards(path, max_shard_size)
    if isinstance(model, Block) and not in_shards:
        archive.save_model(
            path,
            model,
            inputs=inputs,
            metadata=metadata,
            tokens=tokens,
            training=training,
            compression=compression,
            durable=durable,
            progress=progress,
        )
        return None
    bundle = bundle_of_model(model, inputs)
    if bundle.architecture is None:
        raise ConversionError([("(architecture)", bundle.reason or "there is none")])
    if not isinstance(metadata, Mapping | None):
        raise TypeError(f"metadata is {type(metadata).__name__}, expected a dict")
    bundle = replace(
        bundle, metadata=bundle.metadata | dict(metadata or {}), tokens={**bundle.tokens, **(tokens or {})}
    )
    options: dict[str, Any] = {"training": training, "compression": compression, "durable": durable}
    if in_shards:
        counterpart, told = _counterpart_of(model, bundle)
        options |= {"max_shard_size": max_shard_size or SHARD_BYTES, "counterpart": counterpart}
        notes = [*told, *save_folder(path, bundle, progress=progress, **options)]
    else:
        notes = save_bundle(path, bundle, progress=progress, **options)
    return [*bundle.notes, *notes] or (None if isinstance(model, Block) else [])


def _counterpart_of(model: Any, bundle: Bundle) -> tuple[Counterpart | None, list[Note]]:
    """What makes a folder of a model in memory one of the library that the model is of."""
    for name, system in SYSTEMS.items():
        if system.library in sys.modules:
            found: tuple[Counterpart | None, list[Note]] = room(name).counterpart_of(model, bundle)
            return found
    return None, []


def bundle_of_model(model: Any, inputs: Any = None) -> Bundle:
    """A network of any framework, with its architecture.

    Raises:
        ConversionError: It does what the vocabulary cannot say; lists all of it.
        UnsupportedDataError: It is no network; a TypeError.
    """
    from modelarchive.nn import Block

    if isinstance(model, Block):
        return bundle_of(model, inputs=inputs)
    if isinstance(model, Bundle):
        return model
    if (system := system_of(model)) is None:
        _refuse(model)
    return _of_framework(system, model, inputs)


def _of_framework(system: System, model: Any, inputs: Any) -> Bundle:
    """A framework's model; one that is refused may be another one's too, or belong to a library of folders."""
    try:
        return getattr(room(system.name), system.reader)(model, inputs)  # type: ignore[no-any-return]
    except ConversionError as error:
        for other in systems_of(model):
            if other is not system:
                return _of_other(other, model, inputs, error)
        for name, other in SYSTEMS.items():
            if other.library in sys.modules:
                error.hint = room(name).way_for(model) or error.hint
        raise


def _of_other(system: System, model: Any, inputs: Any, first: ConversionError) -> Bundle:
    """A model that its nearer system refuses, as one of another: of Keras on PyTorch as a module.

    Raises:
        ConversionError: That refuses it too; lists what both say.
    """
    try:
        bundle: Bundle = getattr(room(system.name), system.reader)(model, inputs)
    except ConversionError as error:
        if error.unsupported == first.unsupported:  # both need the same first
            raise first from None
        as_other = [(where, f"as a model of {system.called}: {what}") for where, what in error.unsupported]
        hint = first.hint if inputs is not None else f"give an example: save_model(path, model, inputs=x); {first.hint}"
        raise ConversionError([*first.unsupported, *as_other], hint=hint) from error
    bundle.notes.append(Note("(model)", f"is read as a model of {system.called}: {_shown(first)}"))
    return bundle


def _shown(error: ConversionError) -> str:
    where, what = error.unsupported[0]
    more = len(error.unsupported) - 1
    return f"{where} {what[:200]}" + (f", and {more} more" if more else "")


def _refuse(model: object) -> NoReturn:
    """Say what was given for a network.

    Raises:
        UnsupportedDataError: Always; a TypeError.
    """
    what, hint = _mistaken(model)
    raise UnsupportedDataError([("model", f"{what}, expected {expected('a Block', after='a Bundle')}")], hint=hint)


def _mistaken(model: object) -> tuple[str, str | None]:
    """What was given for a network, and what to do with it."""
    for name, system in SYSTEMS.items():
        if system.mistakes and sys.modules.keys() & set(system.frameworks):
            known: tuple[str, str] | None = room(name).mistaken(model)
            if known is not None:
                return known
    what = f"is {type(model).__name__}"
    if isinstance(model, type):
        return f"is the class {model.__name__}", f"make one first, {model.__name__}(...)"
    if isinstance(model, str | os.PathLike):
        hint = "the network comes second: save_model(path, model); load_model() opens a file, convert() converts one"
        return f"is a path ({os.fspath(model)!r})", hint
    if isinstance(model, archive.Archive):
        return what, "build() gives its network"
    if isinstance(model, Mapping | list | tuple) or (hasattr(model, "shape") and hasattr(model, "dtype")):
        return what, "save() stores arrays, in dicts, lists and tuples"
    return what, None
