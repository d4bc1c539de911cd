"""Thousands of changed archives, opened by modelarchive and by plain h5py; counts into docs/security.md.

    python -m tests.hostile.fuzz --count 200000 --jobs 2 --write

The same seed and count give the same files. A mutant that came to what must not come is kept in --keep.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from tests import memory
from tests.hostile import processes

#: With more files than this that came to what must not come, something is wrong with all of them.
MOST = 100


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if anything came that must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--compare", type=int, default=10, metavar="N", help="every Nth in plain h5py too; 0: none")
    parser.add_argument("--record", type=Path, help="write the counts here as JSON, also while it runs")
    parser.add_argument("--resume", action="store_true", help="go on from where --record says that a run stopped")
    parser.add_argument("--keep", type=Path, help="a folder for files that came to what must not come")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/security.md")
    parser.add_argument("--serve", nargs=2, type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.serve:
        serve(*chosen.serve, count=chosen.count, seed=chosen.seed, compare=chosen.compare)
        return 0
    figures = run(chosen)
    from tests.hostile import figures as document

    print(document.tables(figures))
    if chosen.write:
        document.write(figures)
    return 1 if document.failures(figures) else 0


def serve(first: int, step: int, *, count: int, seed: int, compare: int) -> None:
    """Judge every `step`th mutant from `first` on; a line of JSON for each."""
    from modelarchive.store.guarded import boundary
    from tests.hostile import judge, mutators
    from tests.hostile.samples import samples

    boundary.SECONDS = 2  # type: ignore[misc]  # small files, and thousands of them
    found = samples()
    with tempfile.TemporaryDirectory(dir=memory.folder()) as folder:
        path = Path(folder) / "mutant.h5"
        for number in range(first, count, step):
            family, sample, data = mutators.mutant(found, seed, number)
            path.write_bytes(data)
            verdicts = judge.judge(path, sample)
            line: dict[str, Any] = {"number": number, "family": family, "sample": sample.name, "verdicts": verdicts}
            if compare and number % compare == 0:
                line["h5py"] = judge.plain_h5py(path, sample)
            print(json.dumps(line), flush=True)


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Judge all mutants, in several processes."""
    before: dict[str, Any] = {"tried": 0, "seconds": 0, "counts": [], "bad": []}
    if chosen.resume:
        before = json.loads(chosen.record.read_text("utf-8"))
        if (before["seed"], before["jobs"]) != (chosen.seed, chosen.jobs):
            raise SystemExit(f"the run in {chosen.record} had --seed {before['seed']} and --jobs {before['jobs']}")
    positions: list[int] = before.get("positions", list(range(min(chosen.jobs, chosen.count))))
    started = time.time() - before["seconds"]
    counts = Counter({json.dumps(keys): count for *keys, count in before["counts"]})
    bad: list[dict[str, Any]] = before["bad"]
    figures = before
    lines = processes.lines(positions, chosen.count, chosen.jobs, partial(_started, chosen), partial(_lost, chosen))
    for done, line in enumerate(lines, before["tried"] + 1):
        for way, outcome, why in line["verdicts"]:
            counts[json.dumps(["ours", line["family"], way, outcome])] += 1
            counts[json.dumps(["why", way, why])] += 1 if outcome == "refused" else 0
            if outcome in ("wrong", "error", "crash", "hang"):
                bad.append({**line, "seed": chosen.seed})
                if len(bad) > MOST:
                    raise SystemExit(f"{len(bad)} of {done} files came to what must not come, the last: {bad[-1]}")
                _keep(chosen, line)
        if "h5py" in line:
            counts[json.dumps(["h5py", line["family"], line["h5py"]])] += 1
        if done % 1000 == 0 or done == chosen.count:
            figures = {
                "seed": chosen.seed,
                "jobs": chosen.jobs,
                "positions": positions,
                "tried": done,
                "seconds": round(time.time() - started),
                "counts": [[*json.loads(key), value] for key, value in sorted(counts.items()) if value],
                "bad": bad,
            }
            if chosen.record:
                chosen.record.write_text(json.dumps(figures, indent=1), "utf-8")
            print(f"{done:,} of {chosen.count:,}, {len(bad)} bad, {figures['seconds']} s", file=sys.stderr, flush=True)
    return figures


def _keep(chosen: argparse.Namespace, line: dict[str, Any]) -> None:
    if chosen.keep is None:
        return
    from tests.hostile import mutators
    from tests.hostile.samples import samples

    chosen.keep.mkdir(parents=True, exist_ok=True)
    _, _, data = mutators.mutant(samples(), chosen.seed, line["number"])
    (chosen.keep / f"{chosen.seed}-{line['number']}.h5").write_bytes(data)


def _started(chosen: argparse.Namespace, first: int) -> Any:
    options = ["--count", str(chosen.count), "--seed", str(chosen.seed), "--compare", str(chosen.compare)]
    command = [sys.executable, "-m", "tests.hostile.fuzz", *options, "--serve", str(first), str(chosen.jobs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)


def _lost(chosen: argparse.Namespace, number: int, outcome: str, code: int) -> dict[str, Any]:
    """The line of a mutant that took its process with it."""
    from tests.hostile import mutators
    from tests.hostile.samples import samples

    family, sample, _ = mutators.mutant(samples(), chosen.seed, number)
    verdicts = [["load", outcome, f"the process ended with {code}"]]
    return {"number": number, "family": family, "sample": sample.name, "verdicts": verdicts}


if __name__ == "__main__":
    sys.exit(main())
