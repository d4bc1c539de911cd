"""What is interrupted: everything that writes an archive, each with the file that it replaces."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h5py
import numpy as np

import modelarchive as ma
from modelarchive import maintenance, nn
from modelarchive.models import transplant_file

TARGET: Final = "x.h5"
X: Final = np.zeros((1, 6), "f4")
#: Of more than one piece, of one, small ones, and text, so that every kind of write happens.
NEW: Final = {"a": np.arange(200_000, dtype="f8"), "b": np.arange(3), "c": np.ones((300, 300), "f4"), "t": "text"}


@dataclass(frozen=True)
class Operation:
    """One thing that replaces a file.

    Attributes:
        prepare: Makes the old file and whatever else is needed, in a folder.
        act: Replaces the old file.
    """

    prepare: Callable[[Path], None]
    act: Callable[[Path], object]


def network(seed: int) -> nn.Block:
    net = nn.Sequential().add(
        features=nn.Sequential(nn.Dense(400, activation="relu"), nn.Dense(400)),
        output=nn.Dense(3),
    )
    net.initialize(seed=seed)
    net(X)
    return net


def _old_arrays(folder: Path) -> None:
    ma.save(folder / TARGET, {"old": np.arange(1000), "a": np.zeros(3)}, durable=False)


def _old_model(folder: Path) -> None:
    ma.save_model(folder / TARGET, network(0), inputs=X, durable=False)


def _two_models(folder: Path) -> None:
    _old_model(folder)
    ma.save_model(folder / "other.h5", network(1), inputs=X, durable=False)


def _stale(folder: Path) -> None:
    """A file that an HDF5 tool has written into since."""
    ma.save(folder / TARGET, NEW, durable=False)
    with h5py.File(folder / TARGET, "r+", locking=False) as file:
        file["arrays/b"].attrs["unit"] = "m"


def _old_model_stale(folder: Path) -> None:
    _old_model(folder)
    with h5py.File(folder / TARGET, "r+", locking=False) as file:
        file["parameters/output/bias"].attrs["unit"] = "m"


def _stream(folder: Path) -> None:
    arrays = {name: array for name, array in NEW.items() if isinstance(array, np.ndarray)}
    parts = [("a", NEW["a"][:100]), ("c", NEW["c"]), ("a", NEW["a"][100:]), ("b", NEW["b"])]
    ma.save_stream(folder / TARGET, iter(parts), announced=arrays)  # type: ignore[arg-type]


def _reindex(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maintenance.reindex(folder / TARGET)


OPERATIONS: Final[dict[str, Operation]] = {
    "save": Operation(_old_arrays, lambda folder: ma.save(folder / TARGET, NEW)),
    "save, compressed": Operation(_old_arrays, lambda folder: ma.save(folder / TARGET, NEW, compression="deflate")),
    "save_model": Operation(_old_model, lambda folder: ma.save_model(folder / TARGET, network(1), inputs=X)),
    "save_stream": Operation(_old_arrays, _stream),
    "repack": Operation(_stale, lambda folder: maintenance.repack(folder / TARGET)),
    "repack, compressing": Operation(
        _old_model_stale, lambda folder: maintenance.repack(folder / TARGET, compression="deflate")
    ),
    "reindex": Operation(_stale, _reindex),
    "extract": Operation(
        _two_models, lambda folder: maintenance.extract(folder / "other.h5", "features", folder / TARGET)
    ),
    "transplant": Operation(
        _two_models,
        lambda folder: transplant_file(folder / "other.h5", folder / TARGET, folder / TARGET, select="features.*"),
    ),
}
