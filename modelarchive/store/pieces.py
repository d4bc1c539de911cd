"""Arrays that are parts of a whole: how an index says which part, to us and to PyTorch's distributed checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from modelarchive.store.contents import Contents, Entry, Piece
from modelarchive.store.header import HDF5_ENTRY, MAX_LENGTH
from modelarchive.store.strict import fail, mapping, short

#: The key of a safetensors header under which PyTorch says where pieces begin.
SHARDING: Final = "DCP_SHARDING_INFO"


def record(contents: Contents) -> dict[str, Any]:
    """What the archive's part of an index says of pieces."""
    return {name: {"offsets": piece.offsets, "shape": piece.shape} for name, piece in contents.pieces.items()}


def sharding(contents: Contents, dense: Mapping[str, Entry]) -> dict[str, Any]:
    """What PyTorch's distributed checkpoints say of pieces; their reader wants every entry of a file in it."""
    offsets = {}
    for name, entry in dense.items():
        at = contents.pieces[name].offsets if name in contents.pieces else (0,) * len(entry.shape)
        offsets[name] = [*at, 0] if entry.dtype.startswith("complex") else [*at]
    offsets |= {f"{HDF5_ENTRY}{number}": [0] for number in range(len(contents.regions()))}
    return {name: {"saved_offsets": at} for name, at in offsets.items()}


def parse(own: dict[str, Any], contents: Contents) -> dict[str, Piece]:
    """The pieces that an index lists, every number checked.

    Raises:
        FormatError: One is impossible.
    """
    found = {}
    for name, value in mapping(own, "pieces").items():
        entry = contents.arrays.get(name)
        offsets, shape = (value.get(key) if isinstance(value, dict) else None for key in ("offsets", "shape"))
        if entry is None or not isinstance(offsets, list) or not isinstance(shape, list):
            fail(f"the piece {short(name)} is no array with offsets and a shape")
        if not len(offsets) == len(shape) == len(entry.shape):
            fail(f"the piece {short(name)} has not one offset for each axis")
        for at, size, all_ in zip(offsets, entry.shape, shape, strict=True):
            if type(at) is not int or type(all_) is not int or at < 0 or not at + size <= all_ <= MAX_LENGTH:
                fail(f"the piece {short(name)} lies outside of the whole")
        if math.prod(filter(None, shape)) > MAX_LENGTH // 16:
            fail(f"the piece {short(name)} is of a shape that no memory can hold")
        found[name] = Piece(tuple(offsets), tuple(shape))
    return found
