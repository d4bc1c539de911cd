"""What stands in a network where something could not be read."""

from __future__ import annotations

from modelarchive.nn.block import Block
from modelarchive.nn.graph import Graph


class Unknown(Block):
    """Stands for a block that could not be read."""


def behind_unknown(graph: Graph, path: str) -> bool:
    """Whether `path` leads into a block that could not be read, so that nothing can be said."""
    block: Block = graph
    for part in path.split("."):
        if part not in block.children:
            break
        block = block.children[part]
    return isinstance(block, Unknown)


def holding(block: Block) -> Unknown:
    """An unknown block with the children of `block`, so that they are checked all the same."""
    unknown = Unknown()
    for name, child in block.children.items():
        unknown.adopt(name, child)
    return unknown
