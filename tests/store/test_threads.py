"""Threads that share jobs: all are done, in order of the asking, and an error ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from modelarchive.store import threads
from modelarchive.store.threads import shared


def _kept(do: Callable[[int], Any]) -> Callable[[], Callable[[int], Any]]:
    return lambda: do


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("alone", [True, False])
def test_all_are_done(monkeypatch: pytest.MonkeyPatch, count: int, *, alone: bool) -> None:
    monkeypatch.setattr(threads, "THREADS", count)
    begun: list[int] = []

    def begin() -> Callable[[int], tuple[int, int]]:
        begun.append(threading.get_ident())
        return lambda job: (job * job, threading.get_ident())

    found = shared(begin, range(200), alone=alone)
    assert [square for square, _ in found] == [job * job for job in range(200)]
    assert len(begun) == (1 if alone else count)
    assert {thread for _, thread in found} <= set(begun)
    assert shared(begin, []) == []


@pytest.mark.parametrize("count", [2, 4])
def test_they_work_side_by_side(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(threads, "THREADS", count)
    meeting = threading.Barrier(count, timeout=30)
    assert sorted(shared(_kept(lambda _: meeting.wait()), range(count))) == list(range(count))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("count", [1, 3])
def test_an_error_ends_all(monkeypatch: pytest.MonkeyPatch, error: type[BaseException], count: int) -> None:
    monkeypatch.setattr(threads, "THREADS", count)
    done: list[int] = []

    def do(job: int) -> None:
        done.append(job)
        if job == 5:
            raise error(f"job {job}")

    before = threading.active_count()
    with pytest.raises(error, match="job 5"):
        shared(_kept(do), range(100_000))
    assert threading.active_count() == before
    assert set(done) >= set(range(6))
    assert len(done) < 100_000


def test_an_error_before_the_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "THREADS", 2)

    def begin() -> Callable[[int], None]:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        shared(begin, range(10))


def test_without_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "THREADS", 4)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert shared(_kept(str), range(3)) == ["0", "1", "2"]
