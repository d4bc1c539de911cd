"""Folders to write: an archive in shards, and the folder of another library at the same time where there is one."""

from __future__ import annotations

import os
from typing import Final

from modelarchive.archive.choices import Choice
from modelarchive.archive.folders import SHARD_BYTES, Counterpart, shard_bytes
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Bundle, Note, Progress, deferred, save_bundle
from modelarchive.models.rooms import room

_IN_SHARDS: Final = 'max_shard_size="5GB" makes an archive in shards of it'
#: The format of folders.
FOLDER: Final = "huggingface"


def save_folder(
    path: str | os.PathLike[str],
    bundle: Bundle,
    *,
    training: object = None,
    compression: Choice = None,
    max_shard_size: int | str | None = None,
    plain: bool = False,
    counterpart: Counterpart | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> list[Note]:
    """Write a model as a folder that its library loads, and that is an archive in shards.

    Args:
        path: The folder; an old one is replaced as a whole, if it holds nothing but an archive's shards.
        bundle: The model.
        training: As in :func:`modelarchive.save_model`.
        compression: As in :func:`modelarchive.save`; transformers loads no compressed arrays.
        max_shard_size: As in :func:`modelarchive.save`. Given, the folder is an archive of whatever model; None: of
            5 GB each, and the model is one that the library has a class for.
        plain: Write the library's own folder, which is no archive, as programs need it that refuse arrays they do
            not know.
        counterpart: What makes the folder the library's, where that is known; None: what can be told of the model.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.

    Returns:
        What was changed or lost.

    Raises:
        ConversionError: Without `max_shard_size`: the library has no such model; lists why.
        OSError: Something else is at `path`, or it cannot be written.
    """
    limit = SHARD_BYTES if max_shard_size is None else shard_bytes(max_shard_size)
    notes: list[Note] = []
    if counterpart is None and not plain:
        counterpart, notes = _counterpart_of(bundle, is_needed=max_shard_size is None)
        plain = counterpart is None and max_shard_size is None
    if plain:
        return [*notes, *_write_theirs(path, bundle, limit, durable=durable)]
    written = save_bundle(
        path,
        bundle,
        training=training,
        compression=compression,
        max_shard_size=limit,
        counterpart=counterpart,
        durable=durable,
        progress=progress,
    )
    return [*notes, *written]


def _counterpart_of(bundle: Bundle, *, is_needed: bool) -> tuple[Counterpart | None, list[Note]]:
    """What makes the folder the library's, or None; and what is said of it."""
    try:
        found, notes = room(FOLDER).counterpart(bundle)
    except ConversionError as error:
        if is_needed:
            error.hint = "; ".join(filter(None, [error.hint, _IN_SHARDS]))
            raise
        return None, [_left_out(*error.unsupported[0])] if FOLDER in bundle.metadata else []
    if found is not None:
        return found, notes
    if is_needed:
        return None, [Note("(archive)", f"the folder is none: {each}") for each in notes]
    return None, [_left_out(notes[0].where, notes[0].what)]


def _left_out(where: str, what: str) -> Note:
    return Note("config.json", f"left out, transformers does not load the folder: {where} {what}")


def _write_theirs(path: str | os.PathLike[str], bundle: Bundle, limit: int, *, durable: bool) -> list[Note]:
    """Write the library's own folder, which is no archive; in shards where one file would be larger than `limit`."""
    nbytes = sum(entry.nbytes for entry in {id(each): each for each in deferred(bundle.parameters).values()}.values())
    most = limit if nbytes > limit else None
    notes: list[Note] = room(FOLDER).write(bundle, path, max_shard_bytes=most, durable=durable)
    return notes
