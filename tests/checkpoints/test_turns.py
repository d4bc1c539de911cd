"""Signal handlers that save, wherever they interrupt a run: each checkpoint is whole, and nothing waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.checkpoints import run as module
from modelarchive.errors import CheckpointError
from tests.checkpoints.interrupting import KINDS
from tests.conftest import ROOT


@pytest.mark.slow
def test_a_save_that_interrupts_a_save_is_done_behind_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.checkpoints.interrupting", str(tmp_path), "37"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [int(each) for each in done.stdout.split()]
    assert len(lines) == 2 * len(KINDS)
    assert min(lines) > 50


class Stateful:
    """Has a signal arrive while it is asked for its state, or given one."""

    def __init__(self, *, saving: bool = False, restoring: bool = False) -> None:
        self._saving, self._restoring = saving, restoring

    def state_dict(self) -> dict[str, int]:
        if self._saving:
            self._saving = False
            os.kill(os.getpid(), signal.SIGUSR1)
        return {"at": 1}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if self._restoring:
            self._restoring = False
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.fixture
def on_signal(monkeypatch: pytest.MonkeyPatch) -> Any:
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda number, frame: handler())
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("ask", ["wait", "close", "restore", "result", "exception"])
def test_what_cannot_be_waited_for_in_a_handler_is_said(ask: str, tmp_path: Path, on_signal: Any) -> None:
    model = {"w": np.ones(3)}

    def handler() -> None:
        handle = run.save(2, model=model)
        assert not handle.done()
        getattr(run if hasattr(run, ask) else handle, ask)()

    on_signal(handler)
    with ma.Checkpoints(tmp_path) as run:
        with pytest.raises(CheckpointError, match=rf"called {ask}\(\) in the middle of save\(\)") as caught:
            run.save(1, model=model, data=Stateful(saving=True))
        assert "set a flag" in str(caught.value.hint)
    assert 2 in run.steps()
    assert ma.load(run.path(2))["w"].tolist() == [1, 1, 1]


def test_half_of_a_restored_state_is_not_saved(tmp_path: Path, on_signal: Any) -> None:
    model = {"w": np.ones(3)}
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=model, data=Stateful())
        on_signal(lambda: run.save(2, model=model))
        with pytest.raises(CheckpointError, match=r"called save\(\) in the middle of restore\(\)"):
            run.restore(model=model, data=Stateful(restoring=True))
        assert run.steps() == [1]
        assert run.restore(model=model) == 1


def test_a_promise_is_kept_or_fails(tmp_path: Path, on_signal: Any) -> None:
    handles: list[Any] = []
    given: dict[str, Any] = {"w": np.ones(3)}
    on_signal(lambda: handles.append(run.save(2, model=given)))
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, data=Stateful(saving=True))
        assert handles.pop().result() == run.path(2)
        given["w"] = object()
        with pytest.raises(ma.UnsupportedDataError):
            run.save(1, data=Stateful(saving=True))
        assert isinstance(handles.pop().exception(), ma.UnsupportedDataError)


def test_who_stops_waiting_and_saves_waits_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``except KeyboardInterrupt: run.save(...)``: what is written meanwhile stays what it is."""
    go_on = threading.Event()
    write = module.Snapshot.write
    monkeypatch.setattr(module.Snapshot, "write", lambda *a, **k: (go_on.wait(60), write(*a, **k)))
    array = np.zeros(1000)
    waiting = module.wait

    def stopped(several: Any) -> Any:
        monkeypatch.setattr(module, "wait", waiting)
        raise KeyboardInterrupt

    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model={"w": array})
        array[:] = 1
        monkeypatch.setattr(module, "wait", stopped)
        try:
            run.save(2, model={"w": array})
        except KeyboardInterrupt:
            threading.Timer(0.05, go_on.set).start()
            run.save(3, model={"w": array})
    assert {step: set(ma.load(run.path(step))["w"]) for step in run.steps()} == {1: {0.0}, 3: {1.0}}


def test_threads_take_turns(tmp_path: Path) -> None:
    model = {"w": np.ones(1000)}
    with ma.Checkpoints(tmp_path, durable=False) as run:
        threads = [
            threading.Thread(target=lambda at=at: [run.save(at * 10 + n, model=model) for n in range(5)])
            for at in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert len(run.steps()) == 20
    for step in run.steps():
        ma.verify(run.path(step))
