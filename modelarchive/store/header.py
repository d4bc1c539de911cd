"""The outer object of an index: where each dense array lies, as safetensors says it, every number checked."""

from __future__ import annotations

import math
import re
from itertools import accumulate, repeat
from json.decoder import scanstring  # type: ignore[attr-defined]
from operator import itemgetter
from typing import Any, Final, NamedTuple

from modelarchive import dtypes
from modelarchive.store.contents import Entry
from modelarchive.store.digest import HEX_LENGTH
from modelarchive.store.strict import fail, loads, mapping, no_fraction, short, string

#: HDF5's limit on the rank of an array.
MAX_RANK: Final = 32
#: The largest length of an axis that HDF5 and NumPy both count to.
MAX_LENGTH: Final = 2**63 - 1
#: Bytes that are no tensor are declared to safetensors under this name and a number.
HDF5_ENTRY: Final = "__hdf5__."

#: How an index begins, as archives write it; the record follows, and what :data:`_BEHIND` is, and the entries.
_BEGIN: Final = '{"__metadata__":{"format":"pt","modelarchive":"'
_BEHIND: Final = re.compile(r'(?:,"total_parameters":"[0-9]+")?},')
#: An entry as archives write it: name, dtype with shape, begin, end; and whatever is no such entry, to the end.
_ENTRY: Final = re.compile(
    r'"([^"\\\x00-\x1f]+)":\{([^]]+)\],"data_offsets":\[([0-9]+),([0-9]+)\]\}(?:,|\}\Z)|(.+)', re.DOTALL
)
#: The dtype with shape of one.
_LENGTH: Final = "(?:0|[1-9][0-9]{0,18})"
_KIND: Final = re.compile(rf'"dtype":"([A-Z0-9_]+)","shape":\[((?:{_LENGTH}(?:,{_LENGTH})*)?)')
#: safetensors code -> (logical dtype, item size).
_CODES: Final = {code: (name, dtypes.DENSE[name].itemsize) for code, name in dtypes.FROM_SAFETENSORS.items()}
#: Names of the entries that are no arrays, in an archive as it is written: the second one holds chunks.
_OWN_BYTES: Final = ([HDF5_ENTRY + "0"], [HDF5_ENTRY + "0", HDF5_ENTRY + "1"])
_extent = itemgetter(0, 1)
#: Makes an Entry in half the time of calling it; a model has thousands.
_new = tuple.__new__


class Columns(NamedTuple):
    """The entries of an index that is as archives write it: what each of them says, still as text."""

    #: The whole index.
    text: str
    names: list[str]
    kinds: list[str]
    begins: list[str]
    ends: list[str]


class Listed(NamedTuple):
    """What an index lists: the dense arrays, and where all else lies, as (begin, end); both in the file's order."""

    arrays: dict[str, Entry]
    regions: list[tuple[int, int]]


def split(raw: bytes) -> tuple[dict[str, Any] | Columns, Any]:
    """The entries of an index, and its metadata; refused if any object in it holds a key twice.

    Args:
        raw: The JSON bytes, padding included.

    Raises:
        FormatError: It is no JSON object.
    """
    end = raw.rfind(b"}") + 1
    # Stripping thousands of spaces takes longer than comparing with as many.
    raw = raw[:end] if raw[end:] == b" " * (len(raw) - end) else raw
    found = _as_written(raw)
    if found is not None:
        return found
    header = _parsed(raw)
    return header, header.pop("__metadata__", None)


def _parsed(text: str | bytes) -> dict[str, Any]:
    return loads(text, what="the index", strict=True, parse_float=no_fraction)


def _as_written(raw: bytes) -> tuple[Columns, Any] | None:
    """The same of a text that is as archives write it, in a fraction of the time; None for any other."""
    try:
        text = raw.decode()
        if not text.startswith(_BEGIN):
            return None
        record, end = scanstring(text, len(_BEGIN), True)
    except ValueError:
        return None  # and the strict way says what is wrong
    behind = _BEHIND.match(text, end)
    if behind is None:
        return None
    # One flat list: findall's thousands of tuples take as long again.
    parts = _ENTRY.split(text[behind.end() :])
    between, names, kinds, begins, ends, rest = (parts[at :: _ENTRY.groups + 1] for at in range(_ENTRY.groups + 1))
    if any(between) or any(rest) or len({*names}) < len(names) or "__metadata__" in names:
        return None
    return Columns(text, names, kinds, begins, ends), {"format": "pt", "modelarchive": record}


def listed(entries: dict[str, Any] | Columns, own: dict[str, Any], *, start: int, size: int) -> Listed:
    """The dense arrays that an index lists, in the order of the data, every number checked.

    Args:
        entries: What :func:`split` found; HDF5's own bytes are among them.
        own: The archive's own record: digests, and the dtypes that safetensors has no code for.
        start: Where the data begins that offsets count from.
        size: Size of the file.

    Raises:
        FormatError: A number is impossible; arrays overlap, or leave a gap.
    """
    if isinstance(entries, Columns):
        found = _one_layout(entries, own, start=start, size=size)
        if found is not None:
            return found
        entries = _parsed(entries.text)
        del entries["__metadata__"]
    return _any_layout(entries, own, start=start, size=size)


