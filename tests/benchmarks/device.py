"""Gigabytes a second from a file onto a device, beside the loaders of servers: ``python -m tests.benchmarks.device``.

Each load is a process of its own, so that nobody finds another one's buffers; what is timed begins when the library
has loaded a small file and the device is awake, and ends when every tensor is there. Before a cold load the file is
taken out of the system's cache. Every process compares what it has loaded with sums taken when the file was written.

With ``--device cpu`` the command itself is tried: this package takes its way to a device then, with the CPU for one;
safetensors maps the file, and reads nothing within the time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

#: Size -> (bytes of all arrays, rounds).
SIZES: Final = {"small": (64 << 20, 2), "full": (8 << 30, 5)}
#: Arrays as a language model has them: bytes of each, again and again, and small ones between.
_SHAPES: Final = ((4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), (14336, 4096), (4096,), (4096,))
#: Seconds that one load may take.
_LIMIT: Final = 120


def _modelarchive(path: str, device: str) -> Any:
    import modelarchive

    return lambda: modelarchive.load(path, backend="torch", device=device)


def _modelarchive_verified(path: str, device: str) -> Any:
    import modelarchive

    return lambda: modelarchive.load(path, backend="torch", device=device, verify=True)


def _safetensors(path: str, device: str) -> Any:
    from safetensors.torch import load_file

    return lambda: load_file(path, device=device)


def _fastsafetensors(path: str, device: str) -> Any:
    from fastsafetensors import SafeTensorsFileLoader

    def load() -> Any:
        loader = SafeTensorsFileLoader(None, device, nogds=True)
        loader.add_filenames({0: [path]})
        buffers = loader.copy_files_to_device()
        return {name: buffers.get_tensor(name) for name in loader.get_keys()}

    return load


def _runai(path: str, device: str) -> Any:
    from runai_model_streamer import SafetensorsStreamer

    def load() -> Any:
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            return {name: tensor.to(device, copy=True) for name, tensor in streamer.get_tensors()}

    return load


def _instanttensor(path: str, device: str) -> Any:
    from instanttensor import safe_open

    def load() -> Any:
        with safe_open(path, framework="pt", device=device) as file:
            return dict(file.tensors())

    return load


LOADERS: Final[Mapping[str, tuple[str, Callable[[str, str], Any]]]] = {
    "modelarchive, every digest compared": ("modelarchive", _modelarchive_verified),
    "modelarchive": ("modelarchive", _modelarchive),
    "safetensors": ("safetensors", _safetensors),
    "fastsafetensors": ("fastsafetensors", _fastsafetensors),
    "runai-model-streamer": ("runai_model_streamer", _runai),
    "InstantTensor": ("instanttensor", _instanttensor),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.device", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, help="instead of the size's own number")
    parser.add_argument("--only", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--minutes", type=float, default=8, help="begin no further round after so many")
    parser.add_argument("--folder", type=Path, help="where the file is written (default: the temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time measured")
    parser.add_argument("--one", nargs=2, metavar=("LOADER", "FILE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.one:
        print(json.dumps(_once(chosen.one[0], Path(chosen.one[1]), chosen.device)))
        return 0
    nbytes, rounds = SIZES[chosen.size]
    begun = time.monotonic()
    record: dict[str, dict[str, list[float]]] = {}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(folder) / "model.safetensors"
        total = write(path, nbytes)
        for at in range(chosen.rounds or rounds):
            if at and time.monotonic() - begun > 60 * chosen.minutes:
                break
            for state in ("warm", "cold"):
                for name in chosen.only:
                    if name in reasons:
                        continue
                    _prepare(path, state)
                    try:
                        seconds = _measured(name, path, chosen.device)
                    except RuntimeError as error:
                        reasons[name] = str(error)
                        continue
                    record.setdefault(name, {}).setdefault(state, []).append(total / seconds / 1e9)
    print(table(record, reasons, total, chosen.device))
    if chosen.json:
        chosen.json.write_text(json.dumps({"bytes": total, "gigabytes_a_second": record, "left_out": reasons}) + "\n")
    return 0


def write(path: Path, nbytes: int) -> int:
    """Write an archive of arrays of bfloat16's size, and their sums beside it; the bytes of all arrays."""
    import modelarchive

    rng = np.random.default_rng(0)
    # The same numbers again and again under other names: to make them takes longer than to read them.
    pool = rng.integers(0, 1 << 16, 14336 * 4096 + 4096, dtype=np.uint16)
    arrays: dict[str, np.ndarray] = {}
    total = 0
    while total < nbytes:
        at = len(arrays)
        shape = _SHAPES[at % len(_SHAPES)]
        start = at % 4096
        array = pool[start : start + int(np.prod(shape))].reshape(shape)
        if array.nbytes > nbytes:
            array = array[: max(1, nbytes // array[0].nbytes)]
        arrays[f"layers.{at}"] = array.view(np.int16)
        total += array.nbytes
    modelarchive.save(path, arrays, durable=False)
    modelarchive.save(path.with_name("small.safetensors"), {"x": pool[:4096].view(np.int16)}, durable=False)
    sums = {name: int(array.astype(np.int64).sum()) for name, array in arrays.items()}
    path.with_suffix(".json").write_text(json.dumps(sums))
    return total


def _prepare(path: Path, state: str) -> None:
    """Put the file into the system's cache, or take it out."""
    with path.open("rb") as file:
        if state == "cold":
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return
        while file.read(64 << 20):
            pass


def _measured(name: str, path: Path, device: str) -> float:
    """Seconds of one load in a process of its own.

    Raises:
        RuntimeError: It cannot; says why, in a line.
    """
    command = [sys.executable, "-m", "tests.benchmarks.device", "--device", device, "--one", name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no word"])[-1])
    found: float = json.loads(done.stdout.splitlines()[-1])
    return found


def _once(name: str, path: Path, device: str) -> float:
    """Load once; the seconds."""
    import torch

    module, loader = LOADERS[name]
    try:
        load = loader(str(path), device)
    except ModuleNotFoundError:
        raise SystemExit(f"{module} is not installed") from None
    is_cuda = torch.device(device).type == "cuda"
    if device == "cpu":
        from modelarchive.exchange.torch import devices

        devices.is_elsewhere = lambda device: True
    loader(str(path.with_name("small.safetensors")), device)()
    torch.ones(1, device=device).sum().item()  # the device is awake
    start = time.perf_counter()
    tensors = load()
    if is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    for key, expected in json.loads(path.with_suffix(".json").read_text()).items():
        found = tensors[key]
        if found.device.type != torch.device(device).type or int(found.sum(dtype=torch.int64)) != expected:
            raise SystemExit(f"{name} loaded {key} wrong")
    return seconds


def table(record: Mapping[str, Mapping[str, list[float]]], reasons: Mapping[str, str], total: int, device: str) -> str:
    """Medians as a table, in comparison with safetensors."""
    lines = [
        f"{total / 1e9:.2f} GB onto {device}, GB/s, medians",
        "",
        "| loader | warm | cold | of safetensors, warm | cold |",
        "|---|---|---|---|---|",
    ]
    medians = {name: {state: statistics.median(each[state]) for state in each} for name, each in record.items()}
    peer = medians.get("safetensors", {})
    for name, found in medians.items():
        times = [f"{found[state] / peer[state]:.2f}" if state in peer else "" for state in ("warm", "cold")]
        lines.append(f"| {name} | {found['warm']:.2f} | {found.get('cold', 0):.2f} | {times[0]} | {times[1]} |")
    return "\n".join([*lines, "", *(f"{name} was left out: {reason}" for name, reason in reasons.items())])


if __name__ == "__main__":
    raise SystemExit(main())
