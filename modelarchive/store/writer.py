"""Write an archive: HDF5 lays out the file, threads fill in the data, a rename puts it in place.

HDF5 only ever creates objects here: every dataset is contiguous, allocated early and never filled, so HDF5
hands out addresses in order and writes no data. The arrays' bytes then go to those addresses from
several threads, hashed on the way, outside HDF5's lock; the index is written last.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from blake3 import blake3
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t

from modelarchive import dtypes
from modelarchive.errors import UnsupportedDataError
from modelarchive.store import index
from modelarchive.store.contents import Contents, Entry, Text
from modelarchive.store.deferred import Deferred
from modelarchive.store.digest import HEX_LENGTH, digest
from modelarchive.store.fill import Fill, fill
from modelarchive.store.replace import replacing
from modelarchive.store.text import EncodedText

#: The data begins at a multiple of this, so that mapped arrays are aligned to pages.
DATA_ALIGNMENT: Final = 4096
#: Arrays whose size is a multiple of this come first: each of them is then aligned to it.
ARRAY_ALIGNMENT: Final = 64

#: What HDF5 spends at most, in bytes, on: the file itself, a group, a dataset, an attribute. Measured with
#: HDF5 2.0; where it ever spends more the file is laid out again with a quarter more room.
_FILE_COST: Final = 1024
_GROUP_COST: Final = 140
_DATASET_COST: Final = 300
_ATTRIBUTE_COST: Final = 44


@dataclass
class Layout:
    """What an archive shall hold.

    Attributes:
        section: "parameters" or "arrays".
        generator: Name and version of the writing program.
        arrays: Canonical name -> dense array of any byte order and strides, or one to be read; in the model's order.
        aliases: Name of a shared parameter -> its canonical name.
        texts: HDF5 path -> what :func:`text` made.
        members: Members of a saved structure, as in the index; None for parameters.
        order: Every name, aliases included, in the model's own order.
        attributes: HDF5 path of a group -> its attributes; "/" is the root.
    """

    section: str
    generator: str
    arrays: Mapping[str, np.ndarray | Deferred]
    aliases: dict[str, str] = field(default_factory=dict)
    texts: dict[str, EncodedText] = field(default_factory=dict)
    members: dict[str, str] | None = None
    order: list[str] = field(default_factory=list)
    attributes: dict[str, dict[str, str | int]] = field(default_factory=dict)


def write(
    path: str | os.PathLike[str],
    layout: Layout,
    *,
    durable: bool = True,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write an archive in place of whatever is at `path`: the old file or the new one, never a mixture.

    Args:
        path: The file. Its folder must exist and be writable.
        layout: What to write. The same layout gives the same bytes.
        durable: Ask the system to put the file and its name on the disk before returning (fsync).
        progress: Called with the number of array bytes written since the last call.

    Raises:
        OSError: The folder is missing or read-only, the disk is full. The old file is as it was.
    """
    with replacing(path, durable=durable) as temporary:
        contents = _lay_out(temporary, layout)
        fills = [
            Fill(entry.offset, layout.arrays[name])
            for name, entry in contents.arrays.items()
            if entry.offset is not None
        ]
        _write_texts(temporary, contents, layout)
        digests = iter(fill(temporary, fills, progress=progress))
        for name, entry in contents.arrays.items():
            found = digest(b"") if entry.offset is None else next(digests)
            contents.arrays[name] = entry._replace(digest=found)
        _write_index(temporary, contents)


