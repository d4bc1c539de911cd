"""How a group of many members finds them by name: a fractal heap of links, and a version 2 B-tree of their hashes.

The heap is one block, as long as the links need, and the tree has two levels at most, of nodes as large as that
takes; HDF5's library reads both and goes on with them when it changes the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

import numpy as np

from modelarchive.store.hdf5.checksum import checksums
from modelarchive.store.hdf5.headers import ADDRESS, CHECKSUM, UNDEFINED

#: A group with more members than this keeps them in a heap, as HDF5's library does.
MOST_IN_HEADER: Final = 8

_HEAP_BYTES: Final = 146
_TREE_BYTES: Final = 38
#: Signature, version, address of the heap's header and own offset: bytes of a heap's block before its links.
_BLOCK_HEAD: Final = 4 + 1 + 8 + 4
#: Signature, version and type of a tree's node, and its checksum.
_NODE_FRAME: Final = 4 + 1 + 1 + CHECKSUM
#: A hash, and the heap's name for a link: a zero (it lies in a block), where it begins, and its length.
_RECORD: Final = np.dtype([("hash", "<u4"), ("kind", "u1"), ("begin", "<u4"), ("length", "<u2")])
_RECORD_BYTES: Final = _RECORD.itemsize
#: The smallest block and node, the largest block that a heap has without this one, and the longest link that
#: lies in such a heap: what HDF5's library takes.
_LEAST: Final = 512
_LARGEST_BLOCK: Final = 1 << 16
_LONGEST_LINK: Final = 1 << 12
#: The tree's records are names of links, by hash.
_BY_NAME: Final = 5


class Links:
    """The links of one group, outside its header.

    Args:
        names: The members' names.
        lengths: Bytes of each link.

    Attributes:
        parts: Bytes of the heap's header, its block, the tree's header and each node, in the order of the file.
    """

    def __init__(self, names: Sequence[bytes], lengths: Sequence[int]) -> None:
        self._lengths = lengths
        self._block = _power_of_two(_BLOCK_HEAD + sum(lengths))
        self._records = _records(checksums(names), names, lengths)
        self._node = _LEAST
        while not self._fits(len(names)):
            self._node *= 2
        per_leaf = self._per_leaf
        leaves = 1 if len(names) <= per_leaf else -(-(len(names) + 1) // (per_leaf + 1))
        self._leaves = leaves
        nodes = leaves + (leaves > 1)
        self.parts = [_HEAP_BYTES, self._block, _TREE_BYTES, *[self._node] * nodes]

    @property
    def _per_leaf(self) -> int:
        return (self._node - _NODE_FRAME) // _RECORD_BYTES

    @property
    def _pointer(self) -> int:
        """Bytes by which a node points to a leaf: its address, and how many records it has."""
        return ADDRESS + (self._per_leaf.bit_length() + 7) // 8

    def _fits(self, count: int) -> bool:
        """Whether so many records take at most a root and leaves."""
        in_root = (self._node - _NODE_FRAME - self._pointer) // (_RECORD_BYTES + self._pointer)
        return count <= in_root + (in_root + 1) * self._per_leaf

    def render(
        self, links: Sequence[bytes], addresses: Sequence[bytes], places: Sequence[int]
    ) -> tuple[list[bytes], bytes]:
        """The parts to be sealed with a checksum, and the block, which has none.

        Args:
            links: The links, in the order of their names, without the addresses that they end with.
            addresses: These.
            places: Where each of :attr:`parts` lies.

        Returns:
            The heap's header, the tree's header and the nodes, without checksums and padding; the block.
        """
        heap, block, _, *nodes = (place.to_bytes(ADDRESS, "little") for place in places)
        count = len(links)
        root, root_records = (nodes[-1], self._leaves - 1) if self._leaves > 1 else (nodes[0], count)
        head = b"BTHD\0" + bytes([_BY_NAME]) + self._node.to_bytes(4, "little") + _RECORD_BYTES.to_bytes(2, "little")
        head += (self._leaves > 1).to_bytes(2, "little") + bytes([100, 40]) + root + root_records.to_bytes(2, "little")
        head += count.to_bytes(8, "little")
        content = b"FHDB\0" + heap + bytes(4) + b"".join(chain.from_iterable(zip(links, addresses, strict=True)))
        return [self._heap(block), head, *self._nodes(count, nodes)], content.ljust(self._block, b"\0")

    def _nodes(self, count: int, places: Sequence[bytes]) -> list[bytes]:
        """The leaves, with as many records each as evenly goes, and the root that has the records between them."""
        leaves, between, pointers = [], [], []
        in_leaves = count - (self._leaves - 1)
        at = 0
        width = self._pointer - ADDRESS
        for number in range(self._leaves):
            size = in_leaves // self._leaves + (number < in_leaves % self._leaves)
            end = at + size * _RECORD_BYTES
            leaves.append(b"BTLF\0" + bytes([_BY_NAME]) + self._records[at:end])
            pointers.append(places[number] + size.to_bytes(width, "little"))
            between.append(self._records[end : end + _RECORD_BYTES])
            at = end + _RECORD_BYTES
        if self._leaves == 1:
            return leaves
        return [*leaves, b"BTIN\0" + bytes([_BY_NAME]) + b"".join(between) + b"".join(pointers)]

    def _heap(self, block: bytes) -> bytes:
        """The heap's header: 7 bytes name a link, blocks carry no checksum, nothing is compressed."""
        used = _BLOCK_HEAD + sum(self._lengths)
        longest = max(_LONGEST_LINK, *self._lengths)
        sizes = [self._block - used, None, self._block, self._block, 0, len(self._lengths), 0, 0, 0, 0]
        counted = b"".join(UNDEFINED if size is None else size.to_bytes(8, "little") for size in sizes)
        table = [(4, 2), (self._block, 8), (max(self._block, _LARGEST_BLOCK), 8), (32, 2), (1, 2)]
        return (
            b"FRHP\0\x07\0\0\0\0"
            + longest.to_bytes(4, "little")
            + bytes(8)
            + UNDEFINED
            + counted
            + b"".join(value.to_bytes(width, "little") for value, width in table)
            + block
            + bytes(2)
        )


def _records(hashes: Sequence[int], names: Sequence[bytes], lengths: Sequence[int]) -> bytes:
    """What the tree holds, in its order: the hash of a name, and where its link lies in the heap."""
    found = np.zeros(len(names), _RECORD)
    found["hash"] = hashes
    order = np.argsort(found["hash"], kind="stable")
    if len({*hashes}) < len(hashes):  # names of one hash stand in the order of the names
        order = np.array(sorted(order.tolist(), key=lambda at: (hashes[at], names[at])))
    found["length"] = lengths
    found["begin"] = _BLOCK_HEAD + np.cumsum(lengths) - lengths
    return found[order].tobytes()


def _power_of_two(size: int) -> int:
    """The smallest power of two, at least :data:`_LEAST`, that is not below `size`."""
    return max(_LEAST, 1 << (size - 1).bit_length())
