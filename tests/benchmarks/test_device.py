"""The command that measures loading onto a device runs, and notices what was loaded wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from modelarchive.exchange.torch import devices
from tests.benchmarks import device


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(devices, "is_elsewhere", lambda _: True)
    assert device.write(tmp_path / "model.safetensors", 1 << 20) >= 1 << 20
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", ["modelarchive, every digest compared", "modelarchive", "safetensors"])
def test_what_is_loaded_is_compared(path: Path, name: str) -> None:
    assert device._once(name, path, "cpu") > 0
    sums = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(sums | {"layers.0": 1}))
    with pytest.raises(SystemExit, match=r"loaded layers.0 wrong"):
        device._once(name, path, "cpu")


def test_a_loader_that_is_not_there_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any) -> Any:
        raise ModuleNotFoundError

    monkeypatch.setitem(device.LOADERS, "InstantTensor", ("instanttensor", missing))  # type: ignore[arg-type]
    with pytest.raises(SystemExit, match="instanttensor is not installed"):
        device._once("InstantTensor", path, "cpu")


def test_the_table() -> None:
    record = {"safetensors": {"warm": [2.0], "cold": [1.0]}, "modelarchive": {"warm": [4.0, 3.0, 9.0], "cold": [2.0]}}
    said = device.table(record, {"InstantTensor": "instanttensor is not installed"}, 8_000_000_000, "cuda")
    assert "| modelarchive | 4.00 | 2.00 | 2.00 | 2.00 |" in said
    assert "InstantTensor was left out: instanttensor is not installed" in said
    assert "8.00 GB onto cuda" in said
