"""Whatever happens to a save, at whichever call, the run goes on from a whole checkpoint."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import memory
from tests.checkpoints.faulting import SAVES, interrupt
from tests.conftest import ROOT
from tests.faults.injection import QUICK, is_possible
from tests.faults.runner import kind_of


@pytest.mark.slow
def test_a_save_that_is_interrupted_at_every_call() -> None:
    if not is_possible():
        pytest.skip("needs a C compiler, and Linux")
    with tempfile.TemporaryDirectory(dir=memory.folder()) as folder:
        records = interrupt(Path(folder), QUICK)
    for name in SAVES:
        own = [record for record in records if record["save"] == name]
        assert len(own) >= (8 if SAVES[name].like else 25)
        if not SAVES[name].alike:
            tried = {(kind_of(record["call"]), record["action"]) for record in own}
            assert tried == {(kind, action) for kind, _ in tried for action, _ in QUICK}
        # The test would see nothing if nothing were interrupted.
        assert "killed 9" in {record["ended"] for record in own}
        if not SAVES[name].like:  # what is its own comes behind the checkpoint
            assert "refused" in {record["ended"] for record in own}
            assert {record["at"] for record in own} == {2, 3}
    wrong = [
        record
        for record in records
        if not record["whole"]
        or record["strays"]
        or record["ended"].startswith("wrong")
        or (record["ended"] == "done" and record["at"] != 3)
        or record["steps"] != [record["step"], 4]
    ]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "steps", "processes"), [(6, 12, 1), (4, 8, 2)])
def test_runs_that_are_killed_end_as_if_nothing_had_happened(kills: int, steps: int, processes: int) -> None:
    """A few here; ``python -m tests.checkpoints.killing 200`` takes minutes."""
    pytest.importorskip("torch")
    command = [sys.executable, "-W", "ignore", "-m", "tests.checkpoints.killing"]
    done = subprocess.run(
        [*command, *map(str, (kills, steps, processes))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"(\d+) processes .*killed .* each of [1-9]\d* runs ended as the one", done.stdout)
    assert found is not None
    assert int(found[1]) >= kills
