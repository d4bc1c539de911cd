"""Read arrays and texts of an archive: where its index has them, through the guard where it does not hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import FormatError, IntegrityError, ModelArchiveError
from modelarchive.store.contents import Contents, Entry, least_itemsize
from modelarchive.store.deferred import Deferred, Extent, Origin
from modelarchive.store.opening import contents_of, opened
from modelarchive.store.text import decode

if TYPE_CHECKING:
    from modelarchive.store import inflating
    from modelarchive.store.source import Source

_offset = attrgetter("offset")


class Reader:
    """An open archive file: its contents, and its bytes as arrays and text.

    Args:
        path: The file.

    Attributes:
        contents: What the file holds.
        recorded: What its index says, also where that does not hold any more; None without an index.

    Raises:
        OSError: The file cannot be opened.
        FormatError: It is no archive, or damaged.
        UnsafeFileError: It breaks a safety rule.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.source = self._opened(path)
        try:
            self.contents, self.recorded = self._described()
        except FormatError as error:
            from modelarchive import formats

            self.source.close()
            error.file = error.file or str(self.source.path)
            raise formats.explain(error, self.source.path) from error
        except ModelArchiveError as error:
            self.source.close()
            error.file = error.file or str(self.source.path)
            raise
        except BaseException:
            self.source.close()
            raise

    def _opened(self, path: Any) -> Source:
        return opened(path)

    def _described(self) -> tuple[Contents, Contents | None]:
        return contents_of(self.source)

    def expect(self, wanted: Iterable[str]) -> None:
        """Say which arrays will be asked for, one after another; of a file on a disk nobody needs to know.

        Args:
            wanted: Their names.
        """

    def view(self, name: str) -> np.ndarray:
        """One array, a copy-on-write view of the mapped file where its layout allows it."""
        entry = self.contents.arrays.get(name)
        if entry is not None and entry.offset is not None:
            return self.source.views([entry])[0]
        return self.views([name])[name]

    def views(self, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """The named arrays as such views."""
        names, canonical, placed = self._placed(wanted)
        found = dict(zip(placed, self.source.views(list(placed.values())), strict=True))
        return self._named(names, canonical, found)

    def load(
        self, wanted: Iterable[str], *, verify: bool = False, into: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """The named arrays in memory of their own; a shared one is one array under each of its names.

        Args:
            wanted: The names.
            verify: Compare each array with its digest while reading, and the texts with theirs.
            into: With `verify`, canonical name -> an array of the same dtype and shape, in C order, to be filled and
                given back. Where bytes are damaged it is filled with them.

        Raises:
            IntegrityError: With `verify`, an array's bytes differ from its digest.
        """
        names, canonical, placed = self._placed(wanted)
        if verify:
            targets = [into.get(name) for name in placed] if into else None
            arrays, digests = self.source.load_with_digests(list(placed.values()), targets)
            found = dict(zip(placed, arrays, strict=True))
            packed = [name for name in dict.fromkeys(canonical) if name in self.contents.chunks]
            inflated, damaged = self._inflated(packed) if packed else ({}, {})
            for (name, entry), value in zip(placed.items(), digests, strict=True):
                if entry.digest is not None and entry.digest != value:
                    damaged[name] = (entry.digest, value)
            damaged |= self._damaged_texts()
            if damaged:
                raise IntegrityError(damaged, file=self.source.path)
            found |= inflated
        else:
            found = dict(zip(placed, self.source.load(list(placed.values())), strict=True))
        return self._named(names, canonical, found)

    def _placed(self, wanted: Iterable[str]) -> tuple[list[str], list[str], dict[str, Entry]]:
        """The wanted names, the canonical name of each, and of these the entries that lie in the file as they are."""
        names = list(wanted)
        arrays, aliases = self.contents.arrays, self.contents.aliases
        canonical = [aliases.get(name, name) for name in names] if aliases else names
        placed = dict(zip(canonical, map(arrays.__getitem__, canonical), strict=True))
        if None in map(_offset, placed.values()):
            placed = {name: entry for name, entry in placed.items() if entry.offset is not None}
        return names, canonical, placed

    def _named(self, names: list[str], canonical: list[str], found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays under the names that were asked for, with those that have no place of their own in the file."""
        if [*found] == names:
            return found
        if elsewhere := [name for name in dict.fromkeys(canonical) if name not in found]:
            found |= self._without_place(elsewhere)
        return dict(zip(names, map(found.__getitem__, canonical), strict=True))

    def deferred(self, name: str) -> Deferred:
        """One array to be read later, piece by piece where it lies in the file as one; shared ones each on its own."""
        return _Stored(self, name, self.contents.entry(name))

    def pieces(self, name: str) -> Iterator[memoryview]:
        """An array's bytes piece by piece, by its canonical name; one that only HDF5 can read has none."""
        _, _, offset, nbytes, _ = self.contents.arrays[name]
        if offset is not None:
            return self.source.pieces(offset, nbytes)
        from modelarchive.store import inflating

        return inflating.passed(self._chunked(name), self._packed(name))

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of one array, in memory of their own; of a compressed one only the chunks that hold them are read."""
        name = self.contents.aliases.get(name, name)
        if name in self.contents.chunks:
            from modelarchive.store import inflating

            return inflating.rows(self._chunked(name, start, stop), self._packed(name), start, stop)
        dtype, shape, offset, nbytes, _ = self.contents.arrays[name]
        if offset is None or not nbytes:
            return self.view(name)[start:stop].copy()
        row = nbytes // shape[0]
        wanted = Entry(dtype, (stop - start, *shape[1:]), offset + start * row, (stop - start) * row, None)
        return self.source.load([wanted])[0]

    def is_compressed(self, name: str) -> bool:
        """Whether an array, by its canonical name, does not lie in the file as it is in memory."""
        entry = self.contents.arrays[name]
        return entry.offset is None and entry.nbytes > 0

    def text(self, hdf5_path: str) -> Any:
        """A text: ``str`` for one string, an array for several, the value of a literal.

        Raises:
            KeyError: There is no such text.
            FormatError: Its bytes are not what its dtype says.
        """
        text = self.contents.texts[hdf5_path]
        strings, shape = self.text_bytes(hdf5_path), text.shape
        try:
            if text.itemsize < least_itemsize(text.dtype, len(strings)):
                raise ValueError(f"strings of {text.itemsize} bytes are not that long")
            return decode(text.dtype, strings, shape)
        except (ValueError, LookupError, RecursionError) as error:
            raise FormatError(f"is no {text.dtype}: {error}", file=self.source.path, path=hdf5_path) from error

    def text_bytes(self, hdf5_path: str) -> list[bytes]:
        """The strings of a text, flat, without their padding."""
        text = self.contents.texts[hdf5_path]
        if not text.nbytes:
            return []
        if text.offset is None:
            from modelarchive.store.guarded import boundary

            return boundary.read_text(self.source, hdf5_path)
        data = self.source.read(text.offset, text.nbytes)
        return [data[at : at + text.itemsize].rstrip(b"\0") for at in range(0, len(data), text.itemsize)]

    def damaged(
        self, progress: Callable[[int], None] | None = None, *, only: Container[str] | None = None
    ) -> dict[str, tuple[str, str]]:
        """Compare recorded digests with the bytes: ``{name or HDF5 path: (expected, found)}``.

        In a file that an HDF5 tool has changed, those digests are compared whose array is still there.

        Args:
            progress: Called with the number of bytes checked since the last call.
            only: The names of arrays, without aliases, and HDF5 paths of texts to look at; None: all.
        """
        expected = self._arrays_expected() | self._texts_expected()
        packed = list(self.contents.chunks)
        if only is not None:
            expected = {name: each for name, each in expected.items() if name in only}
            packed = [name for name in packed if name in only]
        return self._compare(expected, progress) | self._damaged_chunks(packed, progress)

    def _damaged_texts(self) -> dict[str, tuple[str, str]]:
        """Of the texts, those that differ from their digests; an array's words and shape are told by some of them."""
        return self._compare(self._texts_expected())

    def _inflated(self, wanted: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
        """Compressed arrays, and which of them are damaged."""
        from modelarchive.store import inflating

        try:
            arrays = self._without_place(wanted)
        except FormatError:
            return {}, self._damaged_chunks(wanted)
        found = {name: inflating.content_digest(array) for name, array in arrays.items()}
        expected = {name: self.contents.arrays[name].digest for name in wanted}
        return arrays, {
            name: (value, found[name]) for name, value in expected.items() if value is not None and value != found[name]
        }

    def _damaged_chunks(
        self, wanted: Iterable[str], progress: Callable[[int], None] | None = None
    ) -> dict[str, tuple[str, str]]:
        """Of compressed arrays, those whose content is not what its digest says, or cannot be inflated."""
        damaged = {}
        for name in wanted:
            from modelarchive.store import inflating

            old = self.recorded.arrays.get(name) if self.recorded else None
            try:
                found = inflating.digest_of(self._chunked(name), self._packed(name), progress)
            except FormatError as error:
                damaged[name] = ("compressed", error.args[0])
                continue
            if old and old.digest and old[:2] == self.contents.arrays[name][:2] and old.digest != found:
                damaged[name] = (old.digest, found)
        return damaged

    def _arrays_expected(self) -> dict[str, tuple[str, int, int]]:
        """Name -> (digest, offset, bytes)."""
        expected = {}
        for name, entry in self.contents.arrays.items():
            old = self.recorded.arrays.get(name) if self.recorded else None
            if old and old.digest and old[:2] == entry[:2] and (entry.offset is not None or not entry.nbytes):
                expected[name] = (old.digest, entry.offset or 0, entry.nbytes)
        return expected

    def _texts_expected(self) -> dict[str, tuple[str, int, int]]:
        """HDF5 path -> (digest, offset, bytes)."""
        expected = {}
        for path, text in self.contents.texts.items():
            old = self.recorded.texts.get(path) if self.recorded else None
            if old and old.digest and old[:3] == text[:3] and (text.offset is not None or not text.nbytes):
                expected[path] = (old.digest, text.offset or 0, text.nbytes)
        return expected

    def _compare(
        self, expected: dict[str, tuple[str, int, int]], progress: Callable[[int], None] | None = None
    ) -> dict[str, tuple[str, str]]:
        found = self.source.digests([(offset, nbytes) for _, offset, nbytes in expected.values()], progress)
        return {
            name: (value, other)
            for (name, (value, _, _)), other in zip(expected.items(), found, strict=True)
            if value != other
        }

    def _chunked(self, name: str, start: int = 0, stop: int | None = None) -> Source:
        """Where the chunks of a compressed array are read from, or of some rows of it."""
        return self.source

    def _packed(self, name: str) -> inflating.Packed:
        from modelarchive.store.inflating import Packed

        return Packed(name, self.contents.arrays[name], self.contents.chunks[name])

    def _without_place(self, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        """Arrays that lie nowhere in the file as they are, by their canonical names: compressed, or HDF5's own way."""
        packed = [name for name in wanted if name in self.contents.chunks]
        arrays = {name: self._read_through_hdf5(name) for name in wanted if name not in self.contents.chunks}
        if packed:
            arrays |= zip(packed, self._inflate(packed), strict=True)
        return arrays

    def _inflate(self, names: Sequence[str]) -> list[np.ndarray]:
        from modelarchive.store import inflating

        return inflating.load(self.source, [self._packed(name) for name in names])

    def _read_through_hdf5(self, name: str) -> np.ndarray:
        from modelarchive.store.guarded import boundary

        entry = self.contents.entry(name)
        if not entry.nbytes:
            return np.empty(entry.shape, dtypes.numpy_dtype(entry.dtype))
        return boundary.read_array(self.source, self.contents.hdf5_path(name), entry)


class _Stored(Deferred):
    """An array of an archive: one object, where functions for each way to read it would be five of thousands."""

    def __init__(self, reader: Reader, name: str, entry: Entry) -> None:
        self.__dict__.update(
            shape=entry.shape, dtype=dtypes.DENSE[entry.dtype], _reader=reader, _name=name, _entry=entry
        )

    _reader: Reader
    _name: str
    _entry: Entry

    @property
    def nbytes(self) -> int:
        return self._entry.nbytes

    def read(self) -> np.ndarray:
        return self._reader.load([self._name])[self._name]

    def view(self) -> np.ndarray:
        return self._reader.view(self._name)

    @property
    def pieces(self) -> Callable[[], Iterator[memoryview]] | None:
        contents = self._reader.contents
        name = contents.aliases.get(self._name, self._name)
        return partial(self._reader.pieces, name) if self._entry.offset is not None or name in contents.chunks else None

    @property
    def rows(self) -> Callable[[int, int], np.ndarray] | None:
        return partial(self._reader.rows, self._name) if self.shape else None

    @property
    def origin(self) -> tuple[Origin, str]:
        return self._reader, self._name

    @property
    def extent(self) -> Extent | None:
        offset, source = self._entry.offset, self._reader.source
        if offset is None or source.is_elsewhere:
            return None
        return Extent(source.place(offset), lambda buffer, at: source.fill(buffer, offset + at), self._entry.digest)
