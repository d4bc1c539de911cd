"""Run under the shim of tests/faults: a save is interrupted at each of its calls, and the run goes on from there."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import modelarchive as ma
from tests.conftest import ROOT
from tests.faults.injection import build
from tests.faults.runner import ACTIONS, ERRORS


def state(step: int) -> dict[str, np.ndarray]:
    """Of more than one piece, of one, and small."""
    return {"a.w": np.full(150_000, float(step)), "b.w": np.full((30, 30), step, "f4"), "c.w": np.full(3, step)}


def _save(folder: Path, **options: Any) -> None:
    with ma.Checkpoints(folder, **options) as run:
        run.save(3, model=state(3), metrics={"loss": 3.0}, data={"at": 3})


#: What is interrupted: in place, behind the training, and with a checkpoint that is removed after it.
SAVES: dict[str, Callable[[Path], None]] = {
    "in place": lambda folder: _save(folder, asynchronous=False),
    "behind": lambda folder: _save(folder),
    "incremental": lambda folder: _save(folder, incremental=True, asynchronous=False),
    "with removal": lambda folder: _save(folder, keep=1, best=("loss", "max"), asynchronous=False),
}


def prepare(folder: Path) -> None:
    """Two checkpoints before."""
    with ma.Checkpoints(folder, durable=False) as run:
        for step in (1, 2):
            run.save(step, model=state(step), metrics={"loss": float(step)}, data={"at": step})


def interrupt(folder: Path, ways: Sequence[tuple[str, int | None]]) -> list[dict[str, Any]]:
    """Interrupt each save at each call in each way; one record of each."""
    environment = os.environ | {"LD_PRELOAD": str(build(folder)), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.checkpoints.faulting"],
        input=json.dumps({"folder": str(folder), "ways": list(ways)}),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _interrupted(name: str, folder: Path, ways: list[list[Any]], shim: ctypes.CDLL) -> None:
    pristine = folder / "pristine"
    prepare(pristine)
    watched = Path(shutil.copytree(pristine, folder / "watched"))
    shim.faults_arm(os.fsencode(watched), -1, 0, 0)
    SAVES[name](watched)
    calls = shim.faults_journal().decode().splitlines()
    shim.faults_disarm()
    for action, error in ways:
        for at in range(len(calls)):
            number = ERRORS[at % len(ERRORS)] if error is None else error
            shutil.rmtree(watched)
            shutil.copytree(pristine, watched)
            found = _once(name, watched, (at, ACTIONS[action], number), shim)
            print(json.dumps({"save": name, "action": action, "call": calls[at], **found}), flush=True)


def _once(name: str, folder: Path, how: tuple[int, int, int], shim: ctypes.CDLL) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        shim.faults_arm(os.fsencode(folder), *how)
        said = "done"
        try:
            SAVES[name](folder)
        except OSError as error:
            said = "refused" if error.errno else f"wrong: {error!r}"
        except BaseException as error:
            said = f"wrong: {error!r}"
        shim.faults_disarm()
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        ended = file.read().decode()
    os.waitpid(child, 0)
    data: dict[str, Any] = {}
    model = {name: np.zeros_like(value) for name, value in state(0).items()}
    with ma.Checkpoints(folder, keep=2) as run:
        step = run.restore(model=model, data=data)
        whole = step == data.get("at") and all(
            np.array_equal(value, model[name]) for name, value in state(step or 0).items()
        )
        run.save(4, model=model, data={"at": 4})
    names = sorted(path.name for path in folder.iterdir())
    strays = [each for each in names if not each.startswith("step-") and each != ".writing"]
    return {"ended": ended or "killed", "step": step, "whole": bool(whole), "strays": strays, "steps": run.steps()}


def main() -> None:
    shim = ctypes.CDLL(None)
    shim.faults_journal.restype = ctypes.c_char_p
    wanted = json.loads(sys.stdin.read())
    for name in SAVES:
        with tempfile.TemporaryDirectory(dir=wanted["folder"]) as folder:
            _interrupted(name, Path(folder), wanted["ways"], shim)


if __name__ == "__main__":
    main()
