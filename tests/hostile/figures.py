"""The fuzzer's counts as tables, and into docs/security.md."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

from tests import ROOT
from tests.hostile.judge import BAD, GOOD

DOCUMENT: Final = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- fuzz -->", "<!-- end fuzz -->"


def failures(figures: dict[str, Any]) -> int:
    """How many mutants came to what must not come."""
    return len(figures["bad"])


def tables(figures: dict[str, Any]) -> str:
    """What was tried and what came of it, as Markdown."""
    ours: Counter[tuple[str, str, str]] = Counter()
    why: Counter[tuple[str, str]] = Counter()
    h5py: Counter[tuple[str, str]] = Counter()
    for what, *keys, count in figures["counts"]:
        if what == "ours":
            ours[tuple(keys)] += count
        elif what == "why":
            why[tuple(keys)] += count
        elif what == "h5py":
            h5py[tuple(keys)] += count
    lines = [f"{figures['tried']:,} files, seed {figures['seed']}."]
    for way, title in (("load", "Opened as `load` and `load_model` do"), ("verify", "Verified, then opened")):
        families = sorted({family for family, each, _ in ours if each == way})
        rows = [(family, [ours[family, way, outcome] for outcome in (*GOOD, *BAD)]) for family in families]
        lines += ["", f"{title}:", "", *table(("changed", "tried", *GOOD, *BAD), rows)]
    stopped = {rule: why["load", f"UnsafeFileError: {rule}"] for rule in ("crash", "time", "memory", "plain data")}
    said = ", ".join(f"{rule} {count:,}" for rule, count in stopped.items())
    lines += ["", f"Refused because the process that parsed HDF5 was ended (within the counts above): {said}."]
    if h5py:
        outcomes = ("refused", "equal", "other content", "crash", "hang")
        families = sorted({family for family, _ in h5py})
        rows = [(family, [h5py[family, outcome] for outcome in outcomes]) for family in families]
        lines += ["", "Some of the same files in plain h5py, everything read:", ""]
        lines += table(("changed", "tried", *outcomes), rows)
    return "\n".join(lines)


def table(head: tuple[str, ...], rows: list[tuple[str, list[int]]]) -> list[str]:
    """Rows of counts by name with their sums, below and in front."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    total = [sum(column) for column in zip(*(numbers for _, numbers in rows), strict=True)]
    for name, numbers in (*rows, ("all", total)):
        lines.append(f"| {name} | {' | '.join(f'{number:,}' for number in (sum(numbers), *numbers))} |")
    return lines


def write(figures: dict[str, Any]) -> None:
    """Put the tables where the document has a place for them."""
    replaced(BEGIN, END, tables(figures))


def replaced(begin: str, end: str, text: str) -> None:
    """Put a text between two marks of the document."""
    document = DOCUMENT.read_text("utf-8")
    section = f"{begin}\n{text}\n{end}"
    changed, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda found: section, document, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{DOCUMENT.name} has {count} places between {begin} and {end}, expected one")
    DOCUMENT.write_text(changed, "utf-8")
