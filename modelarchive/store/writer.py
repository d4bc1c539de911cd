"""Write an archive: HDF5 lays out the file, threads fill in the data, a rename puts it in place.

HDF5 only ever creates objects here: every dataset is contiguous, allocated early and never filled, so HDF5
hands out addresses in order and writes no data. The arrays' bytes then go to those addresses from
several threads, hashed on the way, outside HDF5's lock; the index is written last. Compressed arrays are the
exception: threads make their chunks, and HDF5 appends them to the file as they are.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from blake3 import blake3
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t

from modelarchive import dtypes
from modelarchive.errors import UnsupportedDataError
from modelarchive.store import compressing, index
from modelarchive.store.contents import Chunks, Contents, Entry, Text
from modelarchive.store.digest import HEX_LENGTH, digest
from modelarchive.store.fill import Fill, fill
from modelarchive.store.layout import (
    DATA_ALIGNMENT,
    STORED_DTYPE,
    Layout,
    data_order,
    index_bound,
    is_drawable,
    metadata_bound,
)
from modelarchive.store.replace import replacing
from modelarchive.store.streaming import fill_stream
from modelarchive.store.tables import chunk_table

#: Where the superblock says that the file is open for writing. HDF5 clears that when it closes the file, with
#: its last write, and keeps quiet if the system refuses it.
_SUPERBLOCK_FLAGS: Final = 11


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
        contents = _lay_out(temporary, layout, progress)
        dense = {name: entry for name, entry in contents.arrays.items() if name not in contents.chunks}
        fills = {name: Fill(entry.offset or 0, layout.arrays[name]) for name, entry in dense.items()}
        _write_texts(temporary, contents, layout)
        if layout.stream is None:
            fills = {name: each for name, each in fills.items() if each.array.nbytes}
            digests = dict(zip(fills, fill(temporary, list(fills.values()), progress=progress), strict=True))
        else:
            digests = fill_stream(temporary, fills, layout.stream, progress=progress)
        for name, entry in dense.items():
            contents.arrays[name] = entry._replace(digest=digests[name] if name in digests else digest(b""))
        _write_index(temporary, contents)


def _lay_out(path: Path, layout: Layout, progress: Callable[[int], None] | None) -> Contents:
    """Create the file's HDF5 objects, with the compressed arrays, and return where everything goes."""
    given = layout.arrays
    packed = compressing.tried({name: array for name, array in given.items() if name in layout.compressed})
    named = sorted(given.items(), key=lambda item: (3, 0) if item[0] in packed else data_order(item[1]))
    arrays = {
        name: Entry(str(dtypes.dense_name(array.dtype)), array.shape, None, array.nbytes, "0" * HEX_LENGTH)
        for name, array in named
    }
    contents = Contents(
        section=layout.section,
        generator=layout.generator,
        user_block=0,
        arrays=arrays,
        chunks={name: compressing.bound(given[name].shape, given[name].itemsize) for name in given if name in packed},
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
    data = sum(entry.nbytes for name, entry in arrays.items() if name not in packed)
    most = data + sum(chunks.nbytes for chunks in contents.chunks.values())
    room = metadata_bound(contents, layout)
    for _ in range(8):
        # Rendered with the largest offsets that can occur, the index can only become shorter.
        contents.size = contents.user_block = 2 * (room + texts + most) + (1 << 24)
        contents.user_block = index.user_block_size(index_bound(contents))
        if contents.user_block - 8 > index.MAX_INDEX_BYTES:
            problem = f"{len(arrays) + len(layout.texts):,} values are more than one index holds; join them into arrays"
            raise UnsupportedDataError([("data", problem)], hint="nothing was written")
        # The metadata region ends so that the data behind the texts begins at a multiple of 4096.
        first = -(-(contents.user_block + room + texts) // DATA_ALIGNMENT) * DATA_ALIGNMENT - texts
        end = _create(path, contents, layout, packed, first=first, progress=progress)
        if end is not None:
            contents.size = max(end, first + texts + data)
            return contents
        room += room // 4
    raise OSError(f"HDF5 {h5py.version.hdf5_version} does not lay out this file as a whole")


def _create(
    path: Path,
    contents: Contents,
    layout: Layout,
    made: Mapping[str, Mapping[int, bytes]],
    *,
    first: int,
    progress: Callable[[int], None] | None,
) -> int | None:
    """Create the HDF5 objects, the first dataset at `first` and all others behind; None if HDF5 placed them otherwise.

    Returns:
        The end of the data.
    """
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_userblock(contents.user_block)
    creation.set_obj_track_times(False)
    access = h5p.create(h5p.FILE_ACCESS)
    # Superblock 2 and compact metadata, and HDF5 1.10's tools still open the file.
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V110)
    access.set_meta_block_size(first - contents.user_block)
    access.set_file_locking(False, True)
    # HDF5 crashes at exit over handles that outlive a file whose closing failed.
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    try:
        file = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, creation, access)
        try:
            end = _Objects(file, contents, layout, made).create(first, progress)
            h5f.flush(file)
            # Metadata that found no room in its region lies behind the data, and makes the file longer.
            return end if end is not None and file.get_filesize() <= max(end, first) else None
        finally:
            file.close()
    except RuntimeError as error:
        # So h5py reports that the disk is full, among others.
        raise OSError(str(error)) from error


