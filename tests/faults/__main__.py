"""The command: interrupt everything, let writers contend, print, write the figures into docs/security.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import ROOT, memory
from tests.faults.contention import contend
from tests.faults.injection import THOROUGH, interrupt, lost, summary, unordered
from tests.faults.operations import OPERATIONS

DOCUMENT = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- interrupted: begin -->", "<!-- interrupted: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long writers and a reader contend")
    parser.add_argument("--folder", type=Path, default=memory.folder(), help="where files are written")
    parser.add_argument("--write-docs", action="store_true", help="write the figures into docs/security.md")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        calls, records = interrupt(folder, list(OPERATIONS), THOROUGH)
        inside = folder / "contended"
        inside.mkdir()
        counts = contend(inside, seconds=chosen.seconds)
    text = report(calls, records, counts, chosen.seconds)
    print(text)
    wrong = [record for record in records if lost(record)] + [name for name in calls if unordered(calls[name])]
    for each in wrong:
        print(each, file=sys.stderr)
    if chosen.write_docs:
        before, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", "utf-8")
    return 1 if wrong or counts["wrong"] or counts["strays"] else 0


def report(calls: dict[str, list[str]], records: list[dict[str, Any]], counts: Counter[str], seconds: float) -> str:
    """The tables, as they stand in docs/security.md."""
    lines = [
        "| operation | calls that change files | interrupted | old file whole | new file whole | anything else |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for operation, found in summary(records):
        cells = [operation, len(calls[operation]), found["interrupted"], found["old"], found["new"], found["wrong"]]
        lines.append(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in cells)} |")
    ways = Counter(record["action"] for record in records)
    lines += [
        "",
        "Of these: " + ", ".join(f"{count:,} times {way}" for way, count in ways.items()) + ".",
        f"Two writers of one file, one of them killed {counts['kills']:,} times in {seconds:.0f} seconds: "
        f"{counts['reads']:,} reads gave one of {counts['versions']:,} versions whole, "
        f"{counts['wrong']} anything else; {counts['strays']} stray files after the next save.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
