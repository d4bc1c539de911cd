"""Cut arrays into chunks and deflate them with threads, outside HDF5 and its lock, in the order of the file."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np

from modelarchive.store import chunks
from modelarchive.store.contents import Chunks
from modelarchive.store.deferred import Deferred
from modelarchive.store.deflate import pack
from modelarchive.store.fill import pieces, pieces_of
from modelarchive.store.hdf5.chunk_tree import tree_bytes

#: Threads that deflate: it is work for processors, not for memory.
THREADS: Final = min(16, os.cpu_count() or 1)
#: Of so many chunks, one is tried before an array is compressed.
_TRIED: Final = 64
#: An array must shrink to this in what is tried: then it shrinks as a whole, whatever the rest is, because no
#: chunk becomes longer by more than one part in 5,000.
_WORTH: Final = 0.97
#: Bytes of chunks that are kept from the trial at most.
_KEPT: Final = 64 << 20


class PackedChunk(NamedTuple):
    """A chunk ready to be written."""

    #: Its first element, by axis.
    start: tuple[int, ...]
    #: What it holds of the array, unfiltered.
    content: memoryview
    #: What is stored.
    data: bytes


def bound(shape: tuple[int, ...], itemsize: int) -> Chunks:
    """How an array will be cut, with the most bytes that each chunk can take."""
    shape_of_chunk = chunks.chunk_shape(shape, itemsize)
    nbytes = math.prod(shape_of_chunk) * itemsize
    most = nbytes + 5 * -(-nbytes // 65535) + 16
    return Chunks(shape_of_chunk, 0, (most,) * chunks.count(shape, shape_of_chunk))


def tried(arrays: Mapping[str, np.ndarray | Deferred]) -> dict[str, dict[int, bytes]]:
    """Try some chunks of each array.

    Args:
        arrays: Name -> array.

    Returns:
        Name of each array that becomes smaller when compressed -> number of a chunk -> what it became, of as many
        as are worth keeping in memory.
    """
    large = {name: array for name, array in arrays.items() if array.nbytes >= chunks.LEAST and array.shape}
    if not large:
        return {}
    # What is read as a whole is read one after another, and memory holds one of them.
    whole = {name for name, array in large.items() if isinstance(array, Deferred) and array.rows is None}
    found = {name: _trial(large[name]) for name in whole}
    with ThreadPoolExecutor(THREADS) as pool:
        found |= zip(
            [name for name in large if name not in whole],
            pool.map(_trial, [array for name, array in large.items() if name not in whole]),
            strict=True,
        )
    kept: dict[str, dict[int, bytes]] = {}
    room = _KEPT
    for name in large:
        made = found[name]
        if made is None:
            continue
        room -= sum(map(len, made.values()))
        kept[name] = made if room >= 0 else {}
    return kept


def _trial(array: np.ndarray | Deferred) -> dict[int, bytes] | None:
    """What some chunks of an array become; None if it does not become smaller."""
    whole = array.read() if isinstance(array, Deferred) and array.rows is None else array
    plan = bound(array.shape, array.itemsize)
    every = len(plan.sizes)
    count = -(-every // _TRIED)
    wanted = {(2 * at + 1) * every // (2 * count) for at in range(count)}
    made = {}
    before = 0
    for piece in chunks.pieces(array.shape, plan.shape):
        if piece.number in wanted:
            content = _content(_part(whole, piece))
            before += len(content)
            made[piece.number] = _packed(content, piece, plan.shape, array.itemsize)
    after = sum(map(len, made.values()))
    saved = (1 - after / before) * array.nbytes
    return made if after <= _WORTH * before and saved > tree_bytes(every, len(array.shape)) else None


def _part(array: np.ndarray | Deferred, piece: chunks.Piece) -> np.ndarray:
    """What a chunk holds of an array; of one that is yet to be read, only those rows are read."""
    if not isinstance(array, Deferred) or array.rows is None:
        return array[piece.within]  # type: ignore[index]  # without rows it was read as a whole
    first, *others = piece.within
    return array.rows(first.start, first.stop)[(slice(None), *others)]


def packed(
    arrays: Mapping[str, np.ndarray | Deferred], made: Mapping[str, Mapping[int, bytes]]
) -> Iterator[tuple[str, PackedChunk]]:
    """Every chunk of the arrays, one array after another, in C order; threads work ahead by a few of them.

    Args:
        arrays: Name -> array.
        made: Name -> number of a chunk -> what it becomes, where that is known.
    """
    waiting: deque[_Waiting] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for name, array in arrays.items():
            plan = bound(array.shape, array.itemsize)
            known = made.get(name, {})
            for piece, content in _contents(array, plan):
                if piece.number in known:
                    future: Future[bytes] = Future()
                    future.set_result(known[piece.number])
                else:
                    future = pool.submit(_packed, content, piece, plan.shape, array.itemsize)
                waiting.append((name, piece, content, future))
                if len(waiting) > 2 * THREADS:
                    yield _next(waiting)
        while waiting:
            yield _next(waiting)


#: A chunk of an array, what it holds, and what it will become.
_Waiting = tuple[str, chunks.Piece, memoryview, Future[bytes]]


def _next(waiting: deque[_Waiting]) -> tuple[str, PackedChunk]:
    name, piece, content, future = waiting.popleft()
    return name, PackedChunk(piece.start, content, future.result())


def _contents(array: np.ndarray | Deferred, plan: Chunks) -> Iterator[tuple[chunks.Piece, memoryview]]:
    """Each chunk's bytes of the array, C order, little-endian; a chunk is one stretch of them."""
    cut = chunks.pieces(array.shape, plan.shape)
    if not isinstance(array, Deferred):
        yield from ((piece, _content(array[piece.within])) for piece in cut)
        return
    stream = pieces_of(array)
    rest = memoryview(b"")
    for piece in cut:
        content = bytearray(math.prod(part.stop - part.start for part in piece.within) * array.itemsize)
        filled = 0
        while filled < len(content):
            rest = rest or next(stream)
            count = min(len(rest), len(content) - filled)
            content[filled : filled + count] = rest[:count]
            rest, filled = rest[count:], filled + count
        yield piece, memoryview(content)
    # Asking once more is what has the stream tell that more came than was announced.
    deque(stream, maxlen=0)


def _content(part: np.ndarray) -> memoryview:
    """An array's bytes, C order, little-endian."""
    if part.flags.c_contiguous and part.dtype.isnative and np.little_endian:
        return part.reshape(-1).view(np.uint8).data
    return memoryview(b"".join(pieces(part)))


def _packed(content: memoryview, piece: chunks.Piece, shape: tuple[int, ...], itemsize: int) -> bytes:
    """A chunk as HDF5 stores it, padded with zeros at the array's edge."""
    elements = np.frombuffer(content, np.uint8).reshape(-1, itemsize)
    if len(elements) < math.prod(shape):
        lengths = [part.stop - part.start for part in piece.within]
        whole = np.zeros((*shape, itemsize), np.uint8)
        whole[tuple(map(slice, lengths))] = elements.reshape(*lengths, itemsize)
        elements = whole.reshape(-1, itemsize)
    return pack(elements)
