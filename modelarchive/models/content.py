"""What a file holds: an archive, or a file of another system, read into the same words."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelarchive import dtypes, errors, formats
from modelarchive.formats.commands import convert_line
from modelarchive.remote import RemoteFile
from modelarchive.statistics import Statistics, statistics

if TYPE_CHECKING:
    import numpy as np

    from modelarchive.archive import Archive
    from modelarchive.compare import Side
    from modelarchive.exchange.bundle import Bundle
    from modelarchive.store.contents import Entry, Text
    from modelarchive.store.deferred import Deferred


@dataclass(frozen=True)
class Leaf:
    """An array, a number or a text in a file.

    Attributes:
        dtype: Its dtype, in this package's words.
        shape: Its lengths.
        nbytes: Bytes that it takes in memory.
        compressed: Bytes that it takes in an archive, compressed; None: it is not.
        digest: None: the file has none.
        shares: The name of the array that it is another name of.
        value: A number or a text itself: a text as it is, all else as JSON.
        is_held: Whether an archive can hold it.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    compressed: int | None = None
    digest: str | None = None
    shares: str | None = None
    value: str | None = None
    is_held: bool = True


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        path: The file, or the folder.
        format: Its format's name in :data:`modelarchive.formats.FORMATS`.
        size: Bytes of the file, or of all files of the folder.
        leaves: Name -> what is there, in the file's order.
        arrays: Name -> array, read when it is asked for.
        sign: What stands between the parts of a name.
        architecture: None: there is none, or it cannot be read.
        refused: What in its architecture cannot be read: (where, what).
        reason: Why there is no architecture.
        metadata: What JSON can say.
        tokens: Parameter -> the word that each of its rows belongs to.
        notes: What reading it changes or leaves out: (where, what).
        archive: The archive, if it is one.
    """

    path: Path
    format: str
    size: int
    leaves: Mapping[str, Leaf]
    arrays: Mapping[str, np.ndarray]
    sign: str = "."
    architecture: dict[str, Any] | None = None
    refused: list[tuple[str, str]] = field(default_factory=list)
    reason: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    archive: Archive | None = None

    @property
    def count(self) -> int:
        """Numbers in all arrays; shared ones count once."""
        if self.archive is not None:
            return self.archive.parameter_count
        return sum(math.prod(leaf.shape) for leaf in self.leaves.values() if leaf.shares is None)

    def deferred(self) -> dict[str, Deferred]:
        """Every array, to be read piece by piece; shared ones come as one object where the file says so."""
        if self.archive is not None:
            reader = self.archive.reader
            aliases = reader.contents.aliases
            found = {name: reader.deferred(name) for name in self.arrays if name not in aliases}
            return {name: found[aliases.get(name, name)] for name in self.arrays}
        from modelarchive.exchange.bundle import deferred

        return deferred(self.arrays)

    def statistics(self) -> Iterator[tuple[str, Statistics | None]]:
        """Each array's name and what its values are like, None for texts; shared ones are read once.

        A few arrays are read at once, a piece of each in memory.
        """
        arrays = self.deferred()
        first = {id(array): name for name, array in reversed(arrays.items())}
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            running = {name: pool.submit(statistics, arrays[name].flat(), arrays[name].size) for name in first.values()}
            try:
                for name, array in arrays.items():
                    yield name, running[first[id(array)]].result()
            finally:
                pool.shutdown(cancel_futures=True)

    def side(self, *, is_whole: bool = True) -> Side:
        """As one of two that are compared; its architecture only where both have one that tells."""
        from modelarchive import compare

        if self.archive is not None:
            side = compare.of_archive(self.archive)
            return side if is_whole else replace(side, architecture=None)
        leaves = {name: compare.described(leaf.dtype, leaf.shape) for name, leaf in self.leaves.items()}
        architecture = self.architecture if is_whole else None
        return compare.of_parameters(leaves, self.arrays, self.tokens, architecture, self.metadata)

    @property
    def what(self) -> str:
        """The format in words: "an ONNX model"."""
        return formats.FORMATS[self.format].what

    @property
    def unheld(self) -> list[str]:
        """Arrays that no archive can hold, with their dtypes."""
        return [f"{name} ({leaf.dtype})" for name, leaf in self.leaves.items() if not leaf.is_held]

    @property
    def convert(self) -> str | None:
        """The command that makes an archive of it; None: that cannot be."""
        return None if self.unheld else convert_line(self.path, parameters_only=bool(self.refused))


@contextmanager
def opened(path: Path) -> Iterator[Content]:
    """What a file of any known format holds; nothing in it is run, and no array is read yet.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no known format, or damaged.
        UnsafeFileError: It breaks a safety rule.
        ConversionError: Not even its parameters can be read.
    """
    name = formats.recognise(path)
    if name != "archive":
        yield _foreign(path, name)
        return
    from modelarchive.archive import Archive

    with Archive(path) as archive:
        yield _of_archive(archive)


def refuse_foreign(path: Path) -> None:
    """Refuse a file of another system where only an archive will do.

    Raises:
        FormatError: It is of another format; the hint is the command that converts it, where that can be.
    """
    name = formats.recognise(path)
    if name != "archive":
        with opened(path):  # what its own reader refuses, any HDF5 file say, is none of that format either
            pass
        what = formats.FORMATS[name].what
        hint = f"`{convert_line(path)}` makes one of it"
        raise errors.FormatError(f"is {what}, not a model archive", file=path, hint=hint)


def _of_archive(archive: Archive) -> Content:
    contents = archive.reader.contents
    leaves = {}
    for name, entry in _entries(archive):
        canonical = contents.aliases.get(name, name)
        chunks = contents.chunks.get(canonical)
        is_value = name not in archive.parameters and not entry.shape
        leaves[name] = Leaf(
            entry.dtype,
            tuple(entry.shape),
            entry.nbytes,
            None if chunks is None else chunks.nbytes,
            entry.digest,
            contents.aliases.get(name),
            _value(archive.reader.text(f"/arrays/{name}")) if is_value else None,
        )
    return Content(
        archive.path,
        "archive",
        archive.size,
        leaves,
        archive.parameters,
        "." if archive.section == "parameters" else "/",
        archive.architecture if archive.has_architecture else None,
        metadata=archive.metadata,
        tokens=archive.tokens,
        archive=archive,
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _entries(archive: Archive) -> Iterator[tuple[str, Entry | Text]]:
    """Every array, number and string as it was saved, in order; a shared parameter under each of its names."""
    contents = archive.reader.contents
    if contents.members is None:
        yield from ((name, contents.entry(name)) for name in archive.parameters)
        return
    for path, kind in contents.members.items():
        if path in archive.parameters:
            yield path, contents.entry(path)
        elif kind in ("array", "literal"):
            yield path, contents.texts[f"/arrays/{path}"]


def _foreign(path: Path, name: str) -> Content:
    from modelarchive.exchange.bundle import deferred, shared_names

    bundle, refused = read_bundle(path)
    shares = shared_names(bundle.parameters)
    leaves = {}
    for each, entry in deferred(bundle.parameters).items():
        held = dtypes.dense_name(entry.dtype)
        shape = tuple(entry.shape)
        leaves[each] = Leaf(
            held or str(entry.dtype), shape, entry.nbytes, shares=shares.get(each), is_held=held is not None
        )
    return Content(
        path,
        name,
        size_of(path) or sum(leaf.nbytes for leaf in leaves.values()),
        leaves,
        bundle.parameters,
        architecture=bundle.architecture,
        refused=refused,
        reason=bundle.reason,
        metadata=bundle.metadata,
        tokens=bundle.tokens,
        notes=[(note.where, note.what) for note in bundle.notes],
    )


def read_bundle(path: Path) -> tuple[Bundle, list[tuple[str, str]]]:
    """A file of another system, its parameters alone where its architecture is refused, and what was refused."""
    from modelarchive.models import read

    try:
        return read(path), []
    except errors.ConversionError as error:
        return read(path, parameters_only=True), error.unsupported


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; 0 of one elsewhere, which does not say."""
    if isinstance(path, RemoteFile):
        return 0 if path.is_dir() else path.size
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
