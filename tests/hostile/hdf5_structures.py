"""Where an HDF5 file keeps its structures, and their checksums made to fit again after a change."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from modelarchive.store.hdf5.checksum import checksums

#: Structures that end in a checksum of themselves.
SIGNATURES: Final = (b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF", b"BTIN", b"SMTB", b"SMLI")
SUPERBLOCK: Final = b"\x89HDF\r\n\x1a\n"
#: No structure of a small file is longer.
LONGEST: Final = 4096
#: Ends that are tried at once.
_AT_ONCE: Final = 256
_MASK: Final = 0xFFFFFFFF


class Structure(NamedTuple):
    """Bytes that a checksum follows.

    Attributes:
        kind: The signature, as text.
        begin: Its first byte in the file.
        end: Where the checksum of four bytes stands.
        messages: (begin, end) of the messages' bodies, in an object header.
    """

    kind: str
    begin: int
    end: int
    messages: tuple[tuple[int, int], ...]


def checksum(data: bytes) -> int:
    """Jenkins' lookup3 with a start of zero, as HDF5 uses it (H5checksum.c)."""
    length = len(data)
    a = b = c = (0xDEADBEEF + length) & _MASK
    at = 0
    while length - at > 12:
        x, y, z = struct.unpack_from("<III", data, at)
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        a = ((a - c) & _MASK) ^ _turned(c, 4)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _turned(a, 6)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _turned(b, 8)
        b = (b + a) & _MASK
        a = ((a - c) & _MASK) ^ _turned(c, 16)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _turned(a, 19)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _turned(b, 4)
        b = (b + a) & _MASK
        at += 12
    if at == length:
        return c
    x, y, z = struct.unpack("<III", data[at:].ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    c = ((c ^ b) - _turned(b, 14)) & _MASK
    a = ((a ^ c) - _turned(c, 11)) & _MASK
    b = ((b ^ a) - _turned(a, 25)) & _MASK
    c = ((c ^ b) - _turned(b, 16)) & _MASK
    a = ((a ^ c) - _turned(c, 4)) & _MASK
    b = ((b ^ a) - _turned(a, 14)) & _MASK
    return ((c ^ b) - _turned(b, 24)) & _MASK


def _turned(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _MASK


def structures(data: bytes) -> list[Structure]:
    """Every structure of a file that has a checksum which is right."""
    found = []
    at = data.find(SUPERBLOCK)
    if at >= 0 and data[at + 8] in (2, 3) and _fits(data, at, at + 44):
        found.append(Structure("superblock", at, at + 44, ()))
    for signature in SIGNATURES:
        at = data.find(signature)
        while at >= 0:
            end = _end(data, at)
            if end is not None:
                messages = _messages(data, at, end) if signature == b"OHDR" else ()
                found.append(Structure(signature.decode(), at, end, tuple(messages)))
            at = data.find(signature, at + 1)
    return found


def mended(data: bytearray, structure: Structure) -> None:
    """Make a structure's checksum that of its bytes."""
    struct.pack_into("<I", data, structure.end, checksum(bytes(data[structure.begin : structure.end])))


def _fits(data: bytes, begin: int, end: int) -> bool:
    return end + 4 <= len(data) and checksum(data[begin:end]) == int.from_bytes(data[end : end + 4], "little")


def _end(data: bytes, begin: int) -> int | None:
    """The first place where the checksum of all before stands."""
    if data[begin : begin + 4] == b"OHDR":
        flags = data[begin + 5]
        at = begin + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        end = at + width + int.from_bytes(data[at : at + width], "little")
        return end if _fits(data, begin, end) else None
    last = min(begin + LONGEST, len(data) - 4)
    for first in range(begin + 6, last, _AT_ONCE):
        ends = range(first, min(first + _AT_ONCE, last))
        # The package's own function, as it is many times as fast, leaves few to be looked at.
        likely = zip(ends, checksums([data[begin:end] for end in ends]), strict=True)
        for end, found in likely:
            if found == int.from_bytes(data[end : end + 4], "little") and _fits(data, begin, end):
                return end
    return None


def _messages(data: bytes, begin: int, end: int) -> list[tuple[int, int]]:
    flags = data[begin + 5]
    at = begin + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0) + (1 << (flags & 3))
    head = 6 if flags & 4 else 4
    found = []
    while at + head <= end:
        size = int.from_bytes(data[at + 1 : at + 3], "little")
        found.append((at, min(at + head + size, end)))
        at += head + size
    return found
