"""Where HDF5 says that the chunks of a dataset lie, if they lie as an archive's do."""

from __future__ import annotations

from typing import Any, Final

from modelarchive import dtypes
from modelarchive.store.chunks import count, pieces, problem_with
from modelarchive.store.contents import Chunks, Entry

#: HDF5's numbers of the filters.
_DEFLATE: Final = 1
_SHUFFLE: Final = 2
#: More chunks are for HDF5 itself to read.
MAX_CHUNKS: Final = 1_000_000
#: From this version on HDF5 counts the places of chunks from the start of the file, as it does all others.
_ABSOLUTE: Final = (1, 14, 4)


def chunk_table(dataset: Any, entry: Entry, *, user_block: int, size: int, version: tuple[int, ...]) -> Chunks | None:
    """The chunks of a dataset that lies as a compressed array of an archive does.

    That is: shuffled and deflated, every chunk there, one after another in C order.

    Args:
        dataset: A ``h5py.h5d.DatasetID``, not contiguous.
        entry: What it holds.
        user_block: Bytes before the HDF5 superblock.
        size: Of the file.
        version: Of the HDF5 library.

    Returns:
        The table; None if only HDF5 can read the dataset.
    """
    creation = dataset.get_create_plist()
    pipeline = [creation.get_filter(number) for number in range(creation.get_nfilters())]
    filters = [each[0] for each in pipeline]
    itemsize = dtypes.DENSE[entry.dtype].itemsize
    # A file may say that it was shuffled by another width, and HDF5 would believe it.
    if any(each[0] == _SHUFFLE and tuple(each[2]) != (itemsize,) for each in pipeline):
        return None
    if filters != [_SHUFFLE, _DEFLATE] and not (filters == [_DEFLATE] and itemsize == 1):
        return None
    shape = tuple(creation.get_chunk())
    if any(part > length for part, length in zip(shape, entry.shape, strict=True)):
        return None
    expected = count(entry.shape, shape)
    if expected > MAX_CHUNKS or dataset.get_num_chunks() != expected:
        return None
    base = 0 if version >= _ABSOLUTE else user_block
    stored: list[Any] = []
    if hasattr(dataset, "chunk_iter"):
        dataset.chunk_iter(stored.append)
    else:
        stored = [dataset.get_chunk_info(number) for number in range(expected)]
    stored.sort(key=lambda chunk: tuple(chunk.chunk_offset))
    position = begin = base + stored[0].byte_offset
    for chunk, piece in zip(stored, pieces(entry.shape, shape), strict=True):
        if tuple(chunk.chunk_offset) != piece.start or chunk.filter_mask or base + chunk.byte_offset != position:
            return None
        position += chunk.size
    table = Chunks(shape, begin, tuple(chunk.size for chunk in stored))
    return table if problem_with(entry, table, begin=user_block, end=size) is None else None
