"""Pull the plug: runs are killed at random moments, and end as the one that nobody disturbed, byte for byte."""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.checkpoints import training

#: Numbers beside the network: four megabytes to copy and to write.
BALLAST = 500_000


@dataclass
class Count:
    """What was done.

    Attributes:
        kills: Processes that were killed.
        between: Those killed while a save was copying the state.
        behind: Those killed after one had returned, when it was being written.
        runs: Runs that came to their end.
    """

    kills: int = 0
    between: int = 0
    behind: int = 0
    runs: int = 0


def started(act: Callable[[Callable[[str], object]], object]) -> tuple[int, int]:
    """A process that does something and tells what it does; its number, and where it is told."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.close(reading)
    code = 1
    try:
        act(lambda what: os.write(writing, what[:1].encode()))
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def killed(act: Callable[[Callable[[str], object]], object], chance: random.Random, count: Count) -> bool:
    """Start it, and kill it a moment after it told something; whether it had ended by itself before.

    Raises:
        AssertionError: It failed.
    """
    process, reading = started(act)
    last = b""
    for _ in range(chance.randrange(1, 6)):
        told = os.read(reading, 1)
        if not told:
            break
        last = told
    # Copying takes a few milliseconds, writing some more.
    select.select([], [], [], chance.random() ** 2 * 0.05)
    os.kill(process, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        count.kills += 1
        count.between += last == b"b"
        count.behind += last == b"s"
        return False
    assert os.WEXITSTATUS(status) == 0, "the run failed"
    return True


def disturbed(folder: Path, kills: int, *, steps: int, seed: int = 0) -> Count:
    """Kill runs so often; each of them ends as it would have.

    Args:
        folder: Where the runs lie.
        kills: How many processes are killed.
        steps: Steps of a run.
        seed: Of the moments.

    Raises:
        AssertionError: A run ended otherwise, or failed.
    """
    chance, count = random.Random(seed), Count()
    whole = folder / "whole"
    process, reading = started(lambda event: training.train(whole, steps, ballast=BALLAST))
    os.close(reading)
    assert os.waitpid(process, 0)[1] == 0
    expected = (whole / f"step-{steps:08d}.h5").read_bytes()
    while count.kills < kills:
        run = folder / f"run{count.runs}"
        while count.kills < kills:
            if killed(lambda event, run=run: training.train(run, steps, event=event, ballast=BALLAST), chance, count):
                break
        process, reading = started(lambda event, run=run: training.train(run, steps, ballast=BALLAST))
        os.close(reading)
        assert os.waitpid(process, 0)[1] == 0, "what was killed could not go on"
        assert (run / f"step-{steps:08d}.h5").read_bytes() == expected, f"{run} ended otherwise"
        left = sorted(path.name for path in run.iterdir())
        names = [f"step-{step:08d}.h5" for step in (steps - 1, steps)]
        assert left == [".writing", *names], left
        count.runs += 1
    return count


def main() -> None:
    """``python -m tests.checkpoints.killing [KILLS] [STEPS]``."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        count = disturbed(Path(folder), kills, steps=steps)
    print(
        f"{count.kills} processes killed in {time.perf_counter() - began:.0f} s, {count.between} while the state was "
        f"copied, {count.behind} behind that; each of {count.runs} runs ended as the one that nobody disturbed, "
        "byte for byte"
    )


if __name__ == "__main__":
    # Once, and not in each process.
    import torch  # noqa: F401

    import modelarchive.checkpoints
    import modelarchive.cli.demo_torch
    import modelarchive.exchange.torch.training  # noqa: F401

    main()
