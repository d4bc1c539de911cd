"""What is read of files that no cache holds: ``python -m tests.benchmarks.cold`` (Linux)."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

import modelarchive as ma
from tests.benchmarks import report

#: Bytes that the plain reads ask for at a time.
_PIECE: Final = 16 << 20
#: Kilobytes of an array, and how many of them are one block.
_ARRAY_KB: Final = 8 << 10
_IN_BLOCK: Final = 4

#: Seconds, bytes that the disk gave, and bytes that were wanted.
Reading = tuple[float, int, int]


def evict(path: Path) -> None:
    """Have the system forget the file: what is mapped nowhere, and on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def from_disk() -> int:
    """Bytes that this process has had the disk give so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["read_bytes"])


def write(path: Path, megabytes: int) -> None:
    """An archive of blocks of some arrays each, whose values repeat."""
    array = np.random.default_rng(0).standard_normal((_ARRAY_KB << 10) // 4, np.float32)
    count = max(2 * _IN_BLOCK, (megabytes << 20) // array.nbytes)
    names = [f"block{at // _IN_BLOCK}.array{at % _IN_BLOCK}" for at in range(count)]
    ma.save(path, dict.fromkeys(names, array))


def plainly(path: Path, begin: int = 0, end: int | None = None) -> int:
    """Read a stretch of a file as it lies there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        end = os.fstat(descriptor).st_size if end is None else end
        buffer = memoryview(bytearray(min(_PIECE, end - begin)))
        at = begin
        while at < end:
            at += os.preadv(descriptor, [buffer[: end - at]], at)
    finally:
        os.close(descriptor)
    return end - begin


def block(path: Path) -> int:
    """Open an archive, and read one block of it."""
    with ma.open(path) as archive:
        return sum(array.nbytes for array in archive.load("block1.*").values())


def place(path: Path) -> tuple[int, int]:
    """Where that block lies."""
    with ma.open(path) as archive:
        entries = [archive.reader.contents.entry(name) for name in archive.select("block1.*")]
    begins = [entry.offset or 0 for entry in entries]
    return min(begins), max(begins) + entries[0].nbytes


def measured(path: Path, rounds: int) -> dict[str, list[Reading]]:
    """Each reading in turn, each time of a file that no cache holds."""
    begin, end = place(path)
    readings: dict[str, Callable[[], Any]] = {
        "plain read": lambda: plainly(path),
        "load": lambda: sum(each.nbytes for each in ma.load(path).values()),
        "load, verified": lambda: sum(each.nbytes for each in ma.load(path, verify=True).values()),
        "plain read of the block": lambda: plainly(path, begin, end),
        "open, load one block": lambda: block(path),
    }
    found: dict[str, list[Reading]] = {name: [] for name in readings}
    for _ in range(rounds):
        for name, read in readings.items():
            evict(path)
            before, start = from_disk(), time.perf_counter()
            wanted = read()
            found[name].append((time.perf_counter() - start, from_disk() - before, wanted))
    return found


def table(found: dict[str, list[Reading]]) -> str:
    """The median of the seconds, and the least bytes."""
    lines = ["### From the disk", "", report.line(["reading", "seconds", "MB wanted", "MB read"])]
    lines.append(report.line(["---"] * 4))
    for name, readings in found.items():
        seconds, read, wanted = zip(*readings, strict=True)
        cells = [f"{statistics.median(seconds):.3g}", f"{wanted[0] / 1e6:,.1f}", f"{min(read) / 1e6:,.1f}"]
        lines.append(report.line([name, *cells]))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cold", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the archive (default: 1024)")
    parser.add_argument("--folder", type=Path, help="where to write it: a folder on the disk that is to be measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"write the table into docs/{report.DOCUMENT.name}")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(folder) / "cold.h5"
        write(path, chosen.megabytes)
        found = measured(path, chosen.rounds)
    how = f"`python -m tests.benchmarks.cold --megabytes {chosen.megabytes}`, {chosen.rounds} rounds."
    text = f"{table(found)}\n\n{how}"
    print(text)
    if chosen.write:
        report.write_document(report.DOCUMENT, {"cold": text}, report.ORDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
