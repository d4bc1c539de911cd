"""Arrays in pieces: what several shards hold of one array, joined into the whole that they must make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import FormatError
from modelarchive.store.contents import Entry, Piece, is_position
from modelarchive.store.reader import Reader
from modelarchive.store.strict import short

#: Pieces of one array that are compared with each other; where all are cut along one axis there may be any number.
_MOST_PIECES: Final = 4096


class Part(NamedTuple):
    """Where a piece of an array is: the shard that has it, and its place in the whole.

    Attributes:
        reader: The shard.
        name: What the array is called there.
        piece: Which part of the whole it is.
        shape: Its own shape.
    """

    reader: Reader
    name: str
    piece: Piece
    shape: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """Its place in the whole."""
        return tuple(slice(at, at + size) for at, size in zip(self.piece.offsets, self.shape, strict=True))


def part_of(reader: Reader, name: str) -> Part:
    """What a shard has of an array."""
    entry = reader.contents.arrays[name]
    piece = reader.contents.pieces.get(name) or Piece((0,) * len(entry.shape), entry.shape)
    return Part(reader, name, piece, entry.shape)


def joined(name: str, parts: Sequence[Part], folder: Path) -> Entry:
    """The whole array that pieces make.

    Raises:
        FormatError: They are of several shapes or dtypes, or do not cover it exactly once.
    """
    entries = [part.reader.contents.arrays[part.name] for part in parts]
    if len(parts) == 1 and parts[0].piece.shape == entries[0].shape:
        return entries[0]._replace(offset=None)
    kinds = {(part.piece.shape, entry.dtype) for part, entry in zip(parts, entries, strict=True)}
    if len(kinds) > 1:
        raise FormatError(f"the pieces of {short(name)} are of several shapes or dtypes", file=folder)
    ((shape, dtype),) = kinds
    full = [part for part in parts if math.prod(part.shape)]
    if sum(math.prod(part.shape) for part in full) != math.prod(shape) or not _are_apart(full):
        raise FormatError(
            f"the pieces of {short(name)} do not cover its shape {shape} exactly once",
            file=folder,
            hint="a shard is missing, or stands twice",
        )
    return Entry(dtype, shape, None, math.prod(shape) * dtypes.DENSE[dtype].itemsize, None)


def check_joined(readers: Iterable[Reader], folder: Path) -> None:
    """See that arrays in pieces are whole in several shards together, before these become an archive.

    Raises:
        FormatError: Pieces are of several shapes or dtypes, or do not cover an array exactly once.
    """
    parts: dict[str, list[Part]] = {}
    for reader in readers:
        for name in reader.contents.arrays:
            parts.setdefault(name, []).append(part_of(reader, name))
    for name, several in parts.items():
        joined(name, several, folder)


def _are_apart(parts: Sequence[Part]) -> bool:
    """Whether no two pieces overlap."""
    axes = {
        axis
        for part in parts
        for axis, (size, all_) in enumerate(zip(part.shape, part.piece.shape, strict=True))
        if size != all_
    }
    if len(axes) <= 1:
        axis = next(iter(axes), 0)
        spans = sorted((part.piece.offsets[axis], part.piece.offsets[axis] + part.shape[axis]) for part in parts)
        return all(one[1] <= other[0] for one, other in pairwise(spans))
    if len(parts) > _MOST_PIECES:
        return False
    starts = np.array([part.piece.offsets for part in parts])
    stops = starts + np.array([part.shape for part in parts])
    return not any(
        ((starts[at] < stops[at + 1 :]) & (starts[at + 1 :] < stops[at])).all(axis=1).any() for at in range(len(parts))
    )


def joined_members(several: Sequence[dict[str, str] | None]) -> dict[str, str] | None:
    """The members of one structure that lies in several shards: parents first, lists in the order of their numbers."""
    known = [each for each in several if each is not None]
    if not known:
        return None
    kinds: dict[str, str] = {}
    for members in known:
        for path, kind in members.items():
            if kinds.setdefault(path, kind) != kind:
                raise FormatError(f"{short(path)} is a {kinds[path]} in one shard and a {kind} in another")
    children: dict[str, list[str]] = {}
    for path in kinds:
        if path:
            children.setdefault(path.rpartition("/")[0], []).append(path)
    ordered: dict[str, str] = {}
    pending = [""]
    while pending:
        path = pending.pop()
        ordered[path] = kinds[path]
        below = children.get(path, [])
        if kinds[path] in ("list", "tuple"):
            below = sorted(below, key=_number)
        pending += reversed(below)
    return ordered


def _number(path: str) -> int:
    name = path.rpartition("/")[2]
    return int(name) if is_position(name) else 0