class _Objects:
    """Creates the HDF5 objects of one file, with every type, space and property list made once."""

    def __init__(
        self, file: h5f.FileID, contents: Contents, layout: Layout, made: Mapping[str, Mapping[int, bytes]]
    ) -> None:
        self.contents = contents
        self.layout = layout
        self.made = made
        root = h5g.open(file, b"/")
        self.groups: dict[str, h5g.GroupID] = {"": root, "/": root}
        self.spaces: dict[tuple[int, ...], h5s.SpaceID] = {(): h5s.create(h5s.SCALAR)}
        self.types: dict[str, h5t.TypeID] = {}
        self.packed: dict[str, h5d.DatasetID] = {}
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

    def create(self, position: int, progress: Callable[[int], None] | None) -> int | None:
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
            chunks = contents.chunks.get(name)
            how = self.contiguous if chunks is None else self.chunked(chunks, dtypes.DENSE[entry.dtype].itemsize)
            dataset = self.dataset(contents.hdf5_path(name), self.array_type(entry.dtype), entry.shape, how)
            if entry.dtype in STORED_DTYPE:
                self.attributes(dataset, {"dtype": entry.dtype})
            if is_drawable(entry):
                self.attributes(dataset, {"interpretation": "image"})
            if chunks is not None:
                self.packed[name] = dataset
                continue
            if entry.nbytes and dataset.get_offset() != position:
                return None
            contents.arrays[name] = entry._replace(offset=position if entry.nbytes else None)
            position += entry.nbytes
        for alias, name in contents.aliases.items():
            self.link(contents.hdf5_path(alias), contents.hdf5_path(name))
        return self.append_chunks(position, progress) if self.packed else position

    def append_chunks(self, position: int, progress: Callable[[int], None] | None) -> int | None:
        """Compress arrays and append their chunks to the file; the end of the data, or None if not as planned."""
        contents = self.contents
        user_block, version = contents.user_block, h5py.version.hdf5_version_tuple
        stream = compressing.packed({name: self.layout.arrays[name] for name in self.packed}, self.made)
        for name, several in itertools.groupby(stream, itemgetter(0)):
            dataset, entry, hasher, sizes = self.packed[name], contents.arrays[name], blake3(), []
            for _, chunk in several:
                dataset.write_direct_chunk(chunk.start, chunk.data)
                hasher.update(chunk.content)
                sizes.append(len(chunk.data))
                if progress is not None:
                    progress(len(chunk.content))
            planned = Chunks(contents.chunks[name].shape, position, tuple(sizes))
            position += planned.nbytes
            if chunk_table(dataset, entry, user_block=user_block, size=position, version=version) != planned:
                return None
            contents.chunks[name] = planned
            contents.arrays[name] = entry._replace(digest=hasher.hexdigest())
        return position

    def chunked(self, chunks: Chunks, itemsize: int) -> h5p.PropDCID:
        """How a compressed dataset is created: what its chunks went through."""
        creation = h5p.create(h5p.DATASET_CREATE)
        creation.set_chunk(chunks.shape)
        creation.set_fill_time(h5d.FILL_TIME_NEVER)
        creation.set_obj_track_times(False)
        if itemsize > 1:
            creation.set_shuffle()
        creation.set_deflate(1)
        return creation

    def group(self, path: str) -> h5g.GroupID:
        found = self.groups.get(path)
        if found is None:
            parent, _, name = path.rpartition("/")
            found = h5g.create(self.group(parent), name.encode(), self.naming(name), self.timeless)
            self.groups[path] = found
        return found

    def dataset(
        self, path: str, type_: h5t.TypeID, shape: tuple[int, ...], how: h5p.PropDCID | None = None
    ) -> h5d.DatasetID:
        space = self.spaces.get(shape)
        if space is None:
            space = self.spaces[shape] = h5s.create_simple(shape)
        parent, _, name = path.rpartition("/")
        return h5d.create(self.group(parent), name.encode(), type_, space, how or self.contiguous, self.naming(name))

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
        file.seek(contents.user_block + _SUPERBLOCK_FLAGS)
        if file.read(1) != b"\0":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        hasher = blake3()
        for begin, end in contents.metadata_ranges():
            file.seek(begin)
            hasher.update(file.read(end - begin))
        contents.metadata_digest = hasher.hexdigest()
        file.seek(0)
        file.write(index.framed(contents))
