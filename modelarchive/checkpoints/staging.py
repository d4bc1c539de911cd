"""Copies of a run's arrays, in buffers that are kept and used again: what is written while training goes on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from modelarchive import tensors
from modelarchive.errors import CheckpointError, counted
from modelarchive.store.deferred import Deferred
from modelarchive.store.threads import THREADS

#: A copy, and the array that it is of.
_Pair = tuple[np.ndarray, np.ndarray]
#: Bytes that one thread copies at a time, and below which one thread copies all.
_PART = 16 << 20
#: Bytes that are compared at a time: they and what is found of them stay in the cache.
_COMPARED = 1 << 18


class Staging:
    """One copy of each array of a run, under its name; memory is asked for at the first save only.

    Attributes:
        digests: Name -> digest of its copy, as far as they are known: whoever finds one puts it there.
        changed: Names of those that :meth:`renewed` has found to be others than at its last call.
        settled: Where an array lies that is taken to stay as it is (:func:`modelarchive.tensors.place_of`) -> the
            array. As long as it is kept here, nothing else comes to lie there.
    """

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.changed: set[str] = set()
        self.settled: dict[Hashable, np.ndarray] = {}
        self._buffers: dict[str, np.ndarray] = {}
        #: Those that are taken to stay as they are.
        self._frozen: dict[str, np.ndarray | Deferred] = {}
        self._pool: ThreadPoolExecutor | None = None

    def copied(self, arrays: Mapping[str, np.ndarray | Deferred]) -> dict[str, np.ndarray]:
        """A copy of every array, good until the next call.

        Args:
            arrays: Name -> array, or one on a device, say, that is read first.
        """
        self.digests.clear()
        found = {name: self._buffer(name, array) for name, array in arrays.items()}
        pairs: list[_Pair] = []
        for name, array in arrays.items():
            if isinstance(array, Deferred):
                _copy(found[name], array.read())
            else:
                pairs += _in_parts(found[name], array)
        self._buffers = dict(found)
        self._each(_copy, pairs)
        return found

    def renewed(
        self, arrays: Mapping[str, np.ndarray | Deferred], is_frozen: Callable[[str], object] = lambda name: False
    ) -> dict[str, np.ndarray]:
        """The same, where most arrays are as they were: those are only compared, and keep their digest.

        Args:
            arrays: Name -> array.
            is_frozen: Whether an array is said never to change: it is compared once, and by :meth:`compare` then.

        Raises:
            CheckpointError: What is said never to change has changed.
        """
        # Whatever interrupts this: a digest that is there is that of the copy.
        digests, self.digests = self.digests, {}
        found: dict[str, np.ndarray] = {}
        new: list[_Pair] = []
        pairs: list[_Pair] = []
        owners: list[str] = []
        others: set[str] = set()
        for name, array in arrays.items():
            known = self._buffers.get(name)
            if known is not None and name in self._frozen and _is_at(array, self._frozen[name]):
                found[name] = known
                continue
            found[name] = self._buffer(name, array)
            read = array.read() if isinstance(array, Deferred) else array
            if found[name] is not known:
                if isinstance(array, Deferred):
                    _copy(found[name], read)
                else:
                    new += _in_parts(found[name], read)
                if known is not None:
                    others.add(name)
                continue
            several = _in_parts(found[name], read)
            pairs += several
            owners += [name] * len(several)
        self._buffers = dict(found)
        self._each(_copy, new)
        same = self._each(_copied_if_other, pairs)
        others |= {name for name, is_same in zip(owners, same, strict=True) if not is_same}
        self.digests = {name: digest for name, digest in digests.items() if name in found and name not in others}
        self.changed = others
        self._refuse([name for name in found if name in others and is_frozen(name)])
        compared = [name for name in dict.fromkeys(owners) if is_frozen(name)]
        if compared or self._frozen.keys() - found.keys():
            kept = {name: array for name, array in self._frozen.items() if name in found}
            self._settle(kept | {name: arrays[name] for name in compared})
        return found

    def compare(self) -> None:
        """Compare what was taken to stay as it is.

        Raises:
            CheckpointError: Something of it has changed.
        """
        frozen = self._frozen
        self._settle({})
        pairs, owners = [], []
        for name, array in frozen.items():
            read = array.read() if isinstance(array, Deferred) else array
            several = _in_parts(self._buffers[name], read)
            pairs += several
            owners += [name] * len(several)
        same = self._each(_copied_if_other, pairs)
        self._refuse(dict.fromkeys(name for name, is_same in zip(owners, same, strict=True) if not is_same))

    def _settle(self, frozen: dict[str, np.ndarray | Deferred]) -> None:
        """Take these arrays, and no others, to stay as they are."""
        self._frozen = frozen
        own = [array for array in frozen.values() if isinstance(array, np.ndarray) and array.nbytes]
        self.settled = {place: array for array in own if (place := tensors.place_of(array)) is not None}

    def _refuse(self, changed: Iterable[str]) -> None:
        if several := list(changed):
            self._settle({})
            raise CheckpointError(
                f"{counted(len(several), 'array')} changed that `frozen` says never change: {', '.join(several[:5])}",
                hint="leave them out of `frozen`; checkpoints of this run may have old values of them",
            )

    def _each(self, act: Callable[[np.ndarray, np.ndarray], Any], pairs: list[_Pair]) -> list[Any]:
        """Do it with each pair of a copy and an array, by several threads where it is worth them."""
        if sum(array.nbytes for _, array in pairs) < _PART:
            return [act(buffer, array) for buffer, array in pairs]
        self._pool = self._pool or ThreadPoolExecutor(THREADS)

        def run(batch: list[_Pair]) -> list[Any]:
            return [act(buffer, array) for buffer, array in batch]

        try:
            return [result for several in self._pool.map(run, _batches(pairs)) for result in several]
        except BaseException:
            # Nobody writes into the copies any more when the next save does.
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            raise

    def _buffer(self, name: str, array: np.ndarray | Deferred) -> np.ndarray:
        known = self._buffers.get(name)
        if known is not None and known.shape == array.shape and known.dtype == array.dtype:
            return known
        return np.empty(array.shape, array.dtype)

    def close(self) -> None:
        """Let go of the memory."""
        self._buffers, self.digests = {}, {}
        self._settle({})
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _is_at(array: np.ndarray | Deferred, before: np.ndarray | Deferred) -> bool:
    """Whether an array is one that was there before: on the same memory, of one shape and dtype."""
    if array is before:
        return True
    if isinstance(array, Deferred) or isinstance(before, Deferred):
        both = isinstance(array, Deferred) and isinstance(before, Deferred)
        return both and array.memory is not None and array.memory == before.memory  # type: ignore[union-attr]
    one, other = array.__array_interface__, before.__array_interface__
    return array.dtype == before.dtype and all(one[key] == other[key] for key in ("data", "shape", "strides"))


def _parts(array: np.ndarray) -> list[np.ndarray]:
    flat = array.reshape(-1).view(np.uint8)
    return [flat[start : start + _PART] for start in range(0, flat.size, _PART)]


def _in_parts(buffer: np.ndarray, array: np.ndarray) -> list[_Pair]:
    """Both as bytes, so many at a time; an array whose elements lie apart is one, as it is."""
    if not array.flags.c_contiguous:
        return [(buffer, array)]
    return list(zip(_parts(buffer), _parts(array), strict=True))


def _batches(pairs: list[_Pair]) -> list[list[_Pair]]:
    """Pairs together until they are worth a thread's turn."""
    batches: list[list[_Pair]] = [[]]
    size = 0
    for pair in pairs:
        if size >= _PART:
            batches.append([])
            size = 0
        batches[-1].append(pair)
        size += pair[1].nbytes
    return batches


