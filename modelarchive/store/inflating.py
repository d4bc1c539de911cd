"""Read compressed arrays, whole or by rows: threads inflate their chunks, outside HDF5 and its lock."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from blake3 import blake3

from modelarchive import dtypes
from modelarchive.errors import FormatError
from modelarchive.store.chunks import Piece, pieces
from modelarchive.store.contents import Chunks, Entry
from modelarchive.store.deflate import DamagedChunkError, unpack
from modelarchive.store.digest import PIECE
from modelarchive.store.source import Source
from modelarchive.store.threads import THREADS, shared

#: Bytes of rows that are inflated at a time where an array is only passed through.
_SLAB: Final = 16 * PIECE


class Packed(NamedTuple):
    """A compressed array of an open file."""

    name: str
    entry: Entry
    chunks: Chunks


class _Job(NamedTuple):
    """One chunk to be inflated into a part of an array."""

    packed: Packed
    piece: Piece
    offset: int
    out: np.ndarray
    #: The row of the whole array that `out` begins with.
    first: int


def load(source: Source, wanted: Sequence[Packed]) -> list[np.ndarray]:
    """The arrays, in memory of their own.

    Raises:
        FormatError: A chunk does not hold what it should; names the array.
    """
    arrays = [_empty(packed.entry, packed.entry.shape[0]) for packed in wanted]
    jobs = [
        job
        for packed, array in zip(wanted, arrays, strict=True)
        for job in _jobs(packed, array, slice(0, packed.entry.shape[0]), _offsets(packed))
    ]
    _run(source, jobs)
    return arrays


def rows(source: Source, packed: Packed, start: int, stop: int) -> np.ndarray:
    """The rows `start` to `stop` of an array, from the chunks that hold them.

    Raises:
        FormatError: A chunk does not hold what it should.
    """
    array = _empty(packed.entry, stop - start)
    if stop > start:
        _run(source, list(_jobs(packed, array, slice(start, stop), _offsets(packed))))
    return array


def passed(source: Source, packed: Packed, *, is_threaded: bool = False) -> Iterator[memoryview]:
    """An array's bytes in C order, some rows after others, so that memory never holds all of them."""
    length, step = packed.entry.shape[0], packed.chunks.shape[0]
    nbytes = packed.entry.nbytes // length * step
    step *= max(1, (_SLAB if is_threaded else PIECE) // nbytes)
    offsets = _offsets(packed)
    for start in range(0, length, step):
        stop = min(start + step, length)
        array = _empty(packed.entry, stop - start)
        _run(source, list(_jobs(packed, array, slice(start, stop), offsets)), is_threaded=is_threaded)
        yield array.reshape(-1).view(np.uint8).data


def digest_of(source: Source, packed: Packed, progress: Callable[[int], None] | None = None) -> str:
    """The BLAKE3 digest of an array's content.

    Raises:
        FormatError: A chunk does not hold what it should.
    """
    hasher = blake3(max_threads=THREADS)
    for data in passed(source, packed, is_threaded=True):
        hasher.update(data)
        if progress is not None:
            progress(len(data))
    return hasher.hexdigest()


def content_digest(array: np.ndarray) -> str:
    """The BLAKE3 digest of an array that :func:`load` gave."""
    return blake3(array.reshape(-1).view(np.uint8).data, max_threads=THREADS).hexdigest()


def _empty(entry: Entry, length: int) -> np.ndarray:
    return np.empty((length, *entry.shape[1:]), dtypes.LITTLE[entry.dtype])


def _offsets(packed: Packed) -> list[int]:
    return list(itertools.accumulate(packed.chunks.sizes, initial=packed.chunks.offset))


def _jobs(packed: Packed, out: np.ndarray, wanted: slice, offsets: Sequence[int]) -> Iterator[_Job]:
    for piece in pieces(packed.entry.shape, packed.chunks.shape, rows=wanted):
        yield _Job(packed, piece, offsets[piece.number], out, wanted.start)


def _run(source: Source, jobs: Sequence[_Job], *, is_threaded: bool = True) -> None:
    def run(job: _Job) -> None:
        try:
            _inflate(source, job)
        except DamagedChunkError as error:
            raise FormatError(
                f"{job.packed.name}: chunk {job.piece.number} {error}",
                file=source.path,
                path=job.packed.name,
                hint="the file is damaged; take it from where it came from again",
            ) from error

    shared(lambda: run, jobs, alone=not is_threaded)


def _inflate(source: Source, job: _Job) -> None:
    """Inflate one chunk, at once into its place where that is one stretch of memory."""
    packed, piece, offset, out, first = job
    chunks = packed.chunks
    size, itemsize = chunks.sizes[piece.number], out.itemsize
    stored = source.buffer(offset, size)
    if len(stored) < size:
        raise DamagedChunkError("lies outside the file")
    head, *others = piece.within
    begin, end = max(head.start - first, 0), min(head.stop - first, len(out))
    target = out[(slice(begin, end), *others)]
    if target.shape == chunks.shape and target.flags.c_contiguous:
        unpack(stored, target.reshape(-1).view(np.uint8).reshape(-1, itemsize))
        return
    whole = np.empty(math.prod(chunks.shape) * itemsize, np.uint8)
    unpack(stored, whole.reshape(-1, itemsize))
    chunk = whole.view(out.dtype).reshape(chunks.shape)
    skipped = begin + first - head.start
    target[...] = chunk[(slice(skipped, skipped + end - begin), *(slice(0, s.stop - s.start) for s in others))]
