"""The demo's chapter of a training run: the plug is pulled, and it goes on as if nothing had happened."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from modelarchive.cli.demo_stage import Stage

#: Steps of the run, and the one behind which the plug is pulled.
_STEPS: Final = 30
_PULLED: Final = 12
#: What the process runs that is killed.
_TRAIN: Final = """
import sys
from modelarchive.cli.demo_run import train
train(*sys.argv[1:])
"""


def train(folder: str, data: str) -> None:
    """Train the demo's network on images, each step saved, from the newest checkpoint on.

    Args:
        folder: The run's.
        data: A file with `images` and `labels`.
    """
    import modelarchive as ma
    from modelarchive.cli import demo_torch

    torch: Any = importlib.import_module("torch")
    with np.load(data) as file:
        images, labels = (torch.from_numpy(file[name]) for name in ("images", "labels"))
    torch.manual_seed(0)
    net = demo_torch.network(torch).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.003)
    with ma.Checkpoints(folder, keep=2) as run:
        step = run.restore(model=net, optimizer=optimizer) or 0
        print("from", step, flush=True)
        while step < _STEPS:
            chosen = torch.randint(0, len(images), (32,))
            loss = torch.nn.functional.cross_entropy(net(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            run.save(step, model=net, optimizer=optimizer, metrics={"loss": loss.item()})
            print("step", step, flush=True)


def chapter(stage: Stage, number: int) -> None:
    """Three processes: one that is left alone, one that is killed, one that goes on from what that left."""
    import modelarchive as ma

    stage.chapter(f"{number}. Train, pull the plug, go on: modelarchive.Checkpoints({str(stage.folder / 'run')!r})")
    data = stage.folder / "training.npz"
    np.savez(data, images=stage.images, labels=stage.labels.astype(np.int64))
    whole, run = stage.folder / "run-whole", stage.folder / "run"
    for folder in (whole, run):
        shutil.rmtree(folder, ignore_errors=True)  # of a demo before
    _process(whole, data)
    killed = _process(run, data, until=_PULLED)
    stage.tell(f"   a process trains and saves each step; killed (SIGKILL) behind step {killed}")
    resumed = _process(run, data)
    stage.tell(
        f"   a new one goes on from step {resumed}, with the optimizer's moments and random numbers, to {_STEPS}"
    )
    paths = [ma.Checkpoints(each).path(_STEPS) for each in (whole, run)]
    with ma.open(paths[0]) as one, ma.open(paths[1]) as two:
        is_equal = all(np.array_equal(one[name], two[name]) for name in one)
        moments = [each.training["optimizer"]["state"]["output.weight"]["exp_avg"] for each in (one, two)]
    is_equal = is_equal and np.array_equal(*moments)
    stage.tell(f"   weights and moments are those of a run that nobody disturbed, bit by bit: {stage.yes(is_equal)}")
    stage.figures |= {"run_killed": killed, "run_resumed": resumed, "run_identical": is_equal}


def _process(folder: Path, data: Path, *, until: int | None = None) -> int:
    """Train in a process of its own, and kill it behind a step; the last step it told of, or the one it began with."""
    command = [sys.executable, "-c", _TRAIN, str(folder), str(data)]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=found) as process:
        first = last = 0
        for line in process.stdout or ():
            word, step = line.split()
            first, last = (int(step), last) if word == "from" else (first, int(step))
            if until is not None and last >= until:
                process.kill()
                break
        process.wait()
    if until is None and process.returncode:
        raise RuntimeError(f"the training ended with {process.returncode}")
    return first if until is None else last
