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


def otherwise(kind: str, folder: Path) -> None:
    """Processes that a signal has sent to save at other steps."""
    rank = dist.get_rank()
    with ma.Checkpoints(folder, process_group=True, asynchronous=False) as checkpoints:
        with pytest.raises(CheckpointError, match=r"process 0 saves step 7, process 1 step 8"):
            checkpoints.save(7 + rank, model=torch.nn.Linear(2, 2))
        assert checkpoints.steps() == []


def unsent(kind: str, folder: Path) -> None:
    """An error that goes to no other process is heard by all."""
    with ma.Checkpoints(folder, process_group=True) as checkpoints:
        checkpoints.save(1, model=Stubborn(2, 2))
        checkpoints.wait()
        with pytest.raises(UnsentError if dist.get_rank() == 1 else CheckpointError, match="no"):
            checkpoints.restore(model=Stubborn(2, 2))


class Averages:
    """Averages of a network, in an object that says its state."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.average = {name: each.detach().clone() for name, each in net.named_parameters()}

    def update(self) -> None:
        for name, each in self.net.named_parameters():
            self.average[name].lerp_(each.detach(), 0.1)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average, "rank": dist.get_rank()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average = state["average"]


def adversaries(kind: str) -> tuple[Any, Any, dict[str, Any]]:
    """Two networks that train each other, and what goes on beside them, in dicts and lists."""
    (one, first), (other, _) = made(kind), made(kind)
    for net in (one, other):
        net.eval()  # nothing at random: the same step is taken twice
    second = torch.optim.SGD(other.parameters(), lr=0.01, momentum=0.9)
    means = {name: torch.zeros_like(each).requires_grad_(False) for name, each in one.named_parameters()}
    parts = {
        "other": other,
        "optimizers": {"one": first, "all": [second, {"loader": training.Loader()}], "seen": dist.get_rank()},
        "means": {"after": 0, "of": means},
        "averages": (Averages(one), [dist.get_rank()]),
    }
    return one, other, parts


def step_of_both(one: Any, other: Any, parts: dict[str, Any]) -> None:
    first, (second, rest) = parts["optimizers"]["one"], parts["optimizers"]["all"]
    rest["loader"].next()
    for net, optimizer in ((one, first), (other, second)):
        net(torch.full((4, 3), rest["loader"].at / 100)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    parts["optimizers"]["seen"] += 10
    parts["means"]["after"] += 1
    parts["averages"][0].update()
    for name, mean in parts["means"]["of"].items():
        mean.add_(dict(one.named_parameters())[name].detach())


def said(one: Any, other: Any, parts: dict[str, Any], *, own: bool) -> dict[str, Any]:
    """Everything that a run of both has, on each process the same; with `own` what it has of its own, too."""
    first, (second, rest) = parts["optimizers"]["one"], parts["optimizers"]["all"]
    tensors = {f"{at} {name}": each for at, net in enumerate((one, other)) for name, each in net.named_parameters()}
    for at, (net, optimizer) in enumerate(((one, first), (other, second))):
        for name, parameter in net.named_parameters():
            tensors |= {f"{at} {name} {key}": value for key, value in optimizer.state[parameter].items()}
    tensors |= {f"mean {name}": each for name, each in parts["means"]["of"].items()}
    tensors |= {f"average {name}": each for name, each in parts["averages"][0].average.items()}
    found = {name: (each.full_tensor() if hasattr(each, "full_tensor") else each) for name, each in tensors.items()}
    found = {name.replace("module.", ""): each.detach().tolist() for name, each in found.items()}
    found["after"] = parts["means"]["after"]
    return found | ({"seen": parts["optimizers"]["seen"], "loader": rest["loader"].at} if own else {})


def several(kind: str, folder: Path) -> None:
    """Optimizers, distributed tensors and what is each process's own, together in structures."""
    folder = folder.parent / f"{kind}-several"
    one, other, parts = adversaries(kind)
    rank = dist.get_rank()
    for _ in range(rank):  # each process's own
        parts["optimizers"]["all"][1]["loader"].next()
    with ma.Checkpoints(folder, process_group=True) as checkpoints:
        for step in (1, 2, 3):
            step_of_both(one, other, parts)
            checkpoints.save(step, model=one, **parts)
    expected = said(one, other, parts, own=True)
    assert expected["seen"] == rank + 30
    again = adversaries(kind)
    filled = {name: each for name, each in again[2]["means"]["of"].items()}  # noqa: C416
    with ma.Checkpoints(folder, process_group=True) as checkpoints:
        assert checkpoints.restore(model=again[0], **again[2]) == 3
    assert said(*again, own=True) == expected
    assert all(again[2]["means"]["of"][name] is each for name, each in filled.items())  # where they stood
    for nets in ((one, other, parts), again):
        step_of_both(*nets)
    assert said(*again, own=True) == said(one, other, parts, own=True)
    others = parts["optimizers"] | {"one": torch.optim.SGD(one.parameters())}
    with pytest.raises(ParameterError, match="the optimizer is SGD, the checkpoint has the state of AdamW"):
        checkpoints.restore(model=one, optimizers=others)


def several_elsewhere(kind: str, folder: Path) -> None:
    """On another number of processes, and by one without a group."""
    folder = folder.parent / f"{kind}-several"
    one, other, parts = adversaries(kind)
    with ma.Checkpoints(folder, process_group=True) as checkpoints:
        assert checkpoints.restore(model=one, **parts) == 3
    found = said(one, other, parts, own=False)
    with ma.open(folder / "step-00000003") as archive:
        archive.verify()
        assert archive.training["optimizers"]["one"]["class"] == "AdamW"
        means = {name.removeprefix("module."): each.tolist() for name, each in archive.training["means"]["of"].items()}
        assert {f"mean {name}": each for name, each in means.items()}.items() <= found.items()
        assert archive["0.weight"].tolist() == found["0 0.weight"]
    rank = dist.get_rank()
    is_new = rank >= (4 if kind == "both" else 2)
    assert parts["optimizers"]["seen"] == 30 + (0 if is_new else rank)  # its own, or the first one's


SCENARIOS = {
    each.__name__: each
    for each in (
        whole,
        killed,
        resumed,
        resharded,
        damaged,
        refused,
        apart,
        otherwise,
        unsent,
        several,
        several_elsewhere,
    )
}


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
