"""Depthwise convolution line by line, against the definition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from modelarchive.ops import lines
from modelarchive.ops.convolution import convolve
from modelarchive.ops.epilogue import Epilogue

RNG = np.random.default_rng(11)
#: Kernel, dilation, padding, height and width.
CASES = [
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (20, 9)),
    ((5, 5), (1, 1), ((2, 2), (2, 2)), (14, 13)),
    ((5, 3), (2, 1), ((4, 4), (1, 1)), (30, 1)),
    ((5, 3), (2, 1), ((0, 0), (2, 0)), (40, 6)),
    ((7, 7), (1, 3), ((0, 0), (9, 9)), (40, 4)),
    ((7, 7), (1, 3), ((0, 0), (0, 18)), (40, 4)),
    ((6, 3), (1, 1), ((5, 0), (0, 2)), (18, 7)),
    ((5, 5), (1, 1), ((2, 2), (4, 0)), (14, 6)),
    ((5, 5), (1, 1), ((6, 7), (2, 2)), (14, 6)),
]


def by_definition(x: np.ndarray, weight: np.ndarray, padding: Any, dilation: Any) -> np.ndarray:
    """One tap after another, in float64."""
    source = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *padding])
    reach = [step * (size - 1) for step, size in zip(dilation, weight.shape[2:], strict=True)]
    height, width = (size - by for size, by in zip(source.shape[2:], reach, strict=True))
    result = np.zeros((*x.shape[:2], height, width))
    for row, column in itertools.product(*map(range, weight.shape[2:])):
        down, across = row * dilation[0], column * dilation[1]
        result += source[:, :, down : down + height, across : across + width] * weight[:, 0, row, column, None, None]
    return result


@pytest.mark.parametrize("block", [1, lines.BLOCK])
@pytest.mark.parametrize(("kernel", "dilation", "padding", "size"), CASES)
def test_as_defined(kernel: Any, dilation: Any, padding: Any, size: Any, block: int, monkeypatch: Any) -> None:
    x, weight = RNG.standard_normal((2, 7, *size)), RNG.standard_normal((7, 1, *kernel))
    x[1, 3, size[0] // 2, size[1] // 2] = np.inf
    bias = RNG.standard_normal(7)
    expected = by_definition(x, weight, padding, dilation)
    out = np.empty(expected.shape)
    assert lines.lines_add_less(kernel, dilation, size[1], expected.shape[2:])
    monkeypatch.setattr(lines, "BLOCK", block)
    with np.errstate(invalid="ignore"):
        lines.by_lines(x, weight, out, padding, dilation, Epilogue(summand=bias), alone=False)
    np.testing.assert_allclose(out, expected + bias[:, None, None], rtol=1e-12, atol=1e-12)


def test_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    by_lines = lines.by_lines
    monkeypatch.setattr(
        "modelarchive.ops.convolution.by_lines", lambda *a, **k: (used.append(a[0].shape), by_lines(*a, **k))
    )
    for shape, groups, strides, expected in [
        ((1, 6, 20, 20), 6, 1, True),
        ((1, 6, 20, 20), 3, 1, False),
        ((1, 6, 20, 20), 6, 2, False),
        ((1, 1, 20, 20), 1, 1, True),
        ((1, 6, 400, 400), 6, 1, False),
    ]:
        x = RNG.standard_normal(shape, np.float32)
        weight = RNG.standard_normal((shape[1], shape[1] // groups, 5, 5), np.float32)
        geometry: Any = {"strides": (strides,) * 2, "padding": ((2, 2),) * 2, "dilation": (1, 1)}
        found = convolve(x, weight, None, groups=groups, channels_last=False, **geometry)
        assert bool(used) is expected
        used.clear()
        assert found.shape[1] == shape[1]