def _lay_out(path: Path, layout: Layout) -> Contents:
    """Create the file's HDF5 objects and return where everything goes."""
    named = sorted(layout.arrays.items(), key=lambda item: _data_order(item[1]))
    arrays = {
        name: Entry(str(dtypes.dense_name(array.dtype)), array.shape, None, array.nbytes, "0" * HEX_LENGTH)
        for name, array in named
    }
    contents = Contents(
        section=layout.section,
        generator=layout.generator,
        user_block=0,
        arrays=arrays,
        aliases=layout.aliases,
        texts={
            path: Text(text.dtype, text.shape, text.itemsize, None, digest(text.data))
            for path, text in layout.texts.items()
        },
        members=layout.members,
        order=layout.order,
        metadata_digest="0" * HEX_LENGTH,
    )
    texts = sum(text.nbytes for text in contents.texts.values())
    data = sum(entry.nbytes for entry in arrays.values())
    room = _metadata_bound(contents, layout)
    for _ in range(8):
        # Rendered with the largest offsets that can occur, the index can only become shorter.
        contents.size = contents.user_block = 2 * (room + texts + data) + (1 << 24)
        contents.user_block = index.user_block_size(_index_bound(contents))
        if contents.user_block - 8 > index.MAX_INDEX_BYTES:
            problem = f"{len(arrays) + len(layout.texts):,} values are more than one index holds; join them into arrays"
            raise UnsupportedDataError([("data", problem)], hint="nothing was written")
        # The metadata region ends so that the data behind the texts begins at a multiple of 4096.
        first = -(-(contents.user_block + room + texts) // DATA_ALIGNMENT) * DATA_ALIGNMENT - texts
        if _create(path, contents, layout, first=first):
            contents.size = first + texts + data
            return contents
        room += room // 4
    raise OSError(f"HDF5 {h5py.version.hdf5_version} does not lay out this file as a whole")


def _index_bound(contents: Contents) -> int:
    """The length of the index if every offset were as long as the largest."""
    largest = contents.size
    return len(
        index.render(
            Contents(
                **{
                    **vars(contents),
                    "user_block": 0,
                    "texts": {path: text._replace(offset=largest) for path, text in contents.texts.items()},
                }
            )
        )
    )


def _data_order(array: np.ndarray | Deferred) -> tuple[int, int]:
    """Multiples of 64 bytes first, in the model's order; then by falling item size. No gaps are needed."""
    if array.nbytes == 0:
        return (2, 0)
    if array.nbytes % ARRAY_ALIGNMENT == 0:
        return (0, 0)
    return (1, -array.itemsize)


def _metadata_bound(contents: Contents, layout: Layout) -> int:
    """Room for all HDF5 objects, a tenth or two more than they need."""
    names = [*contents.arrays, *contents.aliases]
    datasets = [*map(contents.hdf5_path, names), *contents.texts]
    groups = {*layout.attributes}
    for path in datasets:
        parent = path.rpartition("/")[0]
        while parent and parent not in groups:
            groups.add(parent)
            parent = parent.rpartition("/")[0]
    links = sum(len(path.rpartition("/")[2].encode()) for path in (*datasets, *groups))
    attributes = [item for owner in layout.attributes.values() for item in owner.items()]
    attributes += [("dtype", "float8_e4m3fn")] * len(contents.texts)
    for entry in contents.arrays.values():
        attributes += [("dtype", entry.dtype)] * (entry.dtype in _STORED_DTYPE)
        attributes += [("interpretation", "image")] * _is_drawable(entry)
    return (
        _FILE_COST
        + _GROUP_COST * len(groups)
        + _DATASET_COST * len(datasets)
        + 2 * links
        + sum(_ATTRIBUTE_COST + len(key) + len(str(value).encode()) for key, value in attributes)
    )


def _create(path: Path, contents: Contents, layout: Layout, *, first: int) -> bool:
    """Create the HDF5 objects; False if HDF5 did not place the first dataset at `first` and all others behind."""
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_userblock(contents.user_block)
    creation.set_obj_track_times(False)
    access = h5p.create(h5p.FILE_ACCESS)
    # Superblock 2 and compact metadata, and HDF5 1.10's tools still open the file.
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V110)
    access.set_meta_block_size(first - contents.user_block)
    access.set_file_locking(False, True)
    try:
        file = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, creation, access)
        try:
            end = _Objects(file, contents, layout).create(first)
            h5f.flush(file)
            # Metadata that found no room in its region lies behind the data, and makes the file longer.
            return end is not None and file.get_filesize() <= max(end, first)
        finally:
            file.close()
    except RuntimeError as error:
        # So h5py reports that the disk is full, among others.
        raise OSError(str(error)) from error


