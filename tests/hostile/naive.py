"""A naive reader of an index: json, pointers and zlib, as a C program does it in a hurry; it checks no number.

What a forged index does to it is the proof of an attack. It runs in a process of its own, which may crash.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import numpy as np

from tests import ROOT
from tests.hostile import views
from tests.hostile.judge import apart

#: What a forged index can do to it.
HARMS: Final = {
    "crash": "it reads where no memory is, and is ended by the system",
    "leak": "it shows what lies beside the file in the program's memory",
    "memory": "it asks for a thousand times the memory that the file could fill",
    "overflow": "it inflates more than the chunk's buffer holds, and writes over what lies behind",
    "lie": "it shows something else than HDF5 does",
}
#: Stands in the memory before and behind the file: what a program would rather not show.
SECRET: Final = b"hunter2!" * (1 << 17)
#: An allocator with a bound, so that the proof costs no memory; the files have less than a thousandth.
BOUND: Final = 1 << 25

DOCUMENT: Final = " ".join((ROOT / "docs" / "format.md").read_text("utf-8").split())

Hook = Callable[[list[tuple[str, Any]]], Any]


def first_of_equal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json`, which takes the last of two equal keys: take the first, as other parsers do."""
    return dict(reversed(pairs))


def shown(path: Path, hook: Hook = dict) -> Any:
    """What a file holds to the reader: its arrays and texts by HDF5 path, and the saved structure."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        room(length)
        header = json.loads(file.read(length), object_pairs_hook=hook)
        memory = Memory(path.read_bytes())
    own = json.loads(header.pop("__metadata__")["modelarchive"], object_pairs_hook=hook)
    found = dict(_values(memory, length + 8, header, own))
    leaks = [where for where, value in found.items() if value[3]]
    view = {where: [value[0], list(value[1]), value[2]] for where, value in found.items()}
    return {"leaks": leaks, "view": view, "tree": _tree(own, view) if "members" in own else None}


def prove(path: Path, honest: Any, proof: str) -> None:
    """That a forged file harms the reader in that way; or harms it in no way and breaks that rule.

    Args:
        path: The file, after its index was forged.
        honest: What was shown before; HDF5 shows it still.
        proof: A word of :data:`HARMS`, or words of the rule in docs/format.md.
    """
    found = harm(path, honest)
    assert found == (proof if proof in HARMS else ""), f"expected {proof!r}, found {found!r}"
    assert proof in HARMS or proof in DOCUMENT, f"docs/format.md does not say {proof!r}"


def harm(path: Path, honest: Any) -> str:
    """What a file does to the reader, a word of :data:`HARMS`; "" for nothing, or an ordinary exception."""
    ended, found = apart(functools.partial(_harm, path, honest))
    return str(found) if ended == "done" else ended


def _harm(path: Path, honest: Any) -> str:
    for hook in (dict, first_of_equal_keys):
        try:
            found = json.loads(json.dumps(shown(path, hook)))
        except MemoryError:
            return "memory"
        except OverrunError:
            return "overflow"
        except Exception:
            continue
        if found["leaks"]:
            return "leak"
        if found != honest:
            return "lie"
    return ""


class OverrunError(Exception):
    """Where C would write behind the end of a buffer."""


def room(nbytes: int) -> None:
    """Ask for memory."""
    if nbytes > BOUND:
        raise MemoryError(nbytes)


class Memory:
    """A file in a program's memory, with other things of the program before and behind it."""

    def __init__(self, data: bytes) -> None:
        self._held = ctypes.create_string_buffer(SECRET + data + SECRET)
        self._begin = ctypes.addressof(self._held) + len(SECRET)

    def at(self, place: int, nbytes: int = 1) -> bytes:
        """Bytes from a place relative to the file's begin; pointers wrap, and nobody looks where they lead."""
        return ctypes.string_at((self._begin + place) % 2**64, nbytes)

    def array(self, place: int, itemsize: int, shape: list[int]) -> bytes:
        """All bytes of an array: looked at here and there along each axis, then copied in one go."""
        for offset in _walk(itemsize, shape):
            self.at(place + offset)
        # C multiplies without looking for overflow.
        nbytes = itemsize * math.prod(shape) % 2**64
        room(nbytes)
        return self.at(place, nbytes)


