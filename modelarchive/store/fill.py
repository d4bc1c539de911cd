"""Write arrays to their offsets in a file from several threads, hashing each piece while it is in the cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from blake3 import blake3

from modelarchive.store.deferred import Deferred
from modelarchive.store.digest import PIECE, digest

#: Threads that write; more than a few only contend for memory bandwidth.
THREADS: Final = min(4, os.cpu_count() or 1)


class Fill(NamedTuple):
    """An array and the absolute offset where its bytes go."""

    offset: int
    array: np.ndarray | Deferred


def fill(path: Path, fills: Sequence[Fill], *, progress: Callable[[int], None] | None = None) -> list[str]:
    """Write every array in C order, little-endian, and return their BLAKE3 digests in the same order.

    Args:
        path: An existing file.
        fills: Arrays, or what reads them, and offsets; ascending.
        progress: Called from any of the threads with the number of bytes written.
    """
    jobs = list(_jobs(fills))
    # One array's digest is one chain of updates: where arrays are fewer than threads, BLAKE3's own help.
    hash_threads = max(1, THREADS // max(1, len(jobs)))

    def run(job: Sequence[Fill], hash_threads: int = hash_threads) -> list[str]:
        with path.open("r+b", buffering=0) as file:
            file.seek(job[0].offset)
            if len(job) > 1:
                return _write_together(file, job, progress)
            hasher = blake3(max_threads=hash_threads)
            _write_one(file, job[0].array, hasher, progress)
            return [hasher.hexdigest()]

    # What is read as a whole is read by this thread, one after another, and memory holds the largest array.
    serial = {at: run(job, THREADS) for at, job in enumerate(jobs) if any(_is_read_whole(one.array) for one in job)}
    parallel = [job for at, job in enumerate(jobs) if at not in serial]
    if len(parallel) <= 1:
        written = iter([run(job) for job in parallel])
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            written = iter(list(pool.map(run, parallel)))
    return [digest for at in range(len(jobs)) for digest in (serial[at] if at in serial else next(written))]


def _is_read_whole(array: np.ndarray | Deferred) -> bool:
    return type(array) is Deferred and array.pieces is None


def pieces_of(array: np.ndarray | Deferred) -> Iterator[memoryview]:
    """The bytes of an array, or of one that is read now; ValueError if it is not what was announced."""
    if not isinstance(array, Deferred):
        yield from pieces(array)
        return
    if array.pieces is None:
        found = array.read()
        if (found.shape, found.dtype) != (array.shape, array.dtype):
            raise ValueError(f"{array.dtype} {array.shape} was announced, {found.dtype} {found.shape} came")
        yield from pieces(found)
        return
    room = array.nbytes
    for piece in array.pieces():
        room -= len(piece)
        if room < 0:
            break
        yield piece
    if room:
        raise ValueError(f"{array.nbytes:,} bytes were announced, {'more' if room < 0 else array.nbytes - room} came")


def pieces(array: np.ndarray) -> Iterator[memoryview]:
    """The array's bytes in C order, little-endian, 1 MiB at a time; copied only where the layout demands it."""
    flat: Iterable[np.ndarray]
    if array.flags.c_contiguous and array.dtype.isnative:
        flat = [array.reshape(-1)]
    else:
        plain = array.view(f"u{array.itemsize}") if _is_extension(array.dtype) else array
        native = plain.dtype.newbyteorder("<")
        flat = np.nditer(  # type: ignore[call-overload]  # the stubs lack "contig"
            plain,
            flags=["external_loop", "buffered", "zerosize_ok"],
            op_flags=["readonly", "contig"],
            op_dtypes=native,
            order="C",
            casting="equiv",
            buffersize=PIECE // array.itemsize,
        )
    for part in flat:
        data = part.view(np.uint8)
        for start in range(0, data.size, PIECE):
            yield data[start : start + PIECE].data


def _is_extension(dtype: np.dtype) -> bool:
    """Whether the dtype is one of ml_dtypes', which nditer's buffers do not know."""
    return dtype.isbuiltin == 2


def _jobs(fills: Sequence[Fill]) -> Iterator[list[Fill]]:
    """Neighbours small enough to be written in one piece, and single arrays."""
    job: list[Fill] = []
    size = 0
    for item in fills:
        if job and size + item.array.nbytes > PIECE:
            yield job
            job, size = [], 0
        job.append(item)
        size += item.array.nbytes
    if job:
        yield job


def _write_one(
    file: BinaryIO, array: np.ndarray | Deferred, hasher: blake3, progress: Callable[[int], None] | None
) -> None:
    """Write and hash an array; nothing refers to it any more when this returns."""
    for piece in pieces_of(array):
        hasher.update(piece)
        write_all(file, piece)
        if progress is not None:
            progress(len(piece))


def _write_together(file: BinaryIO, job: Sequence[Fill], progress: Callable[[int], None] | None) -> list[str]:
    parts = [b"".join(pieces_of(item.array)) for item in job]
    together = memoryview(b"".join(parts))
    write_all(file, together)
    if progress is not None:
        progress(len(together))
    return [digest(part) for part in parts]


def write_all(file: BinaryIO, data: memoryview) -> None:
    """Write everything: a raw file may take less at a time."""
    written = file.write(data)
    while written < len(data):
        written += file.write(data[written:])
