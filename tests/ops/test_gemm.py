"""Products that are added by BLAS itself: NumPy's sums, and nothing outside of them is touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from modelarchive.ops import blas, gemm
from modelarchive.ops.gemm import Matrix

RNG = np.random.default_rng(8)
DTYPES: Any = [np.float32, np.float64]


@pytest.fixture(params=["OpenBLAS", "NumPy"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With BLAS's own function, and where there is none."""
    if request.param == "NumPy":
        monkeypatch.setattr(gemm, "openblas", list)
    elif not blas.openblas():
        pytest.skip("NumPy has another BLAS than OpenBLAS here")
    gemm._gemm.cache_clear()
    assert (gemm._gemm(np.dtype(np.float32)) is None) is (request.param == "NumPy")
    yield
    gemm._gemm.cache_clear()


def window(rows: int, columns: int, dtype: Any, *, order: str = "C") -> np.ndarray:
    """A matrix inside of a larger one."""
    whole = RNG.standard_normal((rows + 2, columns + 7)).astype(dtype, order=order)  # type: ignore[call-overload]
    found: np.ndarray = whole[1 : rows + 1, 3 : columns + 3]
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 5, 4), (64, 48, 500), (1, 70, 33), (130, 1, 9)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_it_is_added_where_it_belongs(sizes: Any, order: str, dtype: Any, by: None) -> None:
    rows, terms, columns = sizes
    x, y, out = window(rows, terms, dtype), window(terms, columns, dtype, order=order), window(rows, columns, dtype)
    whole = out.base
    assert whole is not None
    for width in {columns, 1 + columns // 2}:
        before = whole.copy()
        expected = before.astype(np.float64)
        expected[1 : rows + 1, 3 : 3 + width] += x.astype(np.float64) @ y[:, :width].astype(np.float64)
        Matrix(out).add(Matrix(x), Matrix(y), width)
        np.testing.assert_allclose(whole, expected, rtol=1e-4 if dtype is np.float32 else 1e-11, atol=1e-4)
        inside = np.zeros(whole.shape, bool)
        inside[1 : rows + 1, 3 : 3 + width] = True
        np.testing.assert_array_equal(whole[~inside], before[~inside])


@pytest.mark.parametrize(
    ("x", "y", "out", "width"),
    [
        ((3, 4), (5, 6), (3, 6), 6),
        ((3, 4), (4, 6), (2, 6), 6),
        ((3, 4), (4, 5), (3, 6), 6),
        ((3, 4), (4, 6), (3, 5), 6),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, y: Any, out: Any, width: int, by: None) -> None:
    target = np.zeros((9, 9), np.float32)
    with pytest.raises(ValueError, match=r"mismatch|broadcast"):
        Matrix(target[: out[0], : out[1]]).add(Matrix(np.ones(x, np.float32)), Matrix(np.ones(y, np.float32)), width)
    assert not target.any()


def test_what_may_not_be_written_is_not(by: None) -> None:
    target = np.zeros((3, 3), np.float32)
    target.flags.writeable = False
    ones = Matrix(np.ones((3, 3), np.float32))
    with pytest.raises(ValueError, match="read-only"):
        Matrix(target).add(ones, ones, 3)
    assert not target.any()


def test_other_dtypes_are_numpys(by: None) -> None:
    out, ones = np.zeros((2, 2), np.int32), Matrix(np.ones((2, 2), np.int32))
    Matrix(out).add(ones, ones, 2)
    np.testing.assert_array_equal(out, np.full((2, 2), 2))
    mixed = np.zeros((2, 2), np.float64)
    Matrix(mixed).add(Matrix(np.ones((2, 2), np.float32)), Matrix(np.ones((2, 2), np.float64)), 2)
    np.testing.assert_array_equal(mixed, np.full((2, 2), 2.0))


def test_a_function_that_is_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        """A library that has the names, and does nothing."""

        def __getattr__(self, name: str) -> Any:
            def function(*arguments: object) -> bytes:
                return b"USE64BITINT"

            if name in ("cblas_sgemm", "openblas_get_config"):
                return function
            raise AttributeError(name)

    gemm._gemm.cache_clear()
    monkeypatch.setattr(gemm, "openblas", lambda: [Library()])
    assert gemm._gemm(np.dtype(np.float32)) is None
    gemm._gemm.cache_clear()


def test_numpys_own_library_has_it() -> None:
    if not blas.openblas():
        pytest.skip("NumPy has another BLAS than OpenBLAS here")
    assert gemm._gemm(np.dtype(np.float32)) is not None
    assert gemm._gemm(np.dtype(np.float64)) is not None
