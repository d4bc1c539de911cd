"""The folder of a run: who may write in it, what lies in it, and what is gone from it meanwhile."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import modelarchive as ma
from modelarchive.checkpoints import restoring
from modelarchive.checkpoints import run as module
from modelarchive.errors import CheckpointError, RemoteError
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
    put = restoring.put

    def broken(reader: Any, *args: Any, **options: Any) -> Any:
        if reader.source.path.name == "step-00000002.h5":
            raise OSError(errno.EIO, "Input/output error")
        return put(reader, *args, **options)

    monkeypatch.setattr(restoring, "put", broken)
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
    opened = restoring.Archive

    def late(path: Path) -> Any:
        if writing.steps() == [1]:
            with writing:
                writing.save(2, model=network(2), data={"at": 2})
        return opened(path)

    monkeypatch.setattr(restoring, "Archive", late)
    net, data = network(), {"at": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ma.Checkpoints(tmp_path).restore(model=net, data=data) == 2
    assert same(net, network(2))
    assert data == {"at": 2}
    shutil.rmtree(tmp_path)
    assert ma.Checkpoints(tmp_path).restore(model=net) is None


@pytest.mark.parametrize("is_folder_first", [True, False])
def test_a_step_that_is_saved_in_the_other_form_is_replaced(tmp_path: Path, *, is_folder_first: bool) -> None:
    saved(tmp_path, 1, 2, incremental=is_folder_first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that later steps are there
        run = ma.Checkpoints(tmp_path, incremental=not is_folder_first)
        with run:
            run.save(1, model=network(7), metrics={"loss": 7})
    os.utime(run.path(1), (1, 1))  # a clock that goes wrong
    later = network()
    assert run.metrics(1) == {"loss": 7}
    assert run.restore(step=1, model=later) == 1
    assert same(later, network(7))
    assert [each.name for each in tmp_path.glob("step-00000001*")] == [run.path(1).name]


def test_both_forms_of_a_step_go_when_it_need_not_stay(tmp_path: Path) -> None:
    """A run that was killed before it removed the older one leaves both."""
    saved(tmp_path, 1)
    saved(tmp_path / "other", 1, incremental=True)
    (tmp_path / "other" / "step-00000001").rename(tmp_path / "step-00000001")
    run = saved(tmp_path, 2, keep=1)
    assert run.steps() == [2]


def test_urls_are_no_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("s3://key:secret@bucket/run", "https://example.org/run?sign=secret", "file:///tmp/run"):
        with pytest.raises(RemoteError, match="URLs are read and not written") as error:
            ma.Checkpoints(url)
        assert "secret" not in str(error.value)
    assert "without file://" in str(error.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("is_incremental", [False, True])
def test_a_process_that_was_forked_has_nothing_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_incremental: bool
) -> None:
    """The thread that writes stays behind, and so does the right to write: nothing is waited for, nothing is torn."""
    gate = threading.Event()
    write = module.Checkpoints._write
    monkeypatch.setattr(module.Checkpoints, "_write", lambda run, taken: (gate.wait(), write(run, taken))[1])
    run = ma.Checkpoints(tmp_path, incremental=is_incremental)
    run.save(1, model=network(1))
    child = os.fork()
    if child == 0:
        code = 9
        try:
            signal.alarm(20)
            with pytest.raises(KeyError):
                run.path(1)
            with pytest.raises(CheckpointError, match=f"another process \\({os.getppid()}\\) is writing"):
                run.save(2, model=network(2))
            run.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    gate.set()
    run.save(3, model=network(3))
    run.close()
    assert run.steps() == [1, 3]
    child = os.fork()
    if child == 0:
        os._exit(0 if run.save(4, model=network(4)).result().exists() else 9)
    assert os.waitpid(child, 0)[1] == 0
    assert run.steps() == [1, 3, 4]
