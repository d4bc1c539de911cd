"""Which reader an archive has: a file's, a folder's of shards, or one of those for what lies elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from modelarchive.formats.signs import shards_of_archive
from modelarchive.remote import RemoteFile, expect_path, located
from modelarchive.store.reader import Reader
from modelarchive.store.remote_reader import RemoteReader
from modelarchive.store.sharded import ShardedReader


def reader_of(path: str | os.PathLike[str]) -> Reader:
    """The reader of an archive: of a file, or of a folder of shards, which answers in the same way.

    Raises:
        OSError: It cannot be opened.
        FormatError: It is no archive, or damaged.
        UnsafeFileError: It breaks a safety rule.
        TypeError: It is no path.
    """
    expect_path(path)
    place: Any = located(path)
    is_remote = isinstance(place, RemoteFile)
    folder = place if is_remote else Path(os.fsdecode(place))
    if folder.is_dir() and shards_of_archive(folder):
        return cast("Reader", ShardedReader(folder))
    return RemoteReader(place) if is_remote else Reader(place)
