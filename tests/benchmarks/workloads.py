"""The tensors that are saved and loaded: the workloads of docs/benchmarks.md, at three sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import ml_dtypes
import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Size:
    """How large the workloads are, and how often each thing is measured."""

    channels: int
    rows: int
    columns: int
    many: int
    rounds: int


SIZES: Final = {
    "tiny": Size(channels=8, rows=64, columns=32, many=30, rounds=1),
    "small": Size(channels=128, rows=1024, columns=512, many=2000, rounds=5),
    "full": Size(channels=512, rows=4096, columns=1024, many=10_000, rounds=9),
}


def vision(size: Size) -> Arrays:
    """200 arrays: 40 convolution kernels and 160 vectors; 378 MB at full size."""
    kernel = (size.channels, size.channels, 3, 3)
    shapes = {f"layer{i}.conv.weight": kernel for i in range(40)}
    shapes |= {f"layer{i // 4}.norm{i % 4}.weight": (size.channels,) for i in range(160)}
    return _filled(shapes)


def language(size: Size) -> Arrays:
    """120 arrays: 60 matrices and 60 vectors; 1 GB at full size."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(60):
        shapes[f"layers.{i}.weight"] = (size.rows, size.columns)
        shapes[f"layers.{i}.bias"] = (size.columns,)
    return _filled(shapes)


def language_bfloat16(size: Size) -> Arrays:
    """The same in bfloat16: half the bytes."""
    return {name: array.astype(ml_dtypes.bfloat16) for name, array in language(size).items()}


def many(size: Size) -> Arrays:
    """Arrays of 64 numbers; 10,000 of them at full size."""
    return _filled({f"block{i // 100}.parameter{i % 100}": (64,) for i in range(size.many)})


WORKLOADS: Final[dict[str, Callable[[Size], Arrays]]] = {
    "vision": vision,
    "language": language,
    "language-bfloat16": language_bfloat16,
    "many": many,
}


def growth(*, largest_mb: int, most: int) -> Iterator[tuple[str, int, Arrays]]:
    """The growth curves: ``("arrays", count, tensors)`` and ``("megabytes", size, tensors)``."""
    count = 10
    while count <= most:
        yield "arrays", count, _filled({f"block{i // 100}.p{i % 100}": (64,) for i in range(count)})
        count *= 10
    megabytes = 1
    while megabytes <= largest_mb:
        yield "megabytes", megabytes, _filled({f"p{i}": (megabytes * 25_000,) for i in range(10)})
        megabytes *= 4


def _filled(shapes: dict[str, tuple[int, ...]]) -> Arrays:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
