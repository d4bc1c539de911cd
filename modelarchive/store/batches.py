"""Arrays of a file that lies elsewhere, read together before the second of them is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar

from modelarchive.remote.ranges import PART

#: Bytes of arrays that are read together; a larger one is read on its own.
BATCH: Final = 4 * PART

Value = TypeVar("Value")


class Batches(Generic[Value]):
    """What is expected to be asked for, in batches of neighbours; each is kept until it is taken.

    Args:
        read: Reads what has these names, all at once.
    """

    def __init__(self, read: Callable[[list[str]], Iterable[Value]]) -> None:
        self._read = read
        self._batches: dict[str, list[str]] = {}
        self._ready: dict[str, Value] = {}
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        """Whether it is expected, or there already."""
        return name in self._batches or name in self._ready

    def expect(self, places: Mapping[str, tuple[int, int]]) -> None:
        """Say what will be asked for.

        Args:
            places: Name -> offset and bytes.
        """
        batch: list[str] = []
        room = 0
        for name, (_, nbytes) in sorted(places.items(), key=lambda item: item[1]):
            if nbytes > BATCH:
                continue
            if nbytes > room:
                batch, room = [], BATCH
            room -= nbytes
            batch.append(name)
            self._batches[name] = batch

    def take(self, name: str) -> Value:
        """What has this name, from any thread: the first of a batch that is asked for brings the others."""
        with self._lock:
            if name not in self._ready:
                batch = self._batches.get(name, [name])
                coming = [each for each in batch if each == name or self._batches.get(each) is batch]
                found = list(self._read(coming))
                for each, value in zip(coming, found, strict=True):
                    self._batches.pop(each, None)
                    self._ready[each] = value
            return self._ready.pop(name)
