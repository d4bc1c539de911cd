"""A part of an open file, as the readable file that HDF5 wants."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Window:
    """Reads so many bytes of an open file from an offset; it says its name in errors.

    Args:
        descriptor: The open file.
        offset: Where the part begins.
        size: Its length in bytes.
        name: What errors call the file.
    """

    def __init__(self, descriptor: int, offset: int, size: int, name: str) -> None:
        self._descriptor, self._offset, self._size, self._name = descriptor, offset, size, name
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; what lies behind the end reads as zeros."""
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._position))
        done = 0
        while done < wanted:
            count = self._read(view[done:wanted], self._offset + self._position + done)
            if not count:
                break
            done += count
        view[done:] = bytes(len(view) - done)
        self._position += len(view)
        return len(view)

    @property
    def path(self) -> Path:
        """What errors call the file."""
        return Path(self._name)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self._size

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to so many bytes from `offset`; fewer at the end. The position stays."""
        data = bytearray(max(0, min(nbytes, self._size - offset)))
        return bytes(data[: self._read(memoryview(data), self._offset + offset)])

    def _read(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [view], offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)  # Windows
        data = os.read(self._descriptor, len(view))
        view[: len(data)] = data
        return len(data)

    def __str__(self) -> str:
        """The file's name."""
        return self._name
