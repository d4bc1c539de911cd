"""What an archive holds and where in the file: the value that index, guard and writer share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from modelarchive.errors import FormatError

#: What a member of a saved structure may be.
CONTAINERS: Final = ("dict", "list", "tuple", "single")
LITERALS: Final = ("int", "float", "complex", "boolean", "none", "str")

#: What the names of a training structure's arrays begin with; a parameter's name has no slash.
TRAINING: Final = "training/"

#: Memory that one stored byte may become: deflate cannot shrink more than this.
MAX_INFLATION: Final = 1032
#: Bytes that an array of strings may take in memory, whatever it stores.
FREE_WIDTH: Final = 1 << 16


class Entry(NamedTuple):
    """A dense array in the file: C order, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    #: Absolute offset in the file; None for an array that lies in chunks, or that only HDF5 can read.
    offset: int | None
    nbytes: int
    digest: str | None


class Piece(NamedTuple):
    """What part of a whole array an entry is, whose other parts are in other files."""

    #: Where it begins, along each axis.
    offsets: tuple[int, ...]
    #: The shape of the whole.
    shape: tuple[int, ...]


class Text(NamedTuple):
    """A fixed-length string, or an array of them, in the file: UTF-8, or bytes (``S<n>``)."""

    #: "text", "string", "U<n>", "S<n>", or one of LITERALS.
    dtype: str
    shape: tuple[int, ...]
    #: Bytes of one string, padded with NUL.
    itemsize: int
    offset: int | None
    digest: str | None
    #: Whether HDF5 calls it ASCII, which more programs read.
    is_ascii: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return self.itemsize * math.prod(self.shape)


class Chunks(NamedTuple):
    """Where a compressed array lies: its chunks, one after another, in C order."""

    #: Elements of a chunk along each axis.
    shape: tuple[int, ...]
    #: Absolute offset of the first chunk in the file.
    offset: int
    #: Stored bytes of each chunk.
    sizes: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Stored bytes of all chunks."""
        return sum(self.sizes)


@dataclass
class Foreign:
    """What an HDF5 file of another system holds."""

    #: Path from the root, "a/b" -> the array; None: text, or a dtype that archives do not hold.
    arrays: dict[str, Entry | None]
    #: Attribute of the root -> its text; "" for one that is no text.
    attributes: dict[str, str]
    #: Path of a group, "" for the root -> attribute -> its texts, for those that were asked for.
    groups: dict[str, dict[str, list[str]]]


@dataclass
class Contents:
    """What an archive holds and where: the same whether the index or HDF5 says it."""

    section: str
    generator: str
    #: Absolute offset of the HDF5 superblock: the size of the user block.
    user_block: int
    #: Canonical name -> entry, in the order of the data.
    arrays: dict[str, Entry]
    #: Name of a compressed array -> its chunks. Where a file has others, only HDF5 can read them.
    chunks: dict[str, Chunks] = field(default_factory=dict)
    #: Name of a shared parameter -> its canonical name.
    aliases: dict[str, str] = field(default_factory=dict)
    #: HDF5 path -> text.
    texts: dict[str, Text] = field(default_factory=dict)
    #: Path of a member of the training structure -> as in `members`; None: there is none. Only beside parameters.
    training: dict[str, str] | None = None
    #: Path of a saved structure's member -> "array", "literal" or its container; in the order saved.
    members: dict[str, str] | None = None
    #: Every name, aliases included, in the model's own order.
    order: list[str] = field(default_factory=list)
    #: Name of an array that is a part of a whole -> which part.
    pieces: dict[str, Piece] = field(default_factory=dict)
    #: HDF5 path of a block's group -> its kind. An index says it where no architecture does.
    kinds: dict[str, str] = field(default_factory=dict)
    #: HDF5 paths of objects that are no part of an archive; only the guard fills it.
    foreign: list[str] = field(default_factory=list)
    #: Where the index declares bytes that belong to no dense array, as (begin, end); only the index fills it.
    declared: list[tuple[int, int]] | None = field(default=None, compare=False)
    #: Digest of the bytes behind the user block that belong to no array and no text.
    metadata_digest: str = ""
    #: Digest of the index itself, as it says.
    index_digest: str = ""
    #: Size of the whole file.
    size: int = 0
    #: True when the index did not hold any more and HDF5 was read instead.
    is_stale: bool = False

    def entry(self, name: str) -> Entry:
        """The entry of a name or alias; KeyError if there is none."""
        return self.arrays[self.aliases.get(name, name)]

    @property
    def structures(self) -> dict[str, dict[str, str]]:
        """HDF5 path of each saved structure -> its members."""
        found = {"/arrays": self.members, "/training": self.training}
        return {path: members for path, members in found.items() if members is not None}

    def regions(self) -> list[tuple[int, int]]:
        """Where the file holds no dense array, as (begin, end): HDF5's own bytes and the texts."""
        return _gaps([(each.offset, each.nbytes) for each in self.arrays.values()], self.user_block, self.size)

    def metadata_ranges(self) -> list[tuple[int, int]]:
        """Where the file holds no array and no text, as (begin, end): HDF5's own bytes."""
        dense = ((entry.offset, entry.nbytes) for entry in self.arrays.values())
        if self.declared is not None:
            # The same bytes, already known to lie without gaps: a stretch or two where there may be thousands.
            ends = [self.user_block, *(end for _, end in self.declared)]
            begins = [*(begin for begin, _ in self.declared), self.size]
            dense = ((end, begin - end) for end, begin in zip(ends, begins, strict=True))
        others: list[Text | Chunks] = [*self.texts.values(), *self.chunks.values()]
        return _gaps([*dense, *((each.offset, each.nbytes) for each in others)], self.user_block, self.size)

    def name(self, hdf5_path: str) -> str:
        """The inverse of :meth:`hdf5_path`."""
        if self.section == "parameters" and hdf5_path.startswith(f"/{TRAINING}"):
            return hdf5_path[1:]
        name = hdf5_path.removeprefix(f"/{self.section}/")
        return name.replace("/", ".") if self.section == "parameters" else name

    def hdf5_path(self, name: str) -> str:
        """The HDF5 path of an array."""
        if self.section == "parameters" and name.startswith(TRAINING):
            return f"/{name}"
        return f"/{self.section}/" + (name.replace(".", "/") if self.section == "parameters" else name)


