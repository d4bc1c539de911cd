"""The tables: for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.benchmarks import systems
from tests.benchmarks.measure import OURS, Row
from tests.benchmarks.processes import START_MARKS_MS, Peak
from tests.benchmarks.workloads import WORKLOADS, Arrays

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENT: Final = ROOT / "docs" / "benchmarks.md"
#: What `python -m tests.benchmarks` measures.
SECTIONS: Final = [
    *WORKLOADS,
    "compressed",
    "memory",
    "start",
    "checkpoint",
    "runs",
    "runs-large",
    "networks",
    "large",
    "remote",
    "growth",
]
#: All sections of the document.
ORDER: Final = ["machine", *SECTIONS[:-1], "cold", "looking", "checked", "bounds", "running", SECTIONS[-1]]
BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


def machine() -> str:
    """One paragraph: what was measured with what."""
    found = ", ".join(f"{each.name} {each.version}" for each in systems.installed() if "(" not in each.name)
    absent = systems.absent()
    missing = f" Not installed, so not measured: {', '.join(absent)}." if absent else ""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, {found}.{missing}"
    )


def describe(name: str, arrays: Arrays) -> str:
    """``vision: 200 arrays, 378 MB``."""
    return f"{name}: {len(arrays):,} arrays, {sum(array.nbytes for array in arrays.values()) / 1e6:,.0f} MB"


def speed_table(title: str, rows: list[Row]) -> str:
    """Milliseconds; in brackets the ratio peer / modelarchive."""
    peers = [name for name in in_order(rows) if name != OURS]
    lines = [line(["operation", OURS, *peers, "mark"]), line(["---"] * (len(peers) + 3))]
    for row in rows:
        medians, ratios = row.medians, row.ratios
        cells = [row.operation, f"**{milliseconds(medians[OURS])}**"]
        cells += [f"{milliseconds(medians[name])} ({ratios[name]:.2f})" if name in medians else "" for name in peers]
        marks = [
            f"{least:g} to {name}: {'met' if ratio >= least else f'missed, {ratio:.2f}'}"
            for name, (ratio, least) in row.marks.items()
        ]
        lines.append(line([*cells, "; ".join(marks)]))
    return "\n".join([f"### {title}", "", *lines])


def peak_table(title: str, peaks: list[Peak]) -> str:
    """MiB of the whole process, and what is left of it without the tensors."""
    lines = [line(["operation", "system", "peak, MiB", "peak less the tensors, MiB"]), line(["---"] * 4)]
    lines += [
        line(
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
    lines = [line(["process", "milliseconds", "mark"]), line(["---"] * 3)]
    for name, found in starts.items():
        mark = START_MARKS_MS.get(name)
        said = "" if mark is None else f"{mark:g}: {'met' if found <= mark else 'missed'}"
        lines.append(line([name, f"{found:.0f}", said]))
    return "\n".join(["### Start", "", *lines])


def write_document(path: Path, texts: Mapping[str, str], order: Sequence[str]) -> None:
    """Put the tables of some sections between the markers of docs/benchmarks.md; those of others stay.

    Args:
        path: The document.
        texts: Section -> what it says, from now on.
        order: Every section, in the order of the document.
    """
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    present, _, after = rest.partition(END)
    parts = re.split(r"<!-- section: ([\w-]+) -->", present)
    found = dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True)) | dict(texts)
    said = [f"<!-- section: {name} -->\n\n{found[name]}\n\n" for name in order if name in found]
    path.write_text(f"{before}{BEGIN}\n\n{''.join(said)}{END}{after}", "utf-8")


def in_order(rows: list[Row]) -> list[str]:
    """The names of the systems, in the order of their first time."""
    names: dict[str, Any] = {}
    for row in rows:
        names |= dict.fromkeys(row.times)
    return list(names)


def milliseconds(seconds: float) -> str:
    """Three digits of them."""
    found = seconds * 1000
    return f"{found:,.0f}" if found >= 100 else f"{found:.3g}"


def line(cells: list[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"
