"""What checks architectures, timed with whatever modelarchive is imported: a question a line, an answer a line.

Started by :mod:`tests.benchmarks.checked` for each of two checkouts, so it uses the public interface alone, and nothing
else of the tests.
"""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

import modelarchive as ma
from modelarchive import nn, zoo
from modelarchive.cli import main as command

#: A network, an example of its input, and the path of the part that is built.
Made = tuple[nn.Block, Any, str]
IMAGE = np.zeros((1, 3, 64, 64), np.float32)


def _densenet(**options: Any) -> Made:
    return zoo.DenseNet(**options), IMAGE, "features.denseblock1"


def _resnet(make: Callable[[], nn.Block]) -> Made:
    return make(), IMAGE, "layer1"


def _encoder(layers: int, units: int) -> Made:
    net = zoo.TransformerEncoder(layers, units, heads=4, hidden_units=4 * units)
    return net, np.zeros((1, 16, units), np.float32), "layers.0"


def _row(blocks: int) -> Made:
    net = nn.Sequential(*(nn.Dense(4, in_units=4) for _ in range(blocks)))
    return net, np.zeros((1, 4), np.float32), str(blocks // 2)


def _words(count: int) -> Made:
    net = nn.Sequential(nn.Embedding(count, 512), nn.Dense(512, in_units=512, flatten=False))
    return net, np.zeros((1, 8), np.int64), "0"


#: Seconds of processor time that a process takes to load a module, when PyTorch is there already.
_TORCH = """
import gc, sys, time, torch
import modelarchive as ma
gc.disable()  # of the objects that importing PyTorch has made, one collection takes as long as all the rest
start = time.process_time()
kept = ma.load_model(sys.argv[1], backend="torch")
print(time.process_time() - start)
"""

#: Network -> what makes it.
NETWORKS: dict[str, Callable[[], Made]] = {
    "DenseNet-121": partial(_densenet, layers=(6, 12, 24, 16)),
    "ResNet-50": partial(_resnet, zoo.resnet50),
    "encoder of 12 layers": partial(_encoder, 12, 128),
    "row of 1,000": partial(_row, 1_000),
    "row of 10,000": partial(_row, 10_000),
    "words": partial(_words, 50_000),
    "few words": partial(_words, 10),
    "tiny DenseNet": partial(_densenet, layers=(1, 1), growth=2, channels=4, classes=3),
    "row of 20": partial(_row, 20),
}


class Worker:
    """One network at a time, or a dict of arrays, and its files in a folder.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.archive, self.onnx, self.out = folder / "net.h5", folder / "net.onnx", folder / "out.h5"

    def network(self, name: str) -> None:
        """Make a network and its files."""
        if name.endswith("arrays"):
            count = int(name.split()[0].replace(",", ""))
            self.arrays = {f"layer{at}.weight": np.full(64, at, np.float32) for at in range(count)}
            ma.save(self.archive, self.arrays, durable=False)
            return
        self.net, self.example, self.path = NETWORKS[name]()
        self.net.initialize(seed=0)
        self.net(self.example)
        ma.save_model(self.archive, self.net, inputs=self.example, durable=False)
        if "row" not in name and "words" not in name:
            ma.convert(self.archive, self.onnx, durable=False)
        self.opened = ma.open(self.archive)
        self.opened.build(self.path)

    def timed(self, operation: str) -> float:
        """Seconds of processor time, of all threads, for one operation."""
        if operation == "torch":
            run = [sys.executable, "-S", "-P", "-c", _TORCH, str(self.archive)]
            # Without what would have every process compile the same source again.
            kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            return float(subprocess.run(run, env=kept, check=True, stdout=subprocess.PIPE, text=True).stdout)
        call = getattr(self, operation)
        gc.collect()
        gc.disable()
        start = time.process_time()
        kept = call()
        seconds = time.process_time() - start
        gc.enable()
        del kept
        return seconds

    def part(self) -> Any:
        """Open an archive, and build a part of it."""
        with ma.open(self.archive) as archive:
            return archive.build(self.path)

    def another(self) -> Any:
        """Build a part of an archive of which one was built before."""
        return self.opened.build(self.path)

    def verify(self) -> Any:
        """Verify an archive."""
        with ma.open(self.archive) as archive:
            return archive.verify()

    def convert(self) -> Any:
        """From an ONNX file to an archive."""
        return ma.convert(self.onnx, self.out, durable=False)

    def save(self) -> Any:
        """Save a whole model."""
        return ma.save_model(self.out, self.net, inputs=self.example, durable=False)

    def load(self) -> Any:
        """Build a whole model."""
        return ma.load_model(self.archive)

    def show(self) -> Any:
        """Print what is in an archive."""
        return _commanded("show", self.archive)

    def transplant(self) -> Any:
        """Write an archive with the parameters of another, all of them frozen."""
        return _commanded("transplant", self.archive, self.archive, "-o", self.out, "--freeze")

    def repack(self) -> Any:
        """Write an archive in another dtype."""
        return _commanded("repack", self.archive, "-o", self.out, "--dtype", "float16")

    def save_arrays(self) -> Any:
        """Save arrays in a new file."""
        self.out.unlink(missing_ok=True)
        return ma.save(self.out, self.arrays, durable=False)

    def load_verified(self) -> Any:
        """Load arrays, each compared with its digest."""
        return ma.load(self.archive, verify=True)

    def mapped(self) -> Any:
        """Views of all arrays."""
        return ma.load(self.archive, mmap=True)

    def one(self) -> Any:
        """Open an archive, and read one array."""
        with ma.open(self.archive) as archive:
            return archive.load(next(iter(self.arrays)))

    def digests(self) -> Any:
        """Read all bytes of the archive and hash them, which is no matter of architectures."""
        return blake3(self.archive.read_bytes()).digest()


def _commanded(*arguments: object) -> str:
    """What a command prints."""
    said = io.StringIO()
    with redirect_stdout(said):
        if command([str(each) for each in arguments]):
            raise RuntimeError(f"{arguments[0]} failed")
    return said.getvalue()


def main() -> None:
    """Answer until there are no more questions."""
    worker = Worker(Path(sys.argv[1]))
    for line in sys.stdin:
        verb, _, what = line.strip().partition(" ")
        if verb == "network":
            worker.network(what)
            print(Path(ma.__file__).parents[1], flush=True)
        else:
            print(worker.timed(what), flush=True)


if __name__ == "__main__":
    main()
