"""What differs between two archives: architecture, parameters, metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from modelarchive.archive import Archive


class Change(NamedTuple):
    """A value that differs; "absent" on the side that lacks it."""

    #: JSON pointer.
    where: str
    a: str
    b: str


@dataclass(frozen=True)
class Differences:
    """Two archives compared.

    Attributes:
        equal: Names of arrays with the same dtype, shape and bits.
        changed: Name -> largest absolute difference; NaN if only NaNs or strings differ.
        reshaped: Name -> (dtype and shape in a, in b).
        only_a: Names that only the first has.
        only_b: Names that only the second has.
        architecture: Where the architectures differ.
        metadata: Where the metadata differ.
    """

    equal: list[str] = field(default_factory=list)
    changed: dict[str, float] = field(default_factory=dict)
    reshaped: dict[str, tuple[str, str]] = field(default_factory=dict)
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    architecture: list[Change] = field(default_factory=list)
    metadata: list[Change] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.changed or self.reshaped or self.only_a or self.only_b or self.architecture or self.metadata)


def diff(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> Differences:
    """Compare two archives.

    Raises:
        OSError: A file cannot be read.
        FormatError: A file is no archive, or damaged.
    """
    with Archive(a) as first, Archive(b) as second:
        found = Differences(
            architecture=list(_changes(_architecture(first), _architecture(second), "")),
            metadata=list(_changes(first.metadata, second.metadata, "")),
        )
        ours, theirs = _leaves(first), _leaves(second)
        found.only_a.extend(name for name in ours if name not in theirs)
        found.only_b.extend(name for name in theirs if name not in ours)
        for name in ours:
            if name not in theirs:
                continue
            if ours[name] != theirs[name]:
                found.reshaped[name] = (ours[name], theirs[name])
            elif (change := _distance(first, second, name)) is None:
                found.equal.append(name)
            else:
                found.changed[name] = change
    return found


def _architecture(archive: Archive) -> Any:
    return archive.architecture if archive.has_architecture else {}


def _leaves(archive: Archive) -> dict[str, str]:
    """Name of each array, literal and string table -> its dtype and shape."""
    contents = archive.reader.contents
    leaves = {name: f"{contents.entry(name).dtype} {contents.entry(name).shape}" for name in archive.parameters}
    for path, text in contents.texts.items():
        if path.startswith(("/arrays/", "/tokens/")):
            leaves[path.removeprefix("/arrays/")] = f"{text.dtype} {text.shape}"
    return leaves


def _distance(first: Archive, second: Archive, name: str) -> float | None:
    """The largest absolute difference; None if the bits are equal.

    The bits are compared, not the digests: those say what was written, which damage does not change.
    """
    if name not in first.parameters:
        path = name if name.startswith("/tokens/") else f"/arrays/{name}"
        ours, theirs = first.reader.text_bytes(path), second.reader.text_bytes(path)
        return None if ours == theirs else float("nan")
    x, y = (archive.parameters[name].reshape(-1) for archive in (first, second))
    wide = np.complex128 if x.dtype.kind == "c" else np.float64
    largest = None
    for start in range(0, x.size, _PIECE):
        one, other = x[start : start + _PIECE], y[start : start + _PIECE]
        if np.array_equal(one.view(np.uint8), other.view(np.uint8)):
            continue
        with np.errstate(invalid="ignore"):
            distance = np.abs(one.astype(wide) - other.astype(wide))
        finite = distance[~np.isnan(distance)]
        found = float(finite.max()) if finite.size else float("nan")
        largest = found if largest is None else max(largest, found) if largest == largest else found
    return largest


#: Numbers compared at a time: both archives stay on the disk.
_PIECE: Final = 1 << 18


def _changes(a: Any, b: Any, where: str) -> Iterator[Change]:
    """Leaves that differ, as JSON pointers; lists of named children are compared by name."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            pointer = f"{where}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if key in a and key in b:
                yield from _changes(a[key], b[key], pointer)
            else:
                yield Change(pointer, _brief(a, key), _brief(b, key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _changes(x, y, f"{where}/{number}")
    elif type(a) is not type(b) or a != b:
        yield Change(where, repr(a)[:120], repr(b)[:120])


def _brief(owner: dict[str, Any], key: str) -> str:
    return repr(owner[key])[:120] if key in owner else "absent"
