"""How the two sides of the process boundary talk: parts of known length over a socket."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from modelarchive.errors import FormatError, UnsafeFileError, UnsupportedVersionError

if TYPE_CHECKING:
    import socket

#: What a job starts with: how many seconds it may last by the clock.
START: Final = struct.Struct("<d")
#: What stands before a part: its length in bytes.
LENGTH: Final = struct.Struct("<Q")
#: The most that one system call moves.
PIECE: Final = 1 << 20
#: Errors that cross as themselves.
ERRORS: Final[dict[str, Any]] = {
    kind.__name__: kind for kind in (FormatError, UnsafeFileError, UnsupportedVersionError)
}


def framed(data: bytes) -> bytes:
    """A part with its length before it."""
    return LENGTH.pack(len(data)) + data


def receive(connection: socket.socket, nbytes: int) -> bytearray:
    """So many bytes from a socket.

    Raises:
        EOFError: It ends before.
    """
    data = bytearray(nbytes)
    receive_into(connection, memoryview(data))
    return data


def receive_into(connection: socket.socket, view: memoryview) -> None:
    """Fill a buffer from a socket.

    Raises:
        EOFError: It ends before.
    """
    while view:
        count = connection.recv_into(view, min(len(view), PIECE))
        if not count:
            raise EOFError("the other end is closed")
        view = view[count:]
