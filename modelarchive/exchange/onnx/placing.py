"""Where blocks and parameters of a flat model come to stand: in Graphs inside of Graphs, so that dotted names stay."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from modelarchive import names
from modelarchive.exchange import budget

#: Characters of a name that are looked at: more than a part has.
_LOOKED_AT: Final = 1000


class Place:
    """A Graph that is being written down.

    Args:
        reserved: Names that are kept for Graphs inside of it.

    Attributes:
        nodes: Its nodes.
        parameters: Its own parameters, as it declares them.
        frozen: Those of them that training does not change.
    """

    def __init__(self, reserved: Collection[str] = ()) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.parameters: dict[str, dict[str, Any]] = {}
        self.frozen: list[str] = []
        self._reserved = frozenset(reserved)
        self._taken = names.Taken()
        self._inside: dict[str, Place] = {}

    def free(self, wish: str) -> str:
        """A name that nothing here has yet."""
        return self._taken.free(part(wish), self._reserved)

    def find(self, path: Sequence[str], last: str) -> tuple[Place, str]:
        """The Graph at a path, made where there is none yet, and a free name in it.

        Where something else has a name of the path, or the last name, it is this Graph and a longer name.
        """
        here = self
        for each in path:
            if each not in here._inside:
                if each in here._taken:
                    return self, self.free("_".join([*path, last]))
                budget.spend(f"the block {'.'.join(path)!r}", steps=2)
                here._taken.add(each)
                here._inside[each] = Place()
                here.nodes.append({"name": each, "block": here._inside[each]})
            here = here._inside[each]
        if last in here._taken:
            return self, self.free("_".join([*path, last]))
        here._taken.add(last)
        return here, last

    def declared(self) -> dict[str, Any]:
        """The block, without inputs and outputs: those of a Graph that only holds others."""
        block: dict[str, Any] = {"kind": "Graph", "inputs": []}
        if self.parameters:
            block["parameters"] = self.parameters
        nodes = [
            node | {"block": node["block"].declared()} if isinstance(node.get("block"), Place) else node
            for node in self.nodes
        ]
        block |= {"nodes": nodes, "outputs": []}
        return block | ({"frozen": self.frozen} if self.frozen else {})


def part(wish: str) -> str:
    """A part of a dotted name that looks like `wish`."""
    found = re.sub(r"[^A-Za-z0-9_-]+", "_", wish[:_LOOKED_AT])[:100].strip("_") or "node"
    return f"x{found}" if names.problem_with_part(found) else found


def path_of(stored: str) -> list[str] | None:
    """A stored array's name as parts of a dotted name; None if it is none."""
    return None if names.problem_with_name(stored) else stored.split(".")


def scope_of(name: str) -> list[str]:
    """The module that PyTorch's older exporter names a node after: "/layer1/layer1.0/conv/Conv" is in layer1.0.conv."""
    parts = name.split("/")
    if len(parts) < 3 or parts[0] or name.count("/") + name.count(".") > names.MAX_PARTS // 2:
        return [part(name)]
    found: list[str] = []
    before = ""
    for each in parts[1:-1]:
        inner = each[len(before) + 1 :] if before and each.startswith(f"{before}.") else each
        found += [part(one) for one in inner.split(".") if one]
        before = each
    return found or [part(name)]


def block_path(node: str, parameters: Mapping[str, str]) -> list[str]:
    """Where a block shall stand: where the names of its parameters say, else where the node's name does.

    Args:
        node: Name of the node.
        parameters: Own name -> name in the file.
    """
    for own, stored in parameters.items():
        path = path_of(stored)
        if path is not None and len(path) > 1 and path[-1] == own.rpartition(".")[2]:
            return path[: -1 - own.count(".")]
    for stored in parameters.values():
        path = path_of(stored)
        if path is not None and len(path) > 1:
            return path  # a parameter of another name becomes a block of that name
    if node.startswith("/"):
        return scope_of(node)
    for stored in parameters.values():
        found = re.sub(r"[._/](weights?|bias|kernel|gamma|beta|scale|w|b|W|B)(:\d+)?$", "", stored)
        if found and found != stored:
            return [part(found)]
    return [part(node)]