def block_group(block: str) -> str:
    """The HDF5 path of a block's group; "" is the model itself."""
    return f"/parameters/{block.replace('.', '/')}".rstrip("/")


def data_position(entry: Entry, end: int) -> tuple[int, int]:
    """Sort key of the order in which the index lists arrays and digests: by begin, then by end; empty ones last."""
    begin = end if entry.offset is None else entry.offset
    return (begin, begin + entry.nbytes)


def _gaps(parts: Iterable[tuple[int | None, int]], start: int, end: int) -> list[tuple[int, int]]:
    gaps = []
    position = start
    for offset, nbytes in sorted((offset, nbytes) for offset, nbytes in parts if offset is not None):
        if nbytes == 0:
            continue
        if offset < position or offset + nbytes > end:
            raise FormatError(f"bytes {offset} to {offset + nbytes} overlap others, or lie outside the file")
        if offset > position:
            gaps.append((position, offset))
        position = offset + nbytes
    return [*gaps, (position, end)] if position < end else gaps


def is_position(name: str) -> bool:
    """Whether a member's name is a place in a list: decimal digits, no leading zero."""
    return name.isascii() and name.isdecimal() and len(name) <= 18 and (name == "0" or name[0] != "0")


def is_flat_dict(members: Mapping[str, str]) -> bool:
    """Whether a saved structure is a dict of arrays, none deeper."""
    kinds = list(members.values())
    return kinds[:1] == ["dict"] and kinds.count("array") == len(kinds) - 1 and "/" not in "".join(members)


def least_itemsize(dtype: str, count: int) -> int:
    """Bytes that each of `count` strings must take in the file at least, so that nothing tiny becomes huge.

    An array of ``U1000000`` takes four megabytes an element in memory, however short its strings are.
    """
    if dtype[0] not in "US" or not dtype[1:].isdigit():
        return 1
    nbytes = int(dtype[1:]) * count * (4 if dtype[0] == "U" else 1)
    return max(1, -(-(nbytes - FREE_WIDTH) // (count * MAX_INFLATION))) if count else 1


def members_of(members: Mapping[str, str], paths: Iterable[str]) -> dict[str, str]:
    """Some members of a structure, and the containers above them."""
    wanted = {""}
    for path in paths:
        while path and path not in wanted:
            wanted.add(path)
            path = path.rpartition("/")[0]
    return {path: kind for path, kind in members.items() if path in wanted}
