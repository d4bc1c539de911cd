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


def torchrun(folder: Path, *runs: str) -> dict[str, int]:
    """Train one run after another; how many steps each was trained, but for one that is killed and is the last."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.checkpoints.torchrun_run", str(folder), str(STEPS), *runs],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch"},
    )
    kills = runs[-1].count(":") == 2
    assert bool(done.returncode) == kills, done.stderr
    assert ("exitcode: -9" in done.stderr) == kills, done.stderr
    return {name: int(steps) for name, steps in re.findall(r"(\S+) trained: (\d+)", done.stdout)}


@pytest.mark.slow
def test_one_of_two_is_killed_and_the_run_ends_as_if_not(tmp_path: Path) -> None:
    """Runs of PyTorch and of Keras, three times two processes in all: each of them imports both."""
    pytest.importorskip("keras")
    trained = torchrun(tmp_path, "whole-torch:torch", "whole-keras:keras", "torch:torch:9")
    assert trained == {"whole-torch": STEPS, "whole-keras": STEPS}
    reached = {"torch": ma.Checkpoints(tmp_path / "torch").steps()[-1]}
    trained = torchrun(tmp_path, "torch:torch", "keras:keras:9")
    reached["keras"] = ma.Checkpoints(tmp_path / "keras").steps()[-1]
    trained |= torchrun(tmp_path, "keras:keras")
    for kind, step in reached.items():
        assert 6 <= step <= 9
        assert trained[kind] == STEPS - step
        whole, run = (ma.Checkpoints(tmp_path / name).path(STEPS) for name in (f"whole-{kind}", kind))
        assert content(whole) == content(run)
        with ma.open(run) as archive:
            archive.verify()
            assert set(archive.training["ranks"]) == {"1"}
