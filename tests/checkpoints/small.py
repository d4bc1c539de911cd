"""A small network, and runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import modelarchive as ma
from modelarchive import nn


def network(seed: int = 0) -> nn.Sequential:
    net = nn.Sequential(nn.Dense(3, in_units=4), nn.Activation("relu"), nn.Dense(2, in_units=3))
    net.initialize(seed=seed)
    return net


def values(net: nn.Block) -> dict[str, np.ndarray]:
    return {name: each.value() for name, each in net.collect_params().items()}


def same(left: nn.Block, right: nn.Block) -> bool:
    return all(np.array_equal(one, two) for one, two in zip(values(left).values(), values(right).values(), strict=True))


def saved(folder: Path, *steps: int, **options: Any) -> ma.Checkpoints:
    run = ma.Checkpoints(folder, **options)
    with run:
        for step in steps:
            run.save(step, model=network(step), metrics={"loss": abs(step - 3)}, data={"at": step})
    return run


def damage(path: Path) -> None:
    """Change one byte of the first parameter."""
    with ma.open(path) as archive:
        offset = archive.reader.contents.arrays["0.weight"].offset
    raw = bytearray(path.read_bytes())
    raw[offset + 5] ^= 1
    path.write_bytes(raw)
