"""The mark in a superblock that a program has the file open for writing; one that is killed leaves it there.

Source: the HDF5 File Format Specification, version 3.0, section II.A, file consistency flags.
"""

from __future__ import annotations

from typing import Final

from modelarchive.formats.content import Content, hdf5_start
from modelarchive.store.hdf5.checksum import checksums
from modelarchive.store.hdf5.headers import CHECKSUM

#: Where the version stands, the size of an address, and the flags; behind them base, extension, end and root.
_VERSION: Final = 8
_ADDRESS: Final = 9
_FLAGS: Final = 11
_ADDRESSES: Final = 4
#: The versions that have flags of this meaning.
_WITH_FLAGS: Final = (2, 3)
#: Open for writing; open for a single writer beside readers.
_WRITTEN: Final = 0b101


def is_left_open(content: Content) -> bool:
    """Whether a program has the file open for writing, or was ended while it had."""
    at = hdf5_start(content)
    head = b"" if at is None else content.read(at, _FLAGS + 1)
    return len(head) == _FLAGS + 1 and head[_VERSION] in _WITH_FLAGS and bool(head[_FLAGS] & _WRITTEN)


def closed(content: Content, at: int) -> bytes:
    """The superblock at a place that :func:`is_left_open`, as it is without the mark."""
    head = content.read(at, _FLAGS + 1)
    addresses = content.read(at + len(head), _ADDRESSES * head[_ADDRESS])
    plain = head[:_FLAGS] + bytes([head[_FLAGS] & ~_WRITTEN]) + addresses
    return plain + checksums([plain])[0].to_bytes(CHECKSUM, "little")
