"""All HDF5 metadata of an archive, from what it holds: one stretch of bytes behind the user block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate, chain, count
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np

from modelarchive import dtypes
from modelarchive.store.contents import Contents, Entry, Text
from modelarchive.store.hdf5 import chunk_tree, headers
from modelarchive.store.hdf5.attributes import Attributes, is_image
from modelarchive.store.hdf5.checksum import checksums
from modelarchive.store.hdf5.datasets import Datasets
from modelarchive.store.hdf5.headers import ADDRESS, CHECKSUM, GROUP_BYTES, UNDEFINED, Header
from modelarchive.store.hdf5.links import MOST_IN_HEADER, Links
from modelarchive.store.hdf5.types import array_type, string_type

#: Dtypes whose HDF5 type alone does not tell them: an attribute `dtype` does.
_STORED_DTYPE: Final = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
#: Signature, version, bytes of an address and of a length, flags; base, extension, end, root, checksum.
_SUPERBLOCK_BYTES: Final = 8 + 4 + 4 * ADDRESS + CHECKSUM


class _Sealed(NamedTuple):
    """Bytes that their checksum follows, and unused ones."""

    content: bytes
    unused: int = 0


class _Group:
    """A group: the objects in it by the names of their links."""

    def __init__(self, number: int, attributes: Mapping[str, str | int]) -> None:
        self.number = number
        self.attributes = attributes
        self.members: dict[bytes, int] = {}
        self._form: _Inside | _Outside

    def plan(self, forms: dict[object, _Inside]) -> list[int]:
        """Bytes of the header, and of each part that keeps the links outside of it.

        Args:
            forms: What is known of groups whose links stand in their headers; most are like many others.
        """
        if len(self.members) > MOST_IN_HEADER:
            self._form = outside = _Outside([*self.members], headers.attributes(self.attributes))
            return [outside.nbytes, *outside.links.parts]
        key = (*self.attributes.items(), *self.members)
        form = forms.get(key)
        if form is None:
            form = forms[key] = _Inside([*self.members], headers.attributes(self.attributes))
        self._form = form
        return [form.nbytes]

    def render(self, places: list[bytes], parts: list[int]) -> Iterator[_Sealed | bytes]:
        """The header, and the parts outside of it, in the order of :meth:`plan`.

        Args:
            places: The address of each object, by its number.
            parts: Where each part lies.
        """
        return self._form.render([places[number] for number in self.members.values()], parts)


class _Inside:
    """What groups with members of the same names and with the same attributes are, but for addresses.

    Args:
        names: The members' names.
        attributes: The messages of the attributes.

    Attributes:
        nbytes: Length of the header.
    """

    def __init__(self, names: list[bytes], attributes: list[bytes]) -> None:
        front = b"".join([*headers.group(UNDEFINED, UNDEFINED), *attributes])
        links = list(map(headers.link_message, headers.links(names)))
        self._before = headers.opened(len(front) + sum(map(len, links)) + len(links) * ADDRESS) + front
        self._links = links
        self.nbytes = len(self._before) + sum(map(len, links)) + len(links) * ADDRESS + CHECKSUM

    def render(self, addresses: list[bytes], parts: list[int]) -> Iterator[_Sealed | bytes]:
        yield _Sealed(self._before + b"".join(chain.from_iterable(zip(self._links, addresses, strict=True))))


class _Outside:
    """A group of so many members that its header leads to their links.

    Args:
        names: The members' names.
        attributes: The messages of the attributes.

    Attributes:
        links: The parts that keep the links.
        nbytes: Length of the header.
    """

    def __init__(self, names: list[bytes], attributes: list[bytes]) -> None:
        self._attributes = attributes
        self._links = headers.links(names)
        self.links = Links(names, [len(link) + ADDRESS for link in self._links])
        self.nbytes = headers.header_bytes(GROUP_BYTES + sum(map(len, attributes))) + CHECKSUM

    def render(self, addresses: list[bytes], parts: list[int]) -> Iterator[_Sealed | bytes]:
        heap, _, tree, *_ = (part.to_bytes(ADDRESS, "little") for part in parts)
        yield _Sealed(headers.header([*headers.group(heap, tree), *self._attributes]))
        (first, *others), block = self.links.render(self._links, addresses, parts)
        yield _Sealed(first)
        yield block
        for part, length in zip(others, self.links.parts[2:], strict=True):
            yield _Sealed(part, length - len(part) - CHECKSUM)


class Metadata:
    """The HDF5 objects of a file, and where their metadata lies.

    Args:
        contents: What the file holds. Where it lies is asked for by :meth:`render` only, and of chunks their number.
        attributes: HDF5 path of a group -> its attributes; "/" is the root.

    Attributes:
        nbytes: Length of all metadata.

    Raises:
        ValueError: HDF5 cannot hold that: a name that it has not, a path that leads to two things.
        OverflowError: A number is too large for HDF5.
    """

    def __init__(self, contents: Contents, attributes: Attributes) -> None:
        self._attributes = attributes
        self._groups: dict[str, _Group] = {}
        self._datasets = _datasets(contents)
        aliases = {contents.hdf5_path(alias): contents.hdf5_path(name) for alias, name in contents.aliases.items()}
        for path in attributes:
            self._add_group(path.rstrip("/"))
        places = [path.rpartition("/") for path in (*self._datasets, *aliases)]
        for group in dict.fromkeys(map(itemgetter(0), places)):
            self._add_group(group)
        first = len(self._groups)
        numbers = dict(zip(self._datasets, count(first), strict=False))
        leads = [*numbers.values(), *(numbers[path] for path in aliases.values())]
        for (group, _, name), number in zip(places, leads, strict=True):
            if self._groups[group].members.setdefault(name.encode(), number) != number:
                raise ValueError(f"{group}/{name} leads to two things")
        self._headers = Datasets(list(self._datasets.values()))
        self._place(contents)

    def _add_group(self, path: str) -> None:
        """Add a group that is not there yet, after those above it."""
        # Not by calling itself: a stranger's index may name groups as deep as it likes.
        above = []
        while path not in self._groups:
            above.append(path)
            if not path:
                break
            path = path.rpartition("/")[0]
        for each in reversed(above):
            group = _Group(len(self._groups), self._attributes.get(each or "/", {}))
            self._groups[each] = group
            if each:
                parent, _, name = each.rpartition("/")
                self._groups[parent].members[name.encode()] = group.number

    def _place(self, contents: Contents) -> None:
        """Give each object its place: groups, then datasets, then the trees of chunks."""
        self._places: list[int] = []
        self._parts: dict[str, list[int]] = {}
        at = _SUPERBLOCK_BYTES
        forms: dict[object, _Inside] = {}
        for path, group in self._groups.items():  # whose numbers come first
            sizes = group.plan(forms)
            self._places.append(at)
            *self._parts[path], at = accumulate(sizes[1:], initial=at + sizes[0])
        *places, at = accumulate(self._headers.lengths, initial=at)
        self._places += places
        self._trees = {}
        for name, chunks in contents.chunks.items():
            self._trees[name] = at
            at += chunk_tree.tree_bytes(len(chunks.sizes), len(chunks.shape))
        self.nbytes = at

    def render(self, contents: Contents) -> bytes:
        """The metadata, to be written behind the user block.

        Args:
            contents: The same as before, by now with the place of everything.
        """
        parts = list(self._render(contents))
        seals = iter(checksums([part.content for part in parts if isinstance(part, _Sealed)]))
        return b"".join(
            part if isinstance(part, bytes) else part.content + next(seals).to_bytes(4, "little") + bytes(part.unused)
            for part in parts
        )

    def _render(self, contents: Contents) -> Iterator[_Sealed | bytes]:
        base = contents.user_block
        addresses: list[bytes] = np.array(self._places, "<u8").view(f"V{ADDRESS}").tolist()
        # The end of the file is the one place that counts from its start.
        places = base.to_bytes(8, "little") + UNDEFINED + contents.size.to_bytes(8, "little") + addresses[0]
        yield _Sealed(b"\x89HDF\r\n\x1a\n" + bytes([2, ADDRESS, 8, 0]) + places)
        for path, group in self._groups.items():
            yield from group.render(addresses, self._parts[path])
        begins = [text.offset for text in contents.texts.values()]
        # HDF5 gives a place to what has bytes, an index to all.
        begins += [entry.offset if entry.nbytes else None for entry in contents.arrays.values()]
        if self._trees:
            trees = [self._trees.get(name) for name in contents.arrays]
            first = len(contents.texts)
            begins[first:] = [
                begin if tree is None else tree + base for begin, tree in zip(begins[first:], trees, strict=True)
            ]
        places_of_data = [None if begin is None else begin - base for begin in begins]
        contents_of_headers = self._headers.contents(places_of_data)
        if contents_of_headers is None:
            yield self._headers.sealed(places_of_data)
        else:
            yield from map(_Sealed, contents_of_headers)
        for name, place in self._trees.items():
            entry, chunks = contents.arrays[name], contents.chunks[name]
            itemsize = dtypes.DENSE[entry.dtype].itemsize
            yield chunk_tree.render(entry.shape, itemsize, chunks, base=base, place=place)


def _datasets(contents: Contents) -> dict[str, Header]:
    """HDF5 path of each dataset -> its header: texts, then arrays in the order of the data."""
    found = {path: _text(text) for path, text in contents.texts.items()}
    links = Counter(contents.aliases.values())
    known: dict[tuple[object, ...], Header] = {}
    path = "/arrays/".__add__ if contents.section == "arrays" else contents.hdf5_path
    for name, entry in contents.arrays.items():
        chunks = contents.chunks.get(name)
        key = (entry[0], entry[1], chunks and chunks.shape, links.get(name, 0))
        header = known.get(key)
        if header is None:
            header = known[key] = _array(entry, chunks and chunks.shape, links[name] + 1)
        found[path(name)] = header
    if len(found) != len(contents.texts) + len(contents.arrays):
        raise ValueError("two datasets have one path")
    return found


def _text(text: Text) -> Header:
    type_ = string_type(text.itemsize, is_utf8=not text.is_ascii)
    return headers.dense(type_, text.shape, text.nbytes, headers.attributes({"dtype": text.dtype}))


def _array(entry: Entry, chunk: tuple[int, ...] | None, links: int) -> Header:
    attributes = {"dtype": entry.dtype} if entry.dtype in _STORED_DTYPE else {}
    if is_image(entry):
        attributes["interpretation"] = "image"
    more = [*headers.attributes(attributes), *headers.reference_count(links)]
    type_ = array_type(entry.dtype)
    if chunk is None:
        return headers.dense(type_, entry.shape, entry.nbytes, more)
    return headers.chunked(type_, entry.shape, chunk, dtypes.DENSE[entry.dtype].itemsize, more)
