"""An array whose dtype and shape are known and whose bytes are read when it is its turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np


class Origin(Protocol):
    """What arrays are read from, which may read several at once if it knows which will be wanted."""

    def expect(self, wanted: Iterable[str]) -> None:
        """Say which arrays will be asked for, one after another."""


class Place(NamedTuple):
    """Where a byte of a file is found by programs that read there themselves.

    Attributes:
        path: The file.
        offset: The byte.
        file: Which file that was when it was opened, by the system's numbers for device and file.
    """

    path: Path
    offset: int
    file: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Extent:
    """Where an array lies in a file as it is in memory: in C order, little-endian.

    Attributes:
        place: Where its first byte is.
        fill: Fills a buffer with its bytes from one on, from any thread.
        digest: The BLAKE3 digest of all of them; None: the file has none.
    """

    place: Place
    fill: Callable[[memoryview, int], None]
    digest: str | None = None


@dataclass(frozen=True, eq=False)
class Deferred:
    """An array to be read later; the writer takes it in place of an array and holds one large one at a time.

    Attributes:
        shape: Its shape.
        dtype: Its dtype.
        read: Gives the array in memory of its own.
        view: Gives it as a view of a mapped file, where that is possible; None: as `read` does.
        pieces: Gives its bytes one piece after another, in C order, little-endian, from any thread: the writer
            then holds none of it as a whole, and several are read at once. None: as `read` does.
        rows: Gives its rows from one to another in memory of their own. None: of the whole.
        extent: Where it lies in a file as it is; None: nowhere.
        origin: What it is read from, and its name there; None: nobody needs to know.
        memory: The same for two that are the same part of the same memory, on a device say; None: there is no telling.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    view: Callable[[], np.ndarray] | None = None
    pieces: Callable[[], Iterator[memoryview]] | None = None
    rows: Callable[[int, int], np.ndarray] | None = None
    extent: Extent | None = None
    origin: tuple[Origin, str] | None = None
    memory: Hashable = None

    @classmethod
    def of(cls, array: np.ndarray, extent: Extent | None = None) -> Deferred:
        """An array that is there already: itself, whoever asks; `extent` is where it lies in a file, open or not."""

        def fill(buffer: memoryview, at: int) -> None:
            buffer[:] = array.reshape(-1).view(np.uint8).data[at : at + len(buffer)]

        own = None if extent is None else replace(extent, fill=fill)
        return cls(array.shape, array.dtype, lambda: array, lambda: array, extent=own)

    def changed(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        shape: Iterable[int] | None = None,
        dtype: np.dtype | None = None,
    ) -> Deferred:
        """What a function makes of it, when it is asked for.

        Args:
            function: Takes the array, in memory of its own or as a view, and gives what is wanted.
            shape: The shape of that; None: the same.
            dtype: Its dtype; None: the same.
        """
        view = self.view
        return Deferred(
            self.shape if shape is None else tuple(shape),
            self.dtype if dtype is None else dtype,
            lambda: function(self.read()),
            None if view is None else lambda: function(view()),
            origin=self.origin,
        )

    def flat(self) -> Iterator[np.ndarray]:
        """Its values in order, as flat arrays that are valid until the next one is asked for.

        Of an array that lies in the file as it is, or compressed, no more than one of them is in memory.
        """
        if self.pieces is not None and self.dtype.byteorder != ">":
            yield from _whole_elements(self.pieces(), self.dtype)
        else:
            yield (self.read() if self.view is None else self.view()).reshape(-1)

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.dtype.itemsize * self.size


def expect(arrays: Iterable[object]) -> None:
    """Say which arrays will be read, one after another, to whatever they come from.

    Args:
        arrays: The arrays; those that are there already may be among them.
    """
    wanted: dict[int, tuple[Origin, list[str]]] = {}
    for array in arrays:
        if isinstance(array, Deferred) and array.origin is not None:
            origin, name = array.origin
            wanted.setdefault(id(origin), (origin, []))[1].append(name)
    for origin, names in wanted.values():
        origin.expect(names)


def _whole_elements(pieces: Iterator[memoryview], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Bytes as numbers, where a piece may end within one."""
    rest = b""
    for piece in pieces:
        if rest or len(piece) % dtype.itemsize:
            joined = rest + bytes(piece)
            whole = len(joined) - len(joined) % dtype.itemsize
            yield np.frombuffer(joined[:whole], dtype)
            rest = joined[whole:]
        else:
            yield np.frombuffer(piece, dtype)
