"""Read an archive that lies elsewhere: what belongs together at once, and nothing that differs from its digest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from blake3 import blake3

from modelarchive.errors import IntegrityError
from modelarchive.formats import recognise
from modelarchive.formats.content import MIN_USER_BLOCK
from modelarchive.store.batches import BATCH, Batches
from modelarchive.store.contents import Contents
from modelarchive.store.digest import digest
from modelarchive.store.index import MAX_INDEX_BYTES, is_user_block_size
from modelarchive.store.reader import Reader
from modelarchive.store.remote_source import Ahead, Front, RemoteSource, refuse

#: Bytes of metadata and texts that are read with the index, on the word of its first entry alone.
_TOLD: Final = 64 << 20
#: The first entry that an index has behind its record, whose quotes are escaped.
_BEGIN: Final = re.compile(rb'[^\\]"data_offsets":\[([0-9]{1,15}),')


def contents_elsewhere(source: RemoteSource) -> Contents:
    """The contents by the index, which must hold.

    Raises:
        RemoteError: It does not come.
        FormatError: It is no archive, or damaged; or the index does not hold any more.
    """
    from modelarchive.store.opening import read_index

    recognise(source.file)  # which refuses files of other systems
    _bring(source)
    contents, reason = read_index(Front(source))
    if contents is None or reason is not None:
        refuse(source.file, f"{reason}: only HDF5 can tell what is in it")
    return contents


def _bring(source: RemoteSource) -> None:
    """Have the index come, HDF5's metadata and the texts: with the first request, or what is missing in one more."""
    file = source.file
    front = bytes(file.head(MIN_USER_BLOCK))
    start = int.from_bytes(front[:8], "little") + 8
    if front[8:9] != b"{" or not is_user_block_size(start) or start > MAX_INDEX_BYTES + 8 or start > file.size:
        return  # and whoever reads the index says what it is
    kept = file.kept(0, start)
    found = _BEGIN.search(kept)
    if found is None and len(kept) < start:
        kept = bytes(file.head(start))
        found = _BEGIN.search(kept)
    told = int(found[1]) if found else 0
    file.head(start + (told if told <= _TOLD else 0))


class RemoteReader(Reader):
    """An open archive that lies elsewhere, as :class:`modelarchive.store.reader.Reader` is one on a disk.

    Whatever is read whole is compared with its digest. Of rows only their own bytes come, which no digest is of.
    """

    source: RemoteSource

    def _opened(self, path: object) -> RemoteSource:
        return RemoteSource(path)  # type: ignore[arg-type]

    def _described(self) -> tuple[Contents, Contents | None]:
        self._batches = Batches(self._read_together)
        contents = contents_elsewhere(self.source)
        return contents, contents

    def expect(self, wanted: Iterable[str]) -> None:
        """Say which arrays will be asked for: small ones come together then."""
        aliases, arrays = self.contents.aliases, self.contents.arrays
        entries = ((name, arrays[name]) for name in {aliases.get(name, name) for name in wanted})
        self._batches.expect({name: (each.offset, each.nbytes) for name, each in entries if each.offset is not None})

    def view(self, name: str) -> np.ndarray:
        """One array, in memory of its own."""
        return self.load([name])[name]

    def views(self, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """The named arrays, likewise."""
        return self.load(wanted)

    def load(
        self, wanted: Iterable[str], *, verify: bool = False, into: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """The named arrays in memory of their own, each compared with its digest.

        Raises:
            IntegrityError: An array's bytes differ from its digest.
        """
        names = list(wanted)
        if len(names) == 1 and not into:
            name = self.contents.aliases.get(names[0], names[0])
            if name in self._batches:
                array, damaged = self._batches.take(name)
                if damaged:
                    raise IntegrityError({name: damaged}, file=self.source.path)
                return {names[0]: array}
        return super().load(names, verify=True, into=into)

    def _read_together(self, names: list[str]) -> Iterator[tuple[np.ndarray, tuple[str, str] | None]]:
        """Arrays, each with the digest that was expected and the one that was found, where they differ."""
        entries = [self.contents.arrays[name] for name in names]
        for entry, array, found in zip(entries, *self.source.load_with_digests(entries), strict=True):
            yield array, None if entry.digest in (None, found) else (str(entry.digest), found)

    def text_bytes(self, hdf5_path: str) -> list[bytes]:
        """The strings of a text, compared with its digest.

        Raises:
            IntegrityError: It differs.
        """
        text = self.contents.texts[hdf5_path]
        if text.nbytes and text.offset is not None and text.digest is not None:
            found = digest(self.source.read(text.offset, text.nbytes))
            if found != text.digest:
                raise IntegrityError({hdf5_path: (text.digest, found)}, file=self.source.path)
        return super().text_bytes(hdf5_path)

    def pieces(self, name: str) -> Iterator[memoryview]:
        """An array's bytes piece by piece; that they differ from its digest is said in place of their end."""
        entry = self.contents.arrays[name]
        if entry.offset is not None and entry.nbytes <= BATCH:
            return iter([self.load([name])[name].reshape(-1).view(np.uint8).data])
        return self._compared(name, super().pieces(name))

    def _compared(self, name: str, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        expected = self.contents.arrays[name].digest
        hasher = blake3()
        for piece in pieces:
            hasher.update(piece)
            yield piece
        if expected is not None and hasher.hexdigest() != expected:
            raise IntegrityError({name: (expected, hasher.hexdigest())}, file=self.source.path)

    def _damaged_texts(self) -> dict[str, tuple[str, str]]:
        """None: each is compared when it is read."""
        return {}

    def _chunked(self, name: str, start: int = 0, stop: int | None = None) -> Ahead:
        chunks = self.contents.chunks[name]
        length = self.contents.arrays[name].shape[0]
        # Chunks lie in C order: those of a row of chunks stand together.
        rows_of_chunks = -(-length // chunks.shape[0])
        across = len(chunks.sizes) // rows_of_chunks
        last = rows_of_chunks if stop is None else -(-min(stop, length) // chunks.shape[0])
        begin, end = start // chunks.shape[0] * across, last * across
        offset = chunks.offset + sum(chunks.sizes[:begin])
        return Ahead(self.source, offset, sum(chunks.sizes[begin:end]))

    def _inflate(self, names: Sequence[str]) -> list[np.ndarray]:
        from modelarchive.store import inflating

        return [inflating.load(self._chunked(name), [self._packed(name)])[0] for name in names]
