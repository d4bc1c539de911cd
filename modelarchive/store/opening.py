"""Which contents of a file count: what its index says, where that holds, else what HDF5 says."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from modelarchive.errors import FormatError
from modelarchive.formats.content import HDF5_SIGNATURE, Content, hdf5_start
from modelarchive.store import index
from modelarchive.store.contents import TRAINING, Contents
from modelarchive.store.digest import digest_pieces
from modelarchive.store.index import NotAnArchive
from modelarchive.store.source import Source


class StaleIndexWarning(UserWarning):
    """A file was changed by an HDF5 tool: it is read through HDF5, slower and correct."""


def contents_of(source: Source) -> tuple[Contents, Contents | None]:
    """The contents by the index if it holds, else by HDF5 with one warning; and what the index recorded."""
    contents, reason = read_index(source)
    if contents is not None and reason is None:
        return contents, contents
    from modelarchive.store.guarded import boundary

    found = boundary.read_contents(source, order=recorded_order(contents))
    found.is_stale = True
    warnings.warn(
        f"{source.path}: {reason}; it is read through HDF5, slower and correct "
        f"(`modelarchive reindex {source.path.name}` makes it fast again)",
        StaleIndexWarning,
        stacklevel=5,
    )
    return found, contents


def recorded_order(contents: Contents | None) -> dict[str, int]:
    """Name -> position in an index, for the guard to keep."""
    if contents is None:
        return {}
    training = [TRAINING + path for path in contents.training or ()]
    return {name: at for at, name in enumerate([*(contents.members or contents.order), *training])}


class _Readable(Content, Protocol):
    """What an index is read from."""

    def pieces(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        """Bytes from `offset`, one piece after another."""


def read_index(source: _Readable) -> tuple[Contents | None, str | None]:
    """The contents that the index tells, and why they do not hold (None: they do)."""
    head = source.read(0, 16)
    if len(head) < 16:
        from modelarchive.formats import refusing

        raise refusing.refusal(
            source, f"has {source.size} bytes: it is no archive", "take it from where it came from again"
        )
    length = int.from_bytes(head[:8], "little")
    start = length + 8
    if head.startswith(HDF5_SIGNATURE):
        return None, "it has no index"
    if not index.is_user_block_size(start) or length > index.MAX_INDEX_BYTES:
        return _without_index(source)
    raw = source.read(8, length)
    if len(raw) < length:
        raise FormatError(f"is truncated: its index alone takes {start} bytes, the file has {source.size}")
    try:
        contents = index.parse(raw, file_size=source.size)
    except NotAnArchive:
        return _without_index(source)
    except FormatError as error:
        error.hint = error.hint or f"`modelarchive reindex {source.path.name}` makes a new index, if you trust the file"
        raise
    if not index.is_intact(raw, contents):
        return None, "its index is damaged"
    if source.size != contents.size:
        return contents, _change(source, "its size")
    ranges = contents.metadata_ranges()
    own = (piece for begin, end in ranges for piece in source.pieces(begin, end - begin))
    if digest_pieces(own) != contents.metadata_digest:
        return contents, _change(source, "its HDF5 metadata")
    return contents, None


def _change(source: Content, what: str) -> str:
    """Why an index does not hold that describes another `what`."""
    from modelarchive.store.hdf5.superblock import is_left_open

    if is_left_open(source):
        return "a program that had it open for writing was ended before it closed it"
    return f"{what} changed since its index was written"


def _without_index(source: Content) -> tuple[None, str]:
    """Leave the file to HDF5 if it is one; else say what it is."""
    if hdf5_start(source) is not None:
        return None, "its index cannot be read"
    from modelarchive import formats  # only of a file that is refused

    raise formats.is_not_an_archive(source)


def opened(path: str | os.PathLike[str]) -> Source:
    """The file of an archive; a folder is refused as what it is."""
    try:
        return Source(path)
    except IsADirectoryError:
        from modelarchive import formats

        if refused := formats.is_a_folder(Path(os.fsdecode(path))):
            raise refused from None
        raise
