"""Thousands of changed files of other systems, read in every way that there is; counts into docs/security.md.

    python -m tests.hostile.readers.fuzz --count 200000 --jobs 2 --record counts.json
    python -m tests.hostile.readers.fuzz --count 200000 --jobs 2 --guided --record more.json
    python -m tests.hostile.readers.fuzz --add counts.json --add more.json --count 0 --write

The same seed and count give the same files, but with --guided, where coverage leads the way. A file that came to
what must not come is kept in --keep; --judge FOLDER judges one of these again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
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

#: Files that coverage leads to are judged again before they count: following the code takes time and memory.
_AGAIN = ("slow", "memory")


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.readers.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--guided", action="store_true", help="by coverage: needs atheris")
    parser.add_argument("--record", type=Path, help="write the counts here as JSON, also while it runs")
    parser.add_argument("--resume", action="store_true", help="go on from where --record says that a run stopped")
    parser.add_argument("--keep", type=Path, help="a folder for files that came to what must not come")
    parser.add_argument("--most", type=int, default=100, help="stop behind so many of these")
    parser.add_argument("--add", type=Path, action="append", default=[], help="counts of an earlier run")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/security.md")
    parser.add_argument("--judge", type=Path, help="judge what was kept in this folder")
    parser.add_argument("--serve", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if anything came that must not."""
    chosen = parser().parse_args(arguments)
    if chosen.judge is not None:
        return _judge_again(chosen.judge)
    if chosen.serve:
        serve(*chosen.serve, chosen)
        return 0
    figures = [json.loads(each.read_text("utf-8")) for each in chosen.add]
    if chosen.count:
        with tempfile.TemporaryDirectory(dir=memory.folder()) as folder:
            chosen.folder = Path(folder)
            figures.append(run(chosen))
    from tests.hostile.readers import figures as document

    print(document.tables(figures))
    if chosen.write:
        document.write(figures)
    return 1 if any(each["bad"] for each in figures) else 0


def serve(first: int, step: int, chosen: argparse.Namespace) -> None:
    """Judge every `step`th file from `first` on; a line of JSON for each."""
    number = first - step
    # Lines alone go there; whatever else the process says goes with its complaints.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(sample: Any, verdict: Any) -> None:
        nonlocal number
        number += step
        line = {"number": number, "reader": sample.reader, "sample": sample.name, "verdict": verdict}
        if verdict.outcome in _bad():
            line["kept"] = str(_place(chosen, number))
            sample.keep(_place(chosen, number))
        print(json.dumps(line), file=channel, flush=True)

    folder = chosen.folder / str(first % step)
    if chosen.guided:
        from tests.hostile.readers import guided

        shutil.rmtree(folder, ignore_errors=True)
        guided.run(folder, len(range(first, chosen.count, step)), chosen.seed * 1_000_003 + first, tell)
        return
    from tests.hostile.readers import mutators, references, serving
    from tests.hostile.readers.samples import samples

    references.prepare()
    found = samples()
    judge = serving.Judge(folder, found)
    judge.begin()
    for at in range(first, chosen.count, step):
        sample = mutators.mutant(found, chosen.seed, at)
        tell(sample, judge(sample))


def _bad() -> tuple[str, ...]:
    from tests.hostile.readers.judge import BAD

    return BAD


