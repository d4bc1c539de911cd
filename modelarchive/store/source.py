"""Where an archive's bytes come from: a local file, mapped copy-on-write or read by threads.

A file that cannot be mapped (its file system does not map, or the process may not have so much address space)
is read instead: what would have been views are copies then.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from blake3 import blake3

from modelarchive import dtypes
from modelarchive.errors import FormatError, OutOfMemoryError
from modelarchive.store.contents import Entry
from modelarchive.store.deferred import Place
from modelarchive.store.digest import PIECE, WORTH_THREADS, digest, digest_pieces
from modelarchive.store.threads import THREADS, shared

#: An array below this size is copied from the map: a system call for it would cost more.
SMALL: Final = 1 << 16


Result = TypeVar("Result")
_SHORTER: Final = "{} became shorter while it was read"


class Source:
    """An open file; its views stay valid after :meth:`close`, and after the file is replaced.

    Raises:
        OSError: The file cannot be opened.
        FormatError: It is a pipe or a device.
    """

    #: Whether its bytes are on no disk of this machine.
    is_elsewhere = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.fsdecode(path))
        mode = self.path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            # Opening a pipe would wait for a writer; a device has no size.
            raise FormatError("is no regular file", file=self.path)
        self._file = self.path.open("rb", buffering=0)
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self._identity = (status.st_dev, status.st_ino)
        self._map: mmap.mmap | None = None
        self._is_unmappable = False

    def close(self) -> None:
        """Close the file. Views of it keep the map alive for themselves."""
        self._file.close()
        self._map = None

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._file.closed

    @property
    def descriptor(self) -> int:
        """The open file, for the operating system.

        Raises:
            ValueError: It is closed.
        """
        if self._file.closed:
            raise ValueError(f"{self.path} is closed")
        return self._file.fileno()

    def place(self, offset: int) -> Place:
        """Where a byte of the file is found by other programs."""
        return Place(self.path, offset, self._identity)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to `nbytes` bytes from `offset`; fewer at the end of the file."""
        if hasattr(os, "pread"):
            data = os.pread(self.descriptor, max(0, min(nbytes, self.size - offset)), offset)
            if len(data) == nbytes:
                return data
        return bytes(self.buffer(offset, nbytes))

    def buffer(self, offset: int, nbytes: int) -> memoryview:
        """The same bytes in memory of their own, from any thread."""
        count = max(0, min(nbytes, self.size - offset))
        data = memoryview(self._room(count, lambda: bytearray(count)))
        self._read_all(data, offset)
        return data

    def fill(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes from `offset` on, from any thread.

        Raises:
            OSError: The file ends before.
        """
        self._read_all(buffer, offset)

    def pieces(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        """The same bytes, 1 MiB at a time; each piece is good until the next is asked for.

        Read, not mapped: pages of a map count as the process's memory for as long as the system likes.
        """
        return self._pieces(offset, nbytes, self.descriptor, memoryview(bytearray(max(0, min(PIECE, nbytes)))))

    def _pieces(self, offset: int, nbytes: int, descriptor: int, room: memoryview) -> Iterator[memoryview]:
        end = min(offset + nbytes, self.size)
        for start in range(offset, end, PIECE):
            piece = room[: min(PIECE, end - start)]
            self._read_all(piece, start, descriptor)
            yield piece

    def views(self, entries: Sequence[Entry]) -> list[np.ndarray]:
        """The arrays, each of which has an offset, as writable views of the map: writing changes memory only.

        Where the file cannot be mapped they are arrays in memory of their own.
        """
        mapped = self._map or self._mapped()
        if mapped is None or not entries:
            return self.load(entries)
        kinds, shapes, offsets, _, _ = zip(*entries, strict=True)
        view: Callable[..., np.ndarray] = np.ndarray
        return list(map(view, shapes, map(dtypes.LITTLE.__getitem__, kinds), repeat(mapped), offsets))

    def load(self, entries: Sequence[Entry]) -> list[np.ndarray]:
        """Read the arrays into memory of their own, large ones by several threads."""
        arrays, jobs = self._allocated(entries)
        self._run(self._fill, list(_shared_out(jobs)))
        return arrays

    def load_with_digests(
        self, entries: Sequence[Entry], into: Sequence[np.ndarray | None] | None = None
    ) -> tuple[list[np.ndarray], list[str]]:
        """Like :meth:`load`, with each array's BLAKE3 digest, taken piece by piece while reading.

        Args:
            entries: What to read.
            into: For each of them an array of its dtype and shape, in C order, to be filled; None: a new one.
        """
        arrays, jobs = self._allocated(entries, into)
        if len(jobs) < THREADS:
            # Nothing to do beside each other: each is read by all threads, and then hashed by all.
            self._run(self._fill, list(_shared_out(jobs)))
            digests = iter([digest_pieces([buffer], threads=THREADS) for buffer, _ in jobs])
        else:
            digests = iter(self._run(self._fill_with_digest, jobs))
        return arrays, [
            # Of small arrays a copy is made faster than a view of bytes.
            next(digests) if entry.nbytes >= SMALL else digest(array.tobytes())
            for entry, array in zip(entries, arrays, strict=True)
        ]

    def digests(self, ranges: Sequence[tuple[int, int]], progress: Callable[[int], None] | None = None) -> list[str]:
        """BLAKE3 digests of the ranges (offset, bytes), taken by several threads."""
        jobs = list(_batches(ranges))
        hash_threads = max(1, THREADS // max(1, len(jobs)))

        def begin() -> Callable[[list[tuple[int, int]]], list[str]]:
            room = memoryview(bytearray(PIECE))

            def run(job: list[tuple[int, int]]) -> list[str]:
                if len(job) == 1:
                    return [self._digest(*job[0], room, hash_threads, progress)]
                first, end = min(offset for offset, _ in job), max(offset + nbytes for offset, nbytes in job)
                stretch = room[: max(0, min(end, self.size) - first)]
                self._read_all(stretch, first)
                if progress is not None:
                    progress(sum(nbytes for _, nbytes in job))
                return [digest(stretch[offset - first : offset - first + nbytes]) for offset, nbytes in job]

            return run

        alone = sum(nbytes for _, nbytes in ranges) < WORTH_THREADS
        return [value for found in shared(begin, jobs, alone=alone) for value in found]

    def _digest(
        self, offset: int, nbytes: int, room: memoryview, threads: int, progress: Callable[[int], None] | None
    ) -> str:
        hasher = blake3(max_threads=threads)
        with self._opened_again() as descriptor:
            for piece in self._pieces(offset, nbytes, descriptor, room):
                hasher.update(piece)
                if progress is not None:
                    progress(len(piece))
        return hasher.hexdigest()

    def _mapped(self) -> mmap.mmap | None:
        """The whole file, mapped at the first call; None where that is not possible."""
        if self._map is None and not self._is_unmappable:
            descriptor = self.descriptor
            try:
                mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
            except (OSError, ValueError):  # ValueError: there is nothing in it any more
                self._is_unmappable = True
                return None
            if len(mapped) < self.size:
                raise OSError(_SHORTER.format(self.path))
            self._map = mapped
        return self._map

    def _allocated(
        self, entries: Sequence[Entry], into: Sequence[np.ndarray | None] | None = None
    ) -> tuple[list[np.ndarray], list[tuple[memoryview, int]]]:
        """An array for each entry: small ones are filled, large ones come with (their bytes, the offset) too.

        All memory is asked for by one thread, so that the allocator can give again what was freed before;
        fresh pages cost more than the reading.
        """
        arrays: list[np.ndarray] = []
        jobs = []
        for (dtype, shape, offset, nbytes, _), given in zip(entries, into or repeat(None), strict=False):
            mapped = (self._map or self._mapped()) if nbytes < SMALL else None
            if mapped is not None:
                view: np.ndarray = np.ndarray(shape, dtypes.LITTLE[dtype], mapped, offset or 0)
                arrays.append(view.copy() if given is None else given)
                if given is not None:
                    given[...] = view
                continue
            arrays.append(self._new(shape, dtypes.LITTLE[dtype], nbytes) if given is None else given)
            job = (_flat(arrays[-1]), offset or 0)
            if nbytes < SMALL:
                self._read_all(*job)
            else:
                jobs.append(job)
        return arrays, jobs

    def _new(self, shape: tuple[int, ...], dtype: np.dtype, nbytes: int) -> np.ndarray:
        return self._room(nbytes, lambda: np.empty(shape, dtype))

    def _room(self, nbytes: int, take: Callable[[], Result]) -> Result:
        """Memory, or an error that says for what.

        Raises:
            OutOfMemoryError: The system does not give so much.
        """
        try:
            return take()
        except MemoryError as error:
            why = ", and the file cannot be mapped here" if self._is_unmappable else ""
            hint = "a part takes less: load_model(path, block=...), open(path) and its arrays one by one"
            what = f"the system gives no {nbytes:,} bytes of memory for an array of it{why}"
            raise OutOfMemoryError(what, file=self.path, hint=hint) from error

    def _run(
        self, function: Callable[[memoryview, int], Result], jobs: Sequence[tuple[memoryview, int]]
    ) -> list[Result]:
        alone = sum(len(buffer) for buffer, _ in jobs) < WORTH_THREADS
        return shared(lambda: lambda job: function(*job), jobs, alone=alone)

    def _fill(self, buffer: memoryview, offset: int) -> None:
        if len(buffer) < PIECE:
            self._read_all(buffer, offset)
            return
        with self._opened_again() as descriptor:
            self._read_all(buffer, offset, descriptor)

    def _fill_with_digest(self, buffer: memoryview, offset: int) -> str:
        hasher = blake3()
        with self._opened_again() as descriptor:
            for start in range(0, len(buffer), PIECE):
                piece = buffer[start : start + PIECE]
                self._read_all(piece, offset + start, descriptor)
                hasher.update(piece)
        return hasher.hexdigest()

    @contextlib.contextmanager
    def _opened_again(self) -> Iterator[int]:
        """A descriptor of the same file for one thread; where the system has none, that of all threads.

        The system reads ahead by what it was asked for through one open file. Where several threads ask for their
        pieces in turn, that looks like no order at all.
        """
        try:
            descriptor = os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY)
        except OSError:
            yield self.descriptor
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read_all(self, buffer: memoryview, offset: int, descriptor: int | None = None) -> None:
        """Fill the buffer from an offset, from any thread."""
        if not hasattr(os, "preadv"):  # Windows
            mapped = mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
            buffer[:] = memoryview(mapped)[offset : offset + len(buffer)]
            return
        descriptor = self.descriptor if descriptor is None else descriptor
        done = 0
        while done < len(buffer):
            count = os.preadv(descriptor, [buffer[done:]], offset + done)
            if not count:
                raise OSError(_SHORTER.format(self.path))
            done += count


def _shared_out(jobs: Sequence[tuple[memoryview, int]]) -> Iterator[tuple[memoryview, int]]:
    """The same bytes in parts, so that every thread has as much to read: none waits for a large array."""
    part = max(PIECE, -(-sum(len(buffer) for buffer, _ in jobs) // THREADS))
    for buffer, offset in jobs:
        for start in range(0, len(buffer), part):
            yield buffer[start : start + part], offset + start


def _flat(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _batches(ranges: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Neighbours that one piece of the file holds together, and larger ranges each alone."""
    batch: list[tuple[int, int]] = []
    begin = end = 0
    for offset, nbytes in ranges:
        if batch:
            begin, end = min(begin, offset), max(end, offset + nbytes)
            if end - begin > PIECE:
                yield batch
                batch = []
        if not batch:
            begin, end = offset, offset + nbytes
        batch.append((offset, nbytes))
    if batch:
        yield batch
