"""HDF5's index of a dataset's chunks: a version 1 B-tree from a chunk's first element to its bytes in the file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from modelarchive.store.chunks import pieces
from modelarchive.store.contents import Chunks
from modelarchive.store.hdf5.headers import ADDRESS, UNDEFINED

#: Children of a node at most: HDF5's default, which a file of superblock version 2 cannot change.
_CHILDREN: Final = 64
#: Signature, kind, level, count of children, neighbours.
_NODE_HEAD: Final = 4 + 1 + 1 + 2 + 2 * ADDRESS
#: Kind of a tree whose leaves are chunks.
_OF_CHUNKS: Final = 1


def _levels(count: int) -> list[int]:
    """Nodes of each level, leaves first."""
    levels = [-(-count // _CHILDREN)]
    while levels[-1] > 1:
        levels.append(-(-levels[-1] // _CHILDREN))
    return levels


def _node_bytes(rank: int) -> int:
    return _NODE_HEAD + _CHILDREN * ADDRESS + (_CHILDREN + 1) * _key_bytes(rank)


def _key_bytes(rank: int) -> int:
    return 8 + 8 * (rank + 1)


def tree_bytes(count: int, rank: int) -> int:
    """Bytes of the tree of so many chunks of an array of so many axes."""
    return _node_bytes(rank) * sum(_levels(count))


def render(shape: tuple[int, ...], itemsize: int, chunks: Chunks, *, base: int, place: int) -> bytes:
    """The tree's nodes, the root first, leaves last.

    Args:
        shape: The array's.
        itemsize: Bytes of an element.
        chunks: Where its chunks lie.
        base: What addresses count from.
        place: Where the tree begins, counted from there.
    """
    rank = len(shape)
    size = _node_bytes(rank)
    begins = list(accumulate(chunks.sizes, initial=chunks.offset - base))
    keys = [
        nbytes.to_bytes(4, "little") + bytes(4) + _offsets((*piece.start, 0))
        for nbytes, piece in zip(chunks.sizes, pieces(shape, chunks.shape), strict=True)
    ]
    last = [piece.start for piece in pieces(shape, chunks.shape)][-1]
    # A node ends with a key behind its last child: behind the last chunk it is one chunk on along every axis.
    end = bytes(8) + _offsets((*(at + length for at, length in zip(last, chunks.shape, strict=True)), itemsize))
    children = [begin.to_bytes(ADDRESS, "little") for begin in begins[:-1]]
    found: list[bytes] = []
    place += tree_bytes(len(keys), rank)
    for level, count in enumerate(_levels(len(keys))):
        place -= count * size
        places = [(place + number * size).to_bytes(ADDRESS, "little") for number in range(count)]
        nodes = []
        for number in range(count):
            part = slice(number * _CHILDREN, (number + 1) * _CHILDREN)
            neighbours = (
                places[number - 1] if number else UNDEFINED,
                places[number + 1] if number + 1 < count else UNDEFINED,
            )
            behind = keys[part.stop] if part.stop < len(keys) else end
            nodes.append(_node(level, neighbours, keys[part], children[part], behind).ljust(size, b"\0"))
        keys, children = keys[::_CHILDREN], places
        found = nodes + found
    return b"".join(found)


def _node(
    level: int, neighbours: tuple[bytes, bytes], keys: Sequence[bytes], children: Sequence[bytes], behind: bytes
) -> bytes:
    head = b"TREE" + bytes([_OF_CHUNKS, level]) + len(keys).to_bytes(2, "little") + b"".join(neighbours)
    return head + b"".join(key + child for key, child in zip(keys, children, strict=True)) + behind


def _offsets(elements: tuple[int, ...]) -> bytes:
    return b"".join(at.to_bytes(8, "little") for at in elements)
