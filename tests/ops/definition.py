"""What a convolution is, and what any number of threads makes of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from modelarchive.ops import threads
from modelarchive.ops.convolution import convolve


def by_definition(
    x: np.ndarray, weight: np.ndarray, padding: Any, dilation: Any, *, groups: int = 1, strides: Any = None
) -> np.ndarray:
    """Every output element as the sum of its taps, one after another, in float64."""
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *padding])
    kernel = weight.shape[2:]
    found = []
    for part, own in zip(np.split(padded, groups, 1), np.split(weight.astype(np.float64), groups), strict=True):
        total: Any = 0
        for tap in itertools.product(*map(range, kernel)):
            places = [
                slice(at * apart, size - (taps - 1 - at) * apart, step)
                for at, apart, size, taps, step in zip(
                    tap, dilation, padded.shape[2:], kernel, strides or (1,) * len(kernel), strict=True
                )
            ]
            total = total + np.einsum("nc...,oc->no...", part[(..., *places)], own[(..., *tap)])
        found.append(total)
    return np.concatenate(found, 1)


def in_threads(monkeypatch: pytest.MonkeyPatch, *given: Any, **options: Any) -> np.ndarray:
    """The result of :func:`convolve`, which has the same bits in one, two and five threads."""
    found = []
    for number in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", number)
        with threads.team():
            found.append(convolve(*given, channels_last=False, **options))
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])
    return found[0]
