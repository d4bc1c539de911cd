"""Refuse chunks that do not fill their place: HDF5 would hand out what was in memory for the rest."""

from __future__ import annotations

import math
import zlib
from typing import Any, Final

from modelarchive.errors import FormatError

#: HDF5's number of the layout, and of the filters.
_CHUNKED: Final = 2
_DEFLATE: Final = 1
_FLETCHER32: Final = 3
#: Bytes that a checksum adds to a chunk.
_CHECKSUM: Final = 4


def check_chunks(dataset: Any, path: object, where: str) -> None:
    """Hold what each chunk of a dataset becomes against its length.

    Args:
        dataset: A ``h5py.h5d.DatasetID``; one without chunks passes.
        path: The file, for the error.
        where: The dataset, for the error.

    Raises:
        FormatError: A chunk becomes more bytes, or fewer, than a chunk has.
    """
    creation = dataset.get_create_plist()
    if creation.get_layout() != _CHUNKED:
        return
    filters = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
    nbytes = math.prod(creation.get_chunk()) * dataset.get_type().get_size()
    stored: list[Any] = []
    if hasattr(dataset, "chunk_iter"):
        dataset.chunk_iter(stored.append)
    else:
        stored = [dataset.get_chunk_info(number) for number in range(dataset.get_num_chunks())]
    for chunk in stored:
        used = [code for number, code in enumerate(filters) if not chunk.filter_mask >> number & 1]
        if problem := _problem(dataset, chunk, used, nbytes):
            raise FormatError(f"the chunk at {tuple(chunk.chunk_offset)} {problem}", file=path, path=where)


def _problem(dataset: Any, chunk: Any, filters: list[int], nbytes: int) -> str | None:
    at = filters.index(_DEFLATE) if _DEFLATE in filters else len(filters)
    before = nbytes + _CHECKSUM * filters[:at].count(_FLETCHER32)
    behind = _CHECKSUM * filters[at:].count(_FLETCHER32)
    if at == len(filters):
        found = chunk.size
    else:
        raw = dataset.read_direct_chunk(chunk.chunk_offset)[1]
        try:
            found = len(zlib.decompressobj().decompress(raw[: len(raw) - behind], before + 1))
        except zlib.error as error:
            return f"cannot be inflated: {error}"
    return None if found == before else f"becomes {found:,} bytes, expected {before:,}"
