"""The outer object of an index: where each dense array lies, as safetensors says it, every number checked."""

from __future__ import annotations

import math
from json.decoder import scanstring  # type: ignore[attr-defined]
from operator import itemgetter
from typing import Any, Final

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
_BEHIND: Final = "},"
#: safetensors code -> (logical dtype, item size).
_CODES: Final = {code: (name, dtypes.DENSE[name].itemsize) for code, name in dtypes.FROM_SAFETENSORS.items()}
_extent = itemgetter(0, 1)
#: Makes an Entry in half the time of calling it; a model has thousands.
_new = tuple.__new__

_Known = dict[Any, tuple[str, tuple[int, ...], int]]


def split(raw: bytes) -> tuple[dict[str, Any], Any]:
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
    header = loads(raw, what="the index", strict=True, parse_float=no_fraction)
    return header, header.pop("__metadata__", None)


def _as_written(raw: bytes) -> tuple[dict[str, Any], Any] | None:
    """The same of a text that is as archives write it, in a fraction of the time; None for any other.

    Behind the metadata stand five strings an entry (name, three keys, dtype), without escapes: ten quotes. An
    entry that is not refused later has as many at least; a key that stands twice was dropped, and then its
    quotes are too many.
    """
    try:
        text = raw.decode()
        if not text.startswith(_BEGIN):
            return None
        record, end = scanstring(text, len(_BEGIN), True)
        if not text.startswith(_BEHIND, end):
            return None
        entries = loads("{" + text[end + len(_BEHIND) :], what="the index", strict=False, parse_float=no_fraction)
    except ValueError:
        return None  # and the strict way says what is wrong
    if "__metadata__" in entries or text.find("\\", end) >= 0 or text.count('"', end) != 10 * len(entries):
        return None
    return entries, {"format": "pt", "modelarchive": record}


def arrays(header: dict[str, Any], own: dict[str, Any], *, start: int, size: int) -> dict[str, Entry]:
    """The dense arrays that an index lists, in the order of the data.

    Args:
        header: Name -> entry; HDF5's own bytes are among them.
        own: The archive's own record: digests, and the dtypes that safetensors has no code for.
        start: Where the data begins that offsets count from.
        size: Size of the file.

    Raises:
        FormatError: A number is impossible; arrays overlap, or leave a gap.
    """
    logical = mapping(own, "dtypes")
    end_of_data = size - start
    found = []
    known: _Known = {}
    for name, value in header.items():
        try:
            begin, end = value["data_offsets"]
            dtype, shape, count = known[value["dtype"], *value["shape"]]
        except (TypeError, KeyError, ValueError):
            dtype, shape, count = _described(name, value, known)
            begin, end = value["data_offsets"]
        if type(begin) is not int or type(end) is not int:
            fail(f"the entry of {short(name)} has data_offsets of the wrong type")
        if not 0 <= begin <= end <= end_of_data or end - begin != count:
            fail(f"{short(name)} claims bytes {begin} to {end}, its shape needs {count}, there are {end_of_data}")
        if name in logical:
            dtype = _complex(name, logical[name], value["dtype"], value["shape"])
            shape = shape[:-1]
        elif len(shape) > MAX_RANK:
            fail(f"{short(name)} has more than {MAX_RANK} axes")
        found.append((begin, end, name, dtype, shape))
    found.sort(key=_extent)
    digests = _digests(own)
    listed = {}
    position = at = 0
    for begin, end, name, dtype, shape in found:
        if begin != position:
            fail(f"{short(name)} begins at {begin}, expected {position}: data overlaps or has a gap")
        position = end
        if name[:9] != HDF5_ENTRY:
            listed[name] = _new(Entry, (dtype, shape, start + begin, end - begin, digests[at : at + HEX_LENGTH]))
            at += HEX_LENGTH
    if position != end_of_data:
        fail(f"the index covers {position} bytes of data, the file was written with {end_of_data}")
    if at != len(digests):
        fail(f"there are digests of {len(digests) // HEX_LENGTH} arrays, expected {len(listed)}")
    if not logical.keys() <= listed.keys():
        fail("dtypes names an array that is not there")
    return listed


def _described(name: str, value: Any, known: _Known) -> tuple[str, tuple[int, ...], int]:
    """The dtype, shape and bytes that an entry declares, checked, and known from then on."""
    try:
        shape = value["shape"]
        _, _ = value["data_offsets"]
        dtype, itemsize = _CODES[value["dtype"]]
    except (TypeError, KeyError, ValueError):
        fail(f"the entry of {short(name)} has no dtype, shape and data_offsets that can be read")
    if type(shape) is not list or len(shape) > MAX_RANK + 1:
        fail(f"the entry of {short(name)} has a shape or data_offsets of the wrong type")
    count = itemsize
    for length in shape:
        if type(length) is not int or not 0 <= length <= MAX_LENGTH:
            fail(f"the shape of {short(name)} holds {length!r}")
        count *= length
    if not count and itemsize * math.prod(filter(None, shape)) > MAX_LENGTH:
        fail(f"{short(name)} has the shape {shape}, which no memory can hold")
    found = (dtype, tuple(shape), count)
    # True equals 1 and is no length, so shapes that it could pass for are looked at each time. No number with a
    # fraction comes this far, which could pass for another length.
    if 0 not in shape and 1 not in shape:
        known[value["dtype"], *shape] = found
    return found


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
