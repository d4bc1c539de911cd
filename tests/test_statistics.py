"""Statistics of arrays, held against NumPy's on the whole array in double precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import modelarchive as ma
from modelarchive import dtypes
from modelarchive.models.content import opened
from modelarchive.statistics import BINS, PIECE, Statistics, statistics


def of(array: np.ndarray, *cuts: int) -> Statistics:
    found = statistics(np.split(array.reshape(-1), cuts), array.size)
    assert found is not None
    return found


def held_against_numpy(found: Statistics, array: np.ndarray) -> None:
    whole = array.reshape(-1).astype(np.float64)
    finite = whole[np.isfinite(whole)]
    assert (found.size, found.zeros) == (whole.size, np.count_nonzero(whole == 0))
    assert (found.nans, found.infinities) == (np.isnan(whole).sum(), np.isinf(whole).sum())
    if not finite.size:
        assert found.least is found.greatest is found.mean is found.deviation is found.histogram is None
        return
    assert (found.least, found.greatest) == (finite.min(), finite.max())
    reach = max(abs(finite.min()), abs(finite.max()))
    assert found.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e-9 * reach)
    assert found.deviation == pytest.approx(finite.std(), rel=1e-6, abs=1e-7 * reach)
    assert found.histogram is not None
    assert found.histogram.is_sample or sum(found.histogram.counts) == finite.size


@pytest.mark.parametrize("dtype", sorted(dtypes.DENSE))
def test_every_dtype(dtype: str) -> None:
    array = (np.arange(300) % 7 - 2).astype(dtypes.numpy_dtype(dtype))
    if dtype.startswith("complex"):
        array[:2] = np.nan, np.inf
        found = of(array)
        assert (found.zeros, found.nans, found.infinities, found.mean) == (np.count_nonzero(array == 0), 1, 1, None)
        return
    held_against_numpy(of(array, 100), array)


@pytest.mark.slow
@given(
    st_numpy.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        st.integers(0, 40),
        elements=st.floats(-1e4, 1e4, width=16) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0]),
    ),
    st.lists(st.integers(0, 40), max_size=3).map(sorted),
)
def test_any_floats_in_any_pieces(array: np.ndarray, cuts: list[int]) -> None:
    held_against_numpy(of(array, *cuts), array)


def test_a_small_deviation_about_a_large_mean() -> None:
    array = 1e6 + np.random.default_rng(0).standard_normal(5 * PIECE) * 1e-3
    found = of(array, 7, PIECE)
    assert found.mean == pytest.approx(array.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(array.std(), rel=1e-5)


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).standard_normal(3 * PIECE + 7),
        np.random.default_rng(0).standard_normal(PIECE) * 1e-30,
        np.random.default_rng(0).standard_normal(PIECE) * 1e25,
        np.random.default_rng(0).standard_normal(PIECE) + np.repeat([1, -1, 40, 1e3], PIECE // 4),
        np.exp(np.random.default_rng(0).standard_normal(2 * PIECE) * 5),
        np.where(np.random.default_rng(0).random(PIECE) < 1e-3, 1.5, 0),
        np.full(PIECE, 0.1),
        np.zeros(PIECE),
    ],
    ids=["normal", "tiny", "huge", "several means", "lognormal", "sparse", "constant", "zero"],
)
def test_single_precision(array: np.ndarray) -> None:
    single = array.astype(np.float32)
    held_against_numpy(of(single, 300), single)


def test_one_value_far_away_is_found_in_a_large_array() -> None:
    array = np.random.default_rng(0).standard_normal(3 << 20).astype(np.float32)
    array[2_000_001], array[2_900_000] = 1e30, np.nan
    found = of(array)
    assert (found.greatest, found.nans) == (np.float32(1e30), 1)
    assert found.histogram is not None
    assert found.histogram.is_sample


def test_a_histogram_is_numpys() -> None:
    array = np.random.default_rng(1).standard_normal(100_000)
    found = of(array, 999).histogram
    assert found is not None
    expected, _ = np.histogram(array, BINS, (array.min(), array.max()))
    assert np.abs(np.array(found.counts) - expected).max() <= 2


def test_a_sample_looks_like_the_whole() -> None:
    array = np.random.default_rng(1).standard_normal(4 << 20)
    found = of(array).histogram
    assert found is not None
    expected, _ = np.histogram(array, BINS, (array.min(), array.max()))
    part = np.array(found.counts) / sum(found.counts)
    assert np.abs(part - expected / array.size).max() < 0.002


@pytest.mark.parametrize("array", [np.full(9, 3.0), np.zeros((0, 2)), np.full(3, np.nan), np.array([1e300, -1e300])])
def test_odd_arrays(array: np.ndarray) -> None:
    found = of(array)
    assert (found.histogram is None) == (not np.isfinite(array).any())
    assert found.least is None or found.least == array.min()


def test_texts_have_none() -> None:
    assert statistics([np.array(["a"])], 1) is None


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_of_what_lies_in_a_file(tmp_path: Path, compression: str | None) -> None:
    arrays = {"w": np.arange(700_000, dtype=np.float32) % 97, "z": np.arange(70_000) * (1 + 2j), "e": np.zeros((0, 3))}
    ma.save(tmp_path / "x.h5", arrays, compression=compression)
    np.savez(tmp_path / "x.npz", **arrays)
    for file in ("x.h5", "x.npz"):
        with opened(tmp_path / file) as content:
            found = dict(content.statistics())
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            if array.dtype.kind != "c":
                assert found[name] is not None
                held_against_numpy(found[name], array)
        assert found["z"] == of(arrays["z"])
