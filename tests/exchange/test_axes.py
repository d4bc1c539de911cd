"""Axes as other systems ask for them, against what NumPy does with the same words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelarchive.exchange.axes import added, channels_first, channels_last, several, sliced
from tests.cases.ops import OP_CASES


def test_one_axis_or_several() -> None:
    assert several(-1) == [-1]
    assert several((2, 0)) == [2, 0]


@pytest.mark.parametrize("axis", [0, -1, 1, (0, 2), (-1, 0), (1, -1), (3, 1)])
def test_new_axes_come_where_numpy_puts_them(axis: Any) -> None:
    x = np.zeros((2, 3))
    shape = list(x.shape)
    for each in added(axis, x.ndim):
        shape.insert(each, 1)
    assert tuple(shape) == np.expand_dims(x, axis).shape


@pytest.mark.parametrize("layout", ["NC", "NWC", "NCW", "NHWC", "NCHW", "NDHWC"])
def test_channels_go_behind_the_batch_and_back(layout: str) -> None:
    there, back = channels_first(layout), channels_last(layout)
    if layout[-1] != "C":
        assert there is back is None
    else:
        assert there is not None
        assert back is not None
        assert [layout[axis] for axis in there][:2] == ["N", "C"]
        assert [[layout[axis] for axis in there][axis] for axis in back] == list(layout)


@pytest.mark.parametrize("case", OP_CASES["slice"], ids=str)
def test_ranges_then_drops_then_new_axes_are_the_slice(case: Any) -> None:
    (shape,), arguments = case
    x = np.arange(np.prod(shape)).reshape(shape)
    ranges, dropped, new = sliced(arguments["index"])
    found = x
    for axis, start, stop, step in ranges:
        found = found[(slice(None),) * axis + (slice(start, stop, step),)]
    found = np.squeeze(found, tuple(dropped))
    for each in new:
        found = np.expand_dims(found, each)
    index = tuple(slice(*each) if isinstance(each, list) else each for each in arguments["index"])
    np.testing.assert_array_equal(found, x[index])
