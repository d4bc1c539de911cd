"""Runs of several processes: killed and resumed, on other numbers of them, damage and failure heard by all."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import modelarchive as ma
from modelarchive.checkpoints import together
from tests.conftest import ROOT

pytest.importorskip("torch")


def run_all(folder: Path, scenarios: list[str]) -> None:
    """Run scenarios of several processes, one after another, each to its end."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.checkpoints.ranks", str(folder), *scenarios],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == scenarios


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fsdp", "ddp"])
def test_together(kind: str, tmp_path: Path) -> None:
    scenarios = [
        *("whole:2", "killed:2", "resumed:2", "resharded:1", "resharded:2", "resharded:3"),
        *(("whole:4", "damaged:2", "refused:2", "apart:2", "otherwise:2", "unsent:2") if kind == "fsdp" else ()),
    ]
    wanted = [f"{kind}:{each}" for each in scenarios]
    run_all(tmp_path, wanted)
    # What one process was killed in ends as what nobody disturbed, file by file and byte for byte.
    whole, run = (tmp_path / f"{kind}-{name}-2" / "step-00000008" for name in ("whole", "run"))
    assert {path.name for path in whole.iterdir()} == {path.name for path in run.iterdir()}
    for path in whole.iterdir():
        assert path.read_bytes() == (run / path.name).read_bytes(), path.name
    with ma.open(run) as archive:
        archive.verify()
        assert archive["0.weight"].shape == (10, 3)
        assert set(archive.training) == {"checkpoint", "random", "optimizer", "data", "ranks"}
        assert set(archive.training["ranks"]) == {"1"}
        assert set(archive.training["ranks"]["1"]) == {"checkpoint", "random", "data"}
    assert sorted(path.name for path in run.parent.iterdir()) == [".writing", "step-00000007", "step-00000008"]
    ma.convert(run, tmp_path / "one.h5")
    assert ma.load(tmp_path / "one.h5")["2.bias"].shape == (5,)


@pytest.mark.slow
def test_rows_in_turns_and_meshes_of_some(tmp_path: Path) -> None:
    """FSDP2 over tensor parallelism: each part is written once, and none is left out."""
    wanted = ["both:whole:4", "both:resharded:1", "both:resharded:4"]
    run_all(tmp_path, wanted)
    with ma.open(tmp_path / "both-run-2" / "step-00000008") as archive:
        archive.verify()
        pieces = {name: sorted(part.piece.offsets for part in archive.reader.parts(name)) for name in archive}
    assert pieces["0.weight"] == [(0, 0), (3, 0), (5, 0), (8, 0)]
    assert pieces["2.weight"] == [(0, 0), (3, 0)]


@pytest.mark.slow
def test_optimizers_and_distributed_tensors_in_structures(tmp_path: Path) -> None:
    """Two networks that train each other, each with an optimizer, averages in dicts and in objects."""
    elsewhere = [f"fsdp:several_elsewhere:{count}" for count in (1, 2, 3)]
    run_all(tmp_path, ["fsdp:several:2", *elsewhere, "both:several:4", "both:several_elsewhere:4"])


class Group:
    """Two processes, of which this is the first: what they tell each other is pickled, as PyTorch does it."""

    rank, size = 0, 2

    def gathered(self, value: Any) -> list[Any]:
        raw = pickle.dumps(value)
        return [pickle.loads(raw), (None, None)]


class UnpickledError(Exception):
    """Goes to no other process, as many errors of other libraries do not."""

    def __init__(self, message: str, *, lock: Any) -> None:
        super().__init__(message)
        self.lock = lock


def test_an_error_that_goes_to_no_other_process_is_told_to_all() -> None:
    def act() -> None:
        raise UnpickledError("the disk said no", lock=threading.Lock())

    with pytest.raises(ma.CheckpointError, match="process 0: the disk said no") as caught:
        together._all(Group(), act)
    assert isinstance(caught.value.__cause__, UnpickledError)
    assert together._all(Group(), lambda: 3) == [3, None]
