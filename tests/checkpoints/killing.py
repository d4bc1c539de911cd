"""Pull the plug: runs are killed at random moments, and end as the one that nobody disturbed, byte for byte."""

from __future__ import annotations

import itertools
import math
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelarchive.errors import CheckpointError
from tests.checkpoints import training

#: Numbers beside the network: four megabytes to copy and to write.
BALLAST = 500_000


#: Seconds that processes get to notice that one of them was killed.
PATIENCE = 5

Act = Callable[[Callable[[str], object]], object]


@dataclass
class Count:
    """What was done.

    Attributes:
        kills: Processes that were killed; of several together, those that were killed first.
        between: Those killed while a save was copying the state.
        behind: Those killed after one had returned, when it was being written.
        runs: Runs that came to their end.
    """

    kills: int = 0
    between: int = 0
    behind: int = 0
    runs: int = 0


def started(act: Act, processes: int, meeting: Path) -> tuple[list[int], int]:
    """Processes that do something together, of which the first tells what it does; their numbers, where it tells."""
    reading, writing = os.pipe()
    children = []
    for rank in range(processes):
        child = os.fork()
        if not child:
            os.close(reading)
            os._exit(_one(act, rank, processes, meeting, writing))
        children.append(child)
    os.close(writing)
    return children, reading


def _one(act: Act, rank: int, processes: int, meeting: Path, writing: int) -> int:
    try:
        if processes > 1:
            import torch.distributed as dist

            dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes)
        act(lambda what: os.write(writing, what[:1].encode()) if rank == 0 else None)
    except BaseException as error:
        # Of several, those that are left say that one of them is gone.
        if processes == 1 or not isinstance(error, RuntimeError | CheckpointError):
            traceback.print_exc()
            sys.stderr.flush()
        return 1
    return 0


def ended(children: list[int], patience: float = math.inf) -> list[int]:
    """How processes end, 0 or the number of a signal; those that wait for one that was killed for ever are killed."""
    until = time.monotonic() + patience
    found: dict[int, int] = {}
    while len(found) < len(children):
        for child in children:
            if child not in found and (status := os.waitpid(child, os.WNOHANG))[0]:
                found[child] = os.waitstatus_to_exitcode(status[1])
        if time.monotonic() > until:
            for child in children:
                if child not in found:
                    os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return [found[child] for child in children]


def killed(act: Act, chance: random.Random, count: Count, processes: int, meeting: Path) -> bool:
    """Start it, and kill one process or all a moment after it told something; whether it had ended before.

    Raises:
        AssertionError: It failed.
    """
    children, reading = started(act, processes, meeting)
    last = b""
    for _ in range(chance.randrange(1, 6)):
        told = os.read(reading, 1)
        if not told:
            break
        last = told
    # Copying takes a few milliseconds, writing some more.
    select.select([], [], [], chance.random() ** 2 * 0.05)
    victims = children if chance.random() < 0.5 else [chance.choice(children)]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    codes = ended(children, PATIENCE)
    os.close(reading)
    if -signal.SIGKILL in codes:
        count.kills += len(victims)
        count.between += last == b"b"
        count.behind += last == b"s"
        return False
    assert codes == [0] * processes, "the run failed"
    return True


def disturbed(folder: Path, kills: int, *, steps: int, processes: int = 1, seed: int = 0) -> Count:
    """Kill runs so often; each of them ends as it would have.

    Args:
        folder: Where the runs lie.
        kills: How many processes are killed.
        steps: Steps of a run.
        processes: How many train together.
        seed: Of the moments.

    Raises:
        AssertionError: A run ended otherwise, or failed.
    """
    chance, count = random.Random(seed), Count()
    options = {"process_group": True} if processes > 1 else {}
    meetings = (folder / f"meeting{number}" for number in itertools.count())

    def training_in(run: Path) -> Act:
        return lambda event: training.train(run, steps, event=event, ballast=BALLAST // processes, **options)

    def undisturbed(run: Path) -> None:
        children, reading = started(training_in(run), processes, next(meetings))
        codes = ended(children)
        os.close(reading)
        assert codes == [0] * processes, f"{run}: what was killed could not go on"

    whole = folder / "whole"
    undisturbed(whole)
    names = [path.name for path in sorted(whole.iterdir())]
    expected = content(whole / names[-1])
    while count.kills < kills:
        run = folder / f"run{count.runs}"
        while count.kills < kills:
            if killed(training_in(run), chance, count, processes, next(meetings)):
                break
        undisturbed(run)
        assert content(run / names[-1]) == expected, f"{run} ended otherwise"
        assert [path.name for path in sorted(run.iterdir())] == names
        shutil.rmtree(run)
        count.runs += 1
    return count


def content(checkpoint: Path) -> dict[str, bytes]:
    """Name -> bytes of each file of a checkpoint."""
    files = sorted(checkpoint.iterdir()) if checkpoint.is_dir() else [checkpoint]
    return {file.name: file.read_bytes() for file in files}


def main() -> None:
    """``python -m tests.checkpoints.killing [KILLS] [STEPS] [PROCESSES]``."""
    given = [int(each) for each in sys.argv[1:]]
    kills, steps, processes = (*given, *(200, 60, 1)[len(given) :])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        count = disturbed(Path(folder), kills, steps=steps, processes=processes)
    together = f" of {processes} that train together" if processes > 1 else ""
    print(
        f"{count.kills} processes{together} killed in {time.perf_counter() - began:.0f} s, {count.between} times while "
        f"the state was copied, {count.behind} times behind that; each of {count.runs} runs ended as the one that "
        "nobody disturbed, byte for byte"
    )


if __name__ == "__main__":
    # Once, and not in each process.
    import torch  # noqa: F401

    import modelarchive.checkpoints
    import modelarchive.cli.demo_torch
    import modelarchive.exchange.torch.training  # noqa: F401

    main()
