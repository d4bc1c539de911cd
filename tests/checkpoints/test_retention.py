"""What stays of a run, and what is said where that is not what one expects."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

import modelarchive as ma
from modelarchive.checkpoints import folder as folders
from tests.checkpoints.test_run import network, saved


def test_what_stays(tmp_path: Path) -> None:
    run = saved(tmp_path, *range(1, 11), keep=2, keep_every=4, best=("loss", "min"))
    assert run.steps() == [3, 4, 8, 9, 10]
    assert run.best() == 3
    assert saved(tmp_path / "all", 1, 2, 3).steps() == [1, 2, 3]
    again = ma.Checkpoints(tmp_path, keep=1, best=("loss", "min"))
    with again:
        again.save(11, metrics={"loss": float("nan")})
    assert again.steps() == [3, 11]
    assert again.best() == 3


def test_the_best_of_several_is_the_last(tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path, keep=1, best=("accuracy", "max")) as run:
        for step, accuracy in enumerate([0.1, 0.9, 0.9, 0.2]):
            run.save(step, metrics={"accuracy": accuracy})
    assert run.steps() == [2, 3]
    with pytest.raises(ValueError, match="which is best is not known"):
        ma.Checkpoints(tmp_path).best()


def test_a_run_that_goes_back_is_warned_of_what_comes_first(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 4, 5)
    run = ma.Checkpoints(tmp_path, keep=2)
    with run:
        assert run.restore(step=2, model=network()) == 2
        with pytest.warns(UserWarning, match=r"has checkpoints of later steps, up to 5: restore\(\) takes the newest"):
            run.save(3, model=network())
        run.save(4, model=network())
        run.save(5, model=network())
    assert run.steps() == [4, 5]


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), FileNotFoundError(2, "gone")])
def test_what_cannot_be_removed_stays_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    saved(tmp_path, 1)
    hide = folders.hide

    def refused(path: Path) -> Path:
        if path.name == "step-00000001.h5":
            raise error
        return hide(path)

    monkeypatch.setattr(folders, "hide", refused)
    told = pytest.warns(RuntimeWarning, match=r"step-00000001.h5: stays, it cannot be removed: Operation not permitted")
    with told if isinstance(error, PermissionError) else contextlib.nullcontext():
        saved(tmp_path, 2, 3, keep=1, asynchronous=False)
    assert ma.Checkpoints(tmp_path).steps() == [1, 3]
