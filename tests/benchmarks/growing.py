"""Growth curves: time against the number of arrays and against their size, as tables and as plots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.measure import OPERATIONS, Row, measure
from tests.benchmarks.plot import Points, svg
from tests.benchmarks.report import in_order, line, milliseconds
from tests.benchmarks.systems import System
from tests.benchmarks.workloads import growth

#: Size -> (largest size in MB, most arrays).
LIMITS: Final = {"tiny": (4, 100), "small": (64, 1000), "full": (4096, 100_000)}
WANTED: Final = ("save", "load", "map", "read one array", "verify")
#: Rounds at most: there are many points.
ROUNDS: Final = 3
#: Above this, in MB, only these are measured: the files of all would not fit into the file cache at once.
CROWDED_MB: Final = 1024
FEW: Final = ("modelarchive", "safetensors", "torch.save")
AXES: Final = {"arrays": "arrays of 64 numbers", "megabytes": "megabytes in 10 arrays"}

Curves = list[tuple[str, int, Row]]


def curves(size: str, rounds: int, systems: list[System], folder: Path, *, progress: Callable[[str], None]) -> Curves:
    """Every point of every curve."""
    largest, most = LIMITS[size]
    wanted = {name: OPERATIONS[name] for name in WANTED}
    compared = [each for each in systems if each.name != "BLAKE3"]
    found: Curves = []
    for axis, count, arrays in growth(largest_mb=largest, most=most):
        able = [each for each in compared if axis == "arrays" or count <= CROWDED_MB or each.name in FEW]
        rows = measure(
            f"{count}-{axis}", arrays, able, folder, rounds=min(rounds, ROUNDS), operations=wanted, progress=progress
        )
        found += [(axis, count, row) for row in rows]
    return found


def tables(found: Curves) -> str:
    """How the times grow, in milliseconds, with the plots above each table."""
    parts = []
    for axis in AXES:
        own = [(count, row) for kind, count, row in found if kind == axis]
        if not own:
            continue
        names = in_order([row for _, row in own])
        lines = [line([axis, "operation", *names]), line(["---"] * (len(names) + 2))]
        for count, row in own:
            medians = row.medians
            cells = [milliseconds(medians[name]) if name in medians else "" for name in names]
            lines.append(line([f"{count:,}", row.operation, *cells]))
        operations = dict.fromkeys(row.operation for _, row in own)
        images = [f"![{operation}, growth with {axis}]({file_name(axis, operation)})" for operation in operations]
        parts += [f"### Growth with {axis}, milliseconds", "", *images, "", *lines, ""]
    return "\n".join(parts).rstrip()


def plots(found: Curves) -> dict[str, str]:
    """File name -> plot, one for each axis and operation."""
    points: dict[tuple[str, str], dict[str, Points]] = {}
    for axis, count, row in found:
        for name, seconds in row.medians.items():
            of_system = points.setdefault((axis, row.operation), {}).setdefault(name, [])
            of_system.append((float(count), seconds * 1000))
    return {
        file_name(axis, operation): svg(operation, AXES[axis], "milliseconds", systems)
        for (axis, operation), systems in points.items()
    }


def file_name(axis: str, operation: str) -> str:
    """The name of a plot in docs/."""
    return f"growth-{axis}-{operation.replace(' ', '-')}.svg"


def as_json(found: Curves) -> list[list[Any]]:
    """Every time measured."""
    return [[axis, count, row.as_json()] for axis, count, row in found]
