"""A training run on real data, as a user writes it: the demo's LeNet in PyTorch, resumed from whatever is there."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import modelarchive as ma
from tests import ROOT

BATCH = 32


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, 8, 8) in 0..1 and their labels."""
    with np.load(ROOT / "modelarchive" / "cli" / "digits" / "digits-test.npz") as file:
        images, labels = (file[name] for name in ("images", "labels"))
    return images.astype(np.float32).reshape(-1, 1, 8, 8), labels.astype(np.int64)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: another number, which other tests may have left, gives other last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Loader:
    """Batches in an order of its own, which goes on where it stood."""

    def __init__(self, seed: int = 3) -> None:
        self.images, self.labels = digits()
        self.random = np.random.default_rng(seed)
        self.order = self.random.permutation(len(self.labels))
        self.at = 0

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        if self.at + BATCH > len(self.order):
            self.order, self.at = self.random.permutation(len(self.labels)), 0
        chosen = self.order[self.at : self.at + BATCH]
        self.at += BATCH
        return self.images[chosen], self.labels[chosen]

    def state_dict(self) -> dict[str, Any]:
        state = self.random.bit_generator.state
        return {"order": self.order, "at": self.at, "random": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.at = state["order"], state["at"]
        self.random.bit_generator.state = state["random"]


def train(
    folder: Path, total: int, *, event: Callable[[str], object] = lambda what: None, ballast: int = 0, **options: Any
) -> None:
    """Train to a step and save each one, from the newest checkpoint on.

    Args:
        folder: The run's.
        total: The last step.
        event: Told when a save begins, and when it has returned.
        ballast: Numbers that are saved beside, so that writing takes its time.
        **options: Of the run. With a `process_group` the network is all processes', and each has images of its own.
    """
    import torch
    import torch.distributed as dist

    from modelarchive.cli.demo_torch import network

    random.seed(0)  # which each process does anew
    np.random.seed(0)
    torch.manual_seed(0)
    net = network(torch).train()
    rank, size = 0, 1
    if "process_group" in options:
        rank, size = dist.get_rank(), dist.get_world_size()
        torch.manual_seed(rank)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=total + 1)
    loader = Loader(3 + rank)
    with ma.Checkpoints(folder, keep=2, **options) as run:
        step = run.restore(model=net, optimizer=optimizer, scheduler=scheduler, data=loader) or 0
        while step < total:
            images, labels = loader.next()
            loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(images)), torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()
            # One by one: DistributedDataParallel joins them anew behind its first step, wherever that is, and sums of
            # three and more come out otherwise.
            for parameter in net.parameters() if size > 1 else ():
                dist.all_reduce(parameter.grad)
                parameter.grad /= size
            optimizer.step()
            scheduler.step()
            step += 1
            event("begin")
            run.save(
                step,
                model=net,
                optimizer=optimizer,
                scheduler=scheduler,
                data=loader,
                metrics={"loss": loss.item()},
                ballast=np.full(ballast, float(step)),
            )
            event("saved")
