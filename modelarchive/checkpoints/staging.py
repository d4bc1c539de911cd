"""Copies of a run's arrays, in buffers that are kept and used again: what is written while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from modelarchive.store.deferred import Deferred
from modelarchive.store.fill import THREADS

#: Bytes that one thread copies at a time, and below which one thread copies all.
_PART = 16 << 20


class Staging:
    """One copy of each array of a run, under its name; memory is asked for at the first save only."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}
        self._pool: ThreadPoolExecutor | None = None

    def copied(self, arrays: Mapping[str, np.ndarray | Deferred]) -> dict[str, np.ndarray]:
        """A copy of every array, good until the next call.

        Args:
            arrays: Name -> array, or one on a device, say, that is read first.
        """
        found = {}
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for name, array in arrays.items():
            buffer = self._buffer(name, array)
            found[name] = buffer
            if isinstance(array, Deferred):
                _copy(buffer, array.read())
            elif array.nbytes <= _PART or not array.flags.c_contiguous:
                pairs.append((buffer, array))
            else:
                pairs += zip(_parts(buffer), _parts(array), strict=True)
        self._buffers = dict(found)
        if sum(array.nbytes for _, array in pairs) < _PART:
            for buffer, array in pairs:
                _copy(buffer, array)
            return found
        self._pool = self._pool or ThreadPoolExecutor(THREADS)
        for _ in self._pool.map(_copy_all, _batches(pairs)):
            pass
        return found

    def _buffer(self, name: str, array: np.ndarray | Deferred) -> np.ndarray:
        known = self._buffers.get(name)
        if known is not None and known.shape == array.shape and known.dtype == array.dtype:
            return known
        return np.empty(array.shape, array.dtype)

    def close(self) -> None:
        """Let go of the memory."""
        self._buffers = {}
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _parts(array: np.ndarray) -> list[np.ndarray]:
    flat = array.reshape(-1).view(np.uint8)
    return [flat[start : start + _PART] for start in range(0, flat.size, _PART)]


def _batches(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Pairs together until they are worth a thread's turn."""
    batches: list[list[tuple[np.ndarray, np.ndarray]]] = [[]]
    size = 0
    for pair in pairs:
        if size >= _PART:
            batches.append([])
            size = 0
        batches[-1].append(pair)
        size += pair[1].nbytes
    return batches


def _copy_all(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for buffer, array in pairs:
        _copy(buffer, array)


def _copy(buffer: np.ndarray, array: np.ndarray) -> None:
    if array.flags.c_contiguous and array.dtype == buffer.dtype and array.ndim:
        # As bytes: NumPy copies them without holding the interpreter's lock, whatever the dtype.
        buffer.reshape(-1).view(np.uint8)[:] = array.reshape(-1).view(np.uint8)
    else:
        buffer[...] = array
