"""Snapshots of the state of blocks: to see whether a forward changed it, and to take back what was learned."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from modelarchive.nn.block import Block
from modelarchive.nn.parameter import Parameter

_DEPTH: Final = 8
_HASHED_BYTES: Final = 1 << 20

Snapshot = dict[int, tuple[Block, dict[str, Any]]]


def snapshot(root: Block) -> Snapshot:
    """What the attributes of `root` and all blocks below hold, parameters' values aside."""
    return {
        id(block): (
            block,
            {
                name: _frozen(value, _DEPTH)
                for name, value in vars(block).items()
                if not isinstance(value, Block | Parameter)
            },
        )
        for _, block in root.named_blocks()
        if type(block).__module__.partition(".")[0] != "modelarchive" or not hasattr(block, "config")
    }


def changed(before: Snapshot, after: Snapshot) -> Iterator[tuple[Block, str]]:
    """The blocks and attributes that differ."""
    for key, (block, attributes) in before.items():
        now = after[key][1] if key in after else {}
        for name in attributes.keys() | now.keys():
            if attributes.get(name) != now.get(name):
                yield block, name


def taking_back(root: Block) -> Callable[[], None]:
    """What takes back, each time, what parameters below `root` learned of their shapes since now."""
    waiting = {
        id(parameter): parameter
        for _, block in root.named_blocks()
        for parameter in block._parameters.values()
        if not parameter.is_known
    }
    kept = [(each, each.as_it_is()) for each in waiting.values()]

    def take_back() -> None:
        for parameter, before in kept:
            parameter.put_back(before)

    return take_back


def _frozen(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return type(value).__name__, repr(value)
    if depth == 0 or isinstance(value, Block | Parameter | type):
        return id(value)
    if isinstance(value, np.ndarray):
        small = value.nbytes <= _HASHED_BYTES and value.dtype != object
        return id(value), value.shape, zlib.crc32(value.tobytes()) if small else None
    if isinstance(value, Mapping):
        return id(value), [(_frozen(key, depth - 1), _frozen(item, depth - 1)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return id(value), [_frozen(item, depth - 1) for item in value]
    if isinstance(value, set | frozenset):
        return id(value), sorted(map(repr, value))
    if hasattr(value, "__dict__") and not callable(value):
        return id(value), _frozen(vars(value), depth - 1)
    return id(value)
