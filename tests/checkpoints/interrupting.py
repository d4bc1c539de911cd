"""A save is interrupted at its lines by a handler that saves: ``python -m tests.checkpoints.interrupting FOLDER N``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import modelarchive as ma
from modelarchive.checkpoints import run as module
from modelarchive.checkpoints import snapshot

KINDS: dict[str, dict[str, Any]] = {
    "behind": {},
    "in place": {"asynchronous": False},
    "incremental": {"incremental": True},
    "incremental in place": {"incremental": True, "asynchronous": False},
}
#: Files whose lines are interrupted: the run's, and what it hands work over with.
OURS = ("/modelarchive/checkpoints/",)
PLACES = (*OURS, "/concurrent/futures/", "/threading.py")


def interrupted(act: Callable[[], Any], line: int, handler: Callable[[], Any], places: tuple[str, ...]) -> int:
    """Run something, and a signal handler at one of its lines; how many it has."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if not any(place in frame.f_code.co_filename for place in places):
            return trace if event == "call" else None
        if event == "line":
            count += 1
            if count == line:
                handler()
        return trace

    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(None)
    return count


def attempt(folder: Path, kind: str, line: int, *, ends: bool) -> int:
    """A run whose second save is interrupted by a handler that saves, and may end the program; its number of lines."""
    model = {"head": np.zeros(50), "backbone": np.full(50, 7.0)}
    expected = {1: 0.0, 2: 1.0, 4: 2.0}
    said = 0

    def handler() -> None:
        expected[3] = 1.0  # what is waited for decides how many lines there are: it may never come
        run.save(3, model=model)
        if ends:
            sys.exit("ended")

    try:
        with ma.Checkpoints(folder, random=False, durable=False, **KINDS[kind]) as run:
            run.save(1, model=model)
            model["head"] += 1
            # Python's own locks do not survive an exception at each of their lines.
            said = interrupted(lambda: run.save(2, model=model), line, handler, OURS if ends else PLACES)
            model["head"] += 1
            run.save(4, model=model)
    except SystemExit:
        del expected[4]
        if 2 not in run.steps():
            del expected[2]
    assert run.steps() == sorted(expected), (kind, line, ends)
    for step, value in expected.items():
        loaded = ma.load(run.path(step))
        assert set(loaded["head"]) == {value}, (kind, step, line, loaded["head"])
        assert set(loaded["backbone"]) == {7.0}
    return said


def slowly(write: Any) -> Any:
    """Writing that takes a while: what is interrupted meanwhile must not change what is written."""

    def write_slowly(*args: Any, **options: Any) -> Any:
        time.sleep(0.003)
        return write(*args, **options)

    return write_slowly


def main(folder: Path, every: int) -> None:
    """Interrupt each Nth line of each kind; say how many lines there were."""
    snapshot.Snapshot.write = slowly(snapshot.Snapshot.write)  # type: ignore[method-assign]
    module.Shards.write = slowly(module.Shards.write)  # type: ignore[method-assign]
    for kind in KINDS:
        for ends in (False, True):
            several = attempt(folder / f"{kind}-whole-{ends}", kind, -1, ends=ends)
            # Each at the end, where what was asked for meanwhile is begun.
            for line in sorted({*range(1, several, every), *range(several - 12, several)}):
                attempt(folder / f"{kind}-{line}-{ends}", kind, line, ends=ends)
            print(several)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
