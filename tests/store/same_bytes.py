"""Deflate the same again where memory lies elsewhere each time, and count what differs.

python -m tests.store.same_bytes --count 100000
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

import ml_dtypes
import numpy as np

from modelarchive.store.deflate import pack
from tests import ROOT

#: Threads that are alive at once, so that no two have their stack in the same place.
_ALIVE = 64
#: Processes, each with other addresses; as many as counts of inputs allow.
_PROCESSES = 16


def inputs() -> dict[str, np.ndarray]:
    """What is deflated, each as uint8 of shape (elements, bytes of each): one plane, several, all ways of coding.

    The repeating ones are short, and each of the first positions matters: whether it is found again shows.
    """
    rng = np.random.default_rng(0)
    found = {}
    for number in range(12):
        first, *others = (rng.integers(0, 40, size, dtype=np.uint8) for size in (200, 30, 30, 300))
        parts = (first, first[2:10], others[0], first[1:9], others[1], first[:8], others[2])
        found[f"repeating {number}"] = np.concatenate(parts).reshape(-1, 1)
    weights = (rng.standard_normal(4000) * 0.02).astype(np.float32)
    wide = np.concatenate(parts).astype(np.int32)
    for name, array in {
        "float32": weights,
        "bfloat16": weights.astype(ml_dtypes.bfloat16),
        "float16": weights.astype(np.float16),
        "ids": rng.integers(0, 300, 2000),
        "numbers of two used bytes": wide << 8 | wide,
        "zeros": np.zeros(2000, np.float32),
    }.items():
        found[name] = array.view(np.uint8).reshape(-1, array.itemsize)
    return found


def deflated(seed: int, count: int) -> dict[str, Counter[str]]:
    """Deflate each input so many times in this process, each time on the stack of another thread.

    Returns:
        Name of each input -> digest of what came out -> how often.
    """
    rng = random.Random(seed)
    arrays = inputs()
    found: dict[str, Counter[str]] = {name: Counter() for name in arrays}
    lock = threading.Lock()

    def deflate(done: threading.Event, size: int) -> None:
        results = {}
        for number, (name, array) in enumerate(arrays.items()):
            # Memory that is given back still holds something, and moves what is taken next.
            bytes([255 - number]) * size
            results[name] = sha256(pack(array)).hexdigest()
        with lock:
            for name, result in results.items():
                found[name][result] += 1
        done.wait()

    before = threading.stack_size()
    try:
        for start in range(0, count, _ALIVE):
            done = threading.Event()
            alive = []
            for _ in range(min(_ALIVE, count - start)):
                threading.stack_size(rng.randrange(4, 256) << 16)
                alive.append(threading.Thread(target=deflate, args=(done, rng.randrange(1, 300_000))))
                alive[-1].start()
            done.set()
            for thread in alive:
                thread.join()
    finally:
        threading.stack_size(before)
    return found


def repeated(count: int, processes: int = _PROCESSES) -> tuple[int, int]:
    """Deflate about so many times in all, shared among fresh processes, two at a time.

    Returns:
        How often, and how many of them gave other bytes than most did.
    """
    each = max(1, -(-count // (processes * len(inputs()))))
    total: dict[str, Counter[str]] = {name: Counter() for name in inputs()}
    for first in range(0, processes, 2):
        command = [sys.executable, "-m", "tests.store.same_bytes", "--count", str(each), "--seed"]
        running = [
            subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, cwd=ROOT)
            for seed in range(first, min(first + 2, processes))
        ]
        for process in running:
            written, _ = process.communicate()
            if process.returncode:
                raise RuntimeError(f"a process ended with {process.returncode}")
            for name, counts in json.loads(written).items():
                total[name].update(counts)
    done = sum(map(Counter.total, total.values()))
    return done, done - sum(max(counts.values()) for counts in total.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if anything differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.store.same_bytes", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="how often in all")
    parser.add_argument("--seed", type=int, help="do it in this process, each input so often; print the digests")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        print(json.dumps(deflated(chosen.seed, chosen.count)))
        return 0
    done, differ = repeated(chosen.count)
    print(f"{done:,} times deflated in {_PROCESSES} processes and {done // len(inputs()):,} threads: {differ:,} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
