"""Which of the arrays that are stored with a network are constants of its forwards, and no parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelarchive.architecture.vocabulary import children_of
from modelarchive.names import joined


def constants_of(architecture: Mapping[str, Any]) -> frozenset[str]:
    """The structural names of the constants in an architecture, which need not be valid."""
    found = set()
    pending: list[tuple[str, Any]] = [("", architecture.get("model"))]
    while pending:
        path, block = pending.pop()
        if not isinstance(block, dict):
            continue
        declared = block.get("parameters")
        for name, each in declared.items() if isinstance(declared, dict) else ():
            if isinstance(each, dict) and each.get("persistent") is False:
                found.add(joined(path, name))
        pending += [
            (joined(path, str(child.get("name"))), child["block"]) for child in children_of(block) if "block" in child
        ]
    return frozenset(found)
