"""Requests to any file system of fsspec: what it says of the file first, and then ranges of it."""

from __future__ import annotations

import errno
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from modelarchive.errors import MissingDependencyError
from modelarchive.remote.address import scrubbed
from modelarchive.remote.transport import ADVICE, LATER, NO_CREDENTIALS, PASSING, Answer, Failure, version_in

#: Characters of another library's message that are repeated.
_LONGEST: Final = 300
#: Errors of the operating system that another attempt does not mend.
_FINAL: Final = frozenset((errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EINVAL))


class FileTransport:
    """Requests for one file of any file system.

    Args:
        system: fsspec's file system.
        path: The file in it.
        options: The caller's, of which no value gets into a message.
    """

    def __init__(self, system: Any, path: str, options: Mapping[str, Any]) -> None:
        self.advance: Callable[[int], None] = lambda nbytes: None
        self._system = system
        self._path = path
        self._options = options
        self._details: Mapping[str, Any] | None = None
        # A cache keeps files its own way, and would list the folder that one is in, which web servers do not do.
        self._is_cache = type(system).__module__ == "fsspec.implementations.cached"
        # An open file has one place where it is read, so each thread has its own.
        self._own = threading.local()
        self._open: list[Any] = []
        weakref.finalize(self, _close, self._open)

    def fill(self, start: int, buffer: memoryview) -> Answer:
        """One request, see :class:`modelarchive.remote.transport.Transport`."""
        problem: Exception
        try:
            if self._details is None:
                self._details = self._described()
            size = self._details.get("size")
            stop = start + len(buffer) if size is None else min(start + len(buffer), size)
            data = self._read(start, stop) if start < stop else b""
            buffer[: len(data)] = data
            self.advance(len(data))
            return Answer(len(data), size, version_in(self._details))
        except (Failure, MissingDependencyError):
            raise
        except Exception as error:  # each file system has its own
            problem = error
        raise failure(problem, self._options) from None

    def _described(self) -> Mapping[str, Any]:
        """What the file system says of the file."""
        found: Mapping[str, Any] = (self._system.fs if self._is_cache else self._system).info(self._path)
        return found

    def _read(self, start: int, stop: int) -> bytes:
        from fsspec.asyn import AsyncFileSystem

        if isinstance(self._system, AsyncFileSystem):
            data: bytes = self._system.cat_file(self._path, start=start, end=stop)
        else:
            if getattr(self._own, "file", None) is None:
                exact = {} if self._is_cache else {"cache_type": "none"}
                self._own.file = self._system.open(self._path, "rb", **exact)
                self._open.append(self._own.file)
            self._own.file.seek(start)
            data = self._own.file.read(stop - start)
        if len(data) > stop - start:
            raise Failure("the server ignores ranges", hint="download the file")
        if len(data) < stop - start:
            raise Failure(f"{len(data):,} of {stop - start:,} bytes came", again=True, hint=LATER)
        return data


def _close(files: list[Any]) -> None:
    for file in files:
        file.close()


def failure(error: Exception, options: Mapping[str, Any]) -> Failure:
    """What another library raised, as a failed request without credentials in its words."""
    response = getattr(error, "response", None)
    status = getattr(error, "status", None) or getattr(error, "code", None) or getattr(response, "status_code", None)
    status = status if type(status) is int else _status(error)
    if isinstance(error, FileNotFoundError):
        return Failure("there is no such file", status=status, hint=ADVICE[404])
    if isinstance(error, PermissionError):
        return Failure("it may not be read", status=status, hint=ADVICE[403])
    lacks_credentials = "credential" in type(error).__name__.lower()  # botocore's, google.auth's
    number = error.errno if isinstance(error, OSError) else None
    is_final = lacks_credentials or number in _FINAL or isinstance(error, IsADirectoryError | ValueError | TypeError)
    again = status in PASSING or (status is None and not is_final)
    words = scrubbed(str(error), options).splitlines()[:1]
    what = f"{type(error).__name__}: {words[0][:_LONGEST]}" if words else type(error).__name__
    advice = NO_CREDENTIALS if lacks_credentials else ADVICE.get(status or 0)
    return Failure(what, status=status, again=again, hint=LATER if again else advice)


def _status(error: Exception) -> int | None:
    """The status in what botocore says, which s3fs keeps as the cause."""
    for each in (error, error.__cause__, error.__context__):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if type(status) is int:
                return status
    return None
