"""NDArray files made by hand, version by version, and the folders of those that MXNet made."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign" / "mxnet"
OPERATORS = FOREIGN / "operators"
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
CONTEXT = struct.pack("<ii", 1, 0)


def file_of(arrays: Sequence[bytes], names: Sequence[str] = (), *, count: int | None = None) -> bytes:
    """A whole file."""
    head = struct.pack("<QQQ", 0x112, 0, len(arrays) if count is None else count)
    tail = struct.pack("<Q", len(names)) + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in names)
    return head + b"".join(arrays) + tail


def legacy(shape: Sequence[int], code: int, data: bytes) -> bytes:
    """The first version: no magic, sizes of 32 bits."""
    return struct.pack(f"<I{len(shape)}I", len(shape), *shape) + CONTEXT + struct.pack("<i", code) + data


def first(shape: Sequence[int], code: int, data: bytes) -> bytes:
    """V1: sizes of 64 bits."""
    return struct.pack(f"<II{len(shape)}q", V1, len(shape), *shape) + CONTEXT + struct.pack("<i", code) + data


def dense(shape: Sequence[int], code: int, data: bytes, *, magic: int = V2, storage: int = 0) -> bytes:
    """V2 and V3."""
    head = struct.pack(f"<Iii{len(shape)}q", magic, storage, len(shape), *shape)
    return head + CONTEXT + struct.pack("<i", code) + data


def row_sparse(shape: Sequence[int], kept: Sequence[int], rows: Sequence[int]) -> bytes:
    """V2, float32, rows counted from 1.0."""
    values = np.arange(1, 1 + np.prod(kept), dtype="<f4").tobytes()
    return (
        struct.pack(f"<Iii{len(kept)}q", V2, 1, len(kept), *kept)
        + struct.pack(f"<i{len(shape)}q", len(shape), *shape)
        + CONTEXT
        + struct.pack("<iiiq", 0, 6, 1, len(rows))
        + values
        + np.array(rows, "<i8").tobytes()
    )


def csr(shape: Sequence[int], starts: Sequence[int], columns: Sequence[int]) -> bytes:
    """V2, float32, values counted from 1.0."""
    return (
        struct.pack("<Iiiq", V2, 2, 1, len(columns))
        + struct.pack(f"<i{len(shape)}q", len(shape), *shape)
        + CONTEXT
        + struct.pack("<iiiqiiq", 0, 6, 1, len(starts), 6, 1, len(columns))
        + np.arange(1, 1 + len(columns), dtype="<f4").tobytes()
        + np.array(starts, "<i8").tobytes()
        + np.array(columns, "<i8").tobytes()
    )


def written(folder: Path, data: bytes) -> Path:
    """The bytes as a file."""
    path = folder / "made.params"
    path.write_bytes(data)
    return path
