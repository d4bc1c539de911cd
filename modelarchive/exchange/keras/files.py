"""Keras' files: the members of a `.keras` zip, and HDF5 behind the guard; nothing is extracted to disk."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import ConversionError, FormatError, UnsafeFileError, counted
from modelarchive.exchange import zipped
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.zipped import Member, content
from modelarchive.formats.content import hdf5_end
from modelarchive.store.contents import Entry, Foreign
from modelarchive.store.deferred import Deferred

#: A compressed member may become so many times as large, or this large in any case.
MAX_INFLATION: Final = 16
_MAX_INFLATED: Final = 64 << 20
#: Attributes of an HDF5 file's root by which other programs say what it is -> what that is.
OTHERS: Final = {
    "PYTABLES_FORMAT_VERSION": "a file of PyTables or pandas",
    "_NCProperties": "a NetCDF file",
    "encoding-type": "a file of AnnData",
}
#: Attributes of an HDF5 file's root by which Keras says what it is.
_ATTRIBUTES: Final = ("model_config", "keras_version", "backend", "training_config", *OTHERS)
#: Attributes of its groups: what is in them, and what a layer is called.
_OF_GROUPS: Final = ("layer_names", "weight_names", "name")
CONFIG: Final = "config.json"
METADATA: Final = "metadata.json"
VARIABLES: Final = "model.weights.h5"


def members(file: MappedFile) -> dict[str, Member]:
    """The members of a zip file, by name.

    Raises:
        FormatError: It is no zip file, or a damaged one.
        UnsafeFileError: Members overlap, claim more than they can hold, or are named out of the file.
    """
    found = {}
    for member in zipped.members(file, most=lambda stored: max(_MAX_INFLATED, MAX_INFLATION * stored)):
        parts = re.split(r"[/\\]", member.name)
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise UnsafeFileError(f"the member {member.name[:80]!r} leads out of the file", rule="names")
        found[member.name] = member
    return found


@dataclass
class Variables:
    """What an HDF5 file holds.

    Attributes:
        arrays: Path -> array.
        attributes: Attribute of the root -> text.
        groups: Path of a group, "" for the root -> attribute -> texts.
        unknown: Paths of arrays whose dtypes archives do not hold.
        behind: How many bytes stand behind its end.
    """

    arrays: Mapping[str, Deferred]
    attributes: Mapping[str, str]
    groups: Mapping[str, Mapping[str, list[str]]]
    unknown: list[str] = field(default_factory=list)
    behind: int = 0

    def checked(self) -> Variables:
        """The same, where all arrays are known.

        Raises:
            ConversionError: Some are not; lists all of them.
        """
        if self.unknown:
            raise ConversionError([(path[:200], "is of a dtype that archives do not hold") for path in self.unknown])
        return self

    def with_slashes(self) -> Variables:
        """The same with paths as they are everywhere: Keras (2.12 to 2.15) on Windows joined them in its own way."""
        if not any("\\" in path for path in (*self.arrays, *self.unknown)):
            return self

        def plain(path: str) -> str:
            return path.replace("\\", "/")

        arrays = {plain(path): array for path, array in self.arrays.items()}
        if len(arrays) < len(self.arrays):
            raise FormatError("two paths differ in their slashes only")
        groups = {plain(path): each for path, each in self.groups.items()}
        return Variables(arrays, self.attributes, groups, [plain(each) for each in self.unknown], self.behind)

    def below(self, prefix: str) -> Variables:
        """What is in one group, by the paths there."""
        inside = f"{prefix}/"
        groups = {path.removeprefix(inside): each for path, each in self.groups.items() if path.startswith(inside)}
        groups[""] = self.groups.get(prefix, {})
        arrays = {path.removeprefix(inside): each for path, each in self.arrays.items() if path.startswith(inside)}
        unknown = [path.removeprefix(inside) for path in self.unknown if path.startswith(inside)]
        return Variables(arrays, self.attributes, groups, unknown, self.behind)


def variables(file: MappedFile, member: Member | None = None) -> Variables:
    """What an HDF5 file holds: arrays are views of the mapped file where it has them as they are.

    Args:
        file: The file.
        member: The member that it is, of a zip file.

    Raises:
        FormatError: HDF5 cannot read it.
        UnsafeFileError: It breaks a rule of the guard.
    """
    from modelarchive.store.guarded import boundary

    data = content(file, member) if member is not None and member.is_compressed else None
    with _part(file, member, data) as part:
        found: Foreign = boundary.call(
            Foreign, "read_foreign", part, attributes=list(_ATTRIBUTES), of_groups=list(_OF_GROUPS)
        )
        size = part.size
    end = hdf5_end(_Inside(file, member, data))
    unknown = sorted(path for path, entry in found.arrays.items() if entry is None)
    arrays = {}
    for path, entry in found.arrays.items():
        if entry is None:
            continue
        dtype = dtypes.numpy_dtype(entry.dtype)
        # What the other process says is not believed.
        nbytes = dtype.itemsize * math.prod(entry.shape)
        if nbytes != entry.nbytes or (entry.offset is not None and not 0 <= entry.offset <= size - nbytes):
            raise FormatError(f"{path[:200]!r} lies outside the file", path=path[:200])
        arrays[path] = _array(file, member, data, path, entry, dtype)
    return Variables(arrays, found.attributes, found.groups, unknown, max(0, size - (size if end is None else end)))


def no_keras(stored: Variables) -> FormatError:
    """What an HDF5 file is that is none of Keras'."""
    is_a = next((what for name, what in OTHERS.items() if name in stored.attributes), "")
    paths = [*stored.arrays, *stored.unknown]
    holds = f"it is {is_a}" if is_a else "it has no model_config, no layer_names, and no groups of variables"
    listed = ", ".join(repr(path[:60]) for path in paths[:4]) + (", ..." if len(paths) > 4 else "")
    what = f"is an HDF5 file, but neither a model nor weights of Keras: {holds}; {counted(len(paths), 'dataset')}"
    hint = (
        "model.save() and model.save_weights() write such files; arrays of another HDF5 file are read with h5py, and "
    )
    return FormatError(f"{what} {listed}".rstrip(), hint=f"{hint}saved with ma.save(path, {{name: array}})")


