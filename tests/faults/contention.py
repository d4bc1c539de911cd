"""Several writers of one file, killed at random, and a reader that looks all the time."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import modelarchive as ma
from tests import ROOT

#: Saves at a path as writer of a number, 25 times at least, and until a third path is there.
WRITER: Final = """
import os, sys
import numpy as np
import modelarchive as ma
number = 0
while number < 25 or not os.path.exists(sys.argv[3]):
    number += 1
    ma.save(sys.argv[1], {"who": int(sys.argv[2]), "a": np.full(300_000, int(sys.argv[2])), "n": number}, durable=False)
"""


def contend(
    folder: Path, *, seconds: float, kills: int = 0, writers: int = 2, kills_a_second: float = 2
) -> Counter[str]:
    """Let writers and a reader at one file.

    Args:
        folder: Where the file is.
        seconds: How long.
        kills: And until so many writers were killed, however slow the machine is.
        writers: How many there are at a time.
        kills_a_second: How many of them are killed, about.

    Returns:
        Counts: "reads" that gave one writer's file whole, "versions" seen, "kills", "wrong" reads, "strays" left
        after one more save.
    """
    path = folder / "x.h5"
    ma.save(path, {"who": 0, "a": [0], "n": 0}, durable=False)
    counts: Counter[str] = Counter()
    seen = set()
    processes: dict[int, subprocess.Popen[bytes]] = {}
    chance = random.Random(0)
    busy: set[int] = set()
    last = (0, 0)
    next_kill = end = time.monotonic()
    end += seconds
    try:
        while time.monotonic() < end or counts["kills"] < kills:
            for number in range(1, writers + 1):
                if number not in processes or processes[number].poll() is not None:
                    command = [sys.executable, "-c", WRITER, str(path), str(number), str(folder / "never")]
                    processes[number] = subprocess.Popen(command, cwd=ROOT)
            # Only one that has written: they would all be killed while they start.
            if busy and time.monotonic() > next_kill:
                next_kill = time.monotonic() + chance.expovariate(kills_a_second)
                killed = chance.choice(sorted(busy))
                processes[killed].kill()
                processes[killed].wait()
                busy.remove(killed)
                counts["kills"] += 1
            found = ma.load(path, verify=True)
            whole = found["who"] == 0 or set(found["a"].tolist()) == {found["who"]}
            counts["reads" if whole else "wrong"] += 1
            version = (found["who"], found["n"])
            if version != last and found["who"] and processes[found["who"]].poll() is None:
                busy.add(found["who"])
            last = version
            seen.add(version)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    ma.save(path, {"who": 0, "a": [0], "n": 0}, durable=False)
    counts["versions"] = len(seen)
    counts["strays"] = sum(other != path for other in folder.iterdir())
    return counts
