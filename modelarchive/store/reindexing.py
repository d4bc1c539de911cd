"""Write a new index for a file whose HDF5 side was changed by another tool."""

from __future__ import annotations

import os
from collections.abc import Callable

from modelarchive.errors import FormatError, ModelArchiveError, UnsupportedVersionError
from modelarchive.store import guard, index
from modelarchive.store.contents import Contents, Entry, Text, data_position
from modelarchive.store.digest import digest_pieces
from modelarchive.store.reader import is_hdf5, read_index, recorded_order
from modelarchive.store.replace import replacing
from modelarchive.store.source import Source


def reindex(
    path: str | os.PathLike[str], *, durable: bool = True, progress: Callable[[int], None] | None = None
) -> None:
    """Describe the file by what HDF5 says, digests taken anew; see :func:`modelarchive.maintenance.reindex`."""
    source = Source(path)
    try:
        recorded = _recorded(source)
        contents = guard.read_contents(source.path, identity=source.identity, order=recorded_order(recorded))
        _check(contents, source)
        arrays, texts = contents.arrays, contents.texts
        parts: list[Entry | Text] = [*arrays.values(), *texts.values()]
        found = iter(source.digests([(part.offset or 0, part.nbytes) for part in parts], progress))
        contents.arrays = {name: entry._replace(digest=next(found)) for name, entry in arrays.items()}
        contents.texts = {name: text._replace(digest=next(found)) for name, text in texts.items()}
        ordered = sorted(contents.arrays.items(), key=lambda item: data_position(item[1], contents.size))
        contents.arrays = dict(ordered)
        contents.metadata_digest = digest_pieces(
            source.buffer(begin, end - begin) for begin, end in contents.metadata_ranges()
        )
        try:
            head = index.framed(contents)
        except ValueError as error:
            raise _refusal(str(error), source) from error
        with replacing(path, durable=durable) as temporary, temporary.open("r+b") as file:
            file.write(head)
            file.write(source.buffer(len(head), source.size - len(head)))
    except ModelArchiveError as error:
        error.file = error.file or str(source.path)
        raise
    finally:
        source.close()


def _recorded(source: Source) -> Contents | None:
    """What the old index said, for the order of things; a damaged one is what this is called for."""
    try:
        return read_index(source)[0]
    except UnsupportedVersionError:
        raise
    except FormatError:
        if not is_hdf5(source):
            raise
        return None


def _check(contents: Contents, source: Source) -> None:
    if not index.is_user_block_size(contents.user_block):
        raise _refusal("it has no user block for an index", source)
    parts: dict[str, Entry | Text] = {**contents.arrays, **contents.texts}
    for name, part in parts.items():
        if part.offset is None and part.nbytes:
            raise _refusal(f"{name} is chunked, of variable length or not little-endian", source)


def _refusal(reason: str, source: Source) -> FormatError:
    return FormatError(
        f"cannot be indexed in place: {reason}",
        file=source.path,
        hint=f"`modelarchive repack {source.path.name}` writes it anew",
    )
