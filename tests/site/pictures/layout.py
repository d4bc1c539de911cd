"""Where what lies in an archive's bytes, read from the bytes themselves, as docs/format.md tells it."""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

import modelarchive as ma
from modelarchive import nn


@dataclass(frozen=True)
class Piece:
    """A named stretch of the file.

    Attributes:
        name: Of an array or a text, as it is called in the file.
        begin: Its first byte, from the start of the file.
        end: The byte behind its last.
        says: What is in it: dtype and shape, or the beginning of a text.
    """

    name: str
    begin: int
    end: int
    says: str


@dataclass(frozen=True)
class Layout:
    """A small archive, taken apart.

    Attributes:
        content: All of its bytes.
        header: What the first eight bytes say: the length of the index, in bytes.
        index_end: The byte behind the last one of the index that is no space.
        superblock: Where HDF5 begins.
        groups: HDF5's groups, by their paths.
        texts: In the order of the file.
        arrays: In the order of the file.
    """

    content: bytes
    header: int
    index_end: int
    superblock: int
    groups: list[str]
    texts: list[Piece]
    arrays: list[Piece]


def archive() -> bytes:
    """A network of two layers as a file."""
    network = nn.Sequential(nn.Dense(8, activation="relu", in_units=5), nn.Dense(3, in_units=8))
    network.initialize(seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.h5"
        example = np.ones((2, 5), np.float32)
        ma.save_model(path, network, inputs=example, metadata={"license": "MIT"}, durable=False)
        return path.read_bytes()


def layout(content: bytes) -> Layout:
    """Take an archive of a network apart; HDF5's library says where it sees the same arrays.

    Raises:
        ValueError: The index and HDF5 say different things.
    """
    header = int.from_bytes(content[:8], "little")
    origin = 8 + header
    index = content[8:origin]
    entries = json.loads(index)
    record = json.loads(entries.pop("__metadata__")["modelarchive"])
    arrays = [
        Piece(name, *(origin + each for each in entry["data_offsets"]), _shape(entry["dtype"], entry["shape"]))
        for name, entry in entries.items()
        if not name.startswith("__hdf5__.")
    ]
    texts = []
    for path, text in record["texts"].items():
        begin = origin + text["offset"]
        end = begin + text["itemsize"]
        texts.append(Piece(path, begin, end, content[begin:end].rstrip(b"\0").decode("utf-8")))
    groups: list[str] = []
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(lambda path, item: groups.append(f"/{path}") if isinstance(item, h5py.Group) else None)
        seen = {each.name: file[f"parameters/{each.name.replace('.', '/')}"].id.get_offset() for each in arrays}
    if seen != {each.name: each.begin for each in arrays}:
        raise ValueError(f"HDF5 sees the arrays at {seen}, the index at {arrays}")
    return Layout(
        content,
        header,
        8 + len(index.rstrip(b" ")),
        origin,
        groups,
        sorted(texts, key=_begin),
        sorted(arrays, key=_begin),
    )


def _begin(piece: Piece) -> int:
    return piece.begin


def _shape(dtype: str, shape: list[int]) -> str:
    return f"{dtype} {' x '.join(map(str, shape))}"
