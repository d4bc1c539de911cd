"""Convolutions to fewer channels: against the definition, wherever the input is cut, and the same bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from modelarchive.ops import taps
from modelarchive.ops.convolution import convolve
from modelarchive.ops.epilogue import Epilogue
from tests.ops.definition import by_definition, in_threads

#: (batch, in_channels, spatial), channels, kernel, padding, dilation.
CASES: Any = [
    ((1, 6, 40, 33), 3, (3, 3), ((1, 1), (1, 1)), (1, 1)),
    ((2, 8, 17, 20), 1, (5, 3), ((2, 2), (1, 1)), (1, 1)),
    ((1, 4, 30, 30), 2, (3, 3), ((2, 2), (2, 2)), (2, 2)),
    ((3, 9, 50), 4, (7,), ((0, 6),), (1,)),
    ((1, 4, 400), 2, (3,), ((8, 0),), (4,)),
    ((1, 5, 9, 8, 16), 2, (3, 2, 3), ((1, 1), (1, 0), (0, 0)), (1, 2, 1)),
    ((2, 4, 3, 14), 2, (3, 3), ((4, 5), (3, 3)), (1, 1)),  # windows that see nothing but padding
    ((1, 4, 12, 16), 1, (12, 4), ((0, 0), (0, 0)), (1, 1)),  # one row of windows
]


@pytest.mark.parametrize("block", [1, 1 << 10, 1 << 18])
@pytest.mark.parametrize(("shape", "channels", "kernel", "padding", "dilation"), CASES)
def test_it_is_the_sum_of_its_taps(
    monkeypatch: pytest.MonkeyPatch, block: int, shape: Any, channels: int, kernel: Any, padding: Any, dilation: Any
) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal((channels, shape[1], *kernel), np.float32)
    bias = rng.standard_normal(channels, np.float32)
    monkeypatch.setattr(taps, "BLOCK", block)
    monkeypatch.setattr("modelarchive.ops.convolution.adds_less", lambda *_: True)
    monkeypatch.setattr("modelarchive.ops.convolution._is_worth", lambda *_: True)
    used: list[bool] = []
    by_taps = taps.by_taps
    monkeypatch.setattr("modelarchive.ops.convolution.by_taps", lambda *a, **k: (used.append(True), by_taps(*a, **k)))
    expected = np.maximum(by_definition(x, weight, padding, dilation) + bias.reshape(-1, *[1] * len(kernel)), 0)
    options = {"strides": (1,) * len(kernel), "padding": padding, "dilation": dilation, "groups": 1}
    found = in_threads(monkeypatch, x, weight, bias, epilogue=Epilogue(activation="relu"), **options)
    assert used
    np.testing.assert_allclose(found, expected, atol=1e-5 * math.sqrt(weight[0].size), rtol=1e-5)


@pytest.mark.parametrize(
    ("weight", "sizes", "expected"),
    [
        ((24, 96, 3, 3), (160, 160), True),
        ((24, 40, 3, 3), (160, 160), False),  # hardly fewer channels
        ((1, 4, 10_001), (10_100,), False),  # a block of few results for each tap
        ((8, 16, 3, 3), (14, 14), False),
        ((64, 128, 5, 5), (8, 4096), False),  # a row of products that is larger than the cache
    ],
)
def test_where_it_is_used(weight: Any, sizes: Any, expected: bool) -> None:
    assert taps.adds_less(weight, sizes) is expected


def test_what_is_no_number_spoils_its_windows_only() -> None:
    x = np.zeros((1, 32, 40, 40), np.float32)
    x[0, 1, 7, 30] = np.nan
    weight = np.ones((2, 32, 3, 3), np.float32)
    options: Any = {"strides": (1, 1), "dilation": (1, 1), "groups": 1, "channels_last": False}
    assert taps.adds_less(weight.shape, (40, 40))
    found = convolve(x, weight, None, padding=((1, 1), (1, 1)), **options)
    expected = np.zeros_like(found)
    expected[:, :, 6:9, 29:32] = np.nan
    np.testing.assert_array_equal(found, expected)
