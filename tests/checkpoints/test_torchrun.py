"""The digits under ``torchrun`` with two processes: one is killed, the run goes on, and nothing is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import modelarchive as ma
from tests.checkpoints.killing import content
from tests.conftest import ROOT

pytest.importorskip("torch")
STEPS = 14


def torchrun(folder: Path, kind: str, *kill: int) -> int:
    """Train; how many steps were trained. Behind a step one process is killed: then there is no telling."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.checkpoints.torchrun_run", str(folder), kind, str(STEPS), *map(str, kill)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch"},
    )
    assert bool(done.returncode) == bool(kill), done.stderr
    if kill:
        assert "exitcode: -9" in done.stderr, done.stderr
        return -1
    return int(re.findall(r"steps trained: (\d+)", done.stdout)[-1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "keras"])
def test_one_of_two_is_killed_and_the_run_ends_as_if_not(tmp_path: Path, kind: str) -> None:
    if kind == "keras":
        pytest.importorskip("keras")
    assert torchrun(tmp_path / "whole", kind) == STEPS
    torchrun(tmp_path / "run", kind, 9)
    reached = ma.Checkpoints(tmp_path / "run").steps()[-1]
    assert 6 <= reached <= 9
    assert torchrun(tmp_path / "run", kind) == STEPS - reached
    whole, run = (ma.Checkpoints(tmp_path / name).path(STEPS) for name in ("whole", "run"))
    assert content(whole) == content(run)
    with ma.open(run) as archive:
        archive.verify()
        assert set(archive.training["ranks"]) == {"1"}
