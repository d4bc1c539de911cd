"""The command: measure, print, write."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import checkpoint, compressed, growing, large, remote, report, runs
from tests.benchmarks.measure import OPERATIONS, measure
from tests.benchmarks.networks import Timed, growth_plot, networks, table
from tests.benchmarks.processes import Peak, peaks, starts
from tests.benchmarks.report import DOCUMENT, ORDER, SECTIONS
from tests.benchmarks.systems import installed
from tests.benchmarks.workloads import SIZES, WORKLOADS

#: Sections of whole processes whose memory is measured.
ONCE = ("memory", "large", "remote")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--rounds", type=int, help="instead of the size's own number")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS[:-1], help="not growth, unless named")
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=list(OPERATIONS))
    parser.add_argument("--folder", type=Path, help="where the files are written (default: the temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time measured")
    parser.add_argument("--write-docs", action="store_true", help=f"write the tables into docs/{DOCUMENT.name}")
    chosen = parser.parse_args(arguments)

    size = SIZES[chosen.size]
    rounds = chosen.rounds or size.rounds
    texts = {"machine": report.machine()}
    record: dict[str, Any] = {"size": chosen.size, "rounds": rounds}
    plots: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        for section in chosen.only:
            text, found = _run(section, chosen.size, rounds, folder, chosen.operations)
            taken = min(rounds, growing.ROUNDS) if section == "growth" else rounds
            how = "once" if section in ONCE else f"{taken} interleaved rounds, medians"
            texts[section] = f"{text}\n\n`--size {chosen.size} --only {section}`, {how}."
            if section == "growth":
                plots |= growing.plots(found)
                found = growing.as_json(found)
            record[section] = found
    print("\n\n".join(texts.values()))
    if chosen.json:
        chosen.json.write_text(json.dumps(record, indent=1) + "\n")
    if chosen.write_docs:
        report.write_document(DOCUMENT, texts, ORDER)
        if "networks" in record:
            plots["growth-nodes.svg"] = growth_plot([Timed.of(row) for row in record["networks"]])
        for name, plot in plots.items():
            DOCUMENT.with_name(name).write_text(plot)
    return 0


def _run(section: str, size_name: str, rounds: int, folder: Path, operations: list[str]) -> tuple[str, Any]:
    """The table and the record of one section."""
    size = SIZES[size_name]
    if section == "memory":
        found: list[Peak] = list(peaks("language", size_name, folder))
        return report.peak_table("language", found), [peak.as_json() for peak in found]
    if section == "start":
        times = starts(folder, rounds=1 if size_name == "tiny" else max(rounds, 3))
        return report.start_table(times), times
    if section == "checkpoint":
        bytes_, taken = checkpoint.checkpoint(size_name, rounds, folder, progress=_progress)
        return checkpoint.table(bytes_, taken), [each.as_json() for each in taken]
    if section in runs.LAYERS:
        state, times, written = runs.runs(section, size_name, rounds, folder, progress=_progress)
        return runs.table(state, times, written), {"bytes": state, "seconds": times, "written": written}
    if section == "networks":
        timed = networks(size_name, rounds, folder)
        return table(timed), [each.as_json() for each in timed]
    if section == "compressed":
        packed = list(compressed.compressed(size, rounds, folder, progress=_progress))
        return compressed.table(packed), compressed.as_json(packed)
    if section == "large":
        limited = list(large.runs(size_name, folder, progress=_progress))
        return large.table(limited), [each.as_json() for each in limited]
    if section == "remote":
        far = list(remote.reads(size_name, folder, progress=_progress))
        return remote.table(far), [each.as_json() for each in far]
    systems = list(installed())
    if section == "growth":
        found_curves = growing.curves(size_name, rounds, systems, folder, progress=_progress)
        return growing.tables(found_curves), found_curves
    arrays = WORKLOADS[section](size)
    chosen = {name: OPERATIONS[name] for name in operations}
    rows = measure(section, arrays, systems, folder, rounds=rounds, operations=chosen, progress=_progress)
    return report.speed_table(report.describe(section, arrays), rows), [row.as_json() for row in rows]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
