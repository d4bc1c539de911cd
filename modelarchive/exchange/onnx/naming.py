"""What ONNX's nodes and stored arrays are called here: dotted names stay, wherever they are names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from modelarchive import names

#: Characters of a name that are looked at: more than a part has.
_LOOKED_AT: Final = 1000


def part(preferred: str) -> str:
    """A part of a dotted name that looks like `preferred`."""
    found = re.sub(r"[^A-Za-z0-9_-]+", "_", preferred[:_LOOKED_AT])[:100].strip("_") or "node"
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
    """Where a layer shall be declared: where the names of its parameters say, else where the node's name does.

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
