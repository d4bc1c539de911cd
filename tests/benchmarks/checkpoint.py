"""A training checkpoint of PyTorch as arrays in memory, in whole processes: from the first import to the last byte."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.measure import OURS
from tests.benchmarks.processes import PEAK, ROOT
from tests.benchmarks.report import line

#: Channels of the first convolutions: at full size the file has 89 MB.
WIDTHS: Final = {"full": 64, "small": 64, "tiny": 8}
#: System -> what makes `arrays` of the file `path`.
CODE: Final = {
    OURS: "import warnings, modelarchive\nwarnings.simplefilter('ignore')\narrays = modelarchive.load(path)",
    "PyTorch, mapped": (
        "import torch\n"
        "loaded = torch.load(path, map_location='cpu', weights_only=True, mmap=True)\n"
        "arrays = {name: tensor.numpy().copy() for name, tensor in loaded['state_dict'].items()}"
    ),
    "PyTorch": (
        "import torch\n"
        "loaded = torch.load(path, map_location='cpu', weights_only=True)\n"
        "arrays = {name: tensor.numpy() for name, tensor in loaded['state_dict'].items()}"
    ),
}
#: How much faster modelarchive shall be than PyTorch's mapped way, and how many times less memory it shall take.
MARKS: Final = {"seconds": 2.0, "peak": 4.0}

_DIGEST: Final = """
import hashlib
said = [(name, str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        for name, array in arrays.items()]
print(hashlib.sha256(repr(said).encode()).hexdigest())
"""


@dataclass(frozen=True)
class Taken:
    """What one system took.

    Attributes:
        system: Its name.
        seconds: Of the process, the median.
        peak: The largest resident size that it reached, in bytes; the median.
    """

    system: str
    seconds: float
    peak: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def make(path: Path, size_name: str) -> None:
    """A residual network's parameters, and the moments that Adam keeps of them."""
    import torch

    def block(inside: int, outside: int) -> torch.nn.Module:
        layers = []
        for channels in (inside, outside):
            layers += [torch.nn.Conv2d(channels, outside, 3, bias=False), torch.nn.BatchNorm2d(outside)]
        return torch.nn.Sequential(*layers)

    width = WIDTHS[size_name]
    channels = [3, *[width] * 4, *[2 * width] * 4, *[4 * width] * 5]
    blocks = [block(*pair) for pair in itertools.pairwise(channels)]
    network = torch.nn.Sequential(*blocks, torch.nn.Linear(4 * width, 1680))
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    torch.save({"epoch": 3, "state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}, path)


def checkpoint(
    size_name: str, rounds: int, folder: Path, *, progress: Callable[[str], None] = lambda text: None
) -> tuple[int, list[Taken]]:
    """The bytes of the file, and what each system took; interleaved, the first round only warms the file cache.

    Raises:
        ValueError: Two systems gave other arrays.
    """
    path = folder / "checkpoint.pt"
    make(path, size_name)
    if len({_run(code + _DIGEST, path) for code in CODE.values()}) != 1:
        raise ValueError("the systems gave different arrays of the checkpoint")
    found: dict[str, list[tuple[float, int]]] = {system: [] for system in CODE}
    for turn in range(rounds + 1):
        for system, code in CODE.items():
            progress(f"checkpoint, round {turn}: {system}")
            start = time.perf_counter()
            peak = int(_run(f"{PEAK}{code}\nprint(peak())", path))
            found[system].append((time.perf_counter() - start, peak))
    size = path.stat().st_size
    path.unlink()
    taken = [
        Taken(system, *(statistics.median(each) for each in zip(*several[1:], strict=True)))
        for system, several in found.items()
    ]
    return size, taken


def _run(code: str, path: Path) -> str:
    script = f"path = {str(path)!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def table(size: int, taken: list[Taken]) -> str:
    """Seconds and MiB; in brackets the ratios to modelarchive."""
    ours, mapped = taken[0], taken[1]
    lines = [line(["process", *(each.system for each in taken), "mark"]), line(["---"] * (len(taken) + 2))]
    for what, unit, divisor in (("seconds", "seconds", 1.0), ("peak", "peak, MiB", 2**20)):
        values = [getattr(each, what) / divisor for each in taken]
        ratio = getattr(mapped, what) / getattr(ours, what)
        least = MARKS[what]
        said = f"{least:g} to {mapped.system}: {'met' if ratio >= least else f'missed, {ratio:.2f}'}"
        cells = [f"**{values[0]:.3g}**", *(f"{value:.3g} ({value / values[0]:.2f})" for value in values[1:])]
        lines.append(line([unit, *cells, said]))
    title = f"### A checkpoint of PyTorch, {size / 1e6:,.0f} MB, as arrays: whole processes"
    return "\n".join([title, "", *lines])