def _place(chosen: argparse.Namespace, number: int) -> Path:
    return (chosen.keep or chosen.folder / "bad") / f"{'g' if chosen.guided else ''}{chosen.seed}-{number}"


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Judge all files, in several processes."""
    figures: dict[str, Any] = {"tried": 0, "seconds": 0, "counts": [], "bad": []}
    if chosen.resume:
        figures = json.loads(chosen.record.read_text("utf-8"))
        same = ("seed", "jobs", "guided")
        if any(figures[name] != getattr(chosen, name) for name in same):
            said = ", ".join(f"--{name} {figures[name]}" for name in same)
            raise SystemExit(f"the run in {chosen.record} had {said}")
    positions: list[int] = figures.get("positions", list(range(min(chosen.jobs, chosen.count))))
    started = time.time() - figures["seconds"]
    counts = Counter({(reader, outcome): count for reader, outcome, count in figures["counts"]})
    bad: list[dict[str, Any]] = figures["bad"]
    lines = processes.lines(positions, chosen.count, chosen.jobs, partial(_started, chosen), partial(_lost, chosen))
    for done, line in enumerate(lines, figures["tried"] + 1):
        if chosen.guided and line["verdict"][0] in _AGAIN:
            line["verdict"] = _judged_apart(Path(line["kept"]))
        outcome = line["verdict"][0]
        counts[line["reader"], outcome] += 1
        if outcome in _bad():
            bad.append(line)
            print(line, file=sys.stderr, flush=True)
        is_over = len(bad) > chosen.most
        if done % 1000 == 0 or done == chosen.count or is_over:
            figures = {"seed": chosen.seed, "jobs": chosen.jobs, "guided": chosen.guided, "positions": positions,
                       "tried": done, "seconds": round(time.time() - started), "bad": bad,
                       "counts": [[*key, value] for key, value in sorted(counts.items())]}  # fmt: skip
            if chosen.record:
                chosen.record.write_text(json.dumps(figures, indent=1), "utf-8")
            print(f"{done:,} of {chosen.count:,}, {len(bad)} bad, {figures['seconds']} s", file=sys.stderr, flush=True)
        if is_over:
            raise SystemExit(f"{len(bad)} of {done} files came to what must not come")
    return figures


def _started(chosen: argparse.Namespace, first: int) -> Any:
    options = ["--count", str(chosen.count), "--seed", str(chosen.seed), "--folder", str(chosen.folder)]
    options += ["--keep", str(chosen.keep)] if chosen.keep else []
    options += ["--guided"] if chosen.guided else []
    command = [sys.executable, "-m", "tests.hostile.readers.fuzz", *options, "--serve", str(first), str(chosen.jobs)]
    # libFuzzer tells of its own progress on the way.
    with _log(chosen, first).open("wb") if chosen.guided else contextlib.nullcontext() as log:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, bufsize=0)


def _log(chosen: argparse.Namespace, number: int) -> Path:
    folder: Path = chosen.folder
    return folder / f"log-{number % chosen.jobs}"


def _lost(chosen: argparse.Namespace, number: int, outcome: str, code: int) -> dict[str, Any]:
    """The line of a file that took its process with it: it lies where it was written."""
    from tests.hostile.readers.samples import kept

    folder = chosen.folder / str(number % chosen.jobs)
    folder = folder / "files" if chosen.guided else folder
    if not (folder / "sample.json").exists():
        raise SystemExit(f"a process ended with {code} before it had a file to judge")
    sample = kept(folder)
    sample.keep(_place(chosen, number))
    said = _log(chosen, number).read_text("utf-8", "replace")[-3000:] if chosen.guided else ""
    return {"number": number, "reader": sample.reader, "sample": sample.name, "kept": str(_place(chosen, number)),
            "verdict": [outcome, f"the process ended with {code} {said}".strip()]}  # fmt: skip


def _judged_apart(folder: Path) -> list[str]:
    command = [sys.executable, "-m", "tests.hostile.readers.fuzz", "--judge", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        return ["crash", f"the process ended with {done.returncode}: {done.stderr[-300:]}"]
    verdict: list[str] = json.loads(done.stdout.splitlines()[-1])
    return verdict


def _judge_again(folder: Path) -> int:
    from tests.hostile.readers import serving
    from tests.hostile.readers.samples import kept, samples

    sample = kept(folder)
    found = {name: each for name, each in samples().items() if each.reader == sample.reader}
    with tempfile.TemporaryDirectory(dir=memory.folder()) as place:
        judge = serving.Judge(Path(place), found)
        judge.begin()
        judge.count = -1  # the next is compared, and shown
        verdict = judge(sample)
    print(json.dumps(verdict))
    return 1 if verdict.outcome in _bad() else 0


if __name__ == "__main__":
    sys.exit(main())