def _copy(buffer: np.ndarray, array: np.ndarray) -> None:
    for one, other in _in_parts(buffer, array):
        one[...] = other  # as bytes NumPy copies them without holding the interpreter's lock, whatever the dtype


def _copied_if_other(buffer: np.ndarray, array: np.ndarray) -> bool:
    """Whether a copy has the array's bytes already; it has them now."""
    if not array.flags.c_contiguous:
        rows = max(1, _COMPARED * len(array) // array.nbytes)
        several = range(0, len(array), rows)
        found = [_is_copied(buffer[at : at + rows], array[at : at + rows].copy()) for at in several]
        return all(found)
    return _is_copied(buffer, array)


def _is_copied(buffer: np.ndarray, array: np.ndarray) -> bool:
    buffer, array = (each.reshape(-1).view(np.uint8) for each in (buffer, array))
    whole = buffer.size // 8 * 8
    is_same = np.array_equal(buffer[whole:], array[whole:])
    for start in range(0, whole, _COMPARED):
        stop = min(start + _COMPARED, whole)
        if not is_same or not np.array_equal(buffer[start:stop].view(np.uint64), array[start:stop].view(np.uint64)):
            buffer[start:] = array[start:]
            return False
    if not is_same:
        buffer[whole:] = array[whole:]
    return is_same
