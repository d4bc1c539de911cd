"""How much faster architectures are checked than in another version: ``python -m tests.benchmarks.checked``."""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks import checked_worker, report

#: The last commit before architectures were checked once.
BEFORE: Final = "fd98ae0"
#: What is timed -> what it is called, and how many times as fast it shall be.
OPERATIONS: Final[dict[str, tuple[str, float | None]]] = {
    "part": ("open, build a part", 4),
    "another": ("build a part of an open archive", None),
    "verify": ("verify", 2.5),
    "convert": ("ONNX to archive", 2),
    "save": ("save_model", 1.4),
    "load": ("load_model", 1.5),
    "digests": ("(read and hash all bytes)", None),
    "show": ("show", 8),
    "transplant": ("transplant of files, frozen", 10),
    "repack": ("repack --dtype float16", 9),
    "save_arrays": ("save", None),
    "load_verified": ("load, verified", None),
    "mapped": ("map", None),
    "one": ("open, read one array", None),
    "torch": ('load_model(backend="torch"), in a process of its own', 12),
}
NETWORKS: Final = {
    "full": [
        "DenseNet-121",
        "ResNet-50",
        "encoder of 12 layers",
        "row of 1,000",
        "row of 10,000",
        "words",
        "10 arrays",
        "200 arrays",
        "10,000 arrays",
    ],
    "tiny": ["tiny DenseNet", "row of 20", "few words", "10 arrays"],
}
#: What is timed of which networks, by words in their names. Rows show how the time grows with a network; they take
#: seconds, and are timed fewer times.
OF: Final = {
    "words": ("torch",),
    "arrays": ("save_arrays", "load_verified", "mapped", "one", "verify"),
    "row": ("part", "another", "verify", "save", "load", "show", "transplant", "repack"),
    "": ("part", "another", "verify", "convert", "save", "load", "digests"),
}
FEWER: Final = 3


def operations_of(network: str) -> tuple[str, ...]:
    """What is timed of a network."""
    return next(several for word, several in OF.items() if word in network)


@dataclass
class Row:
    """One operation on one network: seconds of processor time, of the other version and of this one in pairs."""

    network: str
    operation: str
    before: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times as fast, by the least times."""
        return min(self.before) / min(self.now)

    @property
    def median(self) -> float:
        """The median of the pairs' ratios."""
        return statistics.median(one / two for one, two in zip(self.before, self.now, strict=True))


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """The files of a commit in a folder of their own."""
    packed = subprocess.run(["git", "archive", commit], cwd=report.ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


@contextmanager
def worker(source: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that imports modelarchive from a checkout, and everything else from where it is installed."""
    # Without `site` nothing that an editable installation has put into the import system comes first.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), *filter(None, sys.path)])}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-S", "-P", checked_worker.__file__, folder]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )
        try:
            yield process
        finally:
            process.communicate()


def asked(process: subprocess.Popen[str], question: str) -> str:
    """The answer of a worker."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{question}\n")
    process.stdin.flush()
    answer = process.stdout.readline().strip()
    if not answer:
        raise RuntimeError(f"no answer to {question!r}")
    return answer


def measured(other: Path, networks: list[str], rounds: int) -> Iterator[Row]:
    """Every operation on every network, with both versions in turn."""
    with worker(other) as before, worker(report.ROOT) as now:
        for network in networks:
            for process, source in ((before, other), (now, report.ROOT)):
                imported = Path(asked(process, f"network {network}"))
                if imported.resolve() != source.resolve():
                    raise RuntimeError(f"modelarchive was imported from {imported}, expected {source}")
            is_row = "row" in network or "words" in network
            for operation in operations_of(network):
                row = Row(network, operation)
                for _ in range(min(rounds, FEWER if is_row else rounds) + 1):
                    row.before.append(float(asked(before, f"time {operation}")))
                    row.now.append(float(asked(now, f"time {operation}")))
                del row.before[0], row.now[0]
                yield row


def table(rows: list[Row], other: str) -> str:
    """Milliseconds of both, and how many times as fast that is."""
    lines = [
        "### Checking architectures",
        "",
        report.line(["network", "operation", other, "now", "times as fast", "median", "mark"]),
        report.line(["---"] * 7),
    ]
    for row in rows:
        name, mark = OPERATIONS[row.operation]
        if row.operation == "digests":
            lines.append(report.line([row.network, name, "", report.milliseconds(min(row.now)), "", "", ""]))
            continue
        mark = None if "arrays" in row.network else mark
        said = "" if mark is None else f"{mark:g}: {'met' if row.ratio >= mark else 'missed'}"
        times = [report.milliseconds(min(each)) for each in (row.before, row.now)]
        lines.append(report.line([row.network, name, *times, f"**{row.ratio:.1f}**", f"{row.median:.1f}", said]))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.checked", description=__doc__)
    parser.add_argument("--commit", default=BEFORE, help=f"what to compare with (default: {BEFORE})")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="a folder to compare with instead")
    parser.add_argument("--size", choices=NETWORKS, default="full")
    parser.add_argument("--only", nargs="+", metavar="NETWORK", help="of these alone")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time measured")
    parser.add_argument("--write", action="store_true", help=f"write the table into docs/{report.DOCUMENT.name}")
    chosen = parser.parse_args(arguments)
    rows: list[Row] = []

    def take(other: Path) -> None:
        for row in measured(other, chosen.only or NETWORKS[chosen.size], chosen.rounds):
            rows.append(row)
            print(f"{row.network}: {OPERATIONS[row.operation][0]}: {row.ratio:.2f}", file=sys.stderr)

    if chosen.against is not None:
        take(chosen.against)
    else:
        with checkout(chosen.commit) as other:
            take(other)
    name = "the other" if chosen.against is not None else chosen.commit
    how = f"`python -m tests.benchmarks.checked`, {chosen.rounds} interleaved pairs, the least processor time of each."
    text = f"{table(rows, name)}\n\n{how}"
    print(text)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if chosen.write:
        report.write_document(report.DOCUMENT, {"checked": text}, report.ORDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
