"""BLAS keeps to one thread while somebody asks for it, and has the number it had after the last of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from modelarchive import nn
from modelarchive.ops import blas, threads


def numbers() -> list[int]:
    return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]


@contextmanager
def one_thread() -> Iterator[None]:
    blas.hold()
    try:
        yield
    finally:
        blas.let_go()


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """BLAS is allowed three threads, whatever the machine has."""
    assert numbers(), "expected a BLAS that says how many threads it takes"
    with ThreadpoolController().limit(limits=3, user_api="blas"):
        yield


def test_until_the_last_has_left() -> None:
    before = numbers()
    assert set(before) == {3}
    with one_thread():
        with one_thread():
            assert set(numbers()) == {1}
        assert set(numbers()) == {1}
    assert numbers() == before


def test_after_an_error_too() -> None:
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert set(numbers()) == {3}


def test_two_threads_that_overlap() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with one_thread():
            inside.set()
            leave.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    inside.wait(30)
    with one_thread():
        leave.set()
        other.join()
        assert set(numbers()) == {1}
    assert set(numbers()) == {3}


def test_while_a_network_shares_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    seen: list[int] = []
    multiply = np.matmul

    def watched(*given: object, **named: object) -> object:
        seen.extend(numbers())
        return multiply(*given, **named)  # type: ignore[call-overload]

    net = nn.Conv2D(64, 3)
    net.initialize(seed=0)
    x = np.ones((1, 16, 40, 40), np.float32)
    net(x)
    monkeypatch.setattr(np, "matmul", watched)
    net(x)
    assert seen
    assert set(seen) == {1}
    assert set(numbers()) == {3}
    assert not threads.has_team()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_has_the_threads_again() -> None:
    with one_thread():
        child = os.fork()
        if not child:
            found: list[set[int]] = []
            try:
                found.append(set(numbers()))
                with one_thread():
                    found.append(set(numbers()))
                found.append(set(numbers()))
            finally:
                os._exit(0 if found == [{3}, {1}, {3}] else 1)
        _, status = os.waitpid(child, 0)
    assert status == 0
