"""Runs of several processes: ``python -m tests.checkpoints.ranks FOLDER SCENARIO:PROCESSES ...``."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

import modelarchive as ma
from modelarchive.errors import CheckpointError, ParameterError
from tests.checkpoints import training
from tests.exchange.torch.ranks import mesh_of, together

STEPS = 8


def made(kind: str) -> tuple[Any, Any]:
    """A network that all processes have (ddp), or that each has a part of (fsdp), and its optimizer."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    net: Any = torch.nn.Sequential(torch.nn.Linear(3, 10), torch.nn.Dropout(0.2), torch.nn.Linear(10, 5))
    if kind == "fsdp":
        for layer in (net[0], net[2]):
            fully_shard(layer, mesh=mesh_of())
        fully_shard(net, mesh=mesh_of())
    elif kind == "both":  # rows in turns; what is not parallel lies on a mesh of half of the processes, twice
        mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("data", "parts"))
        parallelize_module(net[0], mesh["parts"], ColwiseParallel(output_layouts=Replicate()))
        fully_shard(net, mesh=mesh["data"])
    else:
        net = torch.nn.parallel.DistributedDataParallel(net)
    return net, torch.optim.AdamW(net.parameters(), lr=0.05)


def run(kind: str, folder: Path, until: int, *, die: bool = False, **options: Any) -> tuple[Any, Any]:
    """Train to a step and save each one, from the newest checkpoint on; the last process may be killed on the way."""
    net, optimizer = made(kind)
    torch.manual_seed(100 + dist.get_rank())  # each process has random numbers of its own
    loader = training.Loader()
    with ma.Checkpoints(folder, process_group=True, keep=2, **options) as checkpoints:
        step = checkpoints.restore(model=net, optimizer=optimizer, data=loader) or 0
        while step < until:
            loader.next()
            net(torch.randn(4, 3)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            checkpoints.save(step, model=net, optimizer=optimizer, data=loader, metrics={"loss": step})
            if die and step == until - 2 and dist.get_rank() == dist.get_world_size() - 1:
                os.kill(os.getpid(), signal.SIGKILL)
    return net, optimizer


def whole(kind: str, folder: Path) -> None:
    run(kind, folder, STEPS)


def killed(kind: str, folder: Path) -> None:
    """Until one process is killed, while others are in the middle of something."""
    run(kind, folder, STEPS, die=True)


def resumed(kind: str, folder: Path) -> None:
    run(kind, folder, STEPS, asynchronous=False)


def resharded(kind: str, folder: Path) -> None:
    """On another number of processes, and of another kind: the same values."""
    for way in ("fsdp", "ddp", *(("both",) if dist.get_world_size() == 4 else ())):
        net, optimizer = made(way)
        with ma.Checkpoints(folder, process_group=True) as checkpoints:
            assert checkpoints.restore(model=net, optimizer=optimizer) == STEPS
        with ma.open(folder / f"step-{STEPS:08d}") as archive:
            inner = net.module if way == "ddp" else net
            for name, parameter in inner.named_parameters():
                full = parameter.full_tensor() if way != "ddp" else parameter
                assert np.array_equal(full.detach().numpy(), archive[name]), name
                for key, value in archive.training["optimizer"]["state"][name].items():
                    moment = optimizer.state[parameter][key]
                    full = moment.full_tensor() if hasattr(moment, "full_tensor") else moment
                    assert np.array_equal(full.numpy(), value), (name, key)


def damaged(kind: str, folder: Path) -> None:
    """Damage that one process sees is what all pass over."""
    run(kind, folder, 2)
    dist.barrier()
    if dist.get_rank() == 0:
        path = sorted((folder / "step-00000002").glob("*.safetensors"))[-1]
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    dist.barrier()
    net, optimizer = made(kind)
    checkpoints = ma.Checkpoints(folder, process_group=True)
    with pytest.warns(ma.DamagedCheckpointWarning):
        assert checkpoints.restore(model=net, optimizer=optimizer) == 1
    with pytest.raises(ParameterError):
        checkpoints.restore(model=torch.nn.Linear(2, 2))


def refused(kind: str, folder: Path) -> None:
    """What one process cannot write all hear of, and there is no checkpoint."""
    net, optimizer = made(kind)
    with ma.Checkpoints(folder, process_group=True, asynchronous=False) as checkpoints:
        checkpoints.save(1, model=net, optimizer=optimizer)
        if dist.get_rank() == 1:
            from modelarchive.checkpoints import together as module

            module.write_shard = _full  # type: ignore[assignment]
        with pytest.raises(CheckpointError, match=r"process 1: .*No space left"):
            checkpoints.save(2, model=net, optimizer=optimizer)
        assert checkpoints.steps() == [1]


def _full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def apart(kind: str, folder: Path) -> None:
    """What processes have apart is not lost in silence: stages of a pipeline, parts that are no DTensors."""
    rank = dist.get_rank()
    stage = torch.nn.ModuleDict({f"stage{rank}": torch.nn.Linear(2, 2)})
    for net, what in ((stage, "stage1.weight, stage1.bias"), (torch.nn.Linear(2, 2 + rank), "weight, bias")):
        with ma.Checkpoints(folder, process_group=True, asynchronous=False) as checkpoints:
            with pytest.raises(CheckpointError, match=f"process 1 has 2 arrays that process 0 has not.*: {what}"):
                checkpoints.save(1, model=net)
            assert checkpoints.steps() == []


class UnsentError(Exception):
    """Goes to no other process."""

    def __init__(self, message: str, *, lock: Any) -> None:
        super().__init__(message)
        self.lock = lock


class Stubborn(torch.nn.Linear):
    """Does not take what it gave, on one process."""

    def get_extra_state(self) -> Any:
        return 1

    def set_extra_state(self, state: Any) -> None:
        if dist.get_rank() == 1:
            raise UnsentError("no", lock=threading.Lock())


def unsent(kind: str, folder: Path) -> None:
    """An error that goes to no other process is heard by all."""
    with ma.Checkpoints(folder, process_group=True) as checkpoints:
        checkpoints.save(1, model=Stubborn(2, 2))
        checkpoints.wait()
        with pytest.raises(UnsentError if dist.get_rank() == 1 else CheckpointError, match="no"):
            checkpoints.restore(model=Stubborn(2, 2))


SCENARIOS = {each.__name__: each for each in (whole, killed, resumed, resharded, damaged, refused, apart, unsent)}


def main() -> None:
    torch.set_num_threads(1)
    for wanted in sys.argv[2:]:
        kind, scenario, count = wanted.split(":")
        is_one = kind == "both" or scenario in ("killed", "resumed", "resharded")
        name = "run-2" if is_one else f"{scenario}-{count}"
        place = Path(sys.argv[1]) / f"{kind}-{name}"
        failed = together(lambda folder: SCENARIOS[scenario](kind, folder), int(count), place)  # noqa: B023
        if failed and scenario != "killed":
            sys.exit(f"{wanted}: {failed} of the processes failed")
        print(wanted, flush=True)


if __name__ == "__main__":
    main()
