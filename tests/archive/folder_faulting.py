"""Run under the shim of tests/faults: a folder of shards takes an old one's place, and is interrupted at each call."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import modelarchive as ma
from modelarchive.store import shards
from tests.faults.injection import under_shim
from tests.faults.runner import ACTIONS, ended_of, first_of_its_own, interruptions, write_small_pieces


def data(number: int) -> dict[str, Any]:
    """Of more than one piece, of one, small ones, and text."""
    return {"a": np.full(2_400, float(number)), "b": [np.full((30, 30), number, "f4"), "text"], "n": number}


def _save(folder: Path, number: int) -> None:
    ma.save(folder / "m", data(number), max_shard_size="10KB")


def _without_exchange(folder: Path) -> None:
    """As on a system that cannot have two folders change places."""
    with mock.patch.object(shards, "exchange", return_value=False):
        _save(folder, 2)


Act = Callable[[Path], None]
ACTS: dict[str, Act] = {"save": lambda folder: _save(folder, 2), "without exchange": _without_exchange}


def interrupt(folder: Path, ways: Sequence[tuple[str, int | None]]) -> list[dict[str, Any]]:
    """Interrupt each at each call, each kind of call in each way; one record of each."""
    return under_shim("tests.archive.folder_faulting", folder, ways)


def _state(folder: Path) -> int | None:
    """Which save is there, whole; None: none is."""
    if not (folder / "m").exists():
        return None
    ma.verify(folder / "m")
    found = ma.load(folder / "m", verify=True)
    assert np.array_equal(found["a"], data(found["n"])["a"])
    return int(found["n"])


def _once(act: Act, folder: Path, how: tuple[int, int, int], shim: ctypes.CDLL) -> dict[str, Any]:
    ended = ended_of(lambda: act(folder), folder, how, shim, lambda error: str(folder / "m") in str(error))
    state = _state(folder)
    _save(folder, 3)
    strays = sorted(each.name for each in folder.iterdir() if each.name != "m")
    return {"ended": ended, "state": state, "after": _state(folder), "strays": strays}


def main() -> None:
    write_small_pieces()
    shim = ctypes.CDLL(None)
    shim.faults_journal.restype = ctypes.c_char_p
    wanted = json.loads(sys.stdin.read())
    others: list[str] = []
    for name, act in ACTS.items():
        pristine, watched = (Path(wanted["folder"]) / each for each in ("pristine", "watched"))
        shutil.rmtree(pristine, ignore_errors=True)
        pristine.mkdir()
        _save(pristine, 1)
        shutil.rmtree(watched, ignore_errors=True)
        shutil.copytree(pristine, watched)
        shim.faults_arm(os.fsencode(watched), -1, 0, 0)
        act(watched)
        calls = shim.faults_journal().decode().splitlines()
        shim.faults_disarm()
        # Up to where two folders change places the second does what the first has been interrupted at.
        first = first_of_its_own(calls, others) if others else 0
        others = calls
        for action, at, number in interruptions(wanted["ways"], calls, first, in_turn=True):
            shutil.rmtree(watched)
            shutil.copytree(pristine, watched)
            found = _once(act, watched, (at, ACTIONS[action], number), shim)
            print(json.dumps({"act": name, "action": action, "call": calls[at], **found}), flush=True)


if __name__ == "__main__":
    main()
