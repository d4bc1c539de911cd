"""Distributed checkpoints: every sharding, on any number of processes, ours and PyTorch's own, damage and death."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from tests.conftest import ROOT

torch = pytest.importorskip("torch")

SCENARIOS = (
    *("save:4", "load:1", "load:2", "load:3", "load:4"),
    *("theirs_reads_ours:2", "ours_reads_theirs:2", "fsdp:4", "fsdp:2", "damaged:2", "died:2"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all scenarios left, run one after another by processes that import PyTorch once."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.exchange.torch.ranks", str(folder), *SCENARIOS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(SCENARIOS)
    return folder


@pytest.mark.slow
def test_every_sharding_on_any_number_of_processes(folder: Path) -> None:
    with ma.open(folder / "saved") as archive:
        archive.verify()
        assert len(list((folder / "saved").glob("*.safetensors"))) == 5
        assert len(archive.reader.parts("sharded.rows10.float32")) == 4
        assert archive["sharded.rows10.float32"].shape == (10, 3)
        assert np.array_equal(archive["sharded.rows10.float32"], archive["columns.rows10.float32"])
        assert archive.training["values"]["plain.step"] == 7
        assert archive.training["tensors"]["odd name/x"].shape == (13,)


@pytest.mark.slow
def test_a_folder_becomes_one_file(folder: Path, tmp_path: Path) -> None:
    ma.convert(folder / "fsdp-4", tmp_path / "one.h5")
    arrays = ma.load(tmp_path / "one.h5")
    assert arrays["model.0.weight"].shape == (10, 3)
    assert arrays["optim.state.0.weight.exp_avg"].shape == (10, 3)
    assert np.array_equal(arrays["model.2.weight"], ma.load(folder / "fsdp-4")["model.2.weight"])


@pytest.mark.slow
def test_no_pickle_is_in_a_folder(folder: Path) -> None:
    files = list((folder / "saved").iterdir())
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    for path in files:
        assert b"\x80\x02" not in path.read_bytes()[:4096]