def _walk(itemsize: int, shape: list[int]) -> Iterator[int]:
    stride = itemsize
    for length in reversed(shape):
        # Powers of two, and the last.
        yield from (index * stride for index in [1 << bit for bit in range(62)] if index < length)
        yield (length - 1) * stride
        stride *= length


def _values(memory: Memory, start: int, header: Any, own: Any) -> Iterator[tuple[str, Any]]:
    """HDF5 path -> (dtype, shape, digest, whether it shows secrets)."""
    inside = (lambda name: name.replace(".", "/")) if own["section"] == "parameters" else str
    found = {}
    for name, entry in header.items():
        if not name.startswith("__hdf5__."):
            begin, _ = entry["data_offsets"]
            dtype, shape = np.dtype(views.CODES[entry["dtype"]]), list(entry["shape"])
            raw = memory.array(start + begin, dtype.itemsize, shape)
            if name in own.get("dtypes", {}):
                dtype, shape = np.dtype(own["dtypes"][name]), shape[:-1]
            found[name] = _about(dtype.name, shape, raw)
    for name, entry in own.get("compressed", {}).items():
        found[name] = _inflated(memory, start, entry)
    for alias, name in own.get("aliases", {}).items():
        found[alias] = found[name]
    for name, value in found.items():
        yield f"/{own['section']}/{inside(name)}", value
    for path, entry in own["texts"].items():
        yield path, _text(memory, start, entry)


def _text(memory: Memory, start: int, entry: Any) -> Any:
    """Strings, in the memory that their dtype says they take."""
    shape, size, place = entry["shape"], entry["itemsize"], start + (entry["offset"] or 0)
    raw = memory.array(place, size, shape)
    strings = [raw[at * size : at * size + size].rstrip(b"\0") for at in range(math.prod(shape))]
    width = entry["dtype"][1:]
    if width.isdigit():
        room((4 if entry["dtype"][0] == "U" else 1) * int(width) * len(strings))
        strings = [one.decode()[: int(width)].encode() for one in strings]
    leaks = SECRET[:16] in raw
    return (*views.strings_view(strings, tuple(shape)), leaks)


def _inflated(memory: Memory, start: int, entry: Any) -> Any:
    """A compressed array, inflated chunk by chunk into a buffer of a chunk's size."""
    dtype, shape, chunk = np.dtype(views.CODES.get(entry["dtype"], entry["dtype"])), entry["shape"], entry["chunk"]
    room(dtype.itemsize * math.prod(shape))
    room(dtype.itemsize * math.prod(chunk))
    array, at = np.zeros(shape, dtype), start + entry["offset"]
    corners = itertools.product(*(range(0, length, part) for length, part in zip(shape, chunk, strict=False)))
    packed = []
    for size in entry["sizes"]:
        packed.append(memory.array(at, 1, [size]))
        at += size
    if SECRET[:16] in b"".join(packed):
        return _about(dtype.name, shape, b"".join(packed))
    for corner, raw in zip(corners, packed, strict=False):
        plain = zlib.decompressobj().decompress(raw)
        if len(plain) > dtype.itemsize * math.prod(chunk):
            raise OverrunError
        planes = np.frombuffer(plain, np.uint8).reshape(dtype.itemsize, -1)
        target = array[tuple(slice(begin, begin + part) for begin, part in zip(corner, chunk, strict=False))]
        whole = np.ascontiguousarray(planes.T).view(dtype).reshape(chunk)
        target[...] = whole[tuple(slice(0, length) for length in target.shape)]
    return _about(dtype.name, shape, array.tobytes())


def _about(dtype: str, shape: list[int], raw: bytes) -> Any:
    return dtype, shape, views.digest_of(raw), SECRET[:16] in raw


def _tree(own: Any, view: dict[str, Any]) -> Any:
    """The saved structure, put together as the members come."""
    found: dict[str, Any] = {}
    for path, kind in own["members"]:
        if kind in ("dict", "list", "tuple"):
            found[path] = {} if kind == "dict" else []
        else:
            found[path] = [kind, view.get(f"/{own['section']}/{path}") or view[f"/arrays/{path}"]]
        if path:
            parent, _, key = path.rpartition("/")
            box = found[parent]
            if isinstance(box, list):
                box.append(found[path])
            else:
                box[unquote(key)] = found[path]
    return found[""]
