"""Interleaved medians: every system does the operation once, then all again, and every result is compared."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.benchmarks.systems import BFLOAT16, System
from tests.benchmarks.workloads import Arrays

OURS: Final = "modelarchive"

#: Operation -> the System method that does it. A peer without the method of its own is left out, but for
#: `load_verified`, where peers load without verifying, because none of them can.
OPERATIONS: Final = {
    "save": "save",
    "save, durable": "save_durable",
    "load": "load",
    "load, verified": "load_verified",
    "map": "map",
    "map, torch": "map_torch",
    "read one array": "read_one",
    "verify": "verify",
}

#: (workload or "" for any, operation) -> {start of the peers' names: least ratio to the fastest of them}.
MARKS: Final[Mapping[tuple[str, str], Mapping[str, float]]] = {
    ("", "save"): {"safetensors": 1.1, "torch.save": 1.8},
    ("", "save, durable"): {"safetensors": 1.0},
    ("", "load"): {"safetensors": 1.3},
    ("", "load, verified"): {"safetensors": 1.0},
    ("", "map"): {"": 5.0},
    ("", "map, torch"): {"": 5.0},
    ("", "read one array"): {"": 1.0},
    ("", "verify"): {"BLAKE3": 0.8},
    ("compressed", "save"): {"": 12.0},
    ("compressed", "load"): {"": 3.0},
    ("compressed-bfloat16", "save"): {"": 12.0},
    ("compressed-bfloat16", "load"): {"": 3.0},
    ("many", "save"): {"": 0.3},
    ("many", "save, durable"): {"": 0.3},
    ("many", "load"): {"": 1.0},
    ("many", "load, verified"): {"": 1.0},
    ("many", "map"): {},
    ("many", "map, torch"): {},
    ("many", "read one array"): {},
    ("many", "verify"): {},
}


@dataclass
class Row:
    """One operation on one workload: seconds of every system."""

    workload: str
    operation: str
    times: dict[str, list[float]] = field(default_factory=dict)

    @property
    def medians(self) -> dict[str, float]:
        return {name: statistics.median(times) for name, times in self.times.items()}

    @property
    def ratios(self) -> dict[str, float]:
        """Peer / modelarchive: above 1, modelarchive is faster."""
        medians = self.medians
        return {name: seconds / medians[OURS] for name, seconds in medians.items() if name != OURS}

    @property
    def marks(self) -> dict[str, tuple[float, float]]:
        """The peers that a mark is set against: ``{peer: (ratio, least ratio wanted)}``."""
        wanted = MARKS.get((self.workload, self.operation), MARKS.get(("", self.operation), {}))
        ratios = self.ratios
        found = {}
        for peer, least in wanted.items():
            matching = [name for name in ratios if name.startswith(peer)]
            if matching:
                fastest = min(matching, key=lambda name: ratios[name])
                found[fastest] = (ratios[fastest], least)
        return found

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "medians": self.medians, "ratios": self.ratios, "marks": self.marks}


#: Bytes of arrays above which the disk is waited for before the clock runs.
_FLUSHED = 4 << 20


def measure(
    workload: str,
    arrays: Arrays,
    systems: list[System],
    folder: Path,
    *,
    rounds: int,
    operations: Mapping[str, str] = OPERATIONS,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Measure each of the operations on `arrays`, with every system that can do it."""
    # What is there before is nobody's garbage; to look through it again and again would take most of the time.
    gc.collect()
    gc.freeze()
    try:
        return _measured(workload, arrays, systems, folder, rounds, operations, progress)
    finally:
        gc.unfreeze()


def _measured(
    workload: str,
    arrays: Arrays,
    systems: list[System],
    folder: Path,
    rounds: int,
    operations: Mapping[str, str],
    progress: Callable[[str], None],
) -> list[Row]:
    able = [each for each in systems if each.bfloat16 or not any(a.dtype == BFLOAT16 for a in arrays.values())]
    data = {each.name: each.prepare(arrays) for each in able}
    files = {each.name: folder / f"{workload}-{index}" for index, each in enumerate(able)}
    largest = max(arrays, key=lambda name: arrays[name].nbytes)
    for each in able:
        each.save(files[each.name], data[each.name])
    # What little there is to write of small arrays disturbs nobody; waiting for the whole disk would take long.
    flush = os.sync if sum(array.nbytes for array in arrays.values()) > _FLUSHED else lambda: None
    flush()
    rows = []
    for operation, method in operations.items():
        progress(f"{workload}: {operation}")
        row = Row(workload, operation)
        calls = {each.name: (each, call) for each in able if (call := _call(each, method)) is not None}
        if OURS not in calls:
            continue
        for _ in range(rounds + 1):
            for name, (each, call) in calls.items():
                arguments: tuple[Any, ...] = (files[name],)
                if method.startswith("save"):
                    files[name].unlink()
                    flush()
                    arguments = (files[name], data[name])
                elif method == "read_one":
                    arguments = (files[name], largest)
                seconds, result = _timed(call, arguments)
                row.times.setdefault(name, []).append(seconds)
                _compare(method, each, arrays, largest, result, files[name])
                del result
        for times in row.times.values():
            del times[0]
        rows.append(row)
    for path in files.values():
        path.unlink()
    return rows


def _call(system: System, method: str) -> Callable[..., Any] | None:
    if system.name == "BLAKE3" and method != "verify":
        return None
    call: Callable[..., Any] | None = getattr(system, method)
    return system.load if call is None and method == "load_verified" else call


def _timed(call: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[float, Any]:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        result = call(*arguments)
        return time.perf_counter() - start, result
    finally:
        gc.enable()


def _compare(method: str, system: System, arrays: Arrays, largest: str, result: Any, file: Path) -> None:
    """Every loaded bit against what was saved."""
    if method == "verify" or system.name == "BLAKE3":
        return
    if method == "read_one":
        loaded = system.plain({largest: result})
        arrays = {largest: arrays[largest]}
    else:
        loaded = system.plain(system.load(file) if method.startswith("save") else result)
    if loaded.keys() != arrays.keys():
        raise ValueError(f"{system.name}, {method}: other names came back than were saved")
    for name, array in arrays.items():
        found = loaded[name]
        same = found.dtype == array.dtype and found.shape == array.shape
        if not same or not np.array_equal(_bits(found), _bits(array)):
            raise ValueError(f"{system.name}, {method}: {name} came back different")


def _bits(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(f"u{array.itemsize}")
