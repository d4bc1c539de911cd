"""What differs between two models: architecture, parameters, metadata."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from modelarchive import dtypes, errors, tensors
from modelarchive.archive import Archive
from modelarchive.store.digest import digest_pieces
from modelarchive.store.fill import pieces

#: An array, the bytes of texts, or the words of a parameter's rows.
Value: TypeAlias = "np.ndarray | list[bytes] | list[str]"

#: What stands before the name of a parameter whose rows have words.
_TOKENS: Final = "/tokens/"
#: Numbers compared at a time: both files stay on the disk.
_PIECE: Final = 1 << 18


class _Absent:
    """What stands on the side that lacks a value."""

    def __repr__(self) -> str:
        """In words."""
        return "absent"


#: The value of a :class:`Change` on the side that has none.
ABSENT: Final = _Absent()


class Change(NamedTuple):
    """A value that differs; ``ABSENT`` on the side that lacks it."""

    #: JSON pointer into the first; into the second for what the first lacks.
    where: str
    #: The value in the first.
    a: Any
    #: The value in the second.
    b: Any


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        leaves: Name of each array, literal and string table -> its dtype and shape, in words.
        read: Gives an array, the bytes of texts, or the words of a parameter's rows.
        architecture: None: there is none, or it is not compared.
        metadata: What JSON can say.
        digests: Name -> digest of the arrays that lie elsewhere, which are compared by it and not read.
        damaged: Compares the digests of named arrays, and of all texts: name or HDF5 path -> (expected, found) of
            those that do not hold.
    """

    leaves: Mapping[str, str]
    read: Callable[[str], Value]
    architecture: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    damaged: Callable[[Iterable[str]], Mapping[str, tuple[str, str]]] = lambda names: {}


#: What can be compared.
Comparable: TypeAlias = "str | os.PathLike[str] | Archive | Mapping[str, Any] | Side"


@dataclass(frozen=True)
class Differences:
    """Two models compared.

    Attributes:
        equal: Names of arrays with the same dtype, shape and bits.
        changed: Name -> largest absolute difference; NaN if only NaNs or strings differ, None where digests were
            compared, since one of the two lies elsewhere.
        reshaped: Name -> (dtype and shape in a, in b).
        only_a: Names that only the first has.
        only_b: Names that only the second has.
        architecture: Where the architectures differ.
        metadata: Where the metadata differ.
        damaged_a: What of the first differs from its digests, where the two were found to differ, and in texts: name
            or HDF5 path -> (digest expected, found).
        damaged_b: The same of the second.
    """

    equal: list[str] = field(default_factory=list)
    changed: dict[str, float | None] = field(default_factory=dict)
    reshaped: dict[str, tuple[str, str]] = field(default_factory=dict)
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    architecture: list[Change] = field(default_factory=list)
    metadata: list[Change] = field(default_factory=list)
    damaged_a: dict[str, tuple[str, str]] = field(default_factory=dict)
    damaged_b: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.changed or self.reshaped or self.only_a or self.only_b or self.architecture or self.metadata)


def diff(a: Comparable, b: Comparable) -> Differences:
    """Compare two archives, or arrays in memory.

    Args:
        a: The path or URL of an archive, an open one, a mapping of arrays or tensors such as a ``state_dict``, or a
            :class:`Side`. Arrays in memory have neither architecture nor metadata, and neither is compared then.
        b: Likewise.

    Raises:
        OSError: A file cannot be read.
        FormatError: A file is no archive, or damaged.
        UnsupportedDataError: Values are no arrays, or tensors without values; lists all of them.
    """
    with ExitStack() as stack:
        first, second = (_side(each, stack) for each in (a, b))
        if any(isinstance(each, Mapping) and not isinstance(each, Archive) for each in (a, b)):
            first, second = (replace(each, architecture=None, metadata={}) for each in (first, second))
        found = Differences(
            architecture=list(_changes(_whole(first.architecture), _whole(second.architecture), "")),
            metadata=list(_changes(dict(first.metadata), dict(second.metadata), "")),
        )
        ours, theirs = first.leaves, second.leaves
        found.only_a.extend(name for name in ours if name not in theirs)
        found.only_b.extend(name for name in theirs if name not in ours)
        for name in ours:
            if name not in theirs:
                continue
            if ours[name] != theirs[name]:
                found.reshaped[name] = (ours[name], theirs[name])
            elif name in first.digests or name in second.digests:
                if _digest(first, name) == _digest(second, name):
                    found.equal.append(name)
                else:
                    found.changed[name] = None
            elif (change := _distance(first.read(name), second.read(name))) is None:
                found.equal.append(name)
            else:
                found.changed[name] = change
        found.damaged_a.update(first.damaged(found.changed))
        found.damaged_b.update(second.damaged(found.changed))
    return found


def _side(each: Comparable, stack: ExitStack) -> Side:
    if isinstance(each, Side):
        return each
    if isinstance(each, Archive):
        return of_archive(each)
    if isinstance(each, Mapping):
        arrays = tensors.arrays_of(each)
        leaves = {
            name: described(dtypes.dense_name(one.dtype) or str(one.dtype), one.shape) for name, one in arrays.items()
        }
        return Side(leaves, arrays.__getitem__)
    return of_archive(stack.enter_context(Archive(each)))


