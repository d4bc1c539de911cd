"""The folder of a run: who may write in it, what lies in it, and what is gone from it meanwhile."""

from __future__ import annotations

import errno
import gc
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import modelarchive as ma
from modelarchive.checkpoints import run as module
from modelarchive.errors import CheckpointError
from tests.checkpoints.test_run import network, same, saved


@pytest.mark.slow
def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=network())
        run.wait()
        with pytest.raises(CheckpointError, match="another Checkpoints of this process is writing"):
            ma.Checkpoints(tmp_path).save(2)
        code = f"import modelarchive as ma; ma.Checkpoints({str(tmp_path)!r}).save(2)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "CheckpointError" in done.stderr
        assert "another process" in done.stderr
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1
    with ma.Checkpoints(tmp_path) as run:
        run.save(2)
    assert run.steps() == [1, 2]


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    left = [
        tmp_path / ".step-00000002.h5.abc.partial",
        tmp_path / ".step-00000003.12.old",
        tmp_path / ".step-00000004.tmp",
    ]
    left[0].write_bytes(b"x")
    for folder in left[1:]:
        folder.mkdir()
        (folder / "x").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("mine")
    saved(tmp_path, 5)
    assert not any(path.exists() for path in left)
    assert (tmp_path / "notes.txt").exists()


def test_a_link_to_nothing_is_passed_over(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "step-00000002.h5").symlink_to(tmp_path / "elsewhere.h5")
    (tmp_path / "step-00000001").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(ma.DamagedCheckpointWarning, match="step-00000002"):
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1


def test_a_program_may_go_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    with ma.Checkpoints("run") as run:
        run.save(1, model=network())
        monkeypatch.chdir(tmp_path / "outputs")
        run.save(2, model=network())
    assert run.folder == tmp_path / "run"
    assert run.steps() == [1, 2]


@pytest.mark.slow
def test_a_run_that_nobody_closes_gives_its_folder_back(tmp_path: Path) -> None:
    """As in a notebook, where a cell is run again."""
    run = ma.Checkpoints(tmp_path)
    run.save(1, model=network())
    run.wait()
    run = ma.Checkpoints(tmp_path)
    gc.collect()
    with run:
        run.save(2, model=network())
    assert run.steps() == [1, 2]


def test_what_a_disk_does_not_give_back_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 1, 2)
    put = module.restoring.put

    def broken(reader: Any, *args: Any, **options: Any) -> Any:
        if reader.source.path.name == "step-00000002.h5":
            raise OSError(errno.EIO, "Input/output error")
        return put(reader, *args, **options)

    monkeypatch.setattr(module.restoring, "put", broken)
    with pytest.warns(ma.DamagedCheckpointWarning, match=r"step-00000002.h5: .*Input/output error"):
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1


def test_a_folder_without_its_index_is_named(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, incremental=True)
    (tmp_path / "step-00000002" / "model.safetensors.index.json").unlink()
    with pytest.warns(ma.DamagedCheckpointWarning, match=r"step-00000002: has no model.safetensors.index.json"):
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1


def test_nothing_is_made_before_the_first_save(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ma.Checkpoints(tmp_path / "run") as run:
            assert run.restore(model=network()) is None
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        ma.Checkpoints(tmp_path / "file")


@pytest.mark.parametrize("incremental", [False, True])
def test_what_is_removed_while_it_is_opened_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, incremental: bool
) -> None:
    """A reader beside a run that keeps one checkpoint: what it has listed may be gone when it looks."""
    writing = saved(tmp_path, 1, keep=1, incremental=incremental)
    opened = module.Archive

    def late(path: Path) -> Any:
        if writing.steps() == [1]:
            with writing:
                writing.save(2, model=network(2), data={"at": 2})
        return opened(path)

    monkeypatch.setattr(module, "Archive", late)
    net, data = network(), {"at": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ma.Checkpoints(tmp_path).restore(model=net, data=data) == 2
    assert same(net, network(2))
    assert data == {"at": 2}
    shutil.rmtree(tmp_path)
    assert ma.Checkpoints(tmp_path).restore(model=net) is None
