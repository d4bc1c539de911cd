"""Convolution line by line, against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelarchive.ops import lines, threads
from modelarchive.ops.convolution import convolve
from modelarchive.ops.epilogue import Epilogue
from tests.ops.definition import by_definition

RNG = np.random.default_rng(11)
#: Kernel, dilation, padding, height and width; the output is as wide as the input.
CASES = [
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (40, 9)),
    ((5, 5), (1, 1), ((2, 2), (2, 2)), (40, 13)),
    ((5, 3), (2, 1), ((4, 4), (1, 1)), (80, 1)),
    ((5, 3), (2, 1), ((0, 0), (2, 0)), (90, 6)),
    ((7, 7), (1, 3), ((0, 0), (9, 9)), (70, 4)),
    ((7, 7), (1, 3), ((0, 0), (0, 18)), (70, 4)),
    ((6, 3), (1, 1), ((5, 0), (0, 2)), (50, 7)),
    ((5, 5), (1, 1), ((2, 2), (4, 0)), (40, 6)),
    ((5, 5), (1, 1), ((6, 17), (2, 2)), (40, 6)),
]


@pytest.mark.parametrize("block", [1, threads.BLOCK])
@pytest.mark.parametrize("channels", [(7, 1), (7, 7), (5, 7), (20, 7)])
@pytest.mark.parametrize(("kernel", "dilation", "padding", "size"), CASES)
def test_as_defined(
    kernel: Any, dilation: Any, padding: Any, size: Any, channels: Any, block: int, monkeypatch: Any
) -> None:
    x, weight = RNG.standard_normal((2, 7, *size)), RNG.standard_normal((*channels, *kernel))
    x[1, 3, size[0] // 2, size[1] // 2] = np.inf
    bias, groups = RNG.standard_normal(len(weight)), 7 if channels[1] == 1 else 1
    with np.errstate(invalid="ignore"):
        expected = by_definition(x, weight, padding, dilation, groups=groups)
    out = np.empty(expected.shape)
    assert lines.lines_add_less(weight.shape, groups, dilation, x.shape, expected.shape[2:])
    monkeypatch.setattr(threads, "BLOCK", block)
    slope = RNG.uniform(0.1, 0.9, len(weight))
    with np.errstate(invalid="ignore"):
        lines.by_lines(x, weight, out, padding, dilation, Epilogue(summand=bias, slope=slope))
    expected += bias[:, None, None]
    expected = np.where(expected > 0, expected, expected * slope[:, None, None])
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "dilation", "padding"), [(3, 1, (1, 1)), (4, 5, (9, 6)), (5, 40, (80, 80)), (1, 1, (0, 0))]
)
@pytest.mark.parametrize("rank", [1, 2])
def test_rows_alone(kernel: int, dilation: int, padding: Any, rank: int) -> None:
    x, weight = RNG.standard_normal((2, 7, *[5, 61][2 - rank :])), RNG.standard_normal((7, 1, *[1, kernel][2 - rank :]))
    x[1, 3, ..., 30] = np.inf
    pads, apart = ((0, 0), padding)[2 - rank :], (1, dilation)[2 - rank :]
    whole = x.reshape(2, 7, -1, 61)
    expected = by_definition(whole, weight.reshape(7, 1, 1, -1), ((0, 0), padding), (1, dilation), groups=7)
    expected = expected.reshape(x.shape)
    out = np.empty(x.shape)
    assert lines.lines_add_less(weight.shape, 7, apart, x.shape, x.shape[2:])
    lines.by_lines(x, weight, out, pads, apart, Epilogue(slope=np.full(1, 0.5)))
    np.testing.assert_allclose(out, np.where(expected > 0, expected, expected / 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "outputs", "groups", "strides", "expected"),
    [
        ((1, 6, 20, 20), 6, 6, 1, True),
        ((1, 6, 20, 20), 6, 3, 1, False),
        ((1, 6, 20, 20), 6, 6, 2, False),
        ((1, 6, 400, 400), 6, 6, 1, False),
        ((1, 1, 20, 20), 1, 1, 1, True),
        ((1, 16, 48, 48), 16, 1, 1, True),
        ((1, 16, 48, 48), 64, 1, 1, True),
        ((1, 16, 48, 48), 80, 1, 1, False),
        ((1, 16, 48, 48), 8, 1, 1, False),
        ((1, 64, 9, 9), 64, 1, 1, False),
    ],
)
def test_where_it_is_used(
    shape: Any, outputs: int, groups: int, strides: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    by_lines = lines.by_lines

    def watched(*given: Any, **named: Any) -> None:
        used.append(True)
        by_lines(*given, **named)

    monkeypatch.setattr("modelarchive.ops.convolution.by_lines", watched)
    x = RNG.standard_normal(shape, np.float32)
    weight = RNG.standard_normal((outputs, shape[1] // groups, 5, 5), np.float32)
    geometry: Any = {"strides": (strides,) * 2, "padding": ((2, 2),) * 2, "dilation": (1, 1)}
    assert convolve(x, weight, None, groups=groups, channels_last=False, **geometry).shape[1] == outputs
    assert bool(used) is expected


def test_padding_around_nothing_is_zeros() -> None:
    x, weight = np.empty((1, 4, 0, 6), np.float32), RNG.standard_normal((4, 1, 3, 3)).astype(np.float32)
    options: Any = {"strides": (1, 1), "padding": ((2, 2), (1, 1)), "dilation": (1, 1), "channels_last": False}
    found = convolve(x, weight, np.arange(4, dtype=np.float32), groups=4, **options)
    np.testing.assert_array_equal(found, np.broadcast_to(np.arange(4.0)[:, None, None], (1, 4, 2, 6)))
