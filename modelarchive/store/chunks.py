"""The chunks of a compressed array: how an array is cut, where its chunks lie, what an index says of them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from modelarchive import dtypes
from modelarchive.store.contents import MAX_INFLATION, Chunks, Contents, Entry
from modelarchive.store.strict import fail, integer, mapping, short, string

#: Bytes of a chunk at most: what HDF5's own cache of chunks holds, so that viewers inflate each of them once.
CHUNK: Final = 1 << 20
#: Arrays below this size stay as they are: HDF5's index of their chunks would cost more than is saved.
LEAST: Final = 1 << 15
#: Bytes of a chunk that HDF5 can say.
MAX_CHUNK: Final = (1 << 32) - 1
#: Axes that an array and a length may have: HDF5's limits.
_MAX_RANK: Final = 32
_MAX_LENGTH: Final = 2**63 - 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: Logical name -> what the index calls it: safetensors' code where that says it all.
_CODES: Final = {name: name if name.startswith("complex") else code for name, code in dtypes.SAFETENSORS.items()}
_NAMES: Final = {code: name for name, code in _CODES.items()}


class Piece(NamedTuple):
    """One chunk of an array.

    Attributes:
        number: Its place among the chunks, in C order.
        start: Its first element, by axis.
        within: The part of the array that it holds; less than a whole chunk at an edge.
    """

    number: int
    start: tuple[int, ...]
    within: tuple[slice, ...]


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """How an array is cut: into runs of whole rows of at most :data:`CHUNK` bytes, all of nearly one length.

    So a chunk is one stretch of the array's bytes, and no chunk is mostly padding.
    """
    lengths = [1] * len(shape)
    room = max(1, CHUNK // itemsize)
    for axis in reversed(range(len(shape))):
        if shape[axis] <= room:
            lengths[axis] = shape[axis]
            room //= shape[axis]
            continue
        count = -(-shape[axis] // room)
        lengths[axis] = -(-shape[axis] // count)
        break
    return tuple(lengths)


def count(shape: tuple[int, ...], chunk: tuple[int, ...]) -> int:
    """How many chunks an array is cut into."""
    return math.prod(-(-length // part) for length, part in zip(shape, chunk, strict=True))


def pieces(shape: tuple[int, ...], chunk: tuple[int, ...], *, rows: slice | None = None) -> Iterator[Piece]:
    """The chunks of an array in C order, or those that hold any of the rows ``rows.start`` to ``rows.stop``."""
    grid = [range(-(-length // part)) for length, part in zip(shape, chunk, strict=True)]
    first = 0
    if rows is not None:
        grid[0] = range(rows.start // chunk[0], -(-rows.stop // chunk[0]))
        first = grid[0].start * math.prod(map(len, grid[1:]))
    for number, place in enumerate(itertools.product(*grid), first):
        start = tuple(at * part for at, part in zip(place, chunk, strict=True))
        within = tuple(
            slice(begin, min(begin + part, length)) for begin, part, length in zip(start, chunk, shape, strict=True)
        )
        yield Piece(number, start, within)


def record(contents: Contents) -> dict[str, Any]:
    """What the index says of the compressed arrays."""
    found = {}
    for name, chunks in contents.chunks.items():
        entry = contents.arrays[name]
        found[name] = {
            "dtype": _CODES[entry.dtype],
            "shape": list(entry.shape),
            "chunk": list(chunks.shape),
            "offset": chunks.offset - contents.user_block,
            "sizes": list(chunks.sizes),
            "digest": entry.digest,
        }
    return found


def parse(own: dict[str, Any], contents: Contents) -> tuple[dict[str, Entry], dict[str, Chunks]]:
    """The compressed arrays of an index, every number checked.

    Args:
        own: The archive's part of the index.
        contents: What is known of the file: its size, where its user block ends, the names of its dense arrays.

    Returns:
        Entries, without an offset, and chunks, by name, in the order of their bytes. That chunks overlap
        nothing else is for :meth:`Contents.metadata_ranges` to tell.

    Raises:
        FormatError: It says something impossible.
    """
    entries: dict[str, Entry] = {}
    found: dict[str, Chunks] = {}
    position = 0
    for name, value in mapping(own, "compressed").items():
        if not isinstance(value, dict) or name in contents.arrays:
            fail(f"the compressed array {short(name)} is not described by an object, or is stored twice")
        entry = _entry(name, value)
        chunks = _chunks(name, value, entry, contents)
        if chunks.offset < position:
            fail(f"the chunks of {short(name)} are not listed in the order of the file")
        position = chunks.offset + chunks.nbytes
        entries[name], found[name] = entry, chunks
    return entries, found


def _entry(name: str, value: dict[str, Any]) -> Entry:
    dtype = _NAMES.get(string(value, "dtype"))
    if dtype is None:
        fail(f"{short(name)} has the dtype {short(value['dtype'])}")
    shape = _lengths(name, value, "shape")
    nbytes = dtypes.DENSE[dtype].itemsize * math.prod(shape)
    if nbytes > _MAX_LENGTH:
        fail(f"{short(name)} has the shape {shape}, which no memory can hold")
    digest = string(value, "digest")
    if not _DIGEST.fullmatch(digest):
        fail(f"{short(name)} has no digest")
    return Entry(dtype, shape, None, nbytes, digest)


def _chunks(name: str, value: dict[str, Any], entry: Entry, contents: Contents) -> Chunks:
    chunk = _lengths(name, value, "chunk")
    offset = integer(value, "offset", low=0, high=contents.size - contents.user_block)
    sizes = value.get("sizes")
    if type(sizes) is not list or not all(type(size) is int for size in sizes):
        fail(f"the sizes of the chunks of {short(name)} are no list of integers")
    found = Chunks(chunk, offset + contents.user_block, tuple(sizes))
    if problem := problem_with(entry, found, begin=contents.user_block, end=contents.size):
        fail(f"{short(name)} {problem}")
    return found


def problem_with(entry: Entry, chunks: Chunks, *, begin: int, end: int) -> str | None:
    """Why nobody should inflate these chunks, or None.

    Args:
        entry: The array.
        chunks: Where it lies.
        begin: Where chunks may lie in the file.
        end: The end of that.
    """
    fits = len(chunks.shape) == len(entry.shape) > 0
    if not fits or not all(0 < one <= length for one, length in zip(chunks.shape, entry.shape, strict=True)):
        return f"has the shape {entry.shape} and chunks of {chunks.shape}"
    expected = count(entry.shape, chunks.shape)
    if len(chunks.sizes) != expected:
        return f"has {len(chunks.sizes):,} sizes for {expected:,} chunks"
    least = min(chunks.sizes)
    if least <= 0 or chunks.offset < begin or chunks.offset + chunks.nbytes > end:
        return "has chunks outside the file"
    nbytes = math.prod(chunks.shape) * dtypes.DENSE[entry.dtype].itemsize
    if nbytes > MAX_CHUNK:
        return f"has chunks of {nbytes:,} bytes, HDF5 has at most {MAX_CHUNK:,}"
    # What is declared must be in proportion to what is stored.
    if nbytes > least * MAX_INFLATION:
        return f"has a chunk of {least:,} bytes that claims to become {nbytes:,}, more than deflate can"
    return None


def _lengths(name: str, value: dict[str, Any], key: str) -> tuple[int, ...]:
    lengths = value.get(key)
    if type(lengths) is not list or not 0 < len(lengths) <= _MAX_RANK:
        fail(f"the {key} of {short(name)} is no list of 1 to {_MAX_RANK} lengths")
    if not all(type(length) is int and 0 < length <= _MAX_LENGTH for length in lengths):
        fail(f"the {key} of {short(name)} is {short(lengths)}")
    return tuple(lengths)
