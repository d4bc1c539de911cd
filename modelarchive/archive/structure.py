"""Nested lists, tuples and dicts of arrays, numbers and strings, taken apart into members and put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from modelarchive import dtypes, names, tensors
from modelarchive.archive.advising import advice
from modelarchive.errors import FormatError, UnsupportedDataError
from modelarchive.store.contents import CONTAINERS, is_flat_dict
from modelarchive.store.deferred import Deferred
from modelarchive.store.text import EncodedText, encode, encode_array

#: Structures nest at most so deep; the guard's limit on HDF5 groups is the same.
MAX_DEPTH: Final = names.MAX_PARTS
#: HDF5's limit on the rank of an array.
_MOST_AXES: Final = 32
#: The name of a lone array.
SINGLE: Final = "array"


@dataclass
class Members:
    """A structure taken apart.

    Attributes:
        kinds: Path -> "array", "literal" or its container, parents first; the root's path is empty.
        arrays: Path -> dense array.
        strings: Path -> array of strings.
        literals: Path -> (dtype of the literal, its text).
        aliases: Path of a tensor -> path of the one before it that is the same memory.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, np.ndarray | Deferred] = field(default_factory=dict)
    strings: dict[str, np.ndarray] = field(default_factory=dict)
    literals: dict[str, tuple[str, str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    #: Memory of a tensor -> the first path that has it.
    places: dict[Hashable, str] = field(default_factory=dict)


def take_apart(data: object, *, where: str = "data") -> Members:
    """Take a structure apart.

    Args:
        data: An array, number, string or None, or a list, tuple or dict (its keys strings or integers) of such.
        where: What it is called in errors.

    Raises:
        UnsupportedDataError: Something in it cannot be stored; all such places are listed.
    """
    if (flat := _flat(data)) is not None:
        return flat
    members = Members()
    problems: list[tuple[str, str]] = []
    root = _container(data)
    if root is None:
        members.kinds[""] = "single"
        _take(data, SINGLE, where, members, problems, above=())
    else:
        _take(data, "", where, members, problems, above=())
    if problems:
        raise UnsupportedDataError(problems, hint="nothing was written")
    return members


def _flat(data: object) -> Members | None:
    """A plain dict of arrays and tensors, whose keys are links as they are, in a fraction of the time; else None."""
    if type(data) is not dict or not all(type(each) is np.ndarray or tensors.is_torch(each) for each in data.values()):
        return None
    if not all(type(key) is str for key in data):
        return None
    longest = max(map(len, data), default=0)
    if 4 * longest > names.MAX_LINK_BYTES or not names.are_links(data):
        return None
    found = Members(kinds={"": "dict"} | dict.fromkeys(data, "array"))
    for key, value in data.items():
        if type(value) is np.ndarray:
            found.arrays[key] = value
            continue
        try:
            tensor = tensors.foreign(value)
        except UnsupportedDataError:
            return None  # where it lies is said of the whole
        if tensor is None or _take_tensor(tensor, key, found) is not None:
            return None
    several = found.arrays.values()
    axes = max((len(array.shape) for array in several), default=0)
    if axes > _MOST_AXES or None in {dtypes.dense_name(array.dtype) for array in several}:
        return None
    return found


def encoded(members: Members, root: str, *, where: str = "data") -> dict[str, EncodedText]:
    """HDF5 path -> encoded text of every string and literal, in the order of the structure.

    Args:
        members: The structure.
        root: What their HDF5 paths begin with, ``/arrays/``.
        where: What the structure is called in errors.

    Raises:
        UnsupportedDataError: Strings cannot be stored; all such places are listed.
    """
    texts = {}
    problems = []
    for path, array in members.strings.items():
        try:
            texts[path] = encode_array(array)
        except ValueError as error:
            problems.append((place(members.kinds, path, where), str(error)))
    if problems:
        raise UnsupportedDataError(problems, hint="nothing was written")
    texts |= {path: encode(value, dtype=dtype) for path, (dtype, value) in members.literals.items()}
    # In the order of the structure, as it will be read and written again.
    return {root + path: texts[path] for path in members.kinds if path in texts}


def put_together(kinds: Mapping[str, str], leaf: Callable[[str], Any]) -> Any:
    """Build the structure again.

    Args:
        kinds: Path -> kind, parents first, as :attr:`Members.kinds`.
        leaf: Gives the value of an array's or literal's path.

    Raises:
        FormatError: The members do not form a structure.
    """
    if kinds.get("") not in CONTAINERS:
        raise FormatError("the saved structure has no root")
    if is_flat_dict(kinds):
        return _dict("", {path: leaf(path) for path in list(kinds)[1:]})
    children: dict[str, list[str]] = {}
    for path, kind in kinds.items():
        parent = path.rpartition("/")[0]
        if path != "" and parent not in children:
            raise FormatError(f"the member {path!r} has no container before it")
        if path != "":
            children[parent].append(path)
        if kind in CONTAINERS:
            children[path] = []
    built: dict[str, Any] = {}
    for path, kind in reversed(list(kinds.items())):
        if kind == "dict":
            built[path] = _dict(path, {child: built[child] for child in children[path]})
        elif kind == "tuple":
            built[path] = tuple(built[child] for child in children[path])
        elif kind in CONTAINERS:
            built[path] = [built[child] for child in children[path]]
        else:
            built[path] = leaf(path)
    if kinds[""] != "single":
        return built[""]
    if len(built[""]) != 1:
        raise FormatError(f"a single value was saved, found {len(built[''])}")
    return built[""][0]


def place(kinds: Mapping[str, str], path: str, where: str = "data") -> str:
    """A member's path as Python writes it: ``data['a'][0]``."""
    words = where
    links = path.split("/") if kinds[""] != "single" else []
    for number, link in enumerate(links):
        owner = kinds["/".join(links[:number])]
        words += f"[{names.decode_key(link)!r}]" if owner == "dict" else f"[{link}]"
    return words


def _dict(path: str, items: Mapping[str, Any]) -> dict[str | int, Any]:
    if not path and not {"%", "/"} & {*"".join(items)}:
        return dict(items.items())
    try:
        found = {names.decode_key(item.rpartition("/")[2]): value for item, value in items.items()}
    except UnicodeDecodeError as error:
        raise FormatError(f"a name is no percent-encoded UTF-8: {error}", path=path) from error
    if len(found) != len(items):
        raise FormatError("two names stand for the same key", path=path)
    return found


def _container(data: object) -> str | None:
    if isinstance(data, np.ndarray):  # most are, and asking for a Mapping takes longer
        return None
    if isinstance(data, Mapping):
        return "dict"
    if isinstance(data, tuple):
        return "tuple"
    return "list" if isinstance(data, list) else None


def _take(
    data: object,
    path: str,
    where: str,
    members: Members,
    problems: list[tuple[str, str]],
    *,
    above: tuple[int, ...],
) -> None:
    kind = _container(data)
    if kind is None:
        if (problem := _take_leaf(data, path, members)) is not None:
            problems.append((where, problem))
        return
    if id(data) in above:
        problems.append((where, "the structure contains itself"))
        return
    if len(above) >= MAX_DEPTH:
        problems.append((where, f"nested deeper than {MAX_DEPTH}"))
        return
    members.kinds[path] = kind
    above = (*above, id(data))
    prefix = f"{path}/" if path else ""
    items = data.items() if isinstance(data, Mapping) else enumerate(data)  # type: ignore[arg-type]
    for key, value in items:
        if kind == "dict" and (problem := _problem_with_key(key)):
            problems.append((f"{where}[{key!r}]" if type(key) is not int else f"{where}[{hex(key)[:40]}]", problem))
            continue
        link = names.encode_key(key) if kind == "dict" else str(key)
        if names.is_too_long(link):
            problems.append((f"{where}[{key[:20]!r}...]", names.TOO_LONG))
            continue
        _take(value, prefix + link, f"{where}[{key!r}]", members, problems, above=above)


def _problem_with_key(key: object) -> str | None:
    """What is wrong with a dict's key, or None."""
    if isinstance(key, str) or (type(key) is int and abs(key) <= names.MAX_NUMBER):
        return None
    if type(key) is int:
        return "the key is an int of more than 64 bits"
    return f"the key is {type(key).__name__}, expected str or int"


def _take_leaf(data: object, path: str, members: Members) -> str | None:
    """Add a leaf to the members; what is wrong with it, if it cannot be stored."""
    if isinstance(data, np.ma.MaskedArray):
        return "a masked array: its mask would be lost, save .data and .mask"
    if isinstance(data, Deferred):
        return _take_array(data, path, members)
    if isinstance(data, np.ndarray) or (isinstance(data, np.generic) and not isinstance(data, np.str_)):
        return _take_array(np.asarray(data), path, members)
    try:
        literal = _literal(data)
    except ValueError:  # Python's own limit on turning integers into text
        return "an int of more digits than Python turns into text"
    if literal is None:
        try:
            tensor = tensors.foreign(data)
        except UnsupportedDataError as error:
            return "; ".join(what for _, what in error.problems)
        if tensor is not None:
            return _take_tensor(tensor, path, members)
        found = f"{type(data).__module__}.{type(data).__qualname__}"
        return f"{found} is no array, number, string, None, list, tuple or dict{advice(data)}"
    members.kinds[path] = "literal"
    members.literals[path] = literal
    return None


def _take_tensor(tensor: tensors.Foreign, path: str, members: Members) -> str | None:
    """Add another library's array; one that is the same memory as one before is that one, under a further name."""
    first = path if tensor.memory is None else members.places.setdefault(tensor.memory, path)
    if first != path:
        members.aliases[path] = first
        members.kinds[path] = "array"
        return None
    # What must be copied, from a device or out of its strides, is copied when it is its turn.
    array = (
        tensor.read() if tensor.is_plain else Deferred(tensor.shape, tensor.dtype, tensor.read, memory=tensor.memory)
    )
    return _take_array(array, path, members)


#: Kind of a dtype that is not stored -> what is stored instead.
_DTYPES: Final = {
    "O": "; convert it with .astype()",
    "M": "; save .astype('int64') and its unit",
    "m": "; save .astype('int64') and its unit",
    "V": "; save a dict of its fields",
    "f": "; save .astype('float64'), which rounds it",
    "c": "; save .astype('complex128'), which rounds it",
}


def _take_array(array: np.ndarray | Deferred, path: str, members: Members) -> str | None:
    if isinstance(array, np.ndarray) and array.dtype.kind in "SUT":
        members.strings[path] = array
    elif dtypes.dense_name(array.dtype) is None:
        # Numbers of few bits, as JAX has them, are of NumPy's kind of records.
        is_number = array.dtype.kind == "V" and array.dtype.type is not np.void
        advice = _DTYPES.get("O" if is_number else array.dtype.kind, "")
        return f"an array of dtype {array.dtype} cannot be stored{advice}"
    elif array.ndim > _MOST_AXES:
        return f"an array of {array.ndim} axes, HDF5 stores at most {_MOST_AXES}"
    else:
        members.arrays[path] = array
    members.kinds[path] = "array"
    return None


def _literal(data: object) -> tuple[str, str] | None:
    if data is None:
        return ("none", "none")
    if isinstance(data, bool):
        return ("boolean", "true" if data else "false")
    if isinstance(data, int):
        return ("int", str(int(data)))
    if isinstance(data, float):
        return ("float", repr(float(data)))
    if isinstance(data, complex):
        return ("complex", f"{data.real!r} {data.imag!r}")
    # JSON keeps what fixed-length UTF-8 cannot: trailing NULs and lone surrogates.
    return ("str", json.dumps(str(data))) if isinstance(data, str) else None
