"""Calls of modules that make arrays of sizes which nothing that they are given has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.fx import Node

from modelarchive.exchange.torch.frames import Frame, is_array
from modelarchive.exchange.torch.lifting import word
from modelarchive.exchange.torch.sizes import Sizes
from modelarchive.nn.dim import Dim

#: Operators that give an array a size that it did not have.
_STRETCHING: Final = {"expand", "repeat", "tile", "broadcast_to", "new_zeros", "new_ones", "new_full", "new_empty"}


def sizes_of(node: Node) -> list[Any]:
    """The sizes of all axes of the arrays that a call gives."""
    value = node.meta["val"]
    several = value if isinstance(value, tuple | list) else [value]
    return [size for each in several if isinstance(each, torch.Tensor) for size in each.shape]


def lacks_sizes(frame: Frame, inputs_of: Callable[[Node], list[Node]], sizes: Sizes) -> bool:
    """Whether a call of a module makes an array of a size that nothing has which it is given."""
    given = {sizes(size) for each in frame.externals for size in sizes_of(each)}
    for node in frame.nodes():
        arrays = [each for each in inputs_of(node) if is_array(each)]
        if arrays and word(node) not in _STRETCHING:
            # A part of a table of positions, say, that is as long as something else.
            known = sizes.symbols(map(sizes_of, [*arrays, *frame.externals]))
            if sizes.symbols([sizes_of(node)]) - known:
                return True
            continue
        own = {sizes(size) for each in arrays for size in sizes_of(each)}
        wanted = {sizes(size) for size in sizes_of(node)}
        if any(isinstance(size, Dim) for size in wanted - own - given):
            return True
    return False
