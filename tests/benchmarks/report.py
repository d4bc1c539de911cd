"""The tables: for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.benchmarks import systems
from tests.benchmarks.measure import OURS, Row
from tests.benchmarks.processes import START_MARKS_MS, Peak
from tests.benchmarks.workloads import Arrays

BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


def machine(size: str, rounds: int) -> str:
    """One paragraph: what was measured with what."""
    found = ", ".join(f"{each.name} {each.version}" for each in systems.installed() if "(" not in each.name)
    absent = systems.absent()
    missing = f" Not installed, so not measured: {', '.join(absent)}." if absent else ""
    return (
        f"Size `{size}`, {rounds} interleaved rounds, medians; {os.cpu_count()} cores, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, {found}.{missing}"
    )


def describe(name: str, arrays: Arrays) -> str:
    """``vision: 200 arrays, 378 MB``."""
    return f"{name}: {len(arrays):,} arrays, {sum(array.nbytes for array in arrays.values()) / 1e6:,.0f} MB"


def speed_table(title: str, rows: list[Row]) -> str:
    """Milliseconds; in brackets the ratio peer / modelarchive."""
    peers = [name for name in _in_order(rows) if name != OURS]
    lines = [_line(["operation", OURS, *peers, "mark"]), _line(["---"] * (len(peers) + 3))]
    for row in rows:
        medians, ratios = row.medians, row.ratios
        cells = [row.operation, f"**{_ms(medians[OURS])}**"]
        cells += [f"{_ms(medians[name])} ({ratios[name]:.2f})" if name in medians else "" for name in peers]
        marks = [
            f"{least:g} to {name}: {'met' if ratio >= least else f'missed, {ratio:.2f}'}"
            for name, (ratio, least) in row.marks.items()
        ]
        lines.append(_line([*cells, "; ".join(marks)]))
    return "\n".join([f"### {title}", "", *lines])


def growth_table(rows: list[tuple[str, int, Row]]) -> str:
    """How the times grow with the number of arrays and with their size."""
    parts = []
    for axis in ("arrays", "megabytes"):
        found = [(count, row) for kind, count, row in rows if kind == axis]
        if not found:
            continue
        names = _in_order([row for _, row in found])
        lines = [_line([axis, "operation", *names]), _line(["---"] * (len(names) + 2))]
        for count, row in found:
            medians = row.medians
            cells = [_ms(medians[name]) if name in medians else "" for name in names]
            lines.append(_line([f"{count:,}", row.operation, *cells]))
        parts += [f"### Growth with {axis}, milliseconds", "", *lines, ""]
    return "\n".join(parts).rstrip()


def peak_table(title: str, peaks: list[Peak]) -> str:
    """MiB of the whole process, and what is left of it without the tensors."""
    lines = [_line(["operation", "system", "peak, MiB", "peak less the tensors, MiB"]), _line(["---"] * 4)]
    lines += [
        _line(
            [
                peak.operation,
                peak.system,
                f"{peak.bytes / 2**20:,.0f}",
                f"{(peak.bytes - peak.tensors) / 2**20:,.0f}",
            ]
        )
        for peak in peaks
    ]
    return "\n".join([f"### Peak memory, {title}", "", *lines])


def start_table(starts: dict[str, float]) -> str:
    """Milliseconds of whole processes."""
    lines = [_line(["process", "milliseconds", "mark"]), _line(["---"] * 3)]
    for name, found in starts.items():
        mark = START_MARKS_MS.get(name)
        said = "" if mark is None else f"{mark:g}: {'met' if found <= mark else 'missed'}"
        lines.append(_line([name, f"{found:.0f}", said]))
    return "\n".join(["### Start", "", *lines])


def write_document(path: Path, text: str) -> None:
    """Put the tables between the markers of docs/benchmarks.md."""
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


def _in_order(rows: list[Row]) -> list[str]:
    names: dict[str, Any] = {}
    for row in rows:
        names |= dict.fromkeys(row.times)
    return list(names)


def _ms(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
