"""Run under the shim of tests/faults: a save is interrupted at each of its calls, and the run goes on from there."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import modelarchive as ma
from modelarchive.store import shards
from tests.faults.injection import under_shim
from tests.faults.runner import ACTIONS, ended_of, first_of_its_own, interruptions, write_small_pieces


def state(step: int) -> dict[str, np.ndarray]:
    """Of more than one piece, of one, and small."""
    return {"a.w": np.full(2_400, float(step)), "b.w": np.full((30, 30), step, "f4"), "c.w": np.full(3, step)}


class Save(NamedTuple):
    """What is interrupted.

    Attributes:
        act: Saves the state of step 3.
        options: Of the run that has saved two checkpoints before.
        step: The step that it is saved as.
        like: Another, which does the same up to some call: this one is interrupted from there on.
        alike: Another, whose calls are known as far as they are the same.
    """

    act: Callable[[Path], None]
    options: Mapping[str, Any] = {}
    step: int = 3
    like: str = ""
    alike: str = ""


def _save(folder: Path, step: int = 3, **options: Any) -> None:
    with ma.Checkpoints(folder, **options) as run:
        run.save(step, model=state(3), metrics={"loss": 3.0}, data={"at": 3})


def _without_exchange(folder: Path) -> None:
    """As on a system that cannot have two folders change places."""
    with mock.patch.object(shards, "exchange", return_value=False):
        _save(folder, 2, incremental=True, asynchronous=False)


#: In place, behind the training, with a checkpoint that is removed after it, and one of a step that is there.
SAVES: dict[str, Save] = {
    "in place": Save(lambda folder: _save(folder, asynchronous=False)),
    "behind": Save(_save, alike="in place"),
    "incremental": Save(lambda folder: _save(folder, incremental=True, asynchronous=False)),
    "incremental, of another": Save(
        lambda folder: _save(folder, incremental=True, asynchronous=False), {"incremental": True}, alike="incremental"
    ),
    "with removal": Save(
        lambda folder: _save(folder, keep=1, best=("loss", "max"), asynchronous=False), like="in place"
    ),
    "of a step that is there": Save(
        lambda folder: _save(folder, 2, incremental=True, asynchronous=False),
        {"incremental": True},
        2,
        like="incremental, of another",
    ),
    "of a step that is there, without exchange": Save(
        _without_exchange, {"incremental": True}, 2, like="of a step that is there"
    ),
}


def prepare(folder: Path, options: Mapping[str, Any]) -> None:
    """Two checkpoints before."""
    with ma.Checkpoints(folder, durable=False, **options) as run:
        for step in (1, 2):
            run.save(step, model=state(step), metrics={"loss": float(step)}, data={"at": step})


def interrupt(folder: Path, ways: Sequence[tuple[str, int | None]]) -> list[dict[str, Any]]:
    """Interrupt each save at each call, each kind of call in each way; one record of each."""
    return under_shim("tests.checkpoints.faulting", folder, ways)


def _interrupted(
    name: str, folder: Path, ways: list[list[Any]], shim: ctypes.CDLL, others: Mapping[str, list[str]]
) -> list[str]:
    pristine = folder / "pristine"
    prepare(pristine, SAVES[name].options)
    watched = Path(shutil.copytree(pristine, folder / "watched"))
    shim.faults_arm(os.fsencode(watched), -1, 0, 0)
    SAVES[name].act(watched)
    journal = shim.faults_journal().decode()
    shim.faults_disarm()
    calls: list[str] = journal.replace(str(folder), "").splitlines()
    first = first_of_its_own(calls, others[SAVES[name].like]) if SAVES[name].like else 0
    alike = others[SAVES[name].alike] if SAVES[name].alike else ()
    for action, at, number in interruptions(ways, calls, first, alike, in_turn=True):
        shutil.rmtree(watched)
        shutil.copytree(pristine, watched)
        found = _once(SAVES[name], watched, (at, ACTIONS[action], number), shim)
        print(json.dumps({"save": name, "action": action, "call": calls[at], **found}), flush=True)
    return calls


def _once(save: Save, folder: Path, how: tuple[int, int, int], shim: ctypes.CDLL) -> dict[str, Any]:
    ended = ended_of(lambda: save.act(folder), folder, how, shim)
    data: dict[str, Any] = {}
    model = {name: np.zeros_like(value) for name, value in state(0).items()}
    with ma.Checkpoints(folder, keep=2) as run:
        step = run.restore(model=model, data=data)
        at = data.get("at")
        whole = step == (save.step if at == 3 else at)
        whole = whole and all(np.array_equal(value, model[name]) for name, value in state(at or 0).items())
        run.save(4, model=model, data={"at": 4})
    names = sorted(path.name for path in folder.iterdir())
    strays = [each for each in names if not each.startswith("step-") and each != ".writing"]
    return {"ended": ended, "step": step, "at": at, "whole": bool(whole), "strays": strays, "steps": run.steps()}


def main() -> None:
    write_small_pieces()
    shim = ctypes.CDLL(None)
    shim.faults_journal.restype = ctypes.c_char_p
    wanted = json.loads(sys.stdin.read())
    calls: dict[str, list[str]] = {}
    for name in SAVES:
        with tempfile.TemporaryDirectory(dir=wanted["folder"]) as folder:
            calls[name] = _interrupted(name, Path(folder), wanted["ways"], shim, calls)


if __name__ == "__main__":
    main()
