"""Calls of a program that give arrays whose sizes depend on values, which no architecture can say."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from modelarchive.exchange.torch.capturing import calls
from modelarchive.exchange.torch.lifting import word
from modelarchive.exchange.torch.lines_of_code import line_of_call

_ADVICE = "compute with masks (torch.where, sums of truths), or leave it to what calls the network"


def sizes_of_values(nodes: list[Node], root: str, constants: Collection[Node]) -> Iterator[tuple[str, str]]:
    """(path of the module, what it does) of each such call; what is computed of what these give is no news.

    Args:
        nodes: The calls that are needed, in order.
        root: The path of the network in the exported module.
        constants: Calls whose values are known: a mask that is one chooses as many each time.
    """
    known: set[Any] = set()
    for node in nodes:
        value = node.meta.get("val")
        several = value if isinstance(value, tuple | list) else [value]
        arrays = [each for each in several if isinstance(each, torch.Tensor)]
        sizes = {size for each in arrays for axis in each.shape for size in free_unbacked_symbols(axis)}
        if sizes - known and not _is_of_constant_mask(node, constants):
            path = next((each.path for each in reversed(calls(node))), root)
            what = f"{word(node)} gives an array whose size depends on values, and an architecture says all sizes"
            yield path.removeprefix(root).removeprefix("."), f"{what}: {_ADVICE}{line_of_call(node)}"
        known |= sizes


def _is_of_constant_mask(node: Node, constants: Collection[Node]) -> bool:
    if word(node) != "index":
        return False
    masks = [each for each in node.args[1] if isinstance(each, Node) and each.meta["val"].dtype == torch.bool]
    return bool(masks) and all(each in constants for each in masks)