def _one_layout(columns: Columns, own: dict[str, Any], *, start: int, size: int) -> Listed | None:
    """The arrays of a file that has the one layout which its shapes give, as archives are written.

    HDF5's bytes, then the arrays in the order of their entries, then chunks: every begin and end follows from
    the shapes, and is compared as it is spelt. None for all else.
    """
    own_bytes = ("\n" + "\n".join(columns.names)).count("\n" + HDF5_ENTRY)
    count = len(columns.names) - own_bytes
    if own.get("dtypes", {}) != {} or columns.names[count:] not in _OWN_BYTES:
        return None
    names, kinds, begins, ends = ([each[count], *each[:count], *each[count + 1 :]] for each in columns[1:])
    known = {kind: _kind(kind) for kind in {*kinds}}
    if None in known.values():
        return None
    logical, shapes, sizes = zip(*map(known.__getitem__, kinds), strict=True)
    places = list(accumulate(sizes, initial=start))
    spelt = list(map(str, accumulate(sizes, initial=0)))
    if begins != spelt[:-1] or ends != spelt[1:] or places[-1] != size:
        return None
    digests = _digests(own)
    if len(digests) != HEX_LENGTH * count:
        return None
    several = [digests[at : at + HEX_LENGTH] for at in range(0, len(digests), HEX_LENGTH)]
    dense = slice(1, count + 1)
    fields = zip(logical[dense], shapes[dense], places[dense], sizes[dense], several, strict=True)
    arrays = dict(zip(names[dense], map(_new, repeat(Entry), fields), strict=True))
    return Listed(arrays, [(start, places[1]), (places[count + 1], size)][:own_bytes])


def _kind(text: str) -> tuple[str, tuple[int, ...], int] | None:
    """The dtype, shape and bytes that entries declare in these words; None if they may not."""
    match = _KIND.fullmatch(text)
    if match is None or match[1] not in _CODES:
        return None
    dtype, itemsize = _CODES[match[1]]
    shape = tuple(map(int, match[2].split(","))) if match[2] else ()
    if len(shape) > MAX_RANK or itemsize * math.prod(filter(None, shape)) > MAX_LENGTH:
        return None
    return dtype, shape, itemsize * math.prod(shape)


def _any_layout(header: dict[str, Any], own: dict[str, Any], *, start: int, size: int) -> Listed:
    logical = mapping(own, "dtypes")
    end_of_data = size - start
    found = []
    for name, value in header.items():
        dtype, shape, begin, end = _described(name, value, end_of_data)
        if name in logical:
            dtype = _complex(name, logical[name], value["dtype"], value["shape"])
            shape = shape[:-1]
        elif len(shape) > MAX_RANK:
            fail(f"{short(name)} has more than {MAX_RANK} axes")
        found.append((begin, end, name, dtype, shape))
    found.sort(key=_extent)
    digests = _digests(own)
    arrays = {}
    regions = []
    position = at = 0
    for begin, end, name, dtype, shape in found:
        if begin != position:
            fail(f"{short(name)} begins at {begin}, expected {position}: data overlaps or has a gap")
        position = end
        if name.startswith(HDF5_ENTRY):
            regions.append((start + begin, start + end))
        else:
            arrays[name] = Entry(dtype, shape, start + begin, end - begin, digests[at : at + HEX_LENGTH])
            at += HEX_LENGTH
    if position != end_of_data:
        fail(f"the index covers {position} bytes of data, the file was written with {end_of_data}")
    if at != len(digests):
        fail(f"there are digests of {len(digests) // HEX_LENGTH} arrays, expected {len(arrays)}")
    if not logical.keys() <= arrays.keys():
        fail("dtypes names an array that is not there")
    return Listed(arrays, regions)


def _described(name: str, value: Any, end_of_data: int) -> tuple[str, tuple[int, ...], int, int]:
    """The dtype, shape, begin and end that an entry declares, checked."""
    try:
        shape = value["shape"]
        begin, end = value["data_offsets"]
        dtype, itemsize = _CODES[value["dtype"]]
    except (TypeError, KeyError, ValueError):
        fail(f"the entry of {short(name)} has no dtype, shape and data_offsets that can be read")
    if type(shape) is not list or len(shape) > MAX_RANK + 1 or type(begin) is not int or type(end) is not int:
        fail(f"the entry of {short(name)} has a shape or data_offsets of the wrong type")
    count = itemsize
    for length in shape:
        if type(length) is not int or not 0 <= length <= MAX_LENGTH:
            fail(f"the shape of {short(name)} holds {length!r}")
        count *= length
    if not count and itemsize * math.prod(filter(None, shape)) > MAX_LENGTH:
        fail(f"{short(name)} has the shape {shape}, which no memory can hold")
    if not 0 <= begin <= end <= end_of_data or end - begin != count:
        fail(f"{short(name)} claims bytes {begin} to {end}, its shape needs {count}, there are {end_of_data}")
    return dtype, tuple(shape), begin, end


def _digests(own: dict[str, Any]) -> str:
    digests = string(own, "digests")
    try:
        is_hex = bytes.fromhex(digests).hex() == digests
    except ValueError:
        is_hex = False
    if not is_hex or len(digests) % HEX_LENGTH:
        fail("the digests are not 64 hexadecimal digits for each array")
    return digests


def _complex(name: str, dtype: object, code: str, shape: list[int]) -> str:
    if dtype not in ("complex64", "complex128") or dtypes.SAFETENSORS[str(dtype)] != code or shape[-1:] != [2]:
        fail(f"{short(name)} is declared {dtype!r}, but stored as {code} of shape {shape}")
    return str(dtype)
