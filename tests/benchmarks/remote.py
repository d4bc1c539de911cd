"""Archives behind a web server: what nginx counts while each operation runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import modelarchive as ma
from tests.benchmarks.processes import PEAK, ROOT
from tests.remote.nginx import Nginx, serving
from tests.remote.sparse import BLOCK, sparse_model

#: Size -> (bytes of the sparse model, bytes of the array that is read whole).
SIZES: Final = {"tiny": (1 << 30, 1 << 20), "small": (10 << 30, 64 << 20), "full": (100 << 30, 1 << 30)}

START: Final = """
import time
import aiohttp, fsspec
import numpy as np
import modelarchive as ma
from modelarchive import maintenance, models
fsspec.filesystem("http")
before = peak()
start = time.perf_counter()
"""

#: Operation -> what is run.
SPARSE: Final = {
    "architecture": "with ma.open(url) as archive: archive.architecture",
    "build one block": "with ma.open(url) as archive: archive.build('head')",
    "extract one block": "maintenance.extract(url, 'head', folder + '/head.h5', durable=False)",
    "one row of a matrix of 1 GiB": "with ma.open(url) as archive: archive.rows('body.0.weight', 5, 6)",
}
WHOLE: Final = {
    "modelarchive: load, every digest compared": "found = ma.load(url)['a']",
    "modelarchive: verify, nothing kept": "with ma.open(url) as archive: archive.verify()",
    "fsspec: cat_file, nothing compared": "found = np.frombuffer(fsspec.filesystem('http').cat_file(url), np.uint8)",
}


@dataclass(frozen=True)
class Read:
    """One operation.

    Attributes:
        model: Which file.
        operation: What was done.
        requests: Requests that the server wrote down.
        nbytes: Bytes that it sent.
        needed: Bytes that the operation cannot do without: index, HDF5's metadata, texts, and arrays.
        seconds: How long it took, imports not counted.
        memory: By how much the process grew, bytes.
    """

    model: str
    operation: str
    requests: int
    nbytes: int
    needed: int
    seconds: float
    memory: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def reads(size_name: str, folder: Path, *, progress: Callable[[str], None] = lambda text: None) -> Iterator[Read]:
    """Every operation; the files are removed."""
    sparse, whole = SIZES[size_name]
    place = folder / "remote"
    place.mkdir()
    with serving(place) as nginx:
        path = nginx.folder / "big.h5"
        front = sparse_model(path, nbytes=sparse)
        row = 4 << 14
        needed = {"architecture": front, "one row of a matrix of 1 GiB": front + row}
        for operation, code in SPARSE.items():
            progress(f"remote: {operation}")
            model = f"sparse, {sparse >> 30} GiB"
            yield _read(nginx, model, operation, code, path, needed.get(operation, front + BLOCK))
        path = nginx.folder / "one.h5"
        ma.save(path, {"a": np.random.default_rng(0).integers(0, 255, whole, np.uint8)}, durable=False)
        for operation, code in WHOLE.items():
            progress(f"remote: {operation}")
            yield _read(nginx, f"one array, {whole >> 20} MiB", operation, code, path, path.stat().st_size)
    _remove(place)


def _read(nginx: Nginx, model: str, operation: str, code: str, path: Path, needed: int) -> Read:
    nginx.log.write_text("")
    given = {"url": f"{nginx.url}/{path.name}", "folder": str(nginx.folder)}
    settings = [f"{key} = {value!r}" for key, value in given.items()]
    ending = "print(time.perf_counter() - start, peak() - before)"
    script = "\n".join([PEAK, *settings, START, code, ending])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{model}: {operation} failed:\n{done.stderr}")
    seconds, memory = done.stdout.split()
    counted = nginx.requests(1)
    return Read(
        model, operation, len(counted), sum(each.nbytes for each in counted), needed, float(seconds), int(memory)
    )


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def table(found: list[Read]) -> str:
    """What the server counted, and what the process took."""
    lines = [
        "### At a URL: nginx on the same machine, by its own log",
        "",
        "| file | operation | requests | KiB sent | KiB needed | seconds | memory, MiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.model} | {each.operation} | {each.requests} | {each.nbytes / 1024:,.0f} | {each.needed / 1024:,.0f} "
        f"| {each.seconds:.3g} | {each.memory / 2**20:,.0f} |"
        for each in found
    ]
    return "\n".join(lines)
