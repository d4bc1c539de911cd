"""What reading one foreign file may cost."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import modelarchive as ma
from modelarchive.exchange import budget


def left() -> tuple[int, int, int]:
    with budget.reading("?", 0) as now:
        return now.steps, now.elements, now.nbytes


def test_outside_of_any_file_nothing_is_counted() -> None:
    budget.spend("anything", steps=10**12, elements=10**12, nbytes=10**12)
    budget.grow(10**12)
    assert left() == (budget.STEPS, budget._ELEMENTS, budget._BYTES)


@pytest.mark.parametrize("what", ["steps", "elements", "nbytes"])
def test_more_than_is_left_is_refused(what: str) -> None:
    with budget.reading("model.onnx", 1000) as now:
        most = getattr(now, what)
        budget.spend("Expand 'e'", **{what: most})
        with pytest.raises(ma.UnsafeFileError, match="Expand 'e' needs more") as caught:
            budget.spend("Expand 'e'", **{what: 1})
    assert caught.value.rule == "budget"
    assert str(caught.value.file) == "model.onnx"


def test_a_large_file_may_cost_more_than_a_small_one() -> None:
    with budget.reading("small", 100) as small:
        pass
    with budget.reading("large", 10**9) as large:
        pass
    assert large.steps > 100 * small.steps
    assert large.elements > 10 * small.elements
    assert large.nbytes > 100 * small.nbytes


def test_a_file_that_is_read_for_another_draws_on_that_ones_budget() -> None:
    with budget.reading("folder", 0):
        with budget.reading("folder/shard", 10**9):
            budget.spend("shard", steps=budget.STEPS)
        with pytest.raises(ma.UnsafeFileError, match="folder: "):
            budget.spend("shard", steps=1)


def test_what_belongs_to_a_file_adds_to_its_budget() -> None:
    with budget.reading("model.onnx", 0):
        budget.grow(10 * budget._BYTES_A_STEP)
        budget.spend("graph", steps=budget.STEPS + 10)
        with pytest.raises(ma.UnsafeFileError):
            budget.spend("graph", steps=1)


def test_a_refusal_leaves_the_next_file_its_own() -> None:
    with pytest.raises(ma.UnsafeFileError), budget.reading("one", 0):
        budget.spend("it", steps=budget.STEPS + 1)
    assert left() == (budget.STEPS, budget._ELEMENTS, budget._BYTES)


def test_each_thread_reads_its_own_file(tmp_path: Path) -> None:
    found = []
    with budget.reading(os.fsencode(tmp_path), 0):
        budget.spend("it", steps=budget.STEPS)
        thread = threading.Thread(target=lambda: found.append(left()))
        thread.start()
        thread.join()
    assert found == [(budget.STEPS, budget._ELEMENTS, budget._BYTES)]


def test_an_error_names_the_file_that_was_read() -> None:
    with pytest.raises(ma.ConversionError) as caught, budget.reading("folder", 0):
        raise ma.ConversionError([("w", "is lost")])
    assert caught.value.file == "folder"
    with pytest.raises(ma.FormatError) as inner, budget.reading("folder", 0), budget.reading("folder/shard", 0):
        raise ma.FormatError("is damaged")
    assert inner.value.file == "folder/shard"
    with pytest.raises(ma.FormatError) as other, budget.reading("folder", 0):
        raise ma.FormatError("is damaged", file="folder/other")
    assert other.value.file == "folder/other"
