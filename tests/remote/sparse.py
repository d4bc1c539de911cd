"""A whole model of any size that takes no room on the disk: all of it but one block are holes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import modelarchive as ma
from modelarchive import nn
from modelarchive.store import writer
from modelarchive.store.digest import digest
from modelarchive.store.fill import Fill

#: Units of a layer of the body, whose matrix has 1 GiB, and of the head.
WIDTH = 1 << 14
SIDE = 512
#: Bytes of the head: what is read where it is built.
BLOCK = SIDE * SIDE * 4 + SIDE * 4


def head() -> dict[str, np.ndarray]:
    """The parameters that are there."""
    weight = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    return {"head.weight": weight, "head.bias": np.ones(SIDE, np.float32)}


def sparse_model(path: Path, *, nbytes: int) -> int:
    """Write one: a body of layers of 1 GiB, a neck of 32 MiB, a head.

    Returns:
        Where the arrays begin: the bytes of the index, HDF5's metadata and the texts.
    """
    layers = [nn.Dense(WIDTH, in_units=WIDTH) for _ in range(nbytes >> 30)]
    net = nn.Sequential(nn.Sequential(*layers), nn.Dense(SIDE, in_units=WIDTH), nn.Dense(SIDE, in_units=SIDE))
    architecture = ma.describe(net, inputs=[{"name": "x", "shape": [None, WIDTH], "dtype": "float32"}])
    for name, child in zip(("body", "neck", "head"), architecture["model"]["children"], strict=True):
        child["name"] = name
    with patch.multiple(writer, _reserve=os.ftruncate, fill_stream=_fill):
        ma.save_stream(path, head().items(), architecture=architecture, durable=False)
    with ma.open(path) as archive:
        return min(entry.offset or 0 for entry in archive.reader.contents.arrays.values())


def _fill(
    path: Path,
    fills: Mapping[str, Fill],
    stream: Iterable[tuple[str, np.ndarray]],
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """What comes is written; for all else a digest that holes do not have."""
    digests = dict.fromkeys(fills, "0" * 64)
    with path.open("r+b") as file:
        for name, array in stream:
            file.seek(fills[name].offset)
            file.write(array.tobytes())
            digests[name] = digest(array.tobytes())
    return digests
