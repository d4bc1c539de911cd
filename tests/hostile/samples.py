"""The files that are mutated: small archives of every sort, with what they hold."""

from __future__ import annotations

import functools
import io
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.store import chunks
from modelarchive.store.contents import Contents
from modelarchive.store.index import parse
from tests import ROOT
from tests.hostile import hdf5_structures
from tests.hostile.hdf5_structures import Structure
from tests.hostile.views import View, ours

ARRAYS = {
    "a": np.arange(40, dtype="f4").reshape(5, 8),
    "b": [np.array(["x", "yy"]), np.arange(3), 7, "text", None, {"c": np.zeros((0, 2), "i2")}],
    "mask": np.arange(9) % 2 == 0,
    "z": np.arange(6, dtype="c16"),
    "many": {f"m{at}": np.arange(at % 3, dtype="u1") for at in range(12)},  # a group that keeps its links in a heap
}
#: An archive whose metadata HDF5's library wrote, as this package had it do at first.
BY_THE_LIBRARY = ROOT / "tests" / "data" / "format-1" / "nested.h5"


@dataclass
class Sample:
    """A whole file.

    Attributes:
        name: What tables call it.
        data: Its bytes.
        is_model: Whether it has an architecture.
        view: What it holds, see :mod:`tests.hostile.views`.
        contents: What its index says; None without one.
        structures: HDF5's structures that have a checksum.
    """

    name: str
    data: bytes
    is_model: bool = False
    view: View = field(default_factory=dict)
    contents: Contents | None = None
    structures: list[Structure] = field(default_factory=list)

    def hdf5_ranges(self) -> list[tuple[int, int]]:
        """Where HDF5's own bytes are; files are padded to whole pages, which are of no interest."""
        if self.contents is None:
            return [(0, len(self.data))]
        return [(begin, min(end, begin + 6000)) for begin, end in self.contents.metadata_ranges()]


@functools.cache
def samples() -> dict[str, Sample]:
    """Every sample by its name, made once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.h5"
        found = [
            _sample("arrays", path, lambda: ma.save(path, ARRAYS, durable=False)),
            _sample("model", path, lambda: _model(path)),
            _sample("compressed", path, lambda: _compressed(path)),
            _sample("by the library", path, lambda: path.write_bytes(BY_THE_LIBRARY.read_bytes())),
            _sample("by h5py", path, lambda: _by_h5py(path)),
        ]
    return {sample.name: sample for sample in found}


def _sample(name: str, path: Path, write: Any) -> Sample:
    path.unlink(missing_ok=True)
    write()
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    contents = parse(data[8 : 8 + length], file_size=len(data)) if name != "by h5py" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        view = ours(path)
    return Sample(name, data, name == "model", view, contents, hdf5_structures.structures(data))


def network() -> nn.Block:
    """A small network with a shared parameter, a convolution and a normalisation."""
    net = nn.Sequential()
    net.add(
        features=nn.Sequential(nn.Conv2D(3, 3, activation="relu"), nn.BatchNorm(), nn.Flatten()),
        head=nn.Sequential(nn.Dense(4, activation="tanh"), nn.Dense(4)),
    )
    net.initialize(seed=0)
    net(image())
    net.head[0].bias = net.head[1].bias
    return net


def image() -> np.ndarray:
    """An input of the network."""
    return np.random.default_rng(0).standard_normal((1, 2, 5, 5)).astype("f4")


def _model(path: Path) -> None:
    metadata = {"license": "MIT", "accuracy": 0.5, "notes": ["a", None, True]}
    ma.save_model(path, network(), inputs=image(), metadata=metadata, durable=False)


def _compressed(path: Path) -> None:
    large = (np.arange(24_000) // 7 % 50).astype("f4").reshape(120, 200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 1 << 14)  # several chunks in a small file
        ma.save(path, {"large": large, "small": np.arange(5)}, compression="deflate", durable=False)


def _by_h5py(path: Path) -> None:
    """What other programs write: old structures without checksums, chunks, strings of variable length."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "modelarchive", 1
        arrays = file.create_group("arrays")
        arrays.create_dataset("chunked", data=np.arange(300).reshape(30, 10), chunks=(8, 10), compression="gzip")
        arrays.create_dataset("checked", data=np.arange(50.0), chunks=(25,), fletcher32=True, shuffle=True)
        arrays["big"] = np.arange(5, dtype=">f4")
        arrays["words"] = ["variable", "lengths", "ü"]
        arrays["inner/list/0"], arrays["inner/list/1"] = 1.5, "one"
        arrays["inner/list"].attrs["container"] = "list"
        arrays["again"] = arrays["big"]
    path.write_bytes(buffer.getvalue())
