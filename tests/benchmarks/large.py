"""Models larger than memory: what each operation takes in a process that may not have more than 1 GB."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.processes import PEAK, ROOT

#: All of the address space that a process may have: code, threads, maps of files. Bytes.
LIMIT: Final = 1 << 30
#: The same at the size of a test, where the model is smaller: so much beyond what the imports take.
ROOM: Final = 128 << 20
#: Size -> (layers, inputs and outputs of a layer, arrays of the model of many arrays).
SIZES: Final[dict[str, tuple[int, int, int]]] = {
    "tiny": (12, 2048, 300),
    "small": (80, 2048, 10_000),
    "full": (128, 4096, 100_000),
}

#: What every process begins with: the limit, the model's architecture, and arrays that can be made again.
START: Final = """
import resource, time
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
import numpy as np
import modelarchive as ma
from modelarchive import maintenance, nn
from modelarchive.models import transplant_file
if not limit:
    limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

def architecture():
    net = nn.Sequential()
    for half in ("features", "head"):
        inner = nn.Sequential(*[nn.Dense(units, in_units=units, use_bias=False) for _ in range(layers // 2)])
        net.add(**{half: inner})
    return ma.describe(net, [{"name": "x", "shape": [None, units], "dtype": "float32"}])

def rows(name, start, stop):
    seed = [int(part) if part.isdigit() else len(part) for part in name.split(".")]
    return np.random.default_rng([*seed, start]).random((stop - start, units), np.float32)

def parts(names):
    step = max(1, units // 16)
    for name in names:
        for start in range(0, units, step):
            yield name, rows(name, start, start + step)

def same(found, name):
    step = max(1, units // 16)
    return all(np.array_equal(found[at : at + step], rows(name, at, at + step)) for at in range(0, units, step))

NAMES = [f"{half}.{number}.weight" for half in ("features", "head") for number in range(layers // 2)]
LAST = NAMES[-1]
start = time.perf_counter()
"""

#: Operation -> (code, the file it leaves, which is removed behind it).
CODE: Final[dict[str, tuple[str, str]]] = {
    "save, streamed": ("ma.save_stream(folder + '/model.h5', parts(NAMES), architecture=architecture())", ""),
    "open, read the last array": (
        "with ma.open(folder + '/model.h5') as archive:\n"
        "    found = archive.load(LAST)[LAST]\n"
        "assert same(found, LAST)",
        "",
    ),
    "rebuild one block": (
        "net = ma.load_model(folder + '/model.h5', block='head.0')\nassert same(net.weight.data(), 'head.0.weight')",
        "",
    ),
    "verify": ("with ma.open(folder + '/model.h5') as archive: archive.verify()", ""),
    "extract the second half": ("maintenance.extract(folder + '/model.h5', 'head', folder + '/head.h5')", ""),
    "transplant it over the first half": (
        "report = transplant_file(folder + '/head.h5', folder + '/model.h5', folder + '/new.h5',\n"
        "                         rename={'*': 'features.*'})\n"
        "assert len(report.copied) == layers // 2\n"
        "with ma.open(folder + '/new.h5') as archive:\n"
        "    assert same(archive.load('features.0.weight')['features.0.weight'], 'head.0.weight')",
        "new.h5",
    ),
    "repack": ("maintenance.repack(folder + '/model.h5', __import__('pathlib').Path(folder + '/packed.h5'))", ""),
    "verify what was repacked": ("with ma.open(folder + '/packed.h5') as archive: archive.verify()", "packed.h5"),
}

#: The same for a model of many small arrays, in one file of so many.
MANY: Final[dict[str, tuple[str, str]]] = {
    "save, streamed": (
        "ma.save_stream(folder + '/many.h5', ((name, np.full(64, at, np.float32)) for at, name in enumerate(names)),\n"
        "               announced={name: ((64,), 'float32') for name in names})",
        "",
    ),
    "map": ("found = ma.load(folder + '/many.h5', mmap=True)\nassert len(found) == many", ""),
    "load": ("found = ma.load(folder + '/many.h5')\nassert found[names[-1]][0] == many - 1", ""),
    "verify": ("with ma.open(folder + '/many.h5') as archive: archive.verify()", ""),
    "extract a block": ("maintenance.extract(folder + '/many.h5', 'block1', folder + '/block.h5')", "block.h5"),
    "repack": (
        "maintenance.repack(folder + '/many.h5', __import__('pathlib').Path(folder + '/packed.h5'))",
        "packed.h5",
    ),
}
NAMES_OF_MANY: Final = "names = [f'block{at // 100}.parameter{at % 100}' for at in range(many)]\n"


@dataclass(frozen=True)
class Run:
    """One operation in a process of its own, which had no more than the limit.

    Attributes:
        model: Which model, in words.
        operation: What was done.
        seconds: How long it took, imports not counted.
        peak: The largest resident size of the process, bytes.
    """

    model: str
    operation: str
    seconds: float
    peak: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def runs(size_name: str, folder: Path, *, progress: Callable[[str], None] = lambda text: None) -> Iterator[Run]:
    """Every operation, on a model of large arrays and on one of many; the files are removed."""
    layers, units, many = SIZES[size_name]
    limit = 0 if size_name == "tiny" else LIMIT
    given = {"limit": limit, "room": ROOM, "layers": layers, "units": units, "many": many, "folder": str(folder)}
    large = f"{layers} arrays, {layers * units * units * 4 / 1e9:.2g} GB"
    for operation, (code, left) in CODE.items():
        progress(f"large: {operation}")
        yield _run(large, operation, code, given)
        if left:
            (folder / left).unlink()
    for name in ("model.h5", "head.h5"):
        (folder / name).unlink()
    for operation, (code, left) in MANY.items():
        progress(f"{many:,} arrays: {operation}")
        yield _run(f"{many:,} arrays, {many * 256 / 1e6:.2g} MB", operation, NAMES_OF_MANY + code, given)
        if left:
            (folder / left).unlink()
    (folder / "many.h5").unlink()


def table(found: list[Run]) -> str:
    """Seconds, and MiB of the whole process."""
    lines = [
        f"### Larger than memory: each process limited to {LIMIT >> 30} GB of address space",
        "",
        "| model | operation | seconds | peak, MiB |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {run.model} | {run.operation} | {run.seconds:.3g} | {run.peak / 2**20:,.0f} |" for run in found]
    return "\n".join(lines)


def _run(model: str, operation: str, code: str, given: dict[str, Any]) -> Run:
    settings = [f"{key} = {value!r}" for key, value in given.items()]
    script = "\n".join([PEAK, *settings, START, code, "print(time.perf_counter() - start, peak())"])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{model}: {operation} failed within {LIMIT:,} bytes:\n{done.stderr}")
    seconds, peak = done.stdout.split()
    return Run(model, operation, float(seconds), int(peak))
