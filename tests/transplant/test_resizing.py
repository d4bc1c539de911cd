"""Positions are interpolated as PyTorch interpolates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.transplant.resizing import Resizing, resizing

sides = st.integers(1, 12)


def moved(array: np.ndarray, shape: tuple[int, ...], how: Any) -> np.ndarray:
    found = resizing(array.shape, shape, how)
    assert isinstance(found, Resizing), found
    result = found.apply(array)
    assert result.shape == shape
    return result


def interpolated(array: np.ndarray, size: Any, mode: str) -> np.ndarray:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(array.astype(np.float64))
    found = torch.nn.functional.interpolate(tensor, size=size, mode=mode, align_corners=False)
    return found.numpy()


@settings(max_examples=60, deadline=None)
@given(one=st.tuples(sides, sides), other=st.tuples(sides, sides), seed=st.integers(0, 9))
def test_two_axes_are_bicubic(one: tuple[int, int], other: tuple[int, int], seed: int) -> None:
    array = np.random.default_rng(seed).standard_normal((2, 3, *one))
    if one[0] != other[0] and one[1] != other[1]:
        expected = interpolated(array, other, "bicubic")
        np.testing.assert_allclose(moved(array, (2, 3, *other), "interpolate"), expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(one=sides, other=sides, kept=st.integers(0, 2), seed=st.integers(0, 9))
def test_a_square_grid_in_one_axis(one: int, other: int, kept: int, seed: int) -> None:
    array = np.random.default_rng(seed).standard_normal((1, kept + one * one, 5)).astype(np.float32)
    shape = (1, kept + other * other, 5)
    if one == other:
        return
    found = resizing(array.shape, shape, "bicubic")
    assert isinstance(found, Resizing)
    if f"{one} x {one}" not in found.words:
        return  # the counts are squares with fewer positions before them, too
    grid = array[:, kept:].reshape(1, one, one, 5).transpose(0, 3, 1, 2)
    expected = interpolated(grid, (other, other), "bicubic").transpose(0, 2, 3, 1).reshape(1, other * other, 5)
    result = found.apply(array)
    np.testing.assert_allclose(result[:, kept:], expected, atol=1e-6)
    np.testing.assert_array_equal(result[:, :kept], array[:, :kept])


@settings(max_examples=60, deadline=None)
@given(one=sides, other=sides, seed=st.integers(0, 9))
def test_a_length_is_linear(one: int, other: int, seed: int) -> None:
    array = np.random.default_rng(seed).standard_normal((one, 4))
    if one != other:
        expected = interpolated(array.T[None], other, "linear")[0].T
        np.testing.assert_allclose(moved(array, (other, 4), "linear"), expected, atol=1e-12)


def test_grids_that_are_no_squares() -> None:
    array = np.random.default_rng(0).standard_normal((1, 1 + 2 * 6, 3))
    result = moved(array, (1, 1 + 4 * 5, 3), ("bicubic", (2, 6), (4, 5)))
    grid = array[:, 1:].reshape(1, 2, 6, 3).transpose(0, 3, 1, 2)
    expected = interpolated(grid, (4, 5), "bicubic").transpose(0, 2, 3, 1).reshape(1, 20, 3)
    np.testing.assert_allclose(result[:, 1:], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("found", "expected", "how", "words"),
    [
        ((1, 197, 6), (1, 257, 6), "interpolate", "bicubic 14 x 14 to 16 x 16, the first 1 as they are"),
        ((197, 6), (577, 6), "interpolate", "bicubic 14 x 14 to 24 x 24, the first 1 as they are"),
        ((512, 6), (1024, 6), "interpolate", "linear 512 to 1024"),
        ((77, 6), (248, 6), "interpolate", "linear 77 to 248"),
        ((1, 6, 14, 14), (1, 6, 16, 20), "interpolate", "bicubic 14 x 14 to 16 x 20"),
    ],
)
def test_what_the_shapes_tell(found: Any, expected: Any, how: Any, words: str) -> None:
    result = resizing(found, expected, how)
    assert isinstance(result, Resizing)
    assert result.words == words


@pytest.mark.parametrize(
    ("found", "expected", "how", "why"),
    [
        ((256, 6), (1024, 6), "interpolate", "may be a grid or a length: say 'bicubic' or 'linear'"),
        ((1, 198, 6), (1, 250, 6), "bicubic", "no square grid"),
        ((4, 6), (9, 7), "linear", "differs in 2 axes"),
        ((4, 6), (1, 4, 6), "bicubic", "another number of axes"),
        ((1, 13, 3), (1, 21, 3), ("bicubic", (2, 6), (4, 6)), "not a grid"),
        ((1, 3, 3), (1, 4, 3), ("bicubic", (2, 6), (1, 13)), "fewer positions"),
        ((0, 6), (4, 6), "linear", "another number of axes"),
    ],
)
def test_what_cannot_be_resized_is_told(found: Any, expected: Any, how: Any, why: str) -> None:
    result = resizing(found, expected, how)
    assert isinstance(result, str)
    assert why in result


@pytest.mark.parametrize("how", ["cubic", ("linear", (1, 1), (2, 2)), ("bicubic", (1, 1))])
def test_unknown_methods(how: Any) -> None:
    with pytest.raises(ValueError, match="expected 'interpolate', 'bicubic', 'linear'"):
        ma.transplant({"pos": np.ones((4, 2))}, {"pos": np.ones((9, 2))}, resize={"pos": how})


def test_a_pattern_that_nothing_matches() -> None:
    with pytest.raises(ValueError, match="resize names 'other', which nothing"):
        ma.transplant({"pos": np.ones((4, 2))}, {"pos": np.ones((4, 2))}, resize={"other": "linear"})
