"""Statistics of every array beside NumPy, and beside reading alone: ``python -m tests.benchmarks.looking`` (Linux)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

import modelarchive as ma
from modelarchive.models.content import opened
from tests.benchmarks import report

#: Megabytes of an array.
_ARRAY_MB: Final = 64
_BINS: Final = 48


def write(path: Path, megabytes: int) -> None:
    """An archive of arrays whose values repeat."""
    array = np.random.default_rng(0).standard_normal((_ARRAY_MB << 20) // 4, np.float32)
    count = max(1, megabytes // _ARRAY_MB)
    ma.save(path, dict.fromkeys((f"array{at}" for at in range(count)), array), durable=False)


def ours(path: Path) -> None:
    """What ``modelarchive show --stats`` and ``modelarchive view`` look at."""
    with opened(path) as content:
        assert all(found is not None for _, found in content.statistics())


def numpy(path: Path) -> None:
    """The same figures, array by array, as one writes it."""
    with ma.open(path) as archive:
        for array in archive.values():
            finite = array[np.isfinite(array)]
            np.isnan(array).sum(), np.isinf(array).sum(), (array == 0).sum()
            finite.min(), finite.max(), finite.mean(dtype=np.float64), finite.std(dtype=np.float64)
            np.histogram(finite, _BINS)


def reading(path: Path) -> None:
    """Every byte looked at once, by as many threads as there are processors: what the memory gives."""
    with ma.open(path) as archive, ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda array: int(array.view(np.uint64).max()), archive.values()))


WAYS: Final[dict[str, Callable[[Path], None]]] = {"modelarchive": ours, "NumPy": numpy, "reading alone": reading}


def measured(way: str, path: Path) -> tuple[float, float, float]:
    """Seconds on the clock and of processors, and by how many MiB the process grew that no file has."""
    code = [sys.executable, "-m", "tests.benchmarks.looking", "--way", way, "--file", str(path)]
    found = subprocess.run(code, cwd=report.ROOT, capture_output=True, text=True, check=True).stdout.split()
    clock, processors, memory = map(float, found)
    return clock, processors, memory


def once(way: str, path: Path) -> str:
    """Do it in this process; the figures as :func:`measured` reads them."""
    peak, done = [_anonymous()], threading.Event()
    before = peak[0]

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], _anonymous())

    watching = threading.Thread(target=watch)
    watching.start()
    began, spent = time.perf_counter(), time.process_time()
    WAYS[way](path)
    clock, processors = time.perf_counter() - began, time.process_time() - spent
    done.set()
    watching.join()
    return f"{clock} {processors} {(peak[0] - before) / 1024}"


def _anonymous() -> int:
    """KiB of memory that are this process's alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.looking", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=8192)
    parser.add_argument("--folder", type=Path, help="where the file is written; it is as large")
    parser.add_argument("--write", action="store_true", help=f"write the table into docs/{report.DOCUMENT.name}")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.way:
        print(once(chosen.way, chosen.file))
        return 0
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(folder) / "model.h5"
        write(path, chosen.megabytes)
        gigabytes = path.stat().st_size / 1e9
        measured("reading alone", path)  # into the file cache
        rows = {way: measured(way, path) for way in WAYS}
    lines = [report.line(["way", "seconds", "GB/s", "processor seconds", "MiB"]), report.line(["---"] * 5)]
    for way, (clock, processors, memory) in rows.items():
        lines.append(
            report.line([way, f"{clock:.2f}", f"{gigabytes / clock:.2f}", f"{processors:.2f}", f"{memory:.0f}"])
        )
    table = "\n".join(lines)
    how = f"`python -m tests.benchmarks.looking --megabytes {chosen.megabytes}`, once, each in a process of its own."
    text = f"### Statistics of every array\n\n{table}\n\n{how}"
    print(text)
    if chosen.write:
        report.write_document(report.DOCUMENT, {"looking": text}, report.ORDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
