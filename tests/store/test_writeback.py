"""The disk begins early where the system can, and a save is the same where it cannot."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.store import writeback

BIG = {"a": np.arange(4 << 20, dtype=np.float64)}


def _threads() -> set[str]:
    return {each.name for each in threading.enumerate()}


@pytest.mark.parametrize("answer", [None, -1])
def test_a_system_without_the_call_saves_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int | None
) -> None:
    asked: list[tuple[int, ...]] = []

    def refuse(*given: int) -> int | None:
        asked.append(given)
        return answer

    ma.save(tmp_path / "early.h5", BIG)
    monkeypatch.setattr(writeback, "_sync_file_range", lambda: None if answer is None else refuse)
    ma.save(tmp_path / "late.h5", BIG)
    assert (tmp_path / "early.h5").read_bytes() == (tmp_path / "late.h5").read_bytes()
    assert len(asked) <= 1, "who refuses once is not asked again"
    assert "writeback" not in _threads()


def test_fsync_comes_after_it_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_fsync: list[set[str]] = []
    fsync = os.fsync

    def noted(descriptor: Any) -> None:
        at_fsync.append(_threads())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    ma.save(tmp_path / "x.h5", BIG)
    assert at_fsync
    assert all("writeback" not in names for names in at_fsync)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_it_ends_with_a_save_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*_: object, **__: object) -> None:
        assert "writeback" in _threads()
        raise error

    monkeypatch.setattr("modelarchive.store.writer._write_dense", fail)
    with pytest.raises(error):
        ma.save(tmp_path / "x.h5", BIG)
    assert "writeback" not in _threads()
    assert not list(tmp_path.iterdir())


def test_who_does_not_wait_for_the_disk_begins_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelarchive.store.replace.writeback", lambda _: pytest.fail("was begun"))
    ma.save(tmp_path / "x.h5", BIG, durable=False)


def test_a_file_of_few_bytes_begins_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail(f"{thread.name} was begun"))
    ma.save(tmp_path / "x.h5", {"a": BIG["a"][:1000]})
    assert np.array_equal(ma.load(tmp_path / "x.h5", verify=True)["a"], BIG["a"][:1000])


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_linux_takes_the_call(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(1 << 20))
    with path.open("rb") as file:
        assert writeback.begin_writeback(file.fileno())
        os.fsync(file.fileno())
    assert not writeback.begin_writeback(-1)
