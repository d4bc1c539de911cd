"""Arrays that are read when it is their turn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from modelarchive.store.deferred import Deferred

STORED = np.arange(6, dtype=np.int32).reshape(2, 3)


def counting(calls: list[str], word: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        calls.append(word)
        return STORED.copy()

    return read


def test_an_array_that_is_there_is_itself() -> None:
    entry = Deferred.of(STORED)
    assert entry.read() is STORED
    assert entry.view is not None
    assert entry.view() is STORED
    assert (entry.shape, entry.dtype, entry.nbytes, entry.ndim) == ((2, 3), np.dtype("i4"), 24, 2)


def test_what_is_changed_is_changed_once_it_is_asked_for() -> None:
    calls: list[str] = []
    stored = Deferred(
        (2, 3), STORED.dtype, counting(calls, "read"), counting(calls, "view"), rows=lambda a, b: STORED[a:b]
    )
    turned = stored.changed(lambda x: x.T.astype(np.float64), (3, 2), np.dtype("f8"))
    assert calls == []
    assert (turned.shape, turned.dtype) == ((3, 2), np.dtype("f8"))
    assert np.array_equal(turned.read(), STORED.T)
    assert turned.view is not None
    assert np.array_equal(turned.view(), STORED.T)
    assert calls == ["read", "view"]
    # Rows and pieces of what is stored are none of what is made of it.
    assert turned.rows is None
    assert turned.pieces is None


def test_what_has_no_view_has_none_when_changed() -> None:
    twice = Deferred((2, 3), STORED.dtype, STORED.copy).changed(lambda x: 2 * x).changed(np.negative)
    assert twice.view is None
    assert (twice.shape, twice.dtype) == ((2, 3), np.dtype("i4"))
    assert np.array_equal(twice.read(), -2 * STORED)
