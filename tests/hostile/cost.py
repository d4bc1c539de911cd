"""What the process boundary costs: the same reading of HDF5 with and without it; figures into docs/security.md.

python -m tests.hostile.cost --write
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

import modelarchive as ma
from modelarchive.store.guarded import boundary, starting
from modelarchive.store.source import Source
from tests.hostile.figures import replaced

BEGIN, END = "<!-- cost -->", "<!-- end cost -->"
MEGABYTES = 256


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.cost", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the figures into docs/security.md")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is measured; the median counts")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        text = table(Path(folder), chosen.rounds)
    print(text)
    if chosen.write:
        replaced(BEGIN, END, text)
    return 0


def table(folder: Path, rounds: int) -> str:
    """The figures as Markdown."""
    first = measured(starting_up(folder), rounds)
    lines = [
        "| milliseconds, median | another process (default) | this process (`trusted`) |",
        "| --- | ---: | ---: |",
        f"| starting the process, once | {first:.0f} | - |",
    ]
    for name, write, read in workloads():
        path = folder / "file.h5"
        write(path)
        source = Source(path)
        try:
            there = measured(lambda: read(source), rounds)  # noqa: B023 - called at once
            with ma.trusted():
                here = measured(lambda: read(source), rounds)  # noqa: B023
        finally:
            source.close()
        lines.append(f"| {name} | {there:.1f} | {here:.1f} |")
    return "\n".join(lines)


def workloads() -> list[tuple[str, Callable[[Path], object], Callable[[Source], object]]]:
    """What is measured: a name, what writes the file, what is measured on it."""

    def chunked(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.attrs["format"], file.attrs["format_version"] = "modelarchive", 1
            data = np.zeros((MEGABYTES, 1 << 18), "f4")
            file.create_dataset("arrays/w", data=data, chunks=(1, 1 << 18), fletcher32=True)

    def many(count: int) -> Callable[[Path], object]:
        arrays = {f"a{number}": np.arange(8, dtype="f4") for number in range(count)}
        return lambda path: ma.save(path, arrays, durable=False)

    def array(source: Source) -> object:
        entry = boundary.read_contents(source).arrays["w"]
        return boundary.read_array(source, "/arrays/w", entry)

    return [
        ("describing a file of 10 arrays", many(10), boundary.read_contents),
        ("describing a file of 10,000 arrays", many(10_000), boundary.read_contents),
        (f"describing, and reading {MEGABYTES} MiB that only HDF5 can read", chunked, array),
    ]


def starting_up(folder: Path) -> Callable[[], object]:
    """What the first file costs, when the process is not there yet."""
    path = folder / "start.h5"
    ma.save(path, np.arange(3), durable=False)

    def run() -> None:
        starting.stop()
        source = Source(path)
        boundary.read_contents(source)
        source.close()

    return run


def measured(action: Callable[[], object], rounds: int) -> float:
    """The median of several rounds, milliseconds; the first round is not counted."""
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        action()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times[1:])


if __name__ == "__main__":
    sys.exit(main())
