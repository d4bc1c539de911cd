"""What a file holds as three programs see it: modelarchive, plain h5py, and a reader of the index alone.

A view maps HDF5 paths to (dtype, shape, digest of the bytes); strings count by their bytes without padding.
"""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from blake3 import blake3

View = dict[str, tuple[str, tuple[int, ...], str]]

#: safetensors codes -> NumPy's dtypes, for the reader of the index.
CODES = {"BOOL": "bool", "F16": "f2", "F32": "f4", "F64": "f8"} | {
    f"{sign}{bits}": f"{kind}{bits // 8}" for sign, kind in (("I", "i"), ("U", "u")) for bits in (8, 16, 32, 64)
}


def ours(path: Path, *, verified: bool = False, whole: bool = False) -> View:
    """What modelarchive shows, to the last array and text.

    Args:
        path: The file.
        verified: Verify it first.
        whole: Also put the saved structure together, or build the network, as `load` and `load_model` do.
    """
    import modelarchive as ma

    with ma.open(path) as archive:
        if verified:
            archive.verify()
        contents, reader = archive.reader.contents, archive.reader
        view = {contents.hdf5_path(name): array_view(archive.parameters[name]) for name in archive.parameters}
        for text, entry in contents.texts.items():
            view[text] = strings_view(reader.text_bytes(text), entry.shape)
        if whole:
            archive.data()
            assert archive.metadata is not None
            if archive.has_architecture:
                archive.build()
        return view


def by_index(path: Path) -> View:
    """What the index says and the bytes are, read with nothing but json, zlib and NumPy."""
    data = path.read_bytes()
    start = 8 + struct.unpack_from("<Q", data)[0]
    index = json.loads(data[8:start])
    own = json.loads(index.pop("__metadata__")["modelarchive"])
    inside = (lambda name: name.replace(".", "/")) if own["section"] == "parameters" else str
    view = {}
    for name, entry in index.items():
        if not name.startswith("__hdf5__."):
            begin, end = entry["data_offsets"]
            dtype, shape = np.dtype(CODES[entry["dtype"]]), entry["shape"]
            if name in own.get("dtypes", {}):
                dtype, shape = np.dtype(own["dtypes"][name]), shape[:-1]
            array = np.frombuffer(data[start + begin : start + end], dtype).reshape(shape)
            view[f"/{own['section']}/{inside(name)}"] = array_view(array)
    for name, entry in own.get("compressed", {}).items():
        view[f"/{own['section']}/{inside(name)}"] = array_view(_inflated(entry, data, start))
    for alias, name in own.get("aliases", {}).items():
        view[f"/{own['section']}/{inside(alias)}"] = view[f"/{own['section']}/{inside(name)}"]
    for text, entry in own["texts"].items():
        count = int(np.prod(entry["shape"]))
        begin, size = start + (entry["offset"] or 0), entry["itemsize"]
        strings = [data[at : at + size].rstrip(b"\0") for at in range(begin, begin + count * size, size)]
        view[text] = strings_view(strings, tuple(entry["shape"]))
    return view


def _inflated(entry: dict[str, Any], data: bytes, start: int) -> np.ndarray:
    """A compressed array: chunks in C order, each shuffled and deflated."""
    dtype, shape, chunk = np.dtype(CODES.get(entry["dtype"], entry["dtype"])), entry["shape"], entry["chunk"]
    array = np.zeros(shape, dtype)
    at = start + entry["offset"]
    corners = itertools.product(*(range(0, length, part) for length, part in zip(shape, chunk, strict=True)))
    for corner, size in zip(corners, entry["sizes"], strict=True):
        planes = np.frombuffer(zlib.decompress(data[at : at + size]), np.uint8).reshape(dtype.itemsize, -1)
        whole = np.ascontiguousarray(planes.T).view(dtype).reshape(chunk)
        place = tuple(slice(begin, begin + part) for begin, part in zip(corner, chunk, strict=True))
        target = array[place]
        target[...] = whole[tuple(slice(0, length) for length in target.shape)]
        at += size
    return array


def by_h5py(path: Path, names: list[str] | None = None) -> View:
    """What plain h5py shows, as most programs call it. A hostile file may crash it, or keep it for ever.

    Args:
        path: The file.
        names: The datasets to read; None: all that there are.
    """
    view: View = {}
    with h5py.File(path, "r") as file:
        if names is None:
            _walk(file, "", view, 0)
        else:
            view = {name: _dataset(file[name]) for name in names}
    return view


def _walk(group: Any, prefix: str, view: View, depth: int) -> None:
    if depth > 100:
        raise RecursionError("groups in circles")
    for name in group:
        item = group[name]
        where = f"{prefix}/{name}"
        if isinstance(item, h5py.Group):
            _walk(item, where, view, depth + 1)
        elif isinstance(item, h5py.Dataset):
            view[where] = _dataset(item)


def _dataset(item: Any) -> tuple[str, tuple[int, ...], str]:
    if item.dtype.kind not in "SO":
        # Not item[()]: where chunks are missing, HDF5 leaves whatever was in memory.
        array = np.zeros(item.shape, item.dtype)
        if array.size:
            item.read_direct(array)
        return array_view(array)
    value = item[()]
    strings = [value] if item.shape == () else np.asarray(value).ravel().tolist()
    strings = [one if isinstance(one, bytes) else str(one).encode() for one in strings]
    return strings_view([one.rstrip(b"\0") for one in strings], item.shape)


def array_view(array: np.ndarray) -> tuple[str, tuple[int, ...], str]:
    """What an array counts by."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return (plain.dtype.name, array.shape, digest_of(plain.tobytes()))


def strings_view(strings: list[bytes], shape: tuple[int, ...]) -> tuple[str, tuple[int, ...], str]:
    return ("text", tuple(shape), blake3(json.dumps([one.hex() for one in strings]).encode()).hexdigest())


def digest_of(raw: bytes) -> str:
    """By which values are compared."""
    return blake3(raw).hexdigest()
