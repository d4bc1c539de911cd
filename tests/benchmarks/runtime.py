"""What ONNX costs here beside its own programs: ``python -m tests.benchmarks.runtime [--write]``.

Calls of two networks with ``backend="onnxruntime"`` and in ONNX Runtime itself; ``modelarchive run --backend
onnxruntime`` and a script of ONNX Runtime, as processes; ``convert`` of a file of 54 MB, and ``onnx.load`` of it.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

import modelarchive as ma
from modelarchive import nn, zoo
from tests import ROOT
from tests.benchmarks import report

DOCUMENT: Final = ROOT / "docs" / "exchange" / "onnxruntime.md"
_TABLE: Final = re.compile(r"(<!-- runtime -->\n).*?(<!-- end -->)", re.DOTALL)
#: A process that loads a file of ONNX and runs it.
SCRIPT: Final = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = [each.name for each in session.get_inputs()]
session.run(None, dict(zip(names, map(numpy.load, sys.argv[2:]))))
"""
#: Starts a process, and prints what it took: the peak of a child is at least what its parent has when it forks.
MEASURE: Final = """
import os, subprocess, sys
started = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(started.pid, 0)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
LOAD: Final = "import sys, onnx; onnx.load(sys.argv[1])"
CONVERT: Final = "import sys, modelarchive; modelarchive.convert(sys.argv[1], sys.argv[2], durable=False)"


def networks(*, small: bool) -> dict[str, tuple[nn.Block, list[np.ndarray]]]:
    """Name -> the network with random parameters, and its inputs."""
    rng = np.random.default_rng(0)
    size, length = (33, 8) if small else (224, 128)
    pictures = rng.standard_normal((1, 3, size, size), np.float32)
    words = rng.integers(0, 50, (1, length))
    width = (50, 24, 2, 4, 40, 16) if small else (30522, 384, 6, 12, 1536, 512)
    found: dict[str, tuple[nn.Block, list[np.ndarray]]] = {
        "ResNet-18, a picture": (zoo.resnet18(), [pictures]),
        "BERT of 6 layers, 128 words": (zoo.BERT(*width), [words, np.ones_like(words)]),
    }
    for net, inputs in found.values():
        net.initialize("xavier", seed=0)
        net(*inputs)
    return found


def seconds(functions: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """The least time of each, which take turns; the first round warms up."""
    least = [float("inf")] * len(functions)
    for place in range(rounds + 1):
        for number, function in enumerate(functions):
            gc.collect()
            start = time.perf_counter()
            function()
            took = time.perf_counter() - start
            least[number] = min(least[number], took) if place else least[number]
    return least


def process(*command: object, cache: Path) -> tuple[float, float]:
    """Seconds of processor time and the peak of memory in MB of a process; modules are compiled, as installed ones."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", MEASURE, sys.executable, *map(str, command)],
        env=environment | {"PYTHONPYCACHEPREFIX": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    took, memory = map(float, done.stdout.split()[-2:])
    return took, memory / 1024


def processes(commands: Sequence[Sequence[object]], rounds: int, cache: Path) -> list[tuple[float, float]]:
    """The least time and memory of each, which take turns; the first round compiles."""
    found = [[process(*command, cache=cache) for command in commands] for _ in range(rounds + 1)][1:]
    return [(min(each[0] for each in row), min(each[1] for each in row)) for row in zip(*found, strict=True)]


def measured(folder: Path, rounds: int, *, small: bool) -> list[list[str]]:
    """The rows of the table.

    Raises:
        ValueError: Outputs differ.
    """
    rows = []
    for name, (net, inputs) in networks(small=small).items():
        archive, file = folder / "net.h5", folder / "net.onnx"
        ma.save_model(archive, net, inputs=tuple(inputs), durable=False)
        ma.convert(archive, file, durable=False)
        ours, theirs = seconds(_calls(archive, file, inputs), rounds)
        rows.append([f"{name}: a call", f"{ours * 1e3:.2f} ms", f"{theirs * 1e3:.2f} ms", f"{ours / theirs:.2f}"])
        arrays = [folder / f"{at}.npy" for at in range(len(inputs))]
        for path, array in zip(arrays, inputs, strict=True):
            np.save(path, array)
        given = [part for path in arrays for part in ("--input", path)]
        run = ["-m", "modelarchive", "run", archive, "--backend", "onnxruntime", *given]
        rows.append(_row(f"{name}: a process", processes([run, ["-c", SCRIPT, file, *arrays]], rounds, folder / "pyc")))
    rows.append(_converted(folder, rounds, width=100 if small else 1500))
    return rows


def _calls(archive: Path, file: Path, inputs: list[np.ndarray]) -> list[Callable[[], Any]]:
    """A call here and one of ONNX Runtime itself; of one thread, for those of one would wait for those of the other."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    network = ma.load_model(archive, backend="onnxruntime", threads=1)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    given = dict(zip([each.name for each in session.get_inputs()], inputs, strict=True))
    found, wanted = network(*inputs), session.run(None, given)
    for one, other in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        if not np.allclose(one, other, atol=1e-5):
            raise ValueError(f"{archive}: the outputs differ")
    return [lambda: network(*inputs), lambda: session.run(None, given)]


def _converted(folder: Path, rounds: int, width: int) -> list[str]:
    net = nn.Sequential(*(nn.Dense(width) for _ in range(6)))
    x = np.ones((1, width), np.float32)
    net.initialize("xavier", seed=0)
    net(x)
    archive, file = folder / "dense.h5", folder / "dense.onnx"
    ma.save_model(archive, net, inputs=x, durable=False)
    ma.convert(archive, file, durable=False)
    commands = [["-c", CONVERT, file, archive], ["-c", LOAD, file]]
    what = f"`convert` of {file.stat().st_size / 1e6:.0f} MB beside `onnx.load`"
    return _row(what, processes(commands, rounds, folder / "pyc"))


def _row(what: str, found: list[tuple[float, float]]) -> list[str]:
    cells = [f"{took:.2f} s, {memory:.0f} MB" for took, memory in found]
    (ours, _), (theirs, _) = found
    return [what, *cells, f"{ours / theirs:.2f}"]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.runtime", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--small", action="store_true", help="with small networks, to try the command")
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCUMENT.relative_to(ROOT)}")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), chosen.rounds, small=chosen.small)
    head = ["", "here", "their own program", "ours / theirs"]
    table = "\n".join(map(report.line, [head, ["---"] * 4, *rows]))
    print(table)
    if chosen.write:
        text = DOCUMENT.read_text("utf-8")
        DOCUMENT.write_text(_TABLE.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
