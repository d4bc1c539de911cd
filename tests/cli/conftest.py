"""Archives to try the commands on, and the commands called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.cli import main


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Done(code, said.out, said.err)

    return run


class MLP(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Dense(8, activation="relu"), nn.Dense(6, activation="relu"))
        self.output = nn.Dense(3)

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 5), dtype=np.float32)


@pytest.fixture
def net(x: np.ndarray) -> nn.Block:
    net = MLP()
    net.initialize(seed=0)
    net(x)
    return net


@pytest.fixture
def model(tmp_path: Path, net: nn.Block, x: np.ndarray) -> Path:
    path = tmp_path / "mlp.h5"
    ma.save_model(path, net, inputs=x, metadata={"license": "MIT", "accuracy": 0.5})
    return path


@pytest.fixture
def parameters(tmp_path: Path, net: nn.Block) -> Path:
    path = tmp_path / "parameters.h5"
    net.save_parameters(path)
    return path


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    path = tmp_path / "arrays.h5"
    ma.save(path, {"x": np.arange(4), "more": [1.5, "two", None], "esc\x1b[31m": np.zeros((2, 3), np.float32)})
    return path


def damage(path: Path, name: str) -> None:
    """Change one byte of an array in place."""
    with ma.open(path) as archive:
        offset = archive.reader.contents.entry(name).offset
    assert offset is not None
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
