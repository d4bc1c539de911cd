"""What several processes do together: ``python -m tests.exchange.torch.ranks FOLDER SCENARIO:PROCESSES ...``."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from modelarchive.exchange.torch.distributed import ArchiveReader, ArchiveWriter

Scenario = Callable[[Path], None]
DTYPES = (torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.complex64, torch.bool)


def whole(name: str) -> torch.Tensor:
    """What every process knows the values of."""
    shapes = {"rows10": (10, 3), "rows5": (5, 7), "rows1": (1, 4), "vector": (13,), "number": (), "none": (0, 3)}
    kind, _, dtype = name.partition(".")
    shape = shapes[kind]
    generator = torch.Generator().manual_seed(len(name) + len(shape))
    bits = torch.randint(-100, 100, shape or (1,), generator=generator).reshape(shape)
    return bits.to(getattr(torch, dtype or "float32"))


def placed(name: str, placement: Any, mesh: Any) -> Any:
    tensor = whole(name)
    if tensor.dtype in (torch.float8_e4m3fn,):  # which gloo does not move: its bytes are
        return DTensor.from_local(
            distribute_tensor(tensor.view(torch.uint8), mesh, [placement]).to_local().view(tensor.dtype),
            mesh,
            [placement],
            run_check=False,
            shape=tensor.shape,
            stride=tensor.stride(),
        )
    return distribute_tensor(tensor, mesh, [placement])


NAMES = [
    *[f"{kind}.{str(dtype).partition('.')[2]}" for kind in ("rows10", "rows5") for dtype in DTYPES],
    "rows1",
    "vector",
]


def state(mesh: Any, *, filled: bool) -> dict[str, Any]:
    """Tensors in every sharding, and values."""
    made: dict[str, Any] = {"sharded": {name: placed(name, Shard(0), mesh) for name in NAMES}}
    made["columns"] = {name: placed(name, Shard(1), mesh) for name in ("rows10.float32", "rows5.bfloat16")}
    made["replicated"] = {
        "rows10": placed("rows10", Replicate(), mesh),
        "number": whole("number"),
        "none": whole("none"),
    }
    made["odd name/x"] = whole("vector")
    made["plain"] = {"step": 7, "text": "a", "nothing": None, "list": [1, 2.5, (3, "b")], "key": {"1": True}}
    if not filled:
        for part in ("sharded", "columns", "replicated"):
            for value in made[part].values():
                local = value.to_local() if isinstance(value, DTensor) else value
                (local.view(torch.uint8) if local.numel() and local.dim() else local).zero_()
        made["odd name/x"].zero_()
        made["plain"] = {"step": 0, "text": "", "nothing": 1, "list": [0, 0, (0, "")], "key": {"1": None}}
    return made


def compare(found: dict[str, Any], expected: dict[str, Any], where: str = "") -> None:
    for name, value in expected.items():
        place, other = f"{where}/{name}", found[name]
        if isinstance(value, dict):
            compare(other, value, place)
        elif isinstance(value, torch.Tensor):
            one, two = (each.to_local() if isinstance(each, DTensor) else each for each in (value, other))
            assert one.dtype == two.dtype, place
            assert one.shape == two.shape, place
            assert one.contiguous().view(-1).tolist() == two.contiguous().view(-1).tolist(), place
        else:
            assert value == other, f"{place}: {value!r}, {other!r}"
            assert type(value) is type(other), place


def mesh_of() -> Any:
    return init_device_mesh("cpu", (dist.get_world_size(),))


def save(folder: Path) -> None:
    dcp.save(state(mesh_of(), filled=True), storage_writer=ArchiveWriter(folder))


def load(folder: Path) -> None:
    for verify in (True, False):
        found = state(mesh_of(), filled=False)
        dcp.load(found, storage_reader=ArchiveReader(folder, verify=verify))
        compare(found, state(mesh_of(), filled=True))


def theirs_reads_ours(folder: Path) -> None:
    tensors = {"sharded": state(mesh_of(), filled=True)["sharded"]}
    for name in list(tensors["sharded"]):
        if "float8" in name or "complex" in name:  # of which PyTorch's own reader knows nothing
            del tensors["sharded"][name]
    dcp.save({**tensors, "step": 3}, storage_writer=ArchiveWriter(folder))
    found = {"sharded": {name: state(mesh_of(), filled=False)["sharded"][name] for name in tensors["sharded"]}}
    dcp.load(found, storage_reader=HuggingFaceStorageReader(str(folder)))
    compare(found, tensors)


def ours_reads_theirs(folder: Path) -> None:
    names = ("rows10.float32", "rows10.bfloat16", "vector", "rows5.int64")
    mesh = mesh_of()
    tensors = {name: placed(name, Shard(0), mesh) for name in names}
    dcp.save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    found = {name: distribute_tensor(torch.zeros_like(whole(name)), mesh, [Shard(0)]) for name in names}
    dcp.load(found, storage_reader=ArchiveReader(folder))
    compare(found, tensors)


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 10), torch.nn.ReLU(), torch.nn.Linear(10, 5))


def trained(steps: int) -> tuple[Any, Any]:
    net = network()
    for layer in net:
        if isinstance(layer, torch.nn.Linear):
            fully_shard(layer, mesh=mesh_of())
    fully_shard(net, mesh=mesh_of())
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for step in range(steps):
        net(torch.full((4, 3), float(step + 1))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, optimizer


def fsdp(folder: Path) -> None:
    """FSDP2, rows that divide unevenly, moments too; PyTorch's own planning."""
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    net, optimizer = trained(3)
    model, moments = get_state_dict(net, optimizer)
    dcp.save({"model": model, "optim": moments}, storage_writer=ArchiveWriter(folder))
    other, fresh = trained(1)
    found = dict(zip(("model", "optim"), get_state_dict(other, fresh), strict=True))
    dcp.load(found, storage_reader=ArchiveReader(folder))
    set_state_dict(other, fresh, model_state_dict=found["model"], optim_state_dict=found["optim"])
    compare(dict(other.state_dict()), dict(net.state_dict()))
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        compare(fresh.state[two], optimizer.state[one])