def of_archive(archive: Archive) -> Side:
    """An open archive as a side."""
    contents = archive.reader.contents
    entries = {name: contents.entry(name) for name in archive.parameters}
    leaves = {name: described(entry.dtype, entry.shape) for name, entry in entries.items()}
    for path, text in contents.texts.items():
        if path.startswith("/arrays/"):
            leaves[path.removeprefix("/arrays/")] = described(text.dtype, text.shape)
    leaves |= _words(archive.tokens)

    def read(name: str) -> Value:
        if name in entries:
            return archive.parameters[name]
        if name.startswith(_TOKENS):
            return archive.tokens[name.removeprefix(_TOKENS)]
        return archive.reader.text_bytes(f"/arrays/{name}")

    def damaged(names: Iterable[str]) -> Mapping[str, tuple[str, str]]:
        if archive.is_remote or archive.is_stale:
            return {}  # compared when it arrived; changed by another program, of which its reader warns
        aliases = contents.aliases
        found = archive.reader.damaged(only={aliases.get(name, name) for name in names} | contents.texts.keys())
        return found | {name: found[aliases[name]] for name in names if aliases.get(name) in found}

    elsewhere = {name: entry.digest for name, entry in entries.items() if entry.digest} if archive.is_remote else {}
    architecture = archive.architecture if archive.has_architecture else None
    return Side(leaves, read, architecture, archive.metadata, elsewhere, damaged)


def of_parameters(
    leaves: Mapping[str, str],
    parameters: Mapping[str, np.ndarray],
    tokens: Mapping[str, Sequence[str]],
    architecture: Any,
    metadata: Mapping[str, Any],
) -> Side:
    """What was read of a file of another system as a side; see :class:`Side`."""

    def read(name: str) -> Value:
        return list(tokens[name.removeprefix(_TOKENS)]) if name.startswith(_TOKENS) else parameters[name]

    return Side({**leaves, **_words(tokens)}, read, architecture, metadata)


def _words(tokens: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The lists of words as leaves."""
    return {f"{_TOKENS}{name}": errors.counted(len(each), "word") for name, each in tokens.items()}


def described(dtype: str, shape: tuple[int, ...]) -> str:
    """``described("float32", (2, 3))`` is ``"float32 2 x 3"``."""
    return " ".join([dtype, " x ".join(map(str, shape))]).rstrip()


def _whole(architecture: Any) -> Any:
    return ABSENT if architecture is None else architecture


def _digest(side: Side, name: str) -> str:
    """The digest of an array: as the index says where it lies elsewhere, else of its bytes."""
    value = side.digests.get(name)
    return value if value is not None else digest_pieces(pieces(np.asarray(side.read(name))))


def _distance(ours: Value, theirs: Value) -> float | None:
    """The largest absolute difference; None if the bits are equal.

    The bits are compared, not the digests: those say what was written, which damage does not change.
    """
    if not isinstance(ours, np.ndarray) or not isinstance(theirs, np.ndarray):
        return None if ours == theirs else float("nan")
    x, y = ours.reshape(-1), theirs.reshape(-1)
    wide = np.complex128 if x.dtype.kind == "c" else np.float64
    largest = None
    for start in range(0, x.size, _PIECE):
        # Files of other systems may hold the other byte order.
        one, other = (each[start : start + _PIECE].astype(each.dtype.newbyteorder("=")) for each in (x, y))
        if np.array_equal(one.view(np.uint8), other.view(np.uint8)):
            continue
        with np.errstate(invalid="ignore"):
            distance = np.abs(one.astype(wide) - other.astype(wide))
        finite = distance[~np.isnan(distance)]
        found = float(finite.max()) if finite.size else float("nan")
        largest = found if largest is None else max(largest, found) if largest == largest else found
    return largest


def _changes(a: Any, b: Any, where: str) -> Iterator[Change]:
    """Values that differ: lists by position, lists of what has names by name."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            pointer = f"{where}/{str(key).replace('~', '~0').replace('/', '~1')}"
            yield from _changes(a.get(key, ABSENT), b.get(key, ABSENT), pointer)
    elif isinstance(a, list) and isinstance(b, list):
        ours, theirs = _named(a), _named(b)
        if ours is None or theirs is None:
            ours, theirs = dict(enumerate(a)), dict(enumerate(b))
        shared = [key for key in ours if key in theirs], [key for key in theirs if key in ours]
        if shared[0] != shared[1]:
            yield Change(where, *shared)
        place = {key: at for at, key in enumerate(theirs)} | {key: at for at, key in enumerate(ours)}
        for key in dict.fromkeys([*ours, *theirs]):
            yield from _changes(ours.get(key, ABSENT), theirs.get(key, ABSENT), f"{where}/{place[key]}")
    elif type(a) is not type(b) or a != b:
        yield Change(where, a, b)


def _named(values: list[Any]) -> dict[Any, Any] | None:
    """A list of children or nodes by their names; None if it is another list."""
    names = [each.get("name") if isinstance(each, dict) else None for each in values]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return dict(zip(names, values, strict=True))
