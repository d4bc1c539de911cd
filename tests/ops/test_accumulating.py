"""Convolutions tap by tap: against the definition, however the image is cut, with BLAS's own sums and with NumPy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from modelarchive.ops import accumulating, gemm
from modelarchive.ops.convolution import convolve
from modelarchive.ops.epilogue import Epilogue
from tests.ops.definition import by_definition, in_threads

RNG = np.random.default_rng(9)
#: (batch, in_channels, spatial), channels, groups, kernel, strides, padding, dilation.
CASES: Any = [
    ((1, 6, 40, 33), 5, 1, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    ((2, 6, 23, 29), 4, 2, (3, 5), (1, 1), ((0, 3), (4, 0)), (2, 1)),
    ((2, 4, 31, 30), 6, 1, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((1, 4, 30, 41), 6, 2, (4, 5), (3, 2), ((2, 1), (0, 2)), (1, 3)),
    ((1, 4, 30, 41), 3, 1, (2, 2), (3, 3), ((0, 0), (0, 0)), (1, 1)),  # not all is seen
    ((3, 6, 90), 7, 1, (7,), (1,), ((0, 6),), (1,)),
    ((1, 6, 400), 4, 1, (3,), (2,), ((9, 0),), (4,)),
    ((1, 4, 9, 8, 16), 3, 1, (3, 2, 3), (1, 2, 1), ((1, 1), (1, 0), (0, 2)), (1, 1, 2)),
    ((1, 5, 3, 14), 2, 1, (3, 3), (1, 1), ((6, 5), (3, 3)), (1, 1)),  # windows that see nothing but padding
    ((1, 4, 12, 16), 5, 1, (12, 4), (1, 1), ((0, 0), (0, 0)), (1, 1)),  # one row of windows
]


@pytest.mark.parametrize("blas", [True, False])
@pytest.mark.parametrize("block", [1, 1 << 10, 1 << 18])
@pytest.mark.parametrize(("shape", "channels", "groups", "kernel", "strides", "padding", "dilation"), CASES)
def test_it_is_the_sum_of_its_taps(
    monkeypatch: pytest.MonkeyPatch,
    blas: bool,
    block: int,
    shape: Any,
    channels: int,
    groups: int,
    kernel: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
) -> None:
    x = RNG.standard_normal(shape, np.float32)
    weight = RNG.standard_normal((channels, shape[1] // groups, *kernel), np.float32)
    bias = RNG.standard_normal(channels, np.float32)
    for name, value in {
        "BLOCK": block,
        "LEAST": 1,
        "TERMS": 1,
        "HEAVY": math.inf,
        "GAPS": math.inf,
        "WIDTH": 1,
    }.items():
        monkeypatch.setattr(accumulating, name, value)
    monkeypatch.setattr("modelarchive.ops.convolution.adds_less", lambda *_: False)
    monkeypatch.setattr("modelarchive.ops.convolution.lines_add_less", lambda *_: False)
    monkeypatch.setattr("modelarchive.ops.convolution._is_worth", lambda *_: True)
    if not blas:
        monkeypatch.setattr(gemm, "_gemm", lambda dtype: None)
    used: list[bool] = []
    whole = accumulating.by_accumulating
    monkeypatch.setattr(
        "modelarchive.ops.convolution.by_accumulating", lambda *a, **k: (used.append(True), whole(*a, **k))
    )
    expected = by_definition(x, weight, padding, dilation, groups=groups, strides=strides)
    expected += bias.reshape(-1, *[1] * len(kernel))
    options = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    epilogue = Epilogue(slope=np.full(channels, 0.25, np.float32))
    found = in_threads(monkeypatch, x, weight, bias, epilogue=epilogue, **options)
    assert used
    expected = np.where(expected > 0, expected, expected / 4)
    np.testing.assert_allclose(found, expected, atol=1e-5 * math.sqrt(weight[0].size), rtol=1e-5)


@pytest.mark.parametrize(
    ("weight", "sizes", "width", "expected"),
    [
        ((64, 64, 3, 3), (56, 56), 56, True),
        ((64, 64, 3), (4000,), 4000, True),
        ((64, 64, 1, 1), (56, 56), 56, False),  # the image is the matrix as it lies
        ((64, 16, 3, 3), (56, 56), 56, False),  # sums of few terms
        ((64, 64, 3, 3), (20, 20), 20, False),
        ((512, 512, 3, 3), (32, 32), 32, False),  # more weights than places
        ((64, 64, 3, 9), (32, 32), 32, False),  # rows that are a quarter of nothing
    ],
)
def test_where_it_is_used(weight: Any, sizes: Any, width: int, expected: bool) -> None:
    ones = (1,) * len(sizes)
    padding = tuple((size // 2, size // 2) for size in weight[2:])
    found = accumulating.layout_of(weight, ones, padding, ones, sizes, width=width, images=1)
    assert (found is not None) is expected


def test_what_is_no_number_spoils_its_windows_only() -> None:
    x = np.zeros((1, 32, 40, 40), np.float32)
    x[0, 1, 7, 30], x[0, 2, 20, 39] = np.nan, np.inf
    weight = np.ones((40, 32, 3, 3), np.float32)
    options: Any = {"strides": (1, 1), "dilation": (1, 1), "groups": 1, "channels_last": False}
    assert accumulating.layout_of(weight.shape, (1, 1), ((1, 1),) * 2, (1, 1), (40, 40), width=40, images=1)
    found = convolve(x, weight, None, padding=((1, 1), (1, 1)), **options)
    expected = np.zeros_like(found)
    expected[:, :, 6:9, 29:32] = np.nan
    expected[:, :, 19:22, 38:] = np.inf
    np.testing.assert_array_equal(found, expected)