def damaged(folder: Path) -> None:
    """Every process hears of it."""
    dcp.save({"w": placed("rows10", Shard(0), mesh_of())}, storage_writer=ArchiveWriter(folder))
    dist.barrier()
    if dist.get_rank() == 0:
        path = sorted(folder.glob("*.safetensors"))[-1]
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    dist.barrier()
    found = {"w": placed("rows10", Shard(0), mesh_of())}
    with pytest.raises(CheckpointException, match="damaged part"):  # which is no Exception
        dcp.load(found, storage_reader=ArchiveReader(folder))


def died(folder: Path) -> None:
    """One process ends while it writes: there is no checkpoint, and the next one cleans up."""

    class Dying(ArchiveWriter):
        def write_data(self, plan: Any, planner: Any) -> Any:
            done = super().write_data(plan, planner)
            if dist.get_rank() == dist.get_world_size() - 1:
                raise OSError(28, "No space left on device")
            return done

    tensors = {"w": placed("rows10", Shard(0), mesh_of())}
    with pytest.raises(CheckpointException, match="No space left"):
        dcp.save(tensors, storage_writer=Dying(folder))
    assert not folder.exists()
    dist.barrier()
    dcp.save(tensors, storage_writer=ArchiveWriter(folder))
    assert folder.exists()
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


SCENARIOS: dict[str, Scenario] = {
    each.__name__: each for each in (save, load, theirs_reads_ours, ours_reads_theirs, fsdp, damaged, died)
}


def together(act: Scenario, processes: int, folder: Path) -> int:
    """Run it in so many processes; how many of them failed."""
    with tempfile.TemporaryDirectory() as meeting:
        children = []
        for rank in range(processes):
            child = os.fork()
            if not child:
                os._exit(_one(act, rank, processes, folder, f"file://{meeting}/store"))
            children.append(child)
        return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def _one(act: Scenario, rank: int, processes: int, folder: Path, meeting: str) -> int:
    try:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
        act(folder)
        dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[2:]:
        scenario, _, count = wanted.partition(":")
        place = Path(sys.argv[1]) / ("saved" if scenario in ("save", "load") else f"{scenario}-{count}")
        if failed := together(SCENARIOS[scenario], int(count), place):
            sys.exit(f"{wanted}: {failed} of the processes failed")
        print(wanted, flush=True)
