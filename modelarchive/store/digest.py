"""BLAKE3 digests, over buffers and over ranges of files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from blake3 import blake3

#: Bytes hashed and written at a time: small enough to stay in the cache between the two.
PIECE: Final = 1 << 20
#: Below so many bytes, starting threads takes longer than they save.
WORTH_THREADS: Final = 8 << 20
#: Hexadecimal digits of a digest.
HEX_LENGTH: Final = 64
#: Stands where a digest will.
NO_DIGEST: Final = "0" * HEX_LENGTH


def digest(data: bytes | bytearray | memoryview) -> str:
    """The BLAKE3 digest of a buffer, 64 hexadecimal digits."""
    return blake3(data).hexdigest()


def digest_pieces(pieces: Iterable[bytes | memoryview], *, threads: int = 1) -> str:
    """The BLAKE3 digest of the pieces' concatenation."""
    hasher = blake3(max_threads=threads)
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest()
