"""The arrays of a foreign file that lies elsewhere: read when they are asked for, those that are expected together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from modelarchive.remote import RemoteFile
from modelarchive.store.batches import BATCH, Batches
from modelarchive.store.deferred import Deferred


class _Place(NamedTuple):
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


class RemoteArrays:
    """A remote file, as :class:`modelarchive.exchange.mapped.MappedFile` is one on a disk.

    Args:
        file: The file.

    Attributes:
        path: The file.
        size: Its bytes.

    Raises:
        RemoteError: It cannot be read.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.path: Any = file
        self.size = file.size
        self._file = file
        self._places: dict[str, _Place] = {}
        self._batches = Batches(self._read_together)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to `nbytes` bytes from `offset`; what is read of the beginning is kept."""
        kept = bytes(self._file.head(offset + nbytes)) if offset <= len(self._file.head(1)) + 8 else b""
        return kept[offset:] if kept else self._file.read(offset, nbytes)

    def array(self, offset: int, dtype: np.dtype, shape: tuple[int, ...], order: str = "C") -> Deferred:
        """The array at `offset`, whose extent the caller has checked; in C order."""
        place = _Place(offset, dtype, shape)
        name = str(offset)
        if place.nbytes:
            self._places[name] = place
        return Deferred(
            shape,
            dtype,
            lambda: self._batches.take(name) if place.nbytes else np.empty(shape, dtype),
            pieces=lambda: self._pieces(name, place),
            rows=(lambda start, stop: self._rows(place, start, stop)) if shape else None,
            origin=(self, name),
        )

    def expect(self, wanted: Iterable[str]) -> None:
        """Say which arrays will be asked for: small ones come together then."""
        places = ((name, self._places[name]) for name in {*wanted} & self._places.keys())
        self._batches.expect({name: (place.offset, place.nbytes) for name, place in places})

    def _read_together(self, names: list[str]) -> list[np.ndarray]:
        return self._loaded([self._places[name] for name in names])

    def _loaded(self, places: list[_Place]) -> list[np.ndarray]:
        arrays = [np.empty(place.shape, place.dtype) for place in places]
        self._file.read_into(
            [(place.offset, array.reshape(-1).view(np.uint8).data) for place, array in zip(places, arrays, strict=True)]
        )
        return arrays

    def _pieces(self, name: str, place: _Place) -> Iterator[memoryview]:
        if not place.nbytes:
            return
        if place.nbytes <= BATCH:
            yield self._batches.take(name).reshape(-1).view(np.uint8).data
            return
        yield from self._file.pieces(place.offset, place.nbytes)

    def _rows(self, place: _Place, start: int, stop: int) -> np.ndarray:
        shape = (max(0, stop - start), *place.shape[1:])
        if not place.nbytes or not math.prod(shape):
            return np.empty(shape, place.dtype)
        row = place.nbytes // place.shape[0]
        return self._loaded([_Place(place.offset + start * row, place.dtype, shape)])[0]
