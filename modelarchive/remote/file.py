"""A file that lies elsewhere: its beginning is kept, ranges of it are read, several at once, and tried again."""

from __future__ import annotations

import os
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from time import sleep
from typing import Any, Final, NoReturn

from modelarchive.errors import FormatError, RemoteError
from modelarchive.remote import address
from modelarchive.remote.connecting import connected
from modelarchive.remote.ranges import PART, THREADS, Job, parts, requests, run
from modelarchive.remote.transport import Answer, Failure, Transport

#: The first request asks for so many bytes: of most models, the index, HDF5's metadata and the texts.
FIRST: Final = 1 << 18
#: Attempts in a row that bring nothing, and seconds between them: each pause is twice the one before.
ATTEMPTS: Final = 5
PAUSE: Final = 0.5
#: The longest pause, also where a server asks for more.
LONGEST_PAUSE: Final = 30.0
#: An attempt that brought so much counts as none.
PROGRESS: Final = 1 << 20


class RemoteFile(os.PathLike[str]):
    """A file that lies elsewhere, or a folder, whose URL ends in a slash; nothing is asked for before it is read.

    It stands where else a path stands. What needs a file on a disk, and asks for its path, is refused.

    Args:
        url: The URL, as fsspec knows them.
        storage_options: Options for fsspec's file system, credentials say; never shown.
        cache: The name of one of fsspec's caches, or its options with `protocol`; None: nothing is kept.

    Attributes:
        advance: Called with the number of bytes whenever some came, from any thread.
        received: Bytes that came.
    """

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, Any] | None = None,
        cache: str | Mapping[str, Any] | None = None,
    ) -> None:
        self.advance: Callable[[int], None] = lambda nbytes: None
        self.received = 0
        self._url = url
        self._options = dict(storage_options or {})
        self._cache = {"protocol": cache} if isinstance(cache, str) else cache
        self._transport: Transport | None = None
        self._head = bytearray()
        self._size: int | None = None
        self._version: str | None = None
        self._lock = threading.Lock()
        # What was read of the index of a folder is not asked for again.
        self._near: dict[str, RemoteFile] = {}

    def opened_with(
        self, storage_options: Mapping[str, Any] | None, cache: str | Mapping[str, Any] | None
    ) -> RemoteFile:
        """The same file, read with these options."""
        return RemoteFile(self._url, storage_options, cache)

    def __fspath__(self) -> str:
        """There is none.

        Raises:
            FormatError: Always.
        """
        raise FormatError(
            "lies elsewhere, and only archives and safetensors files are read from there",
            file=self,
            hint="download it first",
        )

    def __str__(self) -> str:
        """The URL without credentials."""
        return address.shown(self._url)

    def __repr__(self) -> str:
        """Likewise."""
        return f"<RemoteFile {str(self)!r}>"

    def __truediv__(self, name: str) -> RemoteFile:
        """A file in this folder, with the same options."""
        return self._beside(address.within(self._url, name))

    @property
    def parent(self) -> RemoteFile:
        """The folder that it lies in."""
        return self._beside(address.folder_of(self._url))

    def _beside(self, url: str) -> RemoteFile:
        if url not in self._near:
            self._near[url] = RemoteFile(url, self._options, self._cache)
            self._near[url].advance = self._came
        return self._near[url]

    @property
    def name(self) -> str:
        """The name of the file."""
        return address.name_of(self._url)

    @property
    def stem(self) -> str:
        """The same without its suffix."""
        return PurePosixPath(self.name).stem

    def is_dir(self) -> bool:
        """Whether its URL says that it is a folder."""
        return address.is_folder(self._url)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        self.head(1)
        return self._size or 0

    def head(self, nbytes: int) -> memoryview:
        """So many bytes of its beginning, fewer of a shorter file; asked for once.

        Raises:
            RemoteError: They do not come.
        """
        with self._lock:
            if self._size is None:
                first = bytearray(FIRST)
                self._head = first[: self._fetch(0, memoryview(first))]
                if self._size is None:
                    self._fail(Failure("the server does not say how long the file is", hint="download the file"))
            missing = min(nbytes, self._size or 0) - len(self._head)
            if missing > 0:
                more = bytearray(missing)
                self._fetch_all(len(self._head), memoryview(more))
                self._head = self._head + more
        return memoryview(self._head)[:nbytes]

    def kept(self, offset: int, nbytes: int) -> bytes:
        """Bytes of what came of the beginning; nothing is asked for."""
        self.head(1)
        return bytes(self._head[offset : offset + nbytes])

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to `nbytes` bytes from `offset`; fewer at the end of the file.

        Raises:
            RemoteError: They do not come.
        """
        nbytes = max(0, min(nbytes, self.size - offset))
        buffer = bytearray(nbytes)
        self.read_into([(offset, memoryview(buffer))])
        return bytes(buffer)

    def read_into(self, jobs: Sequence[Job]) -> None:
        """Fill buffers from their offsets: neighbours by one request, long ones in parts, several at once.

        Raises:
            RemoteError: Something does not come.
        """
        self.head(1)
        run(self._run, list(requests(self._beyond_the_head(jobs))))

    def pieces(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        """The same bytes as :meth:`read`, part after part, some of which are asked for ahead."""
        end = min(offset + nbytes, self.size)
        waiting = deque(parts(offset, end - offset, PART // 2) if end > offset else ())
        if len(waiting) < 2:
            for start, length in waiting:
                yield memoryview(self.read(start, length))
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(THREADS // 2) as pool:
            coming = deque(pool.submit(self.read, *waiting.popleft()) for _ in range(min(THREADS // 2, len(waiting))))
            try:
                while coming:
                    data = coming.popleft().result()
                    if waiting:
                        coming.append(pool.submit(self.read, *waiting.popleft()))
                    yield memoryview(data)
            finally:
                pool.shutdown(cancel_futures=True)

    def _beyond_the_head(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Take from what is kept of the beginning what is there of the jobs; what is left of them."""
        kept = len(self._head)
        for offset, buffer in jobs:
            known = max(0, min(kept - offset, len(buffer)))
            buffer[:known] = memoryview(self._head)[offset : offset + known]
            if known < len(buffer):
                yield offset + known, buffer[known:]

    def _run(self, request: list[Job]) -> None:
        if len(request) == 1:
            self._fetch_all(*request[0])
            return
        begin, end = request[0][0], max(offset + len(buffer) for offset, buffer in request)
        whole = memoryview(bytearray(end - begin))
        self._fetch_all(begin, whole)
        for offset, buffer in request:
            buffer[:] = whole[offset - begin : offset - begin + len(buffer)]

    def _fetch_all(self, start: int, buffer: memoryview) -> None:
        if self._fetch(start, buffer) < len(buffer):
            self._fail(Failure(f"it ends at {self._size:,} bytes, more were expected", hint="download it again"))

    def _fetch(self, start: int, buffer: memoryview) -> int:
        """Fill a buffer, by more than one request where the first does not do it; the bytes that there are."""
        done = failures = 0
        while done < len(buffer):
            found = self._attempt(start + done, buffer[done:])
            # What came before a connection was cut counts as well: the next answer may be of another file.
            if (answer := found if isinstance(found, Answer) else found.answer) is not None:
                self._compare(answer.size, answer.version)
            if isinstance(found, Answer):
                done += found.nbytes
                if not found.nbytes or start + done >= (self._size or 0):
                    break
                continue
            done += found.received
            failures = 0 if found.received >= PROGRESS else failures + 1
            if not found.again or failures >= ATTEMPTS:
                self._fail(found)
            pause = PAUSE * 2 ** max(0, failures - 1) * random.uniform(0.75, 1.25)
            sleep(min(max(pause, found.pause or 0.0), LONGEST_PAUSE))
        return done

    def _attempt(self, start: int, buffer: memoryview) -> Answer | Failure:
        # Returned, not raised: what is raised later shall not bring the library's own error with it.
        try:
            return self._asked().fill(start, buffer)
        except Failure as failure:
            return failure

    def _asked(self) -> Transport:
        if self._transport is None:
            self._transport = connected(self._url, self._options, self._cache)
            self._transport.advance = self._came
        return self._transport

    def _came(self, nbytes: int) -> None:
        self.received += nbytes
        self.advance(nbytes)

    def _compare(self, size: int | None, version: str | None) -> None:
        """Keep what the first answer says of the file, and compare what others say.

        Raises:
            RemoteError: It is another file now.
        """
        if self._size is None:
            self._size, self._version = size, version
        elif (size is not None and size != self._size) or (version and self._version and version != self._version):
            self._fail(Failure("it was replaced by another file while it was read", hint="open it again"))

    def _fail(self, failure: Failure) -> NoReturn:
        raise RemoteError(failure.what, url=self, status=failure.status, hint=failure.hint)
