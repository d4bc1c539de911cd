"""Checkpoints of a run beside torch.save and torch.distributed.checkpoint: what training waits for, and the rest."""

from __future__ import annotations

import gc
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import modelarchive as ma
from tests.benchmarks.report import line

#: Layers of 1024 x 1024: with Adam's moments 12.6 MB each.
LAYERS: Final = {
    "runs": {"full": 33, "small": 8, "tiny": 1},
    "runs-large": {"full": 160, "small": 16, "tiny": 2},
}
#: (what, its peer): how many times as fast as the peer it shall be.
MARKS: Final = {
    ("save, until training goes on", "copy in memory"): 1 / 1.2,
    ("save, until training goes on", "torch.save"): 8.0,
    ("save, until training goes on", "dcp.async_save, until training goes on"): 2.5,
    ("save in place, fsync", "torch.save, fsync"): 2.5,
    ("save in place, fsync", "dcp.save, fsync"): 1.5,
    ("restore, digests compared", "torch.load"): 1.0,
    ("restore, digests compared", "dcp.load"): 0.9,
    ("save of a head, the rest frozen, fsync", "save in place, fsync"): 50.0,
}
Act = Callable[[], Callable[[], object] | None]


def runs(
    section: str, size_name: str, rounds: int, folder: Path, *, progress: Callable[[str], None] = lambda text: None
) -> tuple[int, dict[str, float], int]:
    """The bytes of the state, the median seconds of each operation, and the bytes that the save of a head wrote.

    Rounds are interleaved, the first one only warms. What goes on behind an operation ends outside of the clock.
    """
    import torch

    torch.set_num_threads(2)
    net, optimizer = _trained(torch, LAYERS[section][size_name])
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=folder) as own:
        warnings.simplefilter("ignore")
        acts, close = _operations(torch, net, optimizer, Path(own))
        times: dict[str, list[float]] = {name: [] for name in acts}
        for turn in range(rounds + 1):
            for name, act in acts.items():
                progress(f"runs, round {turn}: {name}")
                os.sync()
                gc.disable()
                began = time.perf_counter()
                behind = act()
                seconds = time.perf_counter() - began
                gc.enable()
                if behind is not None:
                    behind()
                if turn:
                    times[name].append(seconds)
        written = close()
    state = [*net.state_dict().values(), *(v for each in optimizer.state.values() for v in each.values())]
    size = sum(each.numel() * each.element_size() for each in state)
    return size, {name: statistics.median(each) for name, each in times.items()}, written


def _trained(torch: Any, layers: int) -> tuple[Any, Any]:
    net = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(layers)))
    optimizer = torch.optim.Adam(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return net, optimizer


def _operations(torch: Any, net: Any, optimizer: Any, folder: Path) -> tuple[dict[str, Act], Callable[[], int]]:
    import torch.distributed.checkpoint as dcp

    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    tensors = [*net.state_dict().values(), *(v for each in optimizer.state.values() for v in each.values())]
    copies = [torch.empty_like(each) for each in tensors]
    behind = ma.Checkpoints(folder / "behind", keep=1)
    place = ma.Checkpoints(folder / "place", keep=1, asynchronous=False)
    head = ma.Checkpoints(folder / "head", keep=2, asynchronous=False, incremental=True)
    said = ma.Checkpoints(folder / "said", keep=2, asynchronous=False, incremental=True, frozen="backbone.*")
    frozen = {"backbone": {str(at): each for at, each in enumerate(tensors)}, "head": {"w": torch.zeros(512, 512)}}
    head_bytes = bytes(frozen["head"]["w"].nbytes)
    steps = {"at": 0}

    def state() -> dict[str, Any]:
        return {"model": net.state_dict(), "optimizer": optimizer.state_dict()}

    def step() -> int:
        steps["at"] += 1
        return steps["at"]

    def copy() -> None:
        for one, other in zip(copies, tensors, strict=True):
            one.copy_(other)

    def pickled(*, durable: bool) -> None:
        with (folder / "state.pt").open("wb") as file:
            torch.save(state(), file)
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def of_dcp() -> None:
        shutil.rmtree(folder / "dcp", ignore_errors=True)
        writer = dcp.FileSystemWriter(folder / "dcp", thread_count=2, sync_files=True)
        dcp.save(state(), storage_writer=writer)

    def of_dcp_behind() -> Callable[[], object]:
        future = dcp.async_save(state(), checkpoint_id=str(folder / "dcp-behind"))
        return future.result

    def of_head(run: ma.Checkpoints) -> None:
        frozen["head"]["w"] += 1
        run.save(step(), model=frozen)

    def of_bytes() -> None:
        with (folder / "bytes").open("wb", buffering=0) as file:
            for each in tensors:
                file.write(each.detach().numpy())
            os.fsync(file.fileno())

    def of_least() -> None:
        with (folder / "least.tmp").open("wb") as file:
            file.write(head_bytes)
            file.flush()
            os.fsync(file.fileno())
        (folder / "least.tmp").replace(folder / "least")
        opened = os.open(folder, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)

    def saved_behind() -> Callable[[], object]:
        return behind.save(step(), model=net, optimizer=optimizer).result

    def close() -> int:
        newest = head.path(head.steps()[-1])
        for run in (behind, place, head, said):
            run.close()
        torch.distributed.destroy_process_group()
        return sum(each.stat().st_size for each in newest.iterdir() if each.stat().st_nlink == 1)

    return {
        "copy in memory": copy,
        "save, until training goes on": saved_behind,
        "torch.save": lambda: pickled(durable=False),
        "dcp.async_save, until training goes on": of_dcp_behind,
        "save in place, fsync": lambda: _nothing(place.save(step(), model=net, optimizer=optimizer)),
        "torch.save, fsync": lambda: pickled(durable=True),
        "dcp.save, fsync": of_dcp,
        "the same bytes in a file, fsync": of_bytes,
        "restore, digests compared": lambda: _nothing(place.restore(model=net, optimizer=optimizer)),
        "torch.load": lambda: _nothing(torch.load(folder / "state.pt")),
        "dcp.load": lambda: dcp.load(state(), checkpoint_id=str(folder / "dcp")),
        "save of a head, all else compared, fsync": lambda: of_head(head),
        "save of a head, the rest frozen, fsync": lambda: of_head(said),
        "a file of 1 MB written, fsync, renamed, fsync of its folder": of_least,
    }, close


def _nothing(_: object) -> None:
    return None


def table(size: int, times: dict[str, float], written: int) -> str:
    """Milliseconds, and the marks."""
    lines = [line(["operation", "milliseconds", "marks"]), line(["---"] * 3)]
    for name, seconds in times.items():
        said = []
        for (ours, peer), least in MARKS.items():
            if ours == name:
                ratio = times[peer] / seconds
                met = "met" if ratio >= least else "missed"
                said.append(f"{ratio:.2f} times as fast as {peer} ({least:.2g}: {met})")
        lines.append(line([f"**{name}**" if said else name, f"{seconds * 1000:,.1f}", "; ".join(said)]))
    title = f"### Checkpoints of a run: a network and Adam's moments, {size / 1e6:,.0f} MB"
    about = f"A frozen backbone of that size and a head of 1 MB, `incremental=True`: {written:,} bytes written."
    return "\n".join([title, "", *lines, "", about])
