"""Zip files of which two readers could make two things: each is refused, and says what is wrong with it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import modelarchive as ma
from modelarchive.exchange.mapped import FilePart, MappedFile
from modelarchive.exchange.zipped import content, inflate, members


class Given(NamedTuple):
    """A member as a zip file is made of it; what is None is as it should be.

    Attributes:
        name: In the list of members.
        data: Its content.
        before: Bytes between it and the member before.
        after: Bytes behind it.
        own_name: In its own header.
        offset: Where the list says that it is.
        size: Its bytes when inflated, as the list says.
        stored: Its bytes in the file, likewise.
        checksum: Likewise.
    """

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    attributes: int = 0
    before: bytes = b""
    after: bytes = b""
    own_name: bytes | None = None
    offset: int | None = None
    size: int | None = None
    stored: int | None = None
    checksum: int | None = None
    remark: bytes = b""
    signature: bytes = b"PK\3\4"
    packed: bytes | None = None


def deflated(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


def zipped(
    *given: Given, count: int | None = None, remark: bytes = b"", large: Callable[[int], int] | None = None
) -> bytes:
    """A zip file, byte by byte.

    Args:
        *given: Its members.
        count: How many it says that they are.
        remark: The remark behind its end.
        large: With the records of large numbers, which say that they are where this says of where they are.
    """
    body, listed = b"", b""
    for each in given:
        body += each.before
        packed = each.packed if each.packed is not None else deflated(each.data) if each.method == 8 else each.data
        checksum = zlib.crc32(each.data) if each.checksum is None else each.checksum
        stored = len(packed) if each.stored is None else each.stored
        size = len(each.data) if each.size is None else each.size
        own = each.name if each.own_name is None else each.own_name
        offset = len(body) if each.offset is None else each.offset
        common = struct.pack("<HHHHHLLL", 20, each.flags, each.method, 0, 33, checksum, stored, size)
        body += each.signature + common + struct.pack("<HH", len(own), 0) + own + packed + each.after
        tail = struct.pack("<HHHHHLL", len(each.name), 0, len(each.remark), 0, 0, each.attributes, offset)
        listed += b"PK\1\2" + struct.pack("<H", 20) + common + tail + each.name + each.remark
    number = len(given) if count is None else count
    records = b""
    if large is not None:
        at = len(body) + len(listed)
        numbers = (44, 45, 45, 0, 0, number, number, len(listed), len(body))
        records = b"PK\6\6" + struct.pack("<QHHLLQQQQ", *numbers) + b"PK\6\7" + struct.pack("<LQL", 0, large(at), 1)
        number = 0xFFFF
    end = struct.pack("<HHHHLLH", 0, 0, number, number, len(listed), len(body), len(remark))
    return body + listed + records + b"PK\5\6" + end + remark


A, B = Given(b"a", b"first " * 9), Given(b"b", b"second " * 9, method=8)
#: A member whole inside of another one.
INSIDE = zipped(Given(b"c", b"inner"))[: 30 + 1 + 5]

GOOD: dict[str, bytes] = {
    "two members": zipped(A, B),
    "large numbers": zipped(A, B, large=lambda at: at),
    "none": zipped(),
    "a descriptor behind a member": zipped(A._replace(flags=8, after=b"PK\7\x08" + bytes(12)), B),
    "a folder": zipped(Given(b"f/", b"", attributes=16), A),
    "a name in UTF-8": zipped(Given("ä".encode(), b"x", flags=0x800)),
}
BAD: dict[str, tuple[bytes, type[ma.ModelArchiveError], str]] = {
    "cut short": (zipped(A, B)[:-30], ma.FormatError, "is a zip file that is cut short, or damaged"),
    "a broken list": (zipped(A).replace(b"PK\1\2", b"PK\1\3"), ma.FormatError, "cut short, or damaged"),
    "a list that begins before the file": (
        zipped(A)[:-10] + struct.pack("<LLH", 10**6, 0, 0),
        *(ma.FormatError, "cut short, or damaged"),
    ),
    "a large list that begins before the file": (
        zipped(A, large=lambda at: at).replace(struct.pack("<QQ", 1, 47), struct.pack("<QQ", 1, 10**6)),
        *(ma.FormatError, "cut short, or damaged"),
    ),
    "bytes before it": (b"before" + zipped(A, B), ma.FormatError, "bytes before its first member"),
    "more bytes than the file has": (
        zipped(A._replace(stored=60, size=60), Given(b"b", b"", stored=200, size=200)),
        *(ma.UnsafeFileError, "claim more bytes than the file has"),
    ),
    "a remark of the file": (zipped(A, remark=b"hello"), ma.FormatError, "has a remark"),
    "a remark of a member": (zipped(A._replace(remark=b"hello")), ma.FormatError, "has a remark"),
    "bytes behind its end": (zipped(A) + b"x", ma.FormatError, "or bytes behind its end"),
    "a remark that is cut": (zipped(A)[:-2] + b"\5\0", ma.FormatError, "or bytes behind its end"),
    "another number of members": (zipped(A, B, count=1), ma.FormatError, "lists 2 members, and says that they are 1"),
    "another large number": (
        *(zipped(A, B, count=3, large=lambda at: at), ma.FormatError, "lists 2 members, and says that they are 3"),
    ),
    "large numbers elsewhere": (
        *(zipped(A, B, large=lambda at: 0), ma.FormatError, "the record of its large numbers elsewhere"),
    ),
    "a name twice": (zipped(A, A._replace(data=b"other")), ma.FormatError, "holds 'a' twice"),
    "a member in another": (
        zipped(A._replace(data=INSIDE), Given(b"c", b"inner", offset=31)),
        *(ma.UnsafeFileError, "two of them claim the same bytes"),
    ),
    "bytes between members": (
        zipped(A, B._replace(before=b"hidden")),
        ma.FormatError,
        "6 bytes at 85 that belong to no",
    ),
    "bytes before the list": (zipped(A._replace(after=b"hidden")), ma.FormatError, "6 bytes at 85 that belong to no"),
    "a zero in a name": (zipped(Given(b"a\0b", b"x")), ma.FormatError, "has a zero in its name"),
    "a folder with bytes": (zipped(A._replace(attributes=16)), ma.FormatError, "marked as a folder and has bytes"),
    "an encrypted member": (zipped(A._replace(flags=1)), ma.FormatError, "is encrypted"),
    "another compression": (zipped(A._replace(method=12)), ma.UnsafeFileError, "is compressed by method 12"),
    "a bomb": (zipped(B._replace(size=10**9)), ma.UnsafeFileError, "claims 1,000,000,000 bytes out of"),
    "no header": (zipped(A._replace(signature=b"PK\3\5")), ma.FormatError, "is not where the zip file says"),
    "a header outside": (zipped(A, B._replace(offset=10**6)), ma.FormatError, "is not where the zip file says"),
    "two names": (zipped(A._replace(own_name=b"z")), ma.FormatError, "'a' calls itself 'z' where it begins"),
    "an end outside": (zipped(A._replace(stored=150, size=150)), ma.FormatError, "ends beyond the file"),
    "two sizes": (zipped(A._replace(size=53)), ma.FormatError, "is stored in 54 bytes and claims 53"),
}
DAMAGED = {
    "a stored member": zipped(A._replace(checksum=1)),
    "a deflated member": zipped(B._replace(checksum=1)),
    "no deflate": zipped(B._replace(packed=b"\xff" * 30)),
    "less than it claims": zipped(B._replace(size=64)),
    "more than it claims": zipped(B._replace(size=62)),
}


def opened(data: bytes, folder: Path, *, is_part: bool) -> MappedFile | FilePart:
    """The bytes as a file, or as a part of one with others before and behind."""
    path = folder / "x.zip"
    path.write_bytes(b"before" + data + b"behind" if is_part else data)
    whole = MappedFile(path)
    return whole.part(6, len(data)) if is_part else whole


def most(stored: int) -> int:
    return 100 * stored


@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize("name", GOOD)
def test_what_is_in_order_is_read(name: str, is_part: bool, tmp_path: Path) -> None:
    file = opened(GOOD[name], tmp_path, is_part=is_part)
    expected = {"a": A.data, "b": B.data, "f/": b"", "ä": b"x"}
    found = {each.name: content(file, each) for each in members(file, most=most)}
    assert found == {name: expected[name] for name in found}
    assert len(found) == {"none": 0, "a name in UTF-8": 1}.get(name, 2)


@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_what_readers_could_differ_in_is_refused(name: str, is_part: bool, tmp_path: Path) -> None:
    data, error, words = BAD[name]
    with pytest.raises(error, match=words):
        members(opened(data, tmp_path, is_part=is_part), most=most)


@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_member_is_told(name: str, is_part: bool, tmp_path: Path) -> None:
    file = opened(DAMAGED[name], tmp_path, is_part=is_part)
    (member,) = members(file, most=most)
    with pytest.raises(ma.FormatError, match=f"'{member.name}' is damaged") as caught:
        content(file, member)
    assert caught.value.file == str(tmp_path / "x.zip")


def test_the_beginning_of_a_member_is_read_without_its_checksum(tmp_path: Path) -> None:
    file = opened(zipped(B._replace(checksum=1)), tmp_path, is_part=False)
    (member,) = members(file, most=most)
    out = bytearray(10)
    inflate(file, member, out, is_whole=False)
    assert bytes(out) == B.data[:10]
