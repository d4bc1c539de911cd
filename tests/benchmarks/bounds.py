"""What marks that are missed would need at least: ``python -m tests.benchmarks.bounds``."""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
from blake3 import blake3
from threadpoolctl import threadpool_limits

import modelarchive as ma
from modelarchive import nn
from modelarchive.models import transplant_file
from modelarchive.store import index, strict
from modelarchive.store.hdf5 import checksum, datasets, links, metadata
from tests.benchmarks import report

#: Blocks of the row that one is built of, and of the one that is copied.
SIZES: Final = {"full": (10_000, 8_000), "tiny": (20, 20)}
_ARCHITECTURE: Final = "/architecture/data"
#: What was done, what of it, and seconds of processor time.
Part = tuple[str, str, float]


def least(act: Callable[[], object], rounds: int) -> float:
    """The least processor time of all threads; garbage is collected between two rounds only."""
    found = []
    for _ in range(rounds + 1):
        gc.collect()
        gc.disable()
        began = time.process_time()
        act()
        found.append(time.process_time() - began)
        gc.enable()
    return min(found[1:])


def row(path: Path, blocks: int) -> Path:
    """An archive of so many small layers."""
    net = nn.Sequential(*(nn.Dense(4, in_units=4) for _ in range(blocks)))
    net.initialize(seed=0)
    ma.save_model(path, net, inputs=np.zeros((1, 4), np.float32), durable=False)
    return path


def of_one_block(path: Path, blocks: int, rounds: int) -> Iterator[Part]:
    """Opening a file and building one of many blocks."""
    what = f"open, build one of {blocks:,} blocks"

    def build() -> None:
        with ma.open(path) as archive:
            archive.build(str(blocks // 2))

    yield what, "all of it", least(build, rounds)
    with ma.open(path) as archive:
        contents = archive.reader.contents
        text = contents.texts[_ARCHITECTURE]
        places = [(8, contents.user_block), *contents.metadata_ranges(), (text.offset or 0, text.itemsize)]
        places[-1] = (places[-1][0], places[-1][0] + text.itemsize)
    whole = path.read_bytes()
    raw, *_, architecture = (whole[begin:end] for begin, end in places)

    def hashed() -> None:
        with path.open("rb") as file:
            for begin, end in places:
                file.seek(begin)
                blake3(file.read(end - begin)).hexdigest()

    yield what, "its bytes read and hashed", least(hashed, rounds)
    yield what, "its index as we read it", least(lambda: index.parse(raw, file_size=len(whole)), rounds)
    yield from _parsed(what, "index", raw, rounds)
    words = architecture.decode()
    strictly = least(lambda: strict.loads(words, what="the architecture", strict=True), rounds)
    yield what, "its architecture as we read it", strictly
    yield from _parsed(what, "architecture", architecture, rounds)


def _parsed(what: str, of: str, raw: bytes, rounds: int) -> Iterator[Part]:
    """Parsing alone: a key may stand twice, and no number is checked."""
    yield what, f"its {of} in Python's json, unchecked", least(lambda: json.loads(raw), rounds)
    for name, function in (("orjson", "loads"), ("msgspec.json", "decode")):
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            parse: Callable[[bytes], Any] = getattr(importlib.import_module(name), function)
            yield what, f"its {of} in {name.partition('.')[0]}, unchecked", least(lambda: parse(raw), rounds)  # noqa: B023


def of_transplants(path: Path, blocks: int, rounds: int) -> Iterator[Part]:
    """Copying the parameters of one file of many blocks into another."""
    what, out = f"transplant of files, {blocks:,} blocks", path.with_name("out.h5")
    yield what, "all of it", least(lambda: transplant_file(path, path, out, durable=False), rounds)
    yield what, "two files opened", 2 * least(lambda: ma.open(path).close(), rounds)
    with ma.open(path) as archive:
        architecture, arrays = archive.architecture, archive.load()
    yield what, "the architecture checked", least(lambda: ma.validate(architecture), rounds)
    yield what, "as many arrays written", least(lambda: ma.save(out, arrays, durable=False), rounds)


def of_few_arrays(folder: Path, rounds: int) -> Iterator[Part]:
    """Saving ten arrays, each time as a new file."""
    from safetensors.numpy import save_file

    what, arrays = "save of 10 arrays", {f"array{at}": np.full(64, at, np.float32) for at in range(10)}
    numbers = itertools.count()

    def save() -> None:
        ma.save(folder / f"{next(numbers)}.h5", arrays, durable=False)

    yield what, "all of it", least(save, 10 * rounds)
    yield what, "HDF5's checksums", min(_spent_on_checksums(save) for _ in range(10 * rounds))
    peer = least(lambda: save_file(arrays, folder / f"{next(numbers)}.safetensors"), 10 * rounds)
    yield what, "safetensors' save of them", peer


def _spent_on_checksums(save: Callable[[], None]) -> float:
    spent: list[float] = []

    def timed(pieces: Any) -> Any:
        began = time.process_time()
        found = checksum.checksums(pieces)
        spent.append(time.process_time() - began)
        return found

    with ExitStack() as patches:
        for module in (datasets, links, metadata):
            patches.enter_context(mock.patch.object(module, "checksums", timed))
        save()
    return sum(spent)


def of_networks(folder: Path, rounds: int, names: Iterable[str] = (), *, small: bool) -> Iterator[Part]:
    """Running networks, all if none is named, with one thread: what of it BLAS computes, products of matrices."""
    import torch

    from tests.benchmarks.running_networks import NETWORKS, made

    torch.set_num_threads(1)
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}), threadpool_limits(1, user_api="blas"):
        for name in names or NETWORKS:
            module, x = made(name, small=small)
            ma.save_model(folder / "net.h5", module, inputs=x, durable=False)
            net, array, what = ma.load_model(folder / "net.h5"), x.numpy(), f"{name}, one thread"
            yield what, "all of it", least(partial(net, array), rounds)
            yield what, "its products of matrices", min(_spent_on_products(partial(net, array)) for _ in range(rounds))
            with torch.inference_mode():
                yield what, "PyTorch eager, all of it", least(partial(module, x), rounds)


