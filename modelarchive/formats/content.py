"""A file's bytes, for those who tell what it is: any object with a path, a size and `read`."""

from __future__ import annotations

import io
import os
import re
import struct
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from modelarchive.remote import RemoteFile

#: The header of a safetensors file, and so the index of an archive, is not longer.
MAX_HEADER_BYTES: Final = 100_000_000
#: HDF5 looks for its superblock at 0, here, and at twice the place before.
MIN_USER_BLOCK: Final = 512
#: The number that torch.save wrote first before its files were zip files, as a pickle of any protocol.
_TORCH: Final = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.|L119547037146038801333356L\n\.", re.DOTALL
)
HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"


class Content(Protocol):
    """An open file."""

    @property
    def path(self) -> Path:
        """What errors call it."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to so many bytes from `offset`; fewer at the end."""


class OnDisk:
    """A file that is open while it is looked at, in a ``with`` statement.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.fsdecode(path))
        self._file = self.path.open("rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self._file.close()

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to so many bytes from `offset`; fewer at the end."""
        self._file.seek(offset)
        return self._file.read(nbytes) or b""


class Beginning:
    """What came of a remote file with the first request; nothing more is asked for.

    Args:
        file: The file.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.path: Any = file
        self.size = file.size
        self._file = file

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to so many bytes from `offset`; fewer at the end of what is there."""
        return self._file.kept(offset, nbytes)


def opened(path: Any) -> OnDisk | Beginning:
    """A file that is open while it is looked at, in a ``with`` statement; of a remote one, its beginning."""
    return Beginning(path) if isinstance(path, RemoteFile) else OnDisk(path)


class Stream(io.RawIOBase):
    """The same as a stream, for readers that take one.

    Args:
        content: The file.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._content.size}[whence]
        if start + offset < 0:
            raise OSError(f"there is no byte {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        view = memoryview(buffer).cast("B")
        found = self._content.read(self._at, len(view))
        view[: len(found)] = found
        self._at += len(found)
        return len(found)


class Look:
    """A first look at a file: its beginning, read once.

    Args:
        content: The file.
    """

    def __init__(self, content: Content) -> None:
        self.content = content

    @cached_property
    def head(self) -> bytes:
        """Bytes that tell what a file is, but for those that say how much more of them there is."""
        return self.content.read(0, 4096)


def is_torch_stream(head: bytes) -> bool:
    """Whether a file begins as those of PyTorch before 1.6 do."""
    return _TORCH.match(head) is not None


def hdf5_start(content: Content) -> int | None:
    """Where HDF5 finds a superblock; None: nowhere."""
    at = 0
    while at < content.size:
        if content.read(at, len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
            return at
        at = at * 2 or MIN_USER_BLOCK
    return None


def hdf5_end(content: Content) -> int | None:
    """Where an HDF5 file says that it ends; None: it is none, or its superblock is of an unknown form."""
    start = hdf5_start(content)
    if start is None:
        return None
    block = content.read(start, 64)
    # Version 0 and 1 have four numbers of B-trees and flags before the addresses; sizes of addresses may differ.
    version, old = block[8:9], block[8:9] in (b"\0", b"\1")
    if version not in (b"\0", b"\1", b"\2", b"\3") or len(block) < 64:
        return None
    width = block[13] if old else block[9]
    if width not in (4, 8):
        return None
    at = {b"\0": 24, b"\1": 28}.get(version, 12)
    base, _, end = (int.from_bytes(block[at + width * n : at + width * (n + 1)], "little") for n in range(3))
    # The end is where it was in the file that was written, whose base may lie elsewhere now.
    return end + start - base


def zip_members(content: Content) -> dict[str, int] | None:
    """The names of a zip file's members, and where each begins; None: it cannot be read."""
    import zipfile  # not needed to open an archive, and slow to import

    try:
        with zipfile.ZipFile(io.BufferedReader(Stream(content))) as opened:
            return {info.filename: info.header_offset for info in opened.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError, OSError, struct.error):
        return None
