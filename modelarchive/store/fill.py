"""Write arrays to their offsets in a file from several threads, hashing each piece while it is in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeGuard

import numpy as np
from blake3 import blake3

from modelarchive.store.deferred import Deferred, expect
from modelarchive.store.digest import PIECE, WORTH_THREADS, digest
from modelarchive.store.threads import THREADS, shared


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
    expect(each.array for each in fills)
    # One array's digest is one chain of updates: where arrays are fewer than threads, BLAKE3's own help.
    hash_threads = max(1, THREADS // max(1, len(jobs)))

    def run(job: Sequence[Fill], hash_threads: int = hash_threads) -> list[str]:
        with path.open("r+b", buffering=0) as file:
            file.seek(job[0].offset)
            if len(job) > 1:
                return _write_together(file, job, progress)
            return [_write_one(file, job[0].array, progress, hash_threads)]

    # What is read as a whole is read by this thread, one after another, and memory holds the largest array.
    serial = {at: run(job, THREADS) for at, job in enumerate(jobs) if any(_is_whole(one.array) for one in job)}
    parallel = [job for at, job in enumerate(jobs) if at not in serial]
    alone = sum(item.array.nbytes for item in fills) < WORTH_THREADS
    written = iter(shared(lambda: run, parallel, alone=alone))
    return [digest for at in range(len(jobs)) for digest in (serial[at] if at in serial else next(written))]


def _is_whole(array: np.ndarray | Deferred) -> TypeGuard[Deferred]:
    """Whether an array is to be read as one."""
    return isinstance(array, Deferred) and array.pieces is None


def _is_plain(array: np.ndarray) -> bool:
    """Whether an array's bytes are those of the file."""
    return array.flags.c_contiguous and array.dtype.isnative


def _read(deferred: Deferred) -> np.ndarray:
    """An array that is read now; ValueError if it is not what was announced."""
    found = deferred.read()
    if (found.shape, found.dtype) != (deferred.shape, deferred.dtype):
        raise ValueError(f"{deferred.dtype} {deferred.shape} was announced, {found.dtype} {found.shape} came")
    return found


def pieces_of(array: np.ndarray | Deferred) -> Iterator[memoryview]:
    """The bytes of an array, or of one that is read now; ValueError if it is not what was announced."""
    if not isinstance(array, Deferred):
        yield from pieces(array)
        return
    if array.pieces is None:
        yield from pieces(_read(array))
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
    if _is_plain(array):
        flat = [array.reshape(-1)]
    else:
        # NumPy before 2.3 hands out an unfilled buffer for an array without axes that is to be turned round.
        array = array.reshape(1) if not array.ndim else array
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
    file: BinaryIO, array: np.ndarray | Deferred, progress: Callable[[int], None] | None, threads: int
) -> str:
    """Write an array, and return its digest; nothing refers to it any more when this returns."""
    if _is_whole(array):
        array = _read(array)
    hasher = blake3(max_threads=threads)
    if threads == 1 or isinstance(array, Deferred) or not _is_plain(array) or array.nbytes < WORTH_THREADS:
        for piece in pieces_of(array):
            hasher.update(piece)
            _write(file, piece, progress)
        return hasher.hexdigest()

    # An array that no other thread has work beside: one writes it while this one hashes it.
    def write() -> None:
        for piece in pieces(array):
            _write(file, piece, progress)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        hasher.update(array.reshape(-1).view(np.uint8).data)
        writing.result()
    return hasher.hexdigest()


def _write(file: BinaryIO, piece: memoryview, progress: Callable[[int], None] | None) -> None:
    write_all(file, piece)
    if progress is not None:
        progress(len(piece))


def _write_together(file: BinaryIO, job: Sequence[Fill], progress: Callable[[int], None] | None) -> list[str]:
    parts = [_bytes(item.array) for item in job]
    _write(file, memoryview(b"".join(parts)), progress)
    return [digest(part) for part in parts]


def _bytes(array: np.ndarray | Deferred) -> bytes:
    """The bytes of a small array."""
    if isinstance(array, np.ndarray) and _is_plain(array):
        return array.tobytes()
    return b"".join(pieces_of(array))


def write_all(file: BinaryIO, data: memoryview) -> None:
    """Write everything: a raw file may take less at a time."""
    written = file.write(data)
    while written < len(data):
        written += file.write(data[written:])