def _spent_on_products(forward: Callable[[], object]) -> float:
    spent: list[float] = []
    multiply = np.matmul

    def timed(*given: Any, **more: Any) -> Any:
        began = time.process_time()
        found = multiply(*given, **more)
        spent.append(time.process_time() - began)
        return found

    with mock.patch.object(np, "matmul", timed):
        forward()
    return sum(spent)


def table(parts: list[Part]) -> str:
    """Milliseconds of each."""
    lines = [report.line(["operation", "of it", "ms"]), report.line(["---"] * 3)]
    lines += [report.line([what, of, report.milliseconds(seconds)]) for what, of, seconds in parts]
    return "\n".join(["### What parts take", "", *lines])


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bounds", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help=f"write the table into docs/{report.DOCUMENT.name}")
    chosen = parser.parse_args(arguments)
    one, other = SIZES[chosen.size]
    # What is there by now stays, and is not looked through before each round.
    gc.collect()
    gc.freeze()
    parts: list[Part] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        parts += of_one_block(row(place / "one.h5", one), one, chosen.rounds)
        parts += of_transplants(row(place / "other.h5", other), other, chosen.rounds)
        parts += of_few_arrays(place, chosen.rounds)
        if importlib.util.find_spec("torch") is not None:
            parts += of_networks(place, chosen.rounds, small=chosen.size == "tiny")
    how = f"`python -m tests.benchmarks.bounds`: the least processor time of {chosen.rounds} rounds."
    text = f"{table(parts)}\n\n{how}"
    print(text)
    if chosen.write:
        report.write_document(report.DOCUMENT, {"bounds": text}, report.ORDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
