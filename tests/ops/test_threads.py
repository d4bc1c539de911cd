"""Threads share work while a forward pass lasts: the same bits, none left behind, nothing of a fork or an interrupt."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np
import pytest

from modelarchive import nn
from modelarchive.ops import convolution, epilogue, normalisation, pooling, threads

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def _are_soon_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EACH", "POINTS", "WINDOWS"):
        monkeypatch.setattr(convolution, name, 1 << 20)
    for module in (epilogue, normalisation, pooling):
        monkeypatch.setattr(module, "WORTH", 1 << 16)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


def network() -> nn.Sequential:
    layers = [
        nn.Conv2D(64, 3, padding=1, groups=64, use_bias=False),
        nn.BatchNorm(),
        nn.Activation("silu"),
        nn.Conv2D(64, 5, strides=2, groups=64),
        nn.BatchNorm(),
    ]
    net = nn.Sequential(*layers)
    net.initialize(seed=0)
    return net


def image() -> np.ndarray:
    return RNG.standard_normal((1, 64, 96, 96), np.float32)


@pytest.mark.parametrize(("said", "found"), [("1", 1), ("2", 2), (" 3,2", 3), ("1000", threads.MOST)])
def test_as_many_as_blas_is_allowed(said: str, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads.allowed() == found


@pytest.mark.parametrize("said", ["", "0", "-1", "many"])
def test_what_says_nothing_means_all_processors(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert 1 <= threads.allowed() <= min(os.cpu_count() or 1, threads.MOST)


def dense_network() -> nn.Sequential:
    """Convolutions with runs, tap by tap, with windows and with one tap, and a transposed one."""
    layers = [
        nn.Conv2D(96, 3, padding=1),
        nn.Conv2D(24, 3, padding=1),
        nn.Activation("relu"),
        nn.Conv2D(64, 1),
        nn.Conv2D(32, 7, strides=4, padding=3),
        nn.BatchNorm(),
        nn.Conv2DTranspose(48, 2, strides=2),
    ]
    net = nn.Sequential(*layers)
    net.initialize(seed=1)
    return net


def other_network() -> nn.Sequential:
    """Depthwise convolutions line by line, pools, long rows that are normalised, slopes, products in parts, softmax."""
    layers = [
        nn.Conv2D(64, 5, padding=2, groups=64),
        nn.PReLU(),
        nn.MaxPool2D(3, 2, 1),
        nn.GroupNorm(1),
        nn.Conv2D(512, 1),
        nn.InstanceNorm(),
        nn.Conv2D(512, 3, strides=2, padding=1),
        nn.Conv2D(512, 3, strides=2, padding=1),
        nn.Dense(600),
        nn.Softmax(),
    ]
    net = nn.Sequential(*layers)
    net.initialize(seed=1)
    return net


@pytest.mark.parametrize("made", [network, dense_network, pytest.param(other_network, marks=pytest.mark.slow)])
def test_the_same_bits_however_many(made: Callable[[], nn.Sequential], monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = made(), image()
    found, shared = [], []
    run = threads._Team.run
    monkeypatch.setattr(threads._Team, "run", lambda self, *given: (shared.append(self.size), run(self, *given)))
    for number in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", number)
        found += [net(x), net(x)]
    assert set(shared) == {2, 5}
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


@pytest.mark.usefixtures("two")
def test_none_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fill = threads._Team.run

    def run(self: threads._Team, *given: object) -> None:
        fill(self, *given)  # type: ignore[arg-type]
        seen.append(threading.active_count())

    monkeypatch.setattr(threads._Team, "run", run)
    before = threading.active_count()
    network()(image())
    assert max(seen) == before + 1
    assert threading.active_count() == before
    assert not threads.has_team()


@pytest.mark.usefixtures("two")
def test_what_is_small_takes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads._Team, "run", None)
    net = network()
    net(RNG.standard_normal((1, 64, 8, 8), np.float32))


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_any_thread_comes_out_when_all_have_stopped(error: type[BaseException]) -> None:
    begun = threading.Barrier(2)
    done = []

    def begin() -> object:
        def work(item: int) -> None:
            if item < 2:
                begun.wait(30)
            if item == 1:
                raise error("one")
            done.append(item)

        return work

    before = threading.active_count()
    with pytest.raises(error, match="one"), threads.team():
        threads.share(begin, range(100))  # type: ignore[arg-type]
    assert threading.active_count() == before
    assert 1 not in done


@pytest.mark.usefixtures("two")
def test_work_within_the_work_is_done_where_it_is() -> None:
    found = []

    def begin() -> object:
        def work(item: int) -> None:
            threads.share(lambda: lambda inner: found.append((item, inner, threading.get_ident())), range(3))

        return work

    with threads.team():
        threads.share(begin, range(4))  # type: ignore[arg-type]
    assert sorted(each[:2] for each in found) == [(one, two) for one in range(4) for two in range(3)]
    assert all(len({ident for one, _, ident in found if one == item}) == 1 for item in range(4))


@pytest.mark.usefixtures("two")
def test_floating_point_errors_are_treated_as_in_the_caller() -> None:
    net, x = network(), image()
    x[0, :, 5, 5] = np.inf
    with np.errstate(all="raise", over="raise"):
        found = net[0](x)
    assert np.isinf(found).any()


@pytest.mark.usefixtures("two")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_works_on(tmp_path: object) -> None:
    """The child has none of the threads, and does not wait for them."""
    net, x = network(), image()
    expected = net(x)
    with threads.team():
        net(x)
        child = os.fork()
        if not child:
            same = False
            try:
                same = bool(np.array_equal(net(x), expected))
            finally:
                os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
    assert status == 0
    np.testing.assert_array_equal(net(x), expected)
