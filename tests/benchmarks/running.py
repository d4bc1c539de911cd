"""How fast networks run, beside ONNX Runtime, PyTorch and another version: ``python -m tests.benchmarks.running``."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from tests.benchmarks import report, running_worker
from tests.benchmarks.checked import BEFORE, asked, checkout

OURS: Final = "now"
BEFORE_ROW: Final = "before"
#: What is timed -> our time in terms of its time that is the mark, in the median over the networks.
PEERS: Final = {"onnxruntime": 2.0, "torch": 1.0, BEFORE_ROW: 1 / 1.6}
NAMES: Final = {"onnxruntime": "ONNX Runtime", "torch": "PyTorch eager"}
#: Outputs may differ by so much of the largest element.
CLOSE: Final = 1e-4


@dataclass
class Row:
    """One network: system -> seconds on the clock, and of processor time, round by round."""

    network: str
    clock: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)

    def least(self, system: str, times: str) -> float:
        """The least time of a system."""
        return min(getattr(self, times)[system])

    def ratio(self, peer: str, times: str) -> float:
        """Our time in terms of a peer's, by the least times."""
        return self.least(OURS, times) / self.least(peer, times)

    def median(self, peer: str, times: str) -> float:
        """The same as the median of the rounds' ratios."""
        pairs = zip(getattr(self, times)[OURS], getattr(self, times)[peer], strict=True)
        return statistics.median(one / two for one, two in pairs)


@contextmanager
def _worker(system: str, source: Path, threads: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process for one system; modelarchive is imported from `source`."""
    path = os.pathsep.join([str(source), str(report.ROOT), *filter(None, sys.path)])
    number = str(threads)
    environment = os.environ | {
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
    }
    # Without `site` nothing that an editable installation has put into the import system comes first.
    command = [sys.executable, "-S", "-P", running_worker.__file__, system, number, str(folder)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.communicate()


def prepared(name: str, folder: Path, *, small: bool) -> None:
    """Write a network for every system, and its input."""
    import torch

    import modelarchive
    from tests.benchmarks.running_networks import made

    module, x = made(name, small=small)
    np.save(folder / f"{name}.npy", x.numpy())
    torch.save(module, folder / f"{name}.pt")
    modelarchive.save_model(folder / f"{name}.h5", module, inputs=x, durable=False)
    modelarchive.convert(folder / f"{name}.h5", folder / f"{name}.onnx", durable=False)


def measured(
    other: Path, names: Sequence[str], rounds: int, threads: int, folder: Path, *, small: bool = False
) -> Iterator[Row]:
    """Every network in every system, in turn; the first round warms up.

    Raises:
        RuntimeError: modelarchive is imported from somewhere else.
        ValueError: The outputs differ.
    """
    with ExitStack() as stack:
        sources = {OURS: report.ROOT, BEFORE_ROW: other, "onnxruntime": report.ROOT, "torch": report.ROOT}
        workers = {
            system: stack.enter_context(
                _worker("modelarchive" if system in (OURS, BEFORE_ROW) else system, source, threads, folder)
            )
            for system, source in sources.items()
        }
        for system in (OURS, BEFORE_ROW):
            found = Path(asked(workers[system], "source ."))
            if found.resolve() != sources[system].resolve():
                raise RuntimeError(f"modelarchive was imported from {found}, expected {sources[system]}")
        for name in names:
            prepared(name, folder, small=small)
            outputs = {}
            for system, process in workers.items():
                asked(process, f"network {name}")
                kind = "modelarchive" if system in (OURS, BEFORE_ROW) else system
                outputs[system] = np.load(folder / f"{name}.{kind}.npy")
            for system, output in outputs.items():
                if np.abs(output - outputs["torch"]).max() > CLOSE * np.abs(outputs["torch"]).max():
                    raise ValueError(f"{name}: the output of {system} is another one")
            row = Row(name, {system: [] for system in workers}, {system: [] for system in workers})
            for place in range(rounds + 1):
                for system, process in workers.items():
                    clock, processor = map(float, asked(process, "time .").split())
                    if place:
                        row.clock[system].append(clock)
                        row.processor[system].append(processor)
            yield row
            for path in folder.glob(f"{name}.*"):
                path.unlink()


def table(rows: Sequence[Row], other: str, times: str) -> str:
    """Milliseconds of ours, and in terms of each peer's time: by the least times, and the median of the rounds."""
    names = [NAMES.get(peer, other) for peer in PEERS]
    lines = [report.line(["network", "ms", *names]), report.line(["---"] * (len(PEERS) + 2))]
    for row in rows:
        ratios = [f"**{row.ratio(peer, times):.2f}** ({row.median(peer, times):.2f})" for peer in PEERS]
        lines.append(report.line([row.network, report.milliseconds(row.least(OURS, times)), *ratios]))
    medians = {peer: statistics.median(row.ratio(peer, times) for row in rows) for peer in PEERS}
    lines.append(report.line(["median", "", *(f"**{each:.2f}**" for each in medians.values())]))
    marks = [f"{mark:.3g}: {'met' if medians[peer] <= mark else 'missed'}" for peer, mark in PEERS.items()]
    return "\n".join([*lines, report.line(["mark", "", *marks])])


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    from tests.benchmarks.running_networks import NETWORKS

    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.running", description=__doc__)
    parser.add_argument("--commit", default=BEFORE, help=f"what to compare with (default: {BEFORE})")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="a folder to compare with instead")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--times", choices=("clock", "processor"), default="clock", help="which times the table shows")
    parser.add_argument("--small", action="store_true", help="with small inputs, to try the command")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time measured")
    parser.add_argument("--write", action="store_true", help=f"write the table into docs/{report.DOCUMENT.name}")
    chosen = parser.parse_args(arguments)
    rows: list[Row] = []
    with ExitStack() as stack:
        other = chosen.against or stack.enter_context(checkout(chosen.commit))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for row in measured(other, chosen.only, chosen.rounds, chosen.threads, folder, small=chosen.small):
            rows.append(row)
            ratios = ", ".join(f"{row.ratio(peer, chosen.times):.2f} of {NAMES.get(peer, peer)}" for peer in PEERS)
            print(f"{row.network}: {ratios}", file=sys.stderr)
    name = "the other" if chosen.against else chosen.commit
    what = "time on the clock" if chosen.times == "clock" else "processor time"
    how = (
        f"`python -m tests.benchmarks.running --threads {chosen.threads} --times {chosen.times}`, {chosen.rounds} "
        f"rounds in which the systems take turns, each in a process of its own. Our {what} in terms of theirs: of the "
        "least times, in brackets the median of the rounds."
    )
    text = f"### Running networks\n\n{table(rows, name, chosen.times)}\n\n{how}"
    print(text)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if chosen.write:
        report.write_document(report.DOCUMENT, {"running": text}, report.ORDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
