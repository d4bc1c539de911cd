"""What is done to archive files as files: extract a block, write in normal form, refresh the index."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from modelarchive.archive import Archive, write_archive
from modelarchive.archive.choices import KEEP, Choice, choose
from modelarchive.archive.converting import FLOATS, Conversion, Converted, OutOfRange, redeclare
from modelarchive.archive.parameters import no_block
from modelarchive.names import joined
from modelarchive.store import reindexing
from modelarchive.store.opening import StaleIndexWarning

Progress = Callable[[int], None]
Path = str | os.PathLike[str]


def extract(
    path: Path,
    block: str,
    out: Path,
    *,
    children: slice | None = None,
    until: str | None = None,
    after: str | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Write one block of an archive, or what lies between two layers, as an archive; only its own bytes are read.

    Args:
        path: An archive of parameters, with or without an architecture.
        block: Path of the block, "" for the model itself.
        out: The new file. Parameter names in it are relative to the block; the metadata goes along.
        children: Which children of a Sequential, by position; this and the next two need an architecture.
        until: The layer to end with, as :meth:`modelarchive.Archive.build` takes it.
        after: The layer to begin after.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.

    Raises:
        ParameterError: The archive has no parameters below such a block.
        SpecError: The architecture has no such block or layer, or cannot be cut there.
    """
    with Archive(path) as archive:
        if archive.has_architecture:
            from modelarchive.architecture import building
            from modelarchive.architecture.places import result_of

            until, after = (name and result_of(name, archive.metadata) for name in (until, after))
            part = building.part(archive.checked, block, children, until=until, after=after)
            arrays = archive.deferred({name: joined(block, name) for name in part.shapes})
            write_archive(
                out,
                archive,
                block=block,
                arrays=arrays,
                architecture=part.architecture,
                durable=durable,
                progress=progress,
            )
            return
        if (children, until, after) != (None, None, None):
            archive.architecture  # noqa: B018 - says that there is none
        if block and not archive.select(f"{block}.*"):
            raise no_block(block, archive.parameters, archive.path)
        write_archive(out, archive, block=block, durable=durable, progress=progress)


@dataclass(frozen=True)
class Repacked:
    """What :func:`repack` did.

    Attributes:
        left_out: HDF5 paths of objects that are no part of an archive and were left out.
        converted: What became of the arrays whose dtype was changed.
    """

    left_out: list[str]
    converted: list[Conversion]


def repack(
    path: Path,
    out: Path | None = None,
    *,
    compression: Choice = KEEP,
    dtype: Choice = None,
    max_shard_size: int | str | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> Repacked:
    """Write an archive anew in the normal form: indexed, aligned, without holes.

    Args:
        path: An archive, also one that HDF5 tools have changed.
        out: The new file; None replaces `path`.
        compression: "deflate" compresses the arrays that shrink, None stores all as they are, "keep" leaves each
            as it is in the archive; a dict chooses by name, the first pattern that matches.
        dtype: What arrays of floating-point numbers become: "bfloat16", "float16", "float32" or "float64"; a
            dict chooses by name. None: what they are. The architecture's own declarations follow.
        max_shard_size: As in :func:`modelarchive.save`.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.

    Returns:
        What was left out, and what the conversion cost.

    Raises:
        UnsupportedDataError: Values are beyond the range of their new dtype; lists all such arrays. No file is
            written, the old one is as it was.
        ValueError: `compression` or `dtype` is unknown.
        ParameterError: They name an array that is not there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StaleIndexWarning)
        archive = Archive(path)
    with archive:
        converted = _converted(archive, dtype)
        architecture = None
        if converted is not None and archive.has_architecture:
            architecture = archive.architecture
            redeclare(architecture, converted.changed)
        try:
            write_archive(
                path if out is None else out,
                archive,
                arrays=None if converted is None else converted.arrays,
                architecture=architecture,
                training=True,
                compression=compression,
                max_shard_size=max_shard_size,
                durable=durable,
                progress=progress,
            )
        except OutOfRange:
            if converted is None:
                raise
            raise converted.refusal() from None
        return Repacked(archive.reader.contents.foreign, [] if converted is None else converted.done())


def _converted(archive: Archive, dtype: Choice) -> Converted | None:
    """The archive's arrays, those of them converted that are chosen; None: nothing is."""
    if dtype is None:
        return None
    several = list(archive.parameters)
    chosen = choose(dtype, several, FLOATS, what="dtype")
    return Converted(archive.deferred(dict(zip(several, several, strict=True))), chosen)


def reindex(path: Path, *, durable: bool = True, progress: Progress | None = None) -> None:
    """Write a new index for a file that an HDF5 tool has changed; everything else in it stays.

    Args:
        path: The archive; replaced as a whole, or left as it was.
        durable: As in :func:`modelarchive.save`.
        progress: Called with the number of bytes hashed since the last call.

    Raises:
        FormatError: An index cannot describe the file, because of an array in chunks of another
            kind than archives have, say; the hint names `repack`.
    """
    reindexing.reindex(path, durable=durable, progress=progress)
