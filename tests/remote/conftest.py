"""A server with archives on it, and pauses between attempts that take no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.remote import file
from tests.remote.server import Server, serving


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were made, instead of making them."""
    pytest.importorskip("aiohttp")
    found: list[float] = []
    monkeypatch.setattr(file, "sleep", found.append)
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as found:
        yield found


@pytest.fixture
def net() -> nn.Block:
    """Blocks of 1.4 MB, 0.5 MB and 3 kB."""
    found = nn.Sequential(
        nn.Dense(600, in_units=600, activation="relu"), nn.Dense(200, in_units=600), nn.Dense(4, in_units=200)
    )
    found.initialize(seed=0)
    return found


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 600), dtype=np.float32)


@pytest.fixture
def model(server: Server, net: nn.Block, x: np.ndarray) -> Path:
    """A whole model on the server, larger than the first request."""
    path = server.folder / "model.h5"
    ma.save_model(path, net, inputs=x, metadata={"license": "MIT"})
    return path


@pytest.fixture
def url(server: Server, model: Path) -> str:
    return f"{server.url}/{model.name}"
