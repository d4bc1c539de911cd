"""What a path stands for: a file on a disk, or one that lies elsewhere."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from modelarchive.remote.address import is_url
from modelarchive.remote.file import RemoteFile

#: fsspec's caches, by the names that it has for them.
CACHES: Final = ("blockcache", "filecache", "simplecache")


def located(
    path: Any, storage_options: Mapping[str, Any] | None = None, cache: str | Mapping[str, Any] | None = None
) -> Any:
    """What a path stands for: a URL is a remote file, all else stays as it is.

    Args:
        path: A path, a URL or anything.
        storage_options: As :class:`RemoteFile` takes it.
        cache: Likewise.

    Raises:
        ValueError: Options are given, and the path is no URL; or the cache is none of fsspec's.
        FileNotFoundError: It is empty, as what an unset variable leaves: that is no name of this folder.
    """
    if isinstance(path, str) and not path:
        raise FileNotFoundError(errno.ENOENT, "the path is empty", path)
    kind = cache.get("protocol") if isinstance(cache, Mapping) else cache
    if kind is not None and kind not in CACHES:
        raise ValueError(f"cache is {kind!r}, expected {', '.join(map(repr, CACHES))}, or a dict with it as protocol")
    if is_url(path):
        if path.startswith("file://") and not storage_options and cache is None:
            from urllib.request import url2pathname  # which brings HTTP and mail with it

            return url2pathname(path.removeprefix("file://"))
        return RemoteFile(path, storage_options, cache)
    if storage_options or cache is not None:
        if isinstance(path, RemoteFile):
            return path.opened_with(storage_options, cache)
        given = "storage_options" if storage_options else "cache"
        what = path if isinstance(path, str) else os.fsdecode(path) if isinstance(path, os.PathLike) else type(path)
        raise ValueError(f"{given} is for URLs, found {str(what)!r}{_lost_slash(str(what))}")
    return path


def expect_path(path: object) -> None:
    """Refuse what is neither a path nor a URL.

    Raises:
        TypeError: It is something else, which it names.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        way = "; archives are opened by their path, and not out of a file object" if hasattr(path, "read") else ""
        raise TypeError(f"the path is {type(path).__name__}, expected str or os.PathLike{way}")
    if isinstance(path, bytes) and b"\0" in path:
        raise TypeError("the path is bytes with zeros in it; archives are opened by their path, and not out of bytes")


def _lost_slash(text: str) -> str:
    return ": give a URL as text, a Path has lost a slash of it" if re.match(r"[a-z][a-z0-9]+:/[^/]", text) else ""
