"""The members of a zip file from a stranger: where they are, and what is in them; nothing is extracted to disk."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange.mapped import FilePart, MappedFile
from modelarchive.formats.refusing import refusal

#: Bytes moved at a time.
_PIECE: Final = 1 << 20
#: The flag of members whose names are UTF-8.
_UTF8: Final = 0x800
#: The mark of a folder in a member's attributes, as DOS has it.
_FOLDER: Final = 0x10
#: A member's own header, and the bytes of it before the name.
_SIGNATURE: Final = b"PK\x03\x04"
_HEADER: Final = 30
#: The record at the end of a zip file, without a remark.
_END: Final = 22
#: Before it, in files with large numbers: a record with these, and where that begins.
_LARGE_END: Final = 56
_LOCATOR: Final = 20
#: The longest descriptor behind a member, where its own header does not say how long it is.
_DESCRIPTOR: Final = 24
_AGAIN: Final = "zip the same members into a new file, which any tool for zip files does"


class Member(NamedTuple):
    """A member of a zip file.

    Attributes:
        name: As the file says; it is never used as a path.
        offset: Where its bytes begin.
        stored: Its bytes in the file.
        size: Its bytes when inflated.
        is_compressed: Whether it is deflated; it is stored as it is otherwise.
        checksum: CRC-32 of its content.
    """

    name: str
    offset: int
    stored: int
    size: int
    is_compressed: bool
    checksum: int


def members(file: MappedFile | FilePart, *, most: Callable[[int], int]) -> list[Member]:
    """The members of a zip file, in its order.

    Args:
        file: The file.
        most: Bytes that a deflated member of so many stored bytes may claim to become.

    Raises:
        FormatError: It is no zip file, a damaged one, or holds a name twice.
        UnsafeFileError: Members overlap, or claim more than they may.
    """
    try:
        with file.stream() as stream, zipfile.ZipFile(stream) as archive:
            infos, behind = archive.infolist(), archive.start_dir
            is_remarked = bool(archive.comment) or any(info.comment for info in infos)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError, OverflowError) as error:
        raise refusal(file, f"is no zip file that can be read: {error}") from error
    if min((info.header_offset for info in infos), default=0):
        # Its list is of the last of several; what stands before it would be lost in silence.
        raise refusal(file, "has bytes before its first member that nothing in it tells of")
    if sum(info.compress_size for info in infos) > file.size:
        raise UnsafeFileError("its members overlap: they claim more bytes than the file has", rule="declared bytes")
    last = file.read(max(file.size - _END, 0), _END)
    if is_remarked or not last.startswith(b"PK\5\6") or last[-2:] != b"\0\0":
        raise FormatError("has a remark, or bytes behind its end, which nobody reads", hint=_AGAIN)
    if (said := _said_count(file)) != len(infos):
        # Some readers list as many as it says, others all that there are.
        raise FormatError(f"lists {len(infos):,} members, and says that they are {said:,}", hint=_AGAIN)
    found: dict[str, Member] = {}
    for info in infos:
        if info.filename in found:
            raise FormatError(f"holds {info.filename[:80]!r} twice")
        found[info.filename] = _member(file, info, most)
    _expect_no_gaps(infos, found, behind)
    return list(found.values())


def _said_count(file: MappedFile | FilePart) -> int:
    """How many members a zip file says that it has.

    Raises:
        FormatError: It says so in two places, which readers choose from.
    """
    large = file.size - _END - _LOCATOR - _LARGE_END
    last = file.read(max(large, 0), file.size)
    if large < 0 or last[_LARGE_END:][:4] != b"PK\6\7":
        return int.from_bytes(last[-_END:][10:12], "little")
    if not last.startswith(b"PK\6\6") or int.from_bytes(last[_LARGE_END:][8:16], "little") != large:
        raise FormatError("has the record of its large numbers elsewhere than at its end", hint=_AGAIN)
    return int.from_bytes(last[32:40], "little")


def _expect_no_gaps(infos: list[zipfile.ZipInfo], found: Mapping[str, Member], behind: int) -> None:
    """Whether the members follow each other, and the list of them, to the byte.

    Raises:
        UnsafeFileError: Two overlap.
        FormatError: There are bytes between them that belong to none.
    """
    position, room = 0, 0
    for begin, member, own in sorted(
        [(info.header_offset, found[info.filename], _DESCRIPTOR if info.flag_bits & 8 else 0) for info in infos]
        + [(behind, None, 0)],
        key=lambda each: each[0],
    ):
        if begin < position:
            raise UnsafeFileError("its members overlap: two of them claim the same bytes", rule="declared bytes")
        if begin > position + room:
            raise FormatError(f"has {begin - position:,} bytes at {position:,} that belong to no member", hint=_AGAIN)
        if member is not None:
            position, room = member.offset + member.stored, own


def _member(file: MappedFile | FilePart, info: zipfile.ZipInfo, most: Callable[[int], int]) -> Member:
    where = info.filename[:80]
    if "\0" in info.orig_filename:
        raise FormatError(f"{info.orig_filename[:80]!r} has a zero in its name, where some readers end it", hint=_AGAIN)
    if info.external_attr & _FOLDER and info.file_size:
        raise FormatError(f"{where!r} is marked as a folder and has bytes, which some readers pass over", hint=_AGAIN)
    if info.flag_bits & 1:
        raise FormatError(f"{where!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeFileError(f"{where!r} is compressed by method {info.compress_type}", rule="declared bytes")
    is_compressed = info.compress_type == zipfile.ZIP_DEFLATED
    if is_compressed and info.file_size > most(info.compress_size):
        raise UnsafeFileError(
            f"{where!r} claims {info.file_size:,} bytes out of {info.compress_size:,}", rule="declared bytes"
        )
    local = file.read(info.header_offset, _HEADER)
    if len(local) < _HEADER or not local.startswith(_SIGNATURE):
        raise FormatError(f"{where!r} is not where the zip file says")
    name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
    own = file.read(info.header_offset + _HEADER, name_bytes)
    if own != info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437"):
        raise FormatError(f"{where!r} calls itself {own.decode(errors='replace')[:80]!r} where it begins")
    start = info.header_offset + _HEADER + name_bytes + extra_bytes
    if start + info.compress_size > file.size:
        raise FormatError(f"{where!r} ends beyond the file")
    if not is_compressed and info.compress_size != info.file_size:
        raise FormatError(f"{where!r} is stored in {info.compress_size} bytes and claims {info.file_size}")
    return Member(info.filename, start, info.compress_size, info.file_size, is_compressed, info.CRC)


def content(file: MappedFile | FilePart, member: Member) -> bytes:
    """The bytes of a member; never more than it claims.

    Raises:
        FormatError: It is damaged.
    """
    if member.is_compressed:
        data = bytearray(member.size)
        inflate(file, member, data, is_whole=True)
        return bytes(data)
    stored = file.read(member.offset, member.size)
    if len(stored) != member.size or zlib.crc32(stored) != member.checksum:
        raise _damaged(file, member, "its checksum or size differs")
    return stored


def inflate(file: MappedFile | FilePart, member: Member, out: bytearray | memoryview, *, is_whole: bool) -> None:
    """Inflate a deflated member into a buffer, as much as fits.

    Args:
        file: The file.
        member: The member.
        out: The buffer, not longer than the member's size.
        is_whole: It is the whole member: its checksum is compared.

    Raises:
        FormatError: It is damaged.
    """
    machine = zlib.decompressobj(-15)
    done = checksum = 0
    try:
        for offset in range(0, member.stored, _PIECE):
            piece = file.read(member.offset + offset, min(_PIECE, member.stored - offset))
            # What is inflated already is handed out after the last of its input was taken, too.
            while done < len(out) and (part := machine.decompress(piece, min(_PIECE, len(out) - done))):
                out[done : done + len(part)] = part
                done += len(part)
                checksum = zlib.crc32(part, checksum)
                piece = machine.unconsumed_tail
            if done == len(out):
                break
    except zlib.error as error:
        raise _damaged(file, member, str(error)) from error
    if done < len(out) or (is_whole and checksum != member.checksum):
        raise _damaged(file, member, "its checksum or size differs")


def _damaged(file: MappedFile | FilePart, member: Member, reason: str) -> FormatError:
    return FormatError(f"{member.name[:80]!r} is damaged: {reason}", file=file.path)
