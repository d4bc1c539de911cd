"""Which transport a URL has: HTTP's and S3's own where fsspec's file system is theirs, one for all others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelarchive.errors import MissingDependencyError
from modelarchive.remote.address import scrubbed
from modelarchive.remote.generic import FileTransport
from modelarchive.remote.http import HttpTransport
from modelarchive.remote.s3 import S3Transport
from modelarchive.remote.transport import Failure, Transport


def _folder() -> Path:
    """Where fsspec keeps what was read, unless the caller says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "modelarchive"


def connected(url: str, options: Mapping[str, Any], cache: Mapping[str, Any] | None) -> Transport:
    """What makes requests for a URL.

    Args:
        url: The URL, as fsspec knows them.
        options: The caller's options for fsspec's file system.
        cache: Options of a cache of fsspec's, `protocol` among them; None: nothing is kept.

    Raises:
        MissingDependencyError: fsspec is not installed, or what it needs for such URLs.
        Failure: fsspec knows no such URL, or does not take the options.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingDependencyError("URLs are read through fsspec, which is not installed", extra="remote") from error
    protocol = url.partition("://")[0]
    given: dict[str, Any] = dict(options)
    if cache is not None:
        kind = str(cache["protocol"])
        own: dict[str, Any] = {"cache_storage": str(_folder())}
        if kind != "simplecache":
            own["check_files"] = True
        own |= {key: value for key, value in cache.items() if key != "protocol"}
        url, given = f"{kind}::{url}", {kind: own, protocol.rpartition("::")[2]: given}
    try:
        system, path = url_to_fs(url, **given)
    except ImportError as error:
        what = f"{protocol}:// needs a package that is not installed: {scrubbed(str(error), options)}"
        missing = MissingDependencyError(what, extra="remote")
        if not protocol.endswith(("http", "https")):
            missing.hint = "install the package that fsspec names"
        raise missing from None
    except (ValueError, TypeError, OSError, KeyError) as error:
        what = scrubbed(str(error), options)
    else:
        what = ""
    if what:
        raise Failure(f"fsspec does not take it: {what}", hint="see fsspec's documentation for its URLs and options")
    name = type(system).__name__
    if name == "HTTPFileSystem":
        return HttpTransport(system, path)
    return S3Transport(system, path, options) if name == "S3FileSystem" else FileTransport(system, path, options)
