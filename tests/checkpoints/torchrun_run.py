"""The digits under torchrun: ``torchrun -m tests.checkpoints.torchrun_run FOLDER STEPS NAME:torch|keras[:STEP] ...``.

One run after another, each in a folder of its name. Behind a STEP the second process is killed; torchrun then ends the
first one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import modelarchive as ma
from tests.checkpoints import training


def with_keras(folder: Path, total: int, *, event: Callable[[str], object], **options: Any) -> None:
    """A Keras model on PyTorch, whose gradients are the mean of all processes'; dropout, Keras' own optimizer."""
    import keras

    from tests.checkpoints.test_keras import lenet

    model = lenet(keras.optimizers.AdamW(0.01))
    model.optimizer.build(model.trainable_variables)
    together = torch.nn.parallel.DistributedDataParallel(model)
    keras.utils.set_random_seed(dist.get_rank())
    loader = training.Loader(3 + dist.get_rank())
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with ma.Checkpoints(folder, keep=2, **options) as run:
        step = run.restore(model=model, optimizer=model.optimizer, data=loader) or 0
        while step < total:
            images, labels = loader.next()
            loss = loss_of(torch.from_numpy(labels), together(torch.from_numpy(images.transpose(0, 2, 3, 1))))
            model.zero_grad()
            loss.backward()
            weights = model.trainable_weights
            with torch.no_grad():
                model.optimizer.apply([each.value.grad for each in weights], weights)
            step += 1
            run.save(step, model=model, optimizer=model.optimizer, data=loader)
            event("saved")


def one(folder: Path, kind: str, steps: int, kill: int | None) -> int:
    """Train to the last step; how many steps that were."""
    saved = 0

    def event(what: str) -> None:
        nonlocal saved
        saved += what == "saved"
        if dist.get_rank() == 1 and saved == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    train = with_keras if kind == "keras" else training.train
    train(folder, steps, event=event, process_group=True)
    return saved


def main() -> None:
    folder, steps, *runs = sys.argv[1:]
    dist.init_process_group("gloo")
    for name, kind, *kill in (run.split(":") for run in runs):
        saved = one(Path(folder, name), kind, int(steps), int(kill[0]) if kill else None)
        if dist.get_rank() == 0:
            print(f"{name} trained: {saved}", flush=True)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
