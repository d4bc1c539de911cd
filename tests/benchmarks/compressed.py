"""Compression against h5py's own: seconds, and bytes of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

import modelarchive as ma
from tests.benchmarks.measure import OURS, Row, measure
from tests.benchmarks.report import describe, line, speed_table
from tests.benchmarks.systems import BFLOAT16, System
from tests.benchmarks.workloads import Arrays, Size, language, language_bfloat16

OPERATIONS: Final = {
    "save": "save",
    "load": "load",
    "load, verified": "load_verified",
    "read one array": "read_one",
}
#: Weights as training leaves them, as far as compression goes; a tenth of the workload, because zlib is slow.
WORKLOADS: Final[Mapping[str, Callable[[Size], Arrays]]] = {
    "compressed": lambda size: _some(language(size)),
    "compressed-bfloat16": lambda size: _some(language_bfloat16(size)),
}
_ARRAYS: Final = 12


def compressed(
    size: Size, rounds: int, folder: Path, *, progress: Callable[[str], None] = lambda text: None
) -> Iterator[tuple[str, list[Row], dict[str, int]]]:
    """The title of each workload, its rows, and the bytes that each system's file takes."""
    for name, make in WORKLOADS.items():
        arrays = make(size)
        systems = list(_systems())
        rows = measure(name, arrays, systems, folder, rounds=min(rounds, 3), operations=OPERATIONS, progress=progress)
        yield describe(name, arrays), rows, {each.name: _size(each, arrays, folder) for each in systems}


def table(found: list[tuple[str, list[Row], dict[str, int]]]) -> str:
    """Milliseconds, and below them the size of the file."""
    parts = []
    for title, rows, sizes in found:
        peers = [name for name in sizes if name != OURS]
        smaller = all(sizes[OURS] <= sizes[name] for name in peers)
        cells = [f"{sizes[name] / 1e6:,.1f}" for name in (OURS, *peers)]
        parts.append(
            "\n".join(
                [
                    speed_table(title, rows),
                    line(["MB of the file", *cells, f"not larger: {'met' if smaller else 'missed'}"]),
                ]
            )
        )
    return "\n\n".join(parts)


def as_json(found: list[tuple[str, list[Row], dict[str, int]]]) -> list[dict[str, Any]]:
    """The same for machines."""
    return [{"title": title, "rows": [row.as_json() for row in rows], "bytes": sizes} for title, rows, sizes in found]


def _some(arrays: Arrays) -> Arrays:
    return dict(list(arrays.items())[:_ARRAYS])


def _size(system: System, arrays: Arrays, folder: Path) -> int:
    path = folder / "size"
    system.save(path, system.prepare(arrays))
    size = path.stat().st_size
    path.unlink()
    return size


def _systems() -> Iterator[System]:
    yield _modelarchive()
    yield _h5py("h5py gzip", {"compression": "gzip"})
    yield _h5py("h5py shuffle, gzip", {"compression": "gzip", "shuffle": True})


def _modelarchive() -> System:
    def read_one(path: Path, name: str) -> np.ndarray:
        with ma.open(path) as archive:
            return archive.parameters[name]

    return System(
        name=OURS,
        module="modelarchive",
        save=lambda path, arrays: ma.save(path, arrays, compression="deflate", durable=False),
        load=lambda path: ma.load(path),
        load_verified=lambda path: ma.load(path, verify=True),
        read_one=read_one,
    )


def _h5py(name: str, options: dict[str, Any]) -> System:
    """h5py as its users compress; bfloat16, which it does not know, as whole numbers of 16 bits."""

    def save(path: Path, arrays: Arrays) -> None:
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                plain = array.view(np.uint16) if array.dtype == BFLOAT16 else array
                file.create_dataset(key, data=plain, **options)

    def load(path: Path) -> Arrays:
        with h5py.File(path, "r") as file:
            return {key: _wide(dataset[()]) for key, dataset in file.items()}

    def read_one(path: Path, key: str) -> np.ndarray:
        with h5py.File(path, "r") as file:
            return _wide(file[key][()])

    return System(name=name, module="h5py", save=save, load=load, read_one=read_one)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.view(BFLOAT16) if array.dtype == np.uint16 else array
