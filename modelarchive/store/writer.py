"""Write an archive: plan the file, have threads fill in the data, put metadata and index before it, rename.

Where everything goes is known before the first byte is written. The arrays' bytes go to their places from
several threads, hashed on the way; compressed arrays follow chunk by chunk as threads make them; HDF5's
metadata and the index, which say where all that lies, are written last.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Final

from blake3 import blake3

from modelarchive import dtypes
from modelarchive.errors import UnsupportedDataError
from modelarchive.store import compressing
from modelarchive.store.contents import Chunks, Contents, Entry, Text
from modelarchive.store.digest import NO_DIGEST, digest
from modelarchive.store.drafting import Draft, digest_in, user_block_size
from modelarchive.store.fill import Fill, fill
from modelarchive.store.hdf5 import Metadata, group_attributes
from modelarchive.store.index import MAX_INDEX_BYTES
from modelarchive.store.layout import DATA_ALIGNMENT, Layout, data_order
from modelarchive.store.replace import replacing
from modelarchive.store.streaming import fill_stream

#: Below so many bytes to set them aside takes longer than to write them.
_WORTH_RESERVING: Final = 1 << 20
#: Makes an Entry in a fraction of the time of `_replace`; a model has thousands.
_new = tuple.__new__
#: Name of each array to be compressed -> number of a chunk -> what it became, where that is known.
_Made = Mapping[str, Mapping[int, bytes]]


def write(
    path: str | os.PathLike[str],
    layout: Layout,
    *,
    durable: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Contents:
    """Write an archive in place of whatever is at `path`: the old file or the new one, never a mixture.

    Args:
        path: The file. Its folder must exist and be writable.
        layout: What to write. The same layout gives the same bytes.
        durable: Ask the system to put the file and its name on the disk before returning (fsync).
        progress: Called with the number of array bytes written since the last call.

    Returns:
        What the file holds, with all digests.

    Raises:
        OSError: The folder is missing or read-only, the disk is full. The old file is as it was.
        UnsupportedDataError: There are more values than one index holds.
    """
    size = sum(array.nbytes for array in layout.arrays.values())
    with replacing(path, durable=durable, size=size) as temporary:
        made = compressing.tried({name: array for name, array in layout.arrays.items() if name in layout.compressed})
        contents = _contents(layout, made)
        metadata, draft = Metadata(contents, group_attributes(contents)), Draft(contents)
        _place(contents, metadata, draft)
        _write_texts(temporary, contents, layout)
        _write_dense(temporary, contents, layout, progress)
        _append_chunks(temporary, contents, layout, made, progress)
        _write_head(temporary, contents, metadata, draft)
    return contents


def _contents(layout: Layout, made: _Made) -> Contents:
    """What the file will hold, in the order of the data; compressed arrays come last."""
    given = layout.arrays
    named = sorted(given.items(), key=lambda item: (3, 0) if item[0] in made else data_order(item[1]))
    return Contents(
        section=layout.section,
        generator=layout.generator,
        user_block=0,
        arrays={
            name: _new(Entry, (dtypes.dense_name(array.dtype), array.shape, None, array.nbytes, NO_DIGEST))
            for name, array in named
        },
        chunks={name: compressing.bound(given[name].shape, given[name].itemsize) for name in given if name in made},
        aliases=layout.aliases,
        kinds=layout.kinds,
        texts={
            path: Text(text.dtype, text.shape, text.itemsize, None, digest(text.data), text.is_ascii)
            for path, text in layout.texts.items()
        },
        members=layout.members,
        training=layout.training,
        pieces=layout.pieces,
        order=layout.order,
        metadata_digest=NO_DIGEST,
    )


def _place(contents: Contents, metadata: Metadata, draft: Draft) -> None:
    """Give everything but chunks its place: index, metadata, texts, and arrays from a multiple of 4096 on."""
    texts = sum(text.nbytes for text in contents.texts.values())
    dense = sum(entry.nbytes for name, entry in contents.arrays.items() if name not in contents.chunks)
    chunks = sum(chunks.nbytes for chunks in contents.chunks.values())
    # Rendered with the largest offsets that can occur, the index can only become shorter.
    contents.size = metadata.nbytes + texts + DATA_ALIGNMENT + dense + chunks
    contents.user_block = user_block_size(draft.bound(contents))
    if contents.user_block - 8 > MAX_INDEX_BYTES:
        count = len(contents.arrays) + len(contents.texts)
        problem = f"{count:,} values are more than one index holds; join them into arrays"
        raise UnsupportedDataError([("data", problem)], hint="nothing was written")
    end = contents.user_block + metadata.nbytes + texts
    position = -(-end // DATA_ALIGNMENT) * DATA_ALIGNMENT - texts
    for path, text in contents.texts.items():
        contents.texts[path] = text._replace(offset=position if text.nbytes else None)
        position += text.nbytes
    for name, (dtype, shape, _, nbytes, value) in contents.arrays.items():
        if nbytes and name not in contents.chunks:
            contents.arrays[name] = _new(Entry, (dtype, shape, position, nbytes, value))
            position += nbytes
    contents.size = position


def _write_texts(path: Path, contents: Contents, layout: Layout) -> None:
    with path.open("r+b") as file:
        _reserve(file.fileno(), contents.size)
        for name, text in contents.texts.items():
            if text.offset is not None:
                file.seek(text.offset)
                file.write(layout.texts[name].data)


def _reserve(descriptor: int, size: int) -> None:
    """Have the system set aside all of the file: writing is faster then, and a full disk is noticed beforehand."""
    if size < _WORTH_RESERVING:
        os.ftruncate(descriptor, size)
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError) as error:
        # Neither every system nor every file system can; those that can and refuse have no room.
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(descriptor, size)


def _write_dense(path: Path, contents: Contents, layout: Layout, progress: Callable[[int], None] | None) -> None:
    dense = {name: entry for name, entry in contents.arrays.items() if name not in contents.chunks}
    fills = {name: Fill(entry.offset or 0, layout.arrays[name]) for name, entry in dense.items()}
    if layout.stream is None:
        fills = {name: each for name, each in fills.items() if each.array.nbytes}
        digests = dict(zip(fills, fill(path, list(fills.values()), progress=progress), strict=True))
    else:
        digests = fill_stream(path, fills, layout.stream, progress=progress)
    nothing = digest(b"")
    for name, entry in dense.items():
        contents.arrays[name] = _new(Entry, (*entry[:4], digests.get(name, nothing)))


def _append_chunks(
    path: Path, contents: Contents, layout: Layout, made: _Made, progress: Callable[[int], None] | None
) -> None:
    """Compress arrays and write their chunks behind everything else."""
    if not contents.chunks:
        return
    stream = compressing.packed({name: layout.arrays[name] for name in contents.arrays if name in made}, made)
    with path.open("r+b") as file:
        file.seek(contents.size)
        for name, several in itertools.groupby(stream, itemgetter(0)):
            hasher, sizes = blake3(), []
            for _, chunk in several:
                file.write(chunk.data)
                hasher.update(chunk.content)
                sizes.append(len(chunk.data))
                if progress is not None:
                    progress(len(chunk.content))
            contents.chunks[name] = Chunks(contents.chunks[name].shape, contents.size, tuple(sizes))
            contents.arrays[name] = contents.arrays[name]._replace(digest=hasher.hexdigest())
            contents.size += sum(sizes)


def _write_head(path: Path, contents: Contents, metadata: Metadata, draft: Draft) -> None:
    """Write what is before the data: HDF5's metadata, and the index last."""
    begin, end = contents.metadata_ranges()[0]
    rendered = metadata.render(contents).ljust(end - begin, b"\0")
    contents.metadata_digest = digest(rendered)
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(rendered)
        file.seek(0)
        head = draft.framed(contents)
        file.write(head)
    contents.index_digest = digest_in(head)
