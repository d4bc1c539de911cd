"""A folder of archives that is one archive: each holds some arrays, or pieces of them, and one index names them all."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, cast

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import FormatError, IntegrityError
from modelarchive.formats.signs import shards_of_archive
from modelarchive.remote import RemoteFile, located
from modelarchive.remote.file import run
from modelarchive.store.contents import Contents, Entry, Piece, is_position
from modelarchive.store.deferred import Deferred
from modelarchive.store.reader import Reader
from modelarchive.store.remote_reader import RemoteReader
from modelarchive.store.shards import INDEX, read_index, size_of
from modelarchive.store.strict import short

#: Pieces of one array that are compared with each other; where all are cut along one axis there may be any number.
_MOST_PIECES: Final = 4096


class Part(NamedTuple):
    """Where a piece of an array is: the shard that has it, and its place in the whole."""

    reader: Reader
    piece: Piece
    shape: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """Its place in the whole."""
        return tuple(slice(at, at + size) for at, size in zip(self.piece.offsets, self.shape, strict=True))


class Folder:
    """A folder of shards as the source of an archive's bytes.

    Args:
        path: The folder.
        files: Its files, opened.
    """

    def __init__(self, path: Path, files: Sequence[Reader]) -> None:
        self.path = path
        self.size = size_of(path / INDEX) + sum(reader.source.size for reader in files)
        self._files = files

    def close(self) -> None:
        """Close all files; views of them stay valid."""
        for reader in self._files:
            reader.source.close()

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return all(reader.source.is_closed for reader in self._files)


class ShardedReader:
    """An open folder of shards, as :class:`modelarchive.store.reader.Reader` is an open file.

    Args:
        path: The folder.

    Attributes:
        contents: What all shards hold together.
        shards: File name -> its reader.
        parts: Canonical name of an array -> its pieces, or itself.

    Raises:
        OSError: A file cannot be read.
        FormatError: A shard is missing, is another one than the index names, or the pieces leave a gap.
        UnsafeFileError: The index names a file elsewhere.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        folder: Any = path if isinstance(path, RemoteFile) else Path(os.fsdecode(path))
        record = read_index(folder)
        if isinstance(folder, RemoteFile):
            run(lambda name: folder.__truediv__(name).head(1), list(record["shards"]))
        self.shards: dict[str, Reader] = {}
        try:
            for name, digest in record["shards"].items():
                self.shards[name] = _opened(folder, name, digest)
            self.source = Folder(folder, list(self.shards.values()))
            self.parts: dict[str, list[Part]] = {}
            self._texts: dict[str, Reader] = {}
            self.contents = self.recorded = self._merged(folder, record.get("order"))
        except BaseException:
            for reader in self.shards.values():
                reader.source.close()
            raise

    def _merged(self, folder: Path, order: object) -> Contents:
        readers = list(self.shards.values())
        first = readers[0].contents
        merged = Contents(first.section, first.generator, 0, {}, size=self.source.size)
        for name, reader in self.shards.items():
            contents = reader.contents
            if contents.section != merged.section:
                raise FormatError(f"{short(name)} holds {contents.section}, others {merged.section}", file=folder)
            for array, entry in contents.arrays.items():
                piece = contents.pieces.get(array) or Piece((0,) * len(entry.shape), entry.shape)
                self.parts.setdefault(array, []).append(Part(reader, piece, entry.shape))
            merged.aliases |= contents.aliases
            for text in contents.texts:
                if text in self._texts:
                    raise FormatError(f"the text {short(text)} is in two shards", file=folder)
                self._texts[text] = reader
            merged.texts |= contents.texts
            merged.kinds |= contents.kinds
        for array, parts in self.parts.items():
            merged.arrays[array] = _joined(array, parts, folder)
        if both := merged.aliases.keys() & merged.arrays.keys():
            raise FormatError(f"{short(min(both))} is an array of its own and another name", file=folder)
        known = list(dict.fromkeys(name for reader in readers for name in reader.contents.order))
        merged.order = order if isinstance(order, list) and sorted(map(str, order)) == sorted(known) else known
        merged.members = _members([reader.contents.members for reader in readers])
        merged.training = _members([reader.contents.training for reader in readers])
        return merged

    def refuse(self, damaged: Mapping[str, tuple[str, str]]) -> NoReturn:
        """Say what is damaged.

        Raises:
            IntegrityError: Always.
        """
        raise IntegrityError(damaged, file=self.source.path)

    def expect(self, wanted: Iterable[str]) -> None:
        """Say which arrays will be asked for, one after another."""
        names = {self.contents.aliases.get(name, name) for name in wanted}
        for reader in self.shards.values():
            reader.expect(names & reader.contents.arrays.keys())

    def view(self, name: str) -> np.ndarray:
        """One array: a view of the mapped file where it lies in one, else joined in memory."""
        name = self.contents.aliases.get(name, name)
        parts = self.parts[name]
        return parts[0].reader.view(name) if len(parts) == 1 else self.load([name])[name]

    def views(self, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """The named arrays, likewise; a shared one is one array under each of its names."""
        found: dict[str, np.ndarray] = {}
        return {
            name: found.setdefault(canonical, found[canonical] if canonical in found else self.view(canonical))
            for name in wanted
            for canonical in [self.contents.aliases.get(name, name)]
        }

    def load(
        self, wanted: Iterable[str], *, verify: bool = False, into: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """The named arrays in memory of their own, as :meth:`Reader.load` gives them; pieces are joined."""
        names = list(wanted)
        canonical = {self.contents.aliases.get(name, name): None for name in names}
        whole: dict[str, np.ndarray] = {}
        jobs: dict[int, tuple[Reader, dict[str, np.ndarray], list[tuple[str, Part]]]] = {}
        for name in canonical:
            entry = self.contents.arrays[name]
            target = (into or {}).get(name)
            parts = self.parts[name]
            if len(parts) > 1:
                dtype = dtypes.numpy_dtype(entry.dtype)
                whole[name] = target = np.empty(entry.shape, dtype) if target is None else target
            for part in parts:
                _, targets, own = jobs.setdefault(id(part.reader), (part.reader, {}, []))
                own.append((name, part))
                place = target if len(parts) == 1 or target is None else target[part.slices]
                if place is not None and place.flags.c_contiguous:
                    targets[name] = place
        damaged: dict[str, tuple[str, str]] = {}
        for reader, targets, own in jobs.values():
            try:
                arrays = (
                    reader.load([name for name, _ in own], verify=verify, into=targets)
                    if verify
                    else (reader.load([name for name, _ in own]))
                )
            except IntegrityError as error:
                damaged |= error.damaged
                continue
            for name, part in own:
                if name not in whole:
                    whole[name] = arrays[name]
                elif arrays[name] is not targets.get(name):
                    whole[name][part.slices] = arrays[name]
        if damaged:
            raise IntegrityError(damaged, file=self.source.path)
        return {name: whole[self.contents.aliases.get(name, name)] for name in names}

    def deferred(self, name: str) -> Deferred:
        """One array to be read later, or rows of it."""
        canonical = self.contents.aliases.get(name, name)
        parts = self.parts[canonical]
        if len(parts) == 1:
            return parts[0].reader.deferred(canonical)
        entry = self.contents.arrays[canonical]
        rows = (lambda start, stop: self.rows(canonical, start, stop)) if entry.shape else None
        dtype = dtypes.numpy_dtype(entry.dtype)
        return Deferred(entry.shape, dtype, lambda: self.load([canonical])[canonical], rows=rows)

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of one array, in memory of their own; of each piece only those that are asked for are read."""
        name = self.contents.aliases.get(name, name)
        parts = self.parts[name]
        if len(parts) == 1:
            return parts[0].reader.rows(name, start, stop)
        entry = self.contents.arrays[name]
        found = np.empty((max(0, stop - start), *entry.shape[1:]), dtypes.numpy_dtype(entry.dtype))
        for part in parts:
            begin = part.piece.offsets[0]
            low, high = max(start, begin), min(stop, begin + part.shape[0])
            if low < high and 0 not in part.shape:
                found[(slice(low - start, high - start), *part.slices[1:])] = part.reader.rows(
                    name, low - begin, high - begin
                )
        return found

    def text(self, hdf5_path: str) -> Any:
        """A text, as :meth:`Reader.text` gives it."""
        return self._texts[hdf5_path].text(hdf5_path)

    def text_bytes(self, hdf5_path: str) -> list[bytes]:
        """The strings of a text."""
        return self._texts[hdf5_path].text_bytes(hdf5_path)

    def damaged(
        self, progress: Callable[[int], None] | None = None, *, only: Container[str] | None = None
    ) -> dict[str, tuple[str, str]]:
        """Compare recorded digests with the bytes of all shards."""
        found: dict[str, tuple[str, str]] = {}
        for reader in self.shards.values():
            found |= reader.damaged(progress, only=only)
        return found


def reader_of(path: str | os.PathLike[str]) -> Reader:
    """The reader of an archive: of a file, or of a folder of shards, which answers in the same way.

    Raises:
        OSError: It cannot be opened.
        FormatError: It is no archive, or damaged.
        UnsafeFileError: It breaks a safety rule.
    """
    place: Any = located(path)
    is_remote = isinstance(place, RemoteFile)
    folder = place if is_remote else Path(os.fsdecode(place))
    if folder.is_dir() and shards_of_archive(folder):
        return cast("Reader", ShardedReader(folder))
    return RemoteReader(place) if is_remote else Reader(place)


def _opened(folder: Path, name: str, digest: str) -> Reader:
    """One shard.

    Raises:
        FormatError: It is not there, damaged, or another one than the index names.
    """
    try:
        file: Any = folder / name
        reader = RemoteReader(file) if isinstance(file, RemoteFile) else Reader(file)
    except FileNotFoundError as error:
        raise FormatError(f"the shard {short(name)} is not there", file=folder) from error
    if reader.contents.is_stale or reader.contents.index_digest != digest:
        reader.source.close()
        raise FormatError(
            f"the shard {short(name)} is another one than the index names",
            file=folder,
            hint="it was changed, or comes from another folder: take all of them again",
        )
    return reader


def _joined(name: str, parts: Sequence[Part], folder: Path) -> Entry:
    """The whole array that pieces make.

    Raises:
        FormatError: They are of several shapes or dtypes, or do not cover it exactly once.
    """
    entries = [part.reader.contents.arrays[name] for part in parts]
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
    boxes = [part.slices for part in parts]
    return not any(
        all(one.start < other.stop and other.start < one.stop for one, other in zip(first, second, strict=True))
        for at, first in enumerate(boxes)
        for second in boxes[at + 1 :]
    )


def _members(several: Sequence[dict[str, str] | None]) -> dict[str, str] | None:
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
