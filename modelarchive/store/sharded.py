"""A folder of archives that is one archive: each holds some arrays, or pieces of them, and one index names them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from threading import RLock
from typing import Any, Final, NoReturn, cast

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import FormatError, IntegrityError
from modelarchive.remote import RemoteFile
from modelarchive.remote.ranges import run
from modelarchive.store.contents import Contents, Entry
from modelarchive.store.deferred import Deferred
from modelarchive.store.digest import digest
from modelarchive.store.joining import Part, joined, joined_members, part_of
from modelarchive.store.reader import Reader
from modelarchive.store.remote_reader import RemoteReader
from modelarchive.store.shards import INDEX, ShardIndex, ShardMap, read_beside, read_index, size_of
from modelarchive.store.strict import short

_CHANGED: Final = "changed since by another tool"


class Folder:
    """A folder of shards as the source of an archive's bytes.

    Args:
        path: The folder.
        index: What its index says.
        opened: Those of them that are open, by name; more may come.

    Raises:
        FormatError: A shard is not there.
    """

    def __init__(self, path: Any, index: ShardIndex, opened: Mapping[str, Reader]) -> None:
        self.path = path
        self.size = size_of(path / INDEX)
        self.is_closed = False
        self._opened = opened
        if isinstance(path, RemoteFile):
            self.size += index.total_size  # a file is asked for when something in it is
            return
        for name in index.shards:
            try:
                self.size += (path / name).stat().st_size
            except FileNotFoundError as error:
                raise FormatError(
                    f"the shard {short(name)} is not there",
                    file=path,
                    hint="take it, or all of the folder, from where it came from again",
                ) from error

    def close(self) -> None:
        """Close all files; views of them stay valid."""
        self.is_closed = True
        for reader in self._opened.values():
            reader.source.close()


class _Entries(Mapping[str, Entry]):
    """The arrays of a folder by name, each shard opened when one of its arrays is asked for."""

    def __init__(self, places: Mapping[str, str], entry: Callable[[str], Entry]) -> None:
        self._places = places
        self._entry = entry

    def __getitem__(self, name: str) -> Entry:
        if name not in self._places:
            raise KeyError(name)
        return self._entry(name)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class ShardedReader:
    """An open folder of shards, as :class:`modelarchive.store.reader.Reader` is an open file.

    Where the index says which shard holds what, a shard is opened when something in it is asked for.

    Args:
        path: The folder.

    Attributes:
        index: What the folder's index says.
        contents: What all shards hold together.

    Raises:
        OSError: A file cannot be read.
        IntegrityError: The index is not as it was written.
        FormatError: A shard is missing, is another one than the index names, or the pieces leave a gap.
        UnsafeFileError: The index names a file elsewhere.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        folder: Any = path if isinstance(path, RemoteFile) else Path(os.fsdecode(path))
        self.index = read_index(folder)
        if self.index.digest and not self.index.is_intact:
            # It alone says which shards there are, and what arrays are called.
            raise IntegrityError({INDEX: (self.index.digest, _CHANGED)}, file=folder)
        if isinstance(folder, RemoteFile) and self.index.map is None:
            run(lambda name: (folder / name).head(1), list(self.index.shards))
        self._opened: dict[str, Reader] = {}
        self._lock = RLock()
        self.source = Folder(folder, self.index, self._opened)
        self._parts: dict[str, list[Part]] = {}
        self._texts: dict[str, Reader] = {}
        try:
            self.contents = self._merged() if self.index.map is None else self._mapped(self.index.map)
        except BaseException:
            self.source.close()
            raise
        self.recorded = self.contents
        self.contents.index_digest = self.index.digest

    @property
    def shards(self) -> dict[str, Reader]:
        """File name -> its reader; all are opened."""
        return {name: self.shard(name) for name in self.index.shards}

    def shard(self, name: str) -> Reader:
        """The reader of one file, opened where it was not yet.

        Raises:
            FormatError: It is damaged, another one than the index names, or holds other arrays.
        """
        with self._lock:
            if name not in self._opened:
                if self.source.is_closed:
                    raise ValueError(f"{self.source.path} is closed")
                reader = _opened(self.source.path, name, self.index.shards[name])
                self._opened[name] = reader
                if self.index.map is not None:
                    self._compare(name, reader.contents, self.index.map)
            return self._opened[name]

    def parts(self, name: str) -> list[Part]:
        """The pieces of an array, or itself, by its canonical name."""
        known = self.index.map
        if known is not None and name not in self._parts:
            self._parts[name] = [part_of(self.shard(known.places[name]), known.stored.get(name, name))]
        return self._parts[name]

    def _mapped(self, known: ShardMap) -> Contents:
        """The contents as the index says them."""
        texts = self.shard(known.texts)
        self._texts = dict.fromkeys(texts.contents.texts, texts)
        return Contents(
            texts.contents.section,
            texts.contents.generator,
            0,
            cast("dict[str, Entry]", _Entries(known.places, self._entry)),
            aliases=known.aliases,
            texts=texts.contents.texts,
            training=known.training,
            members=known.members,
            order=self.index.order or [],
            size=self.source.size,
        )

    def _entry(self, name: str) -> Entry:
        (part,) = self.parts(name)
        return part.reader.contents.arrays[part.name]._replace(offset=None)

    def _compare(self, file: str, contents: Contents, known: ShardMap) -> None:
        """Refuse a shard that does not hold what the index says that it holds."""
        ours = {other: name for name, other in known.stored.items()}
        found = {ours.get(name, name) for name in contents.arrays}
        expected = {name for name, place in known.places.items() if place == file}
        shared = {ours.get(name, name): ours.get(other, other) for name, other in contents.aliases.items()}
        differs = found ^ expected
        differs |= {name for name, other in known.aliases.items() if (other in expected) != (shared.get(name) == other)}
        differs |= shared.keys() - known.aliases.keys()
        if differs or contents.pieces or (file != known.texts and contents.texts):
            what = (
                f"does not hold what the index says, {short(min(differs))} say" if differs else "holds pieces or texts"
            )
            raise FormatError(f"the shard {short(file)} {what}", file=self.source.path)

    def _merged(self) -> Contents:
        """The contents as the shards say them, all together."""
        folder, order = self.source.path, self.index.order
        readers = self.shards
        first = next(iter(readers.values())).contents
        merged = Contents(first.section, first.generator, 0, {}, size=self.source.size)
        for name, reader in readers.items():
            contents = reader.contents
            if contents.section != merged.section:
                raise FormatError(f"{short(name)} holds {contents.section}, others {merged.section}", file=folder)
            for array in contents.arrays:
                self._parts.setdefault(array, []).append(part_of(reader, array))
            for alias, canonical in contents.aliases.items():
                if merged.aliases.setdefault(alias, canonical) != canonical:
                    raise FormatError(f"{short(alias)} is another name of two arrays", file=folder)
            for text in contents.texts:
                if text in self._texts:
                    raise FormatError(f"the text {short(text)} is in two shards", file=folder)
                self._texts[text] = reader
            merged.texts |= contents.texts
        for array, parts in self._parts.items():
            merged.arrays[array] = joined(array, parts, folder)
        if both := merged.aliases.keys() & merged.arrays.keys():
            raise FormatError(f"{short(min(both))} is an array of its own and another name", file=folder)
        known = list(dict.fromkeys(name for reader in readers.values() for name in reader.contents.order))
        merged.order = order if order is not None and sorted(order) == sorted(known) else known
        merged.members = joined_members([reader.contents.members for reader in readers.values()])
        merged.training = joined_members([reader.contents.training for reader in readers.values()])
        return merged

    def kinds(self) -> dict[str, str]:
        """HDF5 path of a block's group -> its kind, as all shards say."""
        return {path: kind for reader in self.shards.values() for path, kind in reader.contents.kinds.items()}

    def refuse(self, damaged: Mapping[str, tuple[str, str]]) -> NoReturn:
        """Say what is damaged.

        Raises:
            IntegrityError: Always.
        """
        raise IntegrityError(damaged, file=self.source.path)

    def expect(self, wanted: Iterable[str]) -> None:
        """Say which arrays will be asked for, one after another."""
        if not isinstance(folder := self.source.path, RemoteFile):
            return
        names = {self.contents.aliases.get(name, name) for name in wanted}
        if (known := self.index.map) is not None:
            run(lambda file: (folder / file).head(1), list({known.places[name] for name in names}))
        expected: dict[int, tuple[Reader, list[str]]] = {}
        for part in (part for name in names for part in self.parts(name)):
            expected.setdefault(id(part.reader), (part.reader, []))[1].append(part.name)
        for reader, own in expected.values():
            reader.expect(own)

    def view(self, name: str) -> np.ndarray:
        """One array: a view of the mapped file where it lies in one, else joined in memory."""
        name = self.contents.aliases.get(name, name)
        parts = self.parts(name)
        return parts[0].reader.view(parts[0].name) if len(parts) == 1 else self.load([name])[name]

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
            target = (into or {}).get(name)
            parts = self.parts(name)
            if len(parts) > 1:
                entry = self.contents.arrays[name]
                dtype = dtypes.numpy_dtype(entry.dtype)
                whole[name] = target = np.empty(entry.shape, dtype) if target is None else target
            for part in parts:
                _, targets, own = jobs.setdefault(id(part.reader), (part.reader, {}, []))
                own.append((name, part))
                place = target if len(parts) == 1 or target is None else target[part.slices]
                if place is not None and place.flags.c_contiguous:
                    targets[part.name] = place
        damaged: dict[str, tuple[str, str]] = {}
        for reader, targets, own in jobs.values():
            stored = [part.name for _, part in own]
            try:
                arrays = reader.load(stored, verify=verify, into=targets) if verify else reader.load(stored)
            except IntegrityError as error:
                ours = {part.name: name for name, part in own}
                damaged |= {ours.get(name, name): said for name, said in error.damaged.items()}
                continue
            for name, part in own:
                if name not in whole:
                    whole[name] = arrays[part.name]
                elif arrays[part.name] is not targets.get(part.name):
                    whole[name][part.slices] = arrays[part.name]
        if damaged:
            self.refuse(damaged)
        return {name: whole[self.contents.aliases.get(name, name)] for name in names}

    def deferred(self, name: str) -> Deferred:
        """One array to be read later, or rows of it."""
        canonical = self.contents.aliases.get(name, name)
        parts = self.parts(canonical)
        if len(parts) == 1:
            return parts[0].reader.deferred(parts[0].name)
        entry = self.contents.arrays[canonical]
        rows = (lambda start, stop: self.rows(canonical, start, stop)) if entry.shape else None
        dtype = dtypes.numpy_dtype(entry.dtype)
        return Deferred(entry.shape, dtype, lambda: self.load([canonical])[canonical], rows=rows)

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of one array, in memory of their own; of each piece only those that are asked for are read."""
        name = self.contents.aliases.get(name, name)
        parts = self.parts(name)
        if len(parts) == 1:
            return parts[0].reader.rows(parts[0].name, start, stop)
        entry = self.contents.arrays[name]
        found = np.empty((max(0, stop - start), *entry.shape[1:]), dtypes.numpy_dtype(entry.dtype))
        for part in parts:
            begin = part.piece.offsets[0]
            low, high = max(start, begin), min(stop, begin + part.shape[0])
            if low < high and 0 not in part.shape:
                found[(slice(low - start, high - start), *part.slices[1:])] = part.reader.rows(
                    part.name, low - begin, high - begin
                )
        return found

    def is_compressed(self, name: str) -> bool:
        """Whether an array, by its canonical name, does not lie in its shards as it is in memory."""
        return any(part.reader.is_compressed(part.name) for part in self.parts(name))

    def text(self, hdf5_path: str) -> Any:
        """A text, as :meth:`Reader.text` gives it."""
        return self._texts[hdf5_path].text(hdf5_path)

    def text_bytes(self, hdf5_path: str) -> list[bytes]:
        """The strings of a text."""
        return self._texts[hdf5_path].text_bytes(hdf5_path)

    def damaged(
        self, progress: Callable[[int], None] | None = None, *, only: Container[str] | None = None
    ) -> dict[str, tuple[str, str]]:
        """Compare recorded digests with the bytes of all shards, or of those that hold what is asked for."""
        found: dict[str, tuple[str, str]] = {}
        known = self.index.map
        if known is None or only is None:
            readers = self.shards
        else:
            wanted = {place for name, place in known.places.items() if name in only}
            readers = {file: self.shard(file) for file in self.index.shards if file in wanted or file == known.texts}
        ours = {} if known is None else known.names
        for reader in readers.values():
            named = only if only is None or not ours else _Stored(only, ours)
            damaged = reader.damaged(progress, only=named)
            found |= {ours.get(name, name): said for name, said in damaged.items()}
        return found

    def damaged_beside(self) -> dict[str, tuple[str, str]]:
        """The index, and the files that are no shards, if they are not as they were written: name -> (then, now)."""
        found = {} if self.index.is_intact else {INDEX: (self.index.digest, _CHANGED)}
        for name, expected in self.index.files.items():
            content = read_beside(self.source.path, name)
            now = "no such file" if content is None else digest(content)
            if now != expected:
                found[name] = (expected, now)
        return found


class _Stored(Container[str]):
    """Names that shards have, as asked for by the names that the folder has."""

    def __init__(self, names: Container[str], ours: Mapping[str, str]) -> None:
        self._names = names
        self._ours = ours

    def __contains__(self, name: object) -> bool:
        return self._ours.get(cast("str", name), name) in self._names


def _opened(folder: Path, name: str, expected: str) -> Reader:
    """One shard.

    Raises:
        FormatError: It is damaged, or another one than the index names.
    """
    file: Any = folder / name
    reader = RemoteReader(file) if isinstance(file, RemoteFile) else Reader(file)
    if reader.contents.is_stale or reader.contents.index_digest != expected:
        reader.source.close()
        raise FormatError(
            f"the shard {short(name)} is another one than the index names",
            file=folder,
            hint="it was changed, or comes from another folder: take all of them again",
        )
    return reader