class _Inside:
    """An HDF5 file in another one, for those who find out what it is."""

    def __init__(self, file: MappedFile, member: Member | None, data: bytes | None) -> None:
        self.path = file.path
        self._file, self._data = file, data
        self._start = member.offset if member is not None else 0
        self.size = len(data) if data is not None else member.size if member is not None else file.size

    def read(self, offset: int, nbytes: int) -> bytes:
        """Up to so many bytes from `offset`; fewer at the end."""
        if self._data is not None:
            return self._data[offset : offset + nbytes]
        return self._file.read(self._start + offset, min(nbytes, max(self.size - offset, 0)))


def _array(
    file: MappedFile, member: Member | None, data: bytes | None, path: str, entry: Entry, dtype: np.dtype[Any]
) -> Deferred:
    if entry.offset is None:

        def read() -> np.ndarray:
            from modelarchive.store.guarded import boundary

            with _part(file, member, data) as part:
                array: np.ndarray = boundary.call(np.ndarray, "read_array", part, answer=entry.nbytes, hdf5_path=path)
            if array.shape != entry.shape or array.dtype != dtype:
                raise FormatError("was changed while it was read", file=file.path, path=path)
            return array

        return Deferred(entry.shape, dtype, read)
    if data is not None:
        start = entry.offset
        return Deferred(entry.shape, dtype, lambda: np.ndarray(entry.shape, dtype, data, start).copy())
    return file.array(entry.offset + (member.offset if member else 0), dtype, entry.shape)


@contextlib.contextmanager
def _part(file: MappedFile, member: Member | None, data: bytes | None) -> Iterator[Any]:
    """The HDF5 file for the process that reads it."""
    from modelarchive.store.guarded import boundary

    if data is not None:
        with boundary.in_memory(data, f"{file.path}:{VARIABLES}") as part:
            yield part
        return
    descriptor = file.open()
    try:
        offset, size = (0, file.size) if member is None else (member.offset, member.size)
        name = str(file.path) if member is None else f"{file.path}:{member.name}"
        yield boundary.Part(descriptor, offset, size, name)
    finally:
        os.close(descriptor)
