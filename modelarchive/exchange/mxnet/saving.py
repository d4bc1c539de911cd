"""NDArray files as MXNet writes them, one array in memory at a time."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive import names
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.mxnet.ndarrays import DTYPES, MAGIC, MAX_AXES, V2, V3
from modelarchive.store.deferred import Deferred
from modelarchive.store.replace import replacing

#: Name of a dtype -> its code, of those that MXNet 1.9 has in Python.
CODES: Final = {
    str(dtype.newbyteorder("=") if dtype.kind in "iuf" else dtype): code
    for code, dtype in DTYPES.items()
    if code < 8 or code == 12
}


def problems_with(arrays: Mapping[str, Deferred]) -> list[tuple[str, str]]:
    """What MXNet cannot hold."""
    found = names.problems_with_texts(arrays)
    for name, array in arrays.items():
        if str(array.dtype.newbyteorder("=")) not in CODES:
            found.append((name, f"MXNet has no {array.dtype}, only {', '.join(CODES)}"))
        elif len(array.shape) > MAX_AXES:
            found.append((name, f"MXNet holds at most {MAX_AXES} axes, found {len(array.shape)}"))
    return found


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Deferred], *, durable: bool) -> list[Note]:
    """Write an NDArray file with names.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        arrays: Name -> array.
        durable: Have the system put the file on the disk before returning.

    Returns:
        What MXNet needs to be told to read it.

    Raises:
        ConversionError: Arrays that MXNet cannot hold; lists all of them. Nothing is written.
        OSError: The file cannot be written.
    """
    problems = problems_with(arrays)
    if problems:
        raise ConversionError(problems, hint="nothing was written")
    # What has no axes, or no elements, is an array in NumPy's sense only. MXNet reads files of one sense: a version
    # 2 beside a version 3 is refused with np_shape and without.
    numpy = [name for name, array in arrays.items() if math.prod(array.shape) == 0 or not array.shape]
    told = "so that MXNet reads the file under mx.util.np_shape() only"
    notes = [Note(name, f"is of shape {arrays[name].shape}, {told}") for name in numpy]
    with replacing(path, durable=durable) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<QQQ", MAGIC, 0, len(arrays)))
        for array in arrays.values():
            _write(file, array, V3 if numpy else V2)
        file.write(struct.pack("<Q", len(arrays)))
        for name in arrays:
            text = name.encode()
            file.write(struct.pack("<Q", len(text)) + text)
    return notes


def _write(file: Any, array: Deferred, version: int) -> None:
    code = CODES[str(array.dtype.newbyteorder("="))]
    axes = len(array.shape)
    file.write(struct.pack(f"<Iii{axes}q", version, 0, axes, *array.shape))
    file.write(struct.pack("<iii", 1, 0, code))  # on device 0 of the processor
    values = array.read()  # and not a view, whose pages would stay in memory
    little = DTYPES[code]
    flat = np.ascontiguousarray(values, little).reshape(-1)
    file.write(flat.view(np.uint8).data)
