"""Write a new index for a file whose HDF5 side was changed by another tool."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

from modelarchive.errors import FormatError, ModelArchiveError, UnsupportedVersionError
from modelarchive.formats.content import hdf5_start
from modelarchive.store.contents import Contents, Entry, Text, data_position
from modelarchive.store.digest import digest_pieces
from modelarchive.store.drafting import framed
from modelarchive.store.guarded import boundary
from modelarchive.store.hdf5 import superblock
from modelarchive.store.index import is_user_block_size
from modelarchive.store.inflating import Packed, digest_of
from modelarchive.store.opening import read_index, recorded_order
from modelarchive.store.replace import replacing
from modelarchive.store.source import Source


def reindex(
    path: str | os.PathLike[str], *, durable: bool = True, progress: Callable[[int], None] | None = None
) -> None:
    """Describe the file by what HDF5 says, digests taken anew; see :func:`modelarchive.maintenance.reindex`."""
    source = Source(path)
    try:
        recorded = _recorded(source)
        contents = boundary.read_contents(source, order=recorded_order(recorded))
        _check(contents, source)
        arrays, texts = contents.arrays, contents.texts
        dense = {name: entry for name, entry in arrays.items() if name not in contents.chunks}
        parts: list[Entry | Text] = [*dense.values(), *texts.values()]
        found = iter(source.digests([(part.offset or 0, part.nbytes) for part in parts], progress))
        dense = {name: entry._replace(digest=next(found)) for name, entry in dense.items()}
        contents.texts = {name: text._replace(digest=next(found)) for name, text in texts.items()}
        ordered = sorted(dense.items(), key=lambda item: data_position(item[1], contents.size))
        contents.chunks = dict(sorted(contents.chunks.items(), key=lambda item: item[1].offset))
        contents.arrays = dict(ordered) | {
            name: arrays[name]._replace(digest=digest_of(source, Packed(name, arrays[name], chunks), progress))
            for name, chunks in contents.chunks.items()
        }
        closed = _closed(source, contents.user_block)
        begin = contents.user_block + len(closed)
        ranges = [(max(start, begin), end) for start, end in contents.metadata_ranges()]
        own = (piece for start, end in ranges for piece in source.pieces(start, end - start))
        contents.metadata_digest = digest_pieces(itertools.chain([closed], own))
        try:
            head = framed(contents)
        except ValueError as error:
            raise _refusal(str(error), source) from error
        with replacing(path, durable=durable) as temporary, temporary.open("r+b") as file:
            file.write(head + closed)
            for piece in source.pieces(begin, source.size - begin):
                file.write(piece)
    except ModelArchiveError as error:
        error.file = error.file or str(source.path)
        raise
    finally:
        source.close()


def _closed(source: Source, at: int) -> bytes:
    """The superblock without the mark of a program that was ended while it wrote; empty where there is no mark."""
    return superblock.closed(source, at) if superblock.is_left_open(source) else b""


def _recorded(source: Source) -> Contents | None:
    """What the old index said, for the order of things; a damaged one is what this is called for."""
    try:
        return read_index(source)[0]
    except UnsupportedVersionError:
        raise
    except FormatError:
        if hdf5_start(source) is None:
            raise
        return None


def _check(contents: Contents, source: Source) -> None:
    if not is_user_block_size(contents.user_block):
        raise _refusal("it has no user block for an index", source)
    parts: dict[str, Entry | Text] = {**contents.arrays, **contents.texts}
    for name, part in parts.items():
        if part.offset is None and part.nbytes and name not in contents.chunks:
            raise _refusal(
                f"{name} is chunked otherwise than archives are, of variable length or not little-endian", source
            )


def _refusal(reason: str, source: Source) -> FormatError:
    return FormatError(
        f"cannot be indexed in place: {reason}",
        file=source.path,
        hint=f"`modelarchive repack {source.path.name}` writes it anew",
    )
