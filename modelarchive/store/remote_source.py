"""An archive's bytes where the file lies elsewhere: as few requests as may be, nothing mapped, no HDF5."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, repeat
from typing import Any, Final, NoReturn

import numpy as np
from blake3 import blake3

from modelarchive import dtypes
from modelarchive.errors import FormatError
from modelarchive.remote import RemoteFile
from modelarchive.remote.ranges import JOINED, PART
from modelarchive.store.contents import Entry
from modelarchive.store.digest import digest
from modelarchive.store.source import Source

#: Stretches of compressed bytes that are kept while chunks of them are inflated.
_STRETCHES: Final = 3


class RemoteSource(Source):
    """A file elsewhere, read as :class:`modelarchive.store.source.Source` reads one on a disk.

    Args:
        file: The file.

    Raises:
        RemoteError: It cannot be read.
    """

    is_elsewhere = True

    def __init__(self, file: RemoteFile) -> None:
        self.file = file
        self.path: Any = file
        self.size = file.size
        self._is_closed = False

    def close(self) -> None:
        """Nothing is open between two requests; no further one is made."""
        self._is_closed = True

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._is_closed

    @property
    def descriptor(self) -> int:
        """There is none: HDF5's parser reads files on a disk only.

        Raises:
            FormatError: Always.
        """
        refuse(self.file, "what is asked of it only HDF5 can tell")

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to `nbytes` bytes from `offset`; fewer at the end of the file."""
        self._check()
        return self.file.read(offset, nbytes)

    def buffer(self, offset: int, nbytes: int) -> memoryview:
        """The same bytes in memory of their own."""
        return memoryview(bytearray(self.read(offset, nbytes)))

    def pieces(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        """The same bytes, part after part."""
        self._check()
        return self.file.pieces(offset, nbytes)

    def views(self, entries: Sequence[Entry]) -> list[np.ndarray]:
        """As :meth:`load`: nothing is mapped."""
        return self.load(entries)

    def load(self, entries: Sequence[Entry]) -> list[np.ndarray]:
        """Read the arrays into memory of their own."""
        return self._loaded(entries, None)

    def load_with_digests(
        self, entries: Sequence[Entry], into: Sequence[np.ndarray | None] | None = None
    ) -> tuple[list[np.ndarray], list[str]]:
        """Like :meth:`load`, with each array's BLAKE3 digest."""
        arrays = self._loaded(entries, into)
        return arrays, [digest(_flat(array)) for array in arrays]

    def digests(self, ranges: Sequence[tuple[int, int]], progress: Callable[[int], None] | None = None) -> list[str]:
        """BLAKE3 digests of the ranges (offset, bytes), which are passed through and not kept."""
        found = [digest(b"")] * len(ranges)
        ordered = sorted((offset, nbytes, at) for at, (offset, nbytes) in enumerate(ranges) if nbytes)
        for run in _runs(ordered):
            stream = _Stream(self.pieces(run[0][0], run[-1][0] + run[-1][1] - run[0][0]), run[0][0])
            for offset, nbytes, at in run:
                hasher = blake3()
                for piece in stream.take(offset, nbytes):
                    hasher.update(piece)
                    if progress is not None:
                        progress(len(piece))
                found[at] = hasher.hexdigest()
        return found

    def _loaded(self, entries: Sequence[Entry], into: Sequence[np.ndarray | None] | None) -> list[np.ndarray]:
        self._check()
        arrays = [
            np.empty(entry.shape, dtypes.LITTLE[entry.dtype]) if given is None else given
            for entry, given in zip(entries, into or repeat(None), strict=False)
        ]
        jobs = zip(entries, arrays, strict=True)
        self.file.read_into([(entry.offset or 0, _flat(array)) for entry, array in jobs if entry.nbytes])
        return arrays

    def _check(self) -> None:
        if self._is_closed:
            raise ValueError(f"{self.file} is closed")


class Front:
    """What came of a file's beginning, for those who tell what the file is: they make no requests.

    Args:
        source: The file.
    """

    def __init__(self, source: RemoteSource) -> None:
        self.path: Any = source.path
        self.size = source.size
        self._source = source

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to so many bytes from `offset` of what is there."""
        return self._source.file.kept(offset, nbytes)

    def pieces(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        """The bytes of a range that the index declares, also where they are still to come."""
        return self._source.pieces(offset, nbytes)


class Ahead(RemoteSource):
    """A stretch of a file that is read from its beginning on, a bit after the other: by few requests.

    Args:
        source: The file.
        offset: Where the stretch begins.
        nbytes: Its bytes.
    """

    def __init__(self, source: RemoteSource, offset: int, nbytes: int) -> None:
        super().__init__(source.file)
        self._end = offset + nbytes
        self._stretches: deque[tuple[int, bytes]] = deque(maxlen=_STRETCHES)
        self._lock = threading.Lock()

    def buffer(self, offset: int, nbytes: int) -> memoryview:
        """Bytes of it, from any thread; what comes after them is read with them."""
        with self._lock:
            for start, data in self._stretches:
                if start <= offset and offset + nbytes <= start + len(data):
                    return memoryview(bytearray(data[offset - start : offset - start + nbytes]))
            data = self.file.read(offset, max(nbytes, min(PART, self._end - offset)))
            self._stretches.append((offset, data))
        return memoryview(bytearray(data[:nbytes]))


class _Stream:
    """Ranges, one behind the other, of bytes that come in pieces."""

    def __init__(self, pieces: Iterator[memoryview], start: int) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._at = start

    def take(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        for _ in self._next(offset - self._at):
            pass
        yield from self._next(nbytes)

    def _next(self, nbytes: int) -> Iterator[memoryview]:
        while nbytes > 0:
            if not self._rest:
                self._rest = next(self._pieces)
            piece, self._rest = self._rest[:nbytes], self._rest[nbytes:]
            nbytes -= len(piece)
            self._at += len(piece)
            yield piece


def _runs(ordered: Sequence[tuple[int, int, int]]) -> Iterator[Sequence[tuple[int, int, int]]]:
    """Ranges that lie together, or nearly so."""
    breaks = [at + 1 for at, (one, other) in enumerate(pairwise(ordered))
              if not 0 <= other[0] - one[0] - one[1] <= JOINED]  # fmt: skip
    for start, stop in pairwise([0, *breaks, len(ordered)]):
        if start < stop:
            yield ordered[start:stop]


def refuse(file: RemoteFile, why: str) -> NoReturn:
    """Say that a file has to lie on a disk to be read.

    Raises:
        FormatError: Always.
    """
    raise FormatError(
        f"{why}, and HDF5's parser gets no network",
        file=file,
        hint="download it: on a disk it is read through HDF5, slower and correct",
    )


def _flat(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
