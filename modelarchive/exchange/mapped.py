"""A foreign file, mapped where it can be: its arrays as views, or read into memory one at a time."""

from __future__ import annotations

import errno
import io
import math
import mmap
import os
import stat
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from modelarchive.errors import FormatError, OutOfMemoryError
from modelarchive.store.deferred import Deferred, Extent, Place


def little_endian(dtype: np.dtype) -> np.dtype:
    """The dtype as a little-endian file has it; on a little-endian machine the very same."""
    return dtype.newbyteorder("<") if sys.byteorder == "big" and dtype.kind in "iufc" else dtype


class MappedFile:
    """An open file that closes itself when nothing refers to it any more.

    Args:
        path: The file.

    Attributes:
        path: The file.
        size: Its bytes.

    Raises:
        OSError: It cannot be opened.
        FormatError: It is a pipe or a device.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.fsdecode(path))
        mode = self.path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise FormatError("is no regular file", file=self.path)
        with self.path.open("rb", buffering=0) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        status = os.fstat(self._descriptor)
        self.size = status.st_size
        self._identity = (status.st_dev, status.st_ino)
        self._map = self._mapped() if self.size else None

    def _mapped(self) -> mmap.mmap | bytearray:
        """The whole file; in memory where its file system maps nothing, or the process has no room for a map."""
        try:
            return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY)
        except OSError:
            try:
                whole = bytearray(self.size)
            except MemoryError as error:
                what = f"cannot be mapped here, and the system gives no {self.size:,} bytes of memory to read it into"
                raise OutOfMemoryError(what, file=self.path) from error
            self._fill(memoryview(whole), 0)
            return whole

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to `nbytes` bytes from `offset`; fewer at the end of the file."""
        if self._map is None or offset >= self.size:
            return b""
        return bytes(self._map[offset : offset + nbytes])

    def buffer(self) -> memoryview:
        """The whole file as bytes; pages are read when they are looked at."""
        return memoryview(b"" if self._map is None else self._map)

    def open(self) -> int:
        """A descriptor of the same file, for the caller to close; its position is the file's own."""
        return os.dup(self._descriptor)

    def stream(self) -> io.BufferedIOBase | io.RawIOBase:
        """The same file, to be read from anywhere, for the caller to close."""
        return os.fdopen(self.open(), "rb")

    def part(self, offset: int, size: int) -> FilePart:
        """A part of the file as a file of its own; the caller has checked that it is inside."""
        return FilePart(self, offset, size)

    def array(self, offset: int, dtype: np.dtype, shape: tuple[int, ...], order: str = "C") -> Deferred:
        """The array at `offset`, whose extent the caller has checked: a view of the map, or read on its own."""
        return Deferred(
            shape,
            dtype,
            lambda: self._loaded(offset, dtype, shape, order),
            lambda: self._view(offset, dtype, shape, order),
            extent=self._extent(offset, dtype, order),
        )

    def _extent(self, offset: int, dtype: np.dtype, order: str) -> Extent | None:
        if order != "C" or dtype.byteorder == ">" or not hasattr(os, "preadv"):
            return None
        place = Place(self.path, offset, self._identity)
        return Extent(place, lambda buffer, at: self._fill(buffer, offset + at))

    def _view(self, offset: int, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        if self._map is None or not math.prod(shape):
            return np.empty(shape, dtype)
        view: np.ndarray = np.ndarray(shape, dtype, self._map, offset, order=order)  # type: ignore[arg-type]
        return view

    def _loaded(self, offset: int, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        """Read and not mapped: pages of a map stay in the process's memory for as long as the system likes."""
        array: np.ndarray = np.empty(shape, dtype, order=order)  # type: ignore[call-overload]
        if not hasattr(os, "preadv"):  # Windows
            array[...] = self._view(offset, dtype, shape, order)
            return array
        self._fill((array.T if order == "F" else array).reshape(-1).view(np.uint8).data, offset)
        return array

    def _fill(self, buffer: memoryview, offset: int) -> None:
        done = 0
        while done < len(buffer):
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if not count:
                raise OSError(f"{self.path} became shorter while it was read")
            done += count


class FilePart:
    """A file that lies in another one as it is, such as a member of a zip file.

    Attributes:
        path: The file that it is in.
        size: Its bytes.
    """

    def __init__(self, whole: MappedFile, offset: int, size: int) -> None:
        self._whole = whole
        self._offset = offset
        self.path = whole.path
        self.size = size

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to `nbytes` bytes from `offset`; fewer at its end."""
        return self._whole.read(self._offset + offset, max(0, min(nbytes, self.size - offset)))

    def stream(self) -> io.RawIOBase:
        """The same, to be read from anywhere, for the caller to close."""
        return _Stream(self)


class _Stream(io.RawIOBase):
    """A part of a file as zipfile reads it."""

    def __init__(self, part: FilePart) -> None:
        self._part = part
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._part.size}[whence]
        if start + offset < 0:
            # As a file on disk does: zipfile looks further back than a short one has bytes.
            raise OSError(errno.EINVAL, "a position before the beginning", str(self._part.path))
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        found = self._part.read(self._position, len(buffer))
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)
