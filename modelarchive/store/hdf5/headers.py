"""HDF5's object headers and the messages in them: what a dataset, a group, a link and an attribute are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from modelarchive import names
from modelarchive.store.hdf5.types import array_type, string_type

#: An address that is none.
UNDEFINED: Final = b"\xff" * 8
#: Bytes of a header's checksum.
CHECKSUM: Final = 4
#: Bytes of an address, and of a length.
ADDRESS: Final = 8

#: Numbers of the messages.
_DATASPACE, _LINK_INFO, _DATATYPE, _FILL_VALUE, _LINK, _LAYOUT = 0x01, 0x02, 0x03, 0x05, 0x06, 0x08
_GROUP_INFO, _FILTERS, _ATTRIBUTE, _ATTRIBUTE_INFO, _REFERENCE_COUNT = 0x0A, 0x0B, 0x0C, 0x15, 0x16
#: Flag of a message that never changes.
_CONSTANT: Final = 1
#: Space set aside at creation, at need; in both cases nothing is ever filled in.
_EARLY, _AT_NEED = b"\x03\x05", b"\x03\x07"
_UTF8: Final = 1


class Header(NamedTuple):
    """An object header but for one address in it, and without its checksum."""

    before: bytes
    after: bytes

    def at(self, address: bytes) -> bytes:
        """The header with the address."""
        return self.before + address + self.after

    @property
    def nbytes(self) -> int:
        """Bytes of the header and its checksum."""
        return len(self.before) + ADDRESS + len(self.after) + CHECKSUM


def header(messages: Sequence[bytes]) -> bytes:
    """An object header (version 2) of one piece, without its checksum."""
    body = b"".join(messages)
    return opened(len(body)) + body


def header_bytes(messages: int) -> int:
    """Bytes of a header whose messages have so many, without its checksum."""
    return len(opened(messages)) + messages


def opened(size: int) -> bytes:
    """What an object header begins with, before messages of so many bytes together."""
    width = 0 if size < 1 << 8 else 1 if size < 1 << 16 else 2
    return b"OHDR" + bytes([2, width]) + size.to_bytes(1 << width, "little")


def _message(number: int, body: bytes, flags: int = 0, *, more: int = 0) -> bytes:
    """A message; `more` bytes of its body are to follow."""
    return bytes([number]) + (len(body) + more).to_bytes(2, "little") + bytes([flags]) + body


def _dataset(front: Sequence[bytes], layout: bytes, behind: bytes, more: Sequence[bytes]) -> Header:
    """The header of a dataset whose last message before `more` is the layout, an address in its middle."""
    before, after = b"".join(front) + layout, behind + b"".join(more)
    return Header(opened(len(before) + ADDRESS + len(after)) + before, after)


@lru_cache(4096)
def _dataspace(shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(length.to_bytes(8, "little") for length in shape)
    return bytes([2, len(shape), 0, 1 if shape else 0]) + sizes


def dense(type_: bytes, shape: tuple[int, ...], nbytes: int, more: Sequence[bytes]) -> Header:
    """A dataset whose bytes lie in the file one after another, but for the address of the first.

    Args:
        type_: The datatype.
        shape: Lengths of the axes.
        nbytes: Its length; without bytes the address is :data:`UNDEFINED`.
        more: Messages besides those that every dataset has.
    """
    front = [
        _message(_DATASPACE, _dataspace(shape)),
        _message(_DATATYPE, type_, _CONSTANT),
        _message(_FILL_VALUE, _EARLY, _CONSTANT),
    ]
    layout = _message(_LAYOUT, b"\x03\x01", _CONSTANT if nbytes else 0, more=ADDRESS + 8)
    return _dataset(front, layout, nbytes.to_bytes(8, "little"), more)


def chunked(
    type_: bytes, shape: tuple[int, ...], chunk: tuple[int, ...], itemsize: int, more: Sequence[bytes]
) -> Header:
    """A dataset whose chunks are shuffled and deflated, but for the address of the version 1 B-tree of its chunks.

    Args:
        type_: The datatype.
        shape: Lengths of the axes.
        chunk: Elements of a chunk along each axis.
        itemsize: Bytes of an element.
        more: Messages besides those that every dataset has.
    """
    # Number, flags (bit 0: may be left out of a chunk that it does not fit), count of values, values.
    shuffle = _u16(2, 1, 1) + itemsize.to_bytes(4, "little")
    deflate = _u16(1, 1, 1) + (1).to_bytes(4, "little")
    filters = [deflate] if itemsize == 1 else [shuffle, deflate]
    sizes = b"".join(length.to_bytes(4, "little") for length in (*chunk, itemsize))
    front = [
        _message(_DATASPACE, _dataspace(shape)),
        _message(_DATATYPE, type_, _CONSTANT),
        _message(_FILL_VALUE, _AT_NEED, _CONSTANT),
        _message(_FILTERS, bytes([2, len(filters)]) + b"".join(filters), _CONSTANT),
    ]
    layout = _message(_LAYOUT, bytes([3, 2, len(chunk) + 1]), more=ADDRESS + len(sizes))
    return _dataset(front, layout, sizes, more)


def group(heap: bytes, tree: bytes) -> list[bytes]:
    """The messages of a group; the addresses are :data:`UNDEFINED` if its links are messages of its own."""
    return [_message(_LINK_INFO, b"\0\0" + heap + tree), _message(_GROUP_INFO, b"\0\0", _CONSTANT)]


#: Bytes of the messages of :func:`group`.
GROUP_BYTES: Final = sum(map(len, group(UNDEFINED, UNDEFINED)))


def link(name: bytes) -> bytes:
    """What a group knows of a member, by a hard link: its address follows.

    Raises:
        ValueError: HDF5 has no link of that name.
    """
    if name in (b"", b".") or b"\0" in name or len(name) > names.MAX_LINK_BYTES:
        raise ValueError(f"HDF5 has no link named {name[:20]!r}")
    width = 0 if len(name) < 1 << 8 else 1
    length = len(name).to_bytes(1 << width, "little")
    return (b"\1" + bytes([width]) if name.isascii() else bytes([1, 0x10 | width, _UTF8])) + length + name


def links(names: Sequence[bytes]) -> list[bytes]:
    """:func:`link` of several names.

    Raises:
        ValueError: As there.
    """
    text = b"".join(names)
    plain = text.isascii() and b"\0" not in text and not {b"", b"."}.intersection(names)
    if plain and max(map(len, names), default=0) < len(_LINKS):
        return [_LINKS[len(name)] + name for name in names]
    return [link(name) for name in names]


#: What stands before a name of ASCII, by its length.
_LINKS: Final = [b"\1\0" + bytes([length]) for length in range(1 << 8)]


def link_message(body: bytes) -> bytes:
    """A link that stands in a group's header: its address follows."""
    return _message(_LINK, body, more=ADDRESS)


@lru_cache(4096)
def _attribute(key: str, value: str | int) -> bytes:
    name = key.encode() + b"\0"
    if isinstance(value, int):
        type_, data = array_type("int64"), value.to_bytes(8, "little", signed=True)
    else:
        data = value.encode() or b"\0"
        type_ = string_type(len(data))
    space = _dataspace(())
    return _message(
        _ATTRIBUTE, b"\x03\0" + _u16(len(name), len(type_), len(space)) + b"\0" + name + type_ + space + data
    )


def attributes(values: Mapping[str, str | int]) -> list[bytes]:
    """The messages of attributes: scalars, strings or integers."""
    if not values:
        return []
    info = _message(_ATTRIBUTE_INFO, b"\0\0" + UNDEFINED + UNDEFINED, 4)
    return [info, *(_attribute(key, value) for key, value in values.items())]


def reference_count(links: int) -> list[bytes]:
    """The message of an object that more than one link leads to."""
    return [_message(_REFERENCE_COUNT, b"\0" + links.to_bytes(4, "little"))] if links > 1 else []


def _u16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "little") for value in values)