class _Objects:
    """Creates the HDF5 objects of one file, with every type, space and property list made once."""

    def __init__(self, file: h5f.FileID, contents: Contents, layout: Layout) -> None:
        self.contents = contents
        self.layout = layout
        root = h5g.open(file, b"/")
        self.groups: dict[str, h5g.GroupID] = {"": root, "/": root}
        self.spaces: dict[tuple[int, ...], h5s.SpaceID] = {(): h5s.create(h5s.SCALAR)}
        self.types: dict[str, h5t.TypeID] = {}
        self.contiguous = h5p.create(h5p.DATASET_CREATE)
        self.contiguous.set_layout(h5d.CONTIGUOUS)
        self.contiguous.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        self.contiguous.set_fill_time(h5d.FILL_TIME_NEVER)
        self.contiguous.set_obj_track_times(False)
        # Groups carry times too unless told not to: the same input would not give the same bytes.
        self.timeless = h5p.create(h5p.GROUP_CREATE)
        self.timeless.set_obj_track_times(False)
        self.unicode = h5p.create(h5p.LINK_CREATE)
        self.unicode.set_char_encoding(h5t.CSET_UTF8)

    def create(self, position: int) -> int | None:
        """Create everything; the end of the data, or None if it does not lie as planned."""
        contents = self.contents
        for path, attributes in self.layout.attributes.items():
            self.attributes(self.group(path), attributes)
        for path, text in contents.texts.items():
            # The bytes of an S array are in no known encoding; HDF5 calls that ASCII.
            charset = h5t.CSET_ASCII if text.dtype[0] == "S" else h5t.CSET_UTF8
            dataset = self.dataset(path, self.string_type(text.itemsize, charset), text.shape)
            self.attributes(dataset, {"dtype": text.dtype})
            if text.nbytes and dataset.get_offset() != position:
                return None
            contents.texts[path] = text._replace(offset=position if text.nbytes else None)
            position += text.nbytes
        for name, entry in contents.arrays.items():
            path = contents.hdf5_path(name)
            dataset = self.dataset(path, self.array_type(entry.dtype), entry.shape)
            if entry.dtype in _STORED_DTYPE:
                self.attributes(dataset, {"dtype": entry.dtype})
            if _is_drawable(entry):
                self.attributes(dataset, {"interpretation": "image"})
            if entry.nbytes and dataset.get_offset() != position:
                return None
            contents.arrays[name] = entry._replace(offset=position if entry.nbytes else None)
            position += entry.nbytes
        for alias, name in contents.aliases.items():
            self.link(contents.hdf5_path(alias), contents.hdf5_path(name))
        return position

    def group(self, path: str) -> h5g.GroupID:
        found = self.groups.get(path)
        if found is None:
            parent, _, name = path.rpartition("/")
            found = h5g.create(self.group(parent), name.encode(), self.naming(name), self.timeless)
            self.groups[path] = found
        return found

    def dataset(self, path: str, type_: h5t.TypeID, shape: tuple[int, ...]) -> h5d.DatasetID:
        space = self.spaces.get(shape)
        if space is None:
            space = self.spaces[shape] = h5s.create_simple(shape)
        parent, _, name = path.rpartition("/")
        return h5d.create(self.group(parent), name.encode(), type_, space, self.contiguous, self.naming(name))

    def naming(self, name: str) -> h5p.PropLCID | None:
        """How a link of this name is created: HDF5 takes names for ASCII unless told otherwise."""
        return None if name.isascii() else self.unicode

    def link(self, alias: str, path: str) -> None:
        parent, _, name = alias.rpartition("/")
        self.group(parent).links.create_hard(name.encode(), self.groups["/"], path.encode(), lcpl=self.naming(name))

    def attributes(self, owner: Any, attributes: Mapping[str, str | int]) -> None:
        for key, value in attributes.items():
            if isinstance(value, int):
                attribute = h5a.create(owner, key.encode(), h5t.STD_I64LE, self.spaces[()])
                attribute.write(np.array(value, "<i8"))
            else:
                data = value.encode()
                type_ = self.string_type(max(len(data), 1))
                attribute = h5a.create(owner, key.encode(), type_, self.spaces[()])
                attribute.write(np.array(data, f"S{max(len(data), 1)}"), mtype=type_)

    def string_type(self, size: int, charset: int = h5t.CSET_UTF8) -> h5t.TypeID:
        found = self.types.get(f"S{size}:{charset}")
        if found is None:
            found = h5t.C_S1.copy()
            found.set_size(size)
            found.set_cset(charset)
            found.set_strpad(h5t.STR_NULLPAD)
            self.types[f"S{size}:{charset}"] = found
        return found

    def array_type(self, dtype: str) -> h5t.TypeID:
        found = self.types.get(dtype)
        if found is None:
            found = self.types[dtype] = _array_type(dtype)
        return found


#: Dtypes whose HDF5 type alone does not tell them: an attribute `dtype` does.
_STORED_DTYPE: Final = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def _array_type(dtype: str) -> h5t.TypeID:
    if dtype == "bfloat16":
        found = h5t.IEEE_F32LE.copy()
        found.set_fields(15, 7, 8, 0, 7)
        found.set_size(2)
        found.set_ebias(127)
        return found
    if dtype.startswith("float8"):
        # HDF5's own conversion misreads some codes, and a viewer must never show a wrong number.
        return h5t.STD_U8LE
    return h5t.py_create(dtypes.numpy_dtype(dtype).newbyteorder("<"), logical=True)


def _is_drawable(entry: Entry) -> bool:
    return len(entry.shape) == 2 and min(entry.shape) > 1 and not entry.dtype.startswith(("complex", "bool", "float8"))


def _write_texts(path: Path, contents: Contents, layout: Layout) -> None:
    with path.open("r+b") as file:
        for name, text in contents.texts.items():
            if text.offset is not None:
                file.seek(text.offset)
                file.write(layout.texts[name].data)
        _reserve(file.fileno(), contents.size)


def _reserve(descriptor: int, size: int) -> None:
    """Have the system set aside all of the file: writing is faster then, and a full disk is told beforehand."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError) as error:
        # Neither every system nor every file system can; those that can and refuse have no room.
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(descriptor, size)


def _write_index(path: Path, contents: Contents) -> None:
    with path.open("r+b") as file:
        hasher = blake3()
        for begin, end in contents.metadata_ranges():
            file.seek(begin)
            hasher.update(file.read(end - begin))
        contents.metadata_digest = hasher.hexdigest()
        file.seek(0)
        file.write(index.framed(contents))
