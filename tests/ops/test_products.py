"""Products in parts: those of NumPy, and the same bits however many threads there are."""

from __future__ import annotations

import numpy as np
import pytest

from modelarchive.ops import blas, products
from modelarchive.ops.threads import team

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("parts", [2, 3, 5])
@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((7, 4), (4, 9)),
        ((9, 4), (4, 7)),
        ((1, 4), (4, 9)),
        ((6, 2, 3), (6, 3, 4)),
        ((6, 2, 3), (3, 4)),
        ((2, 3), (6, 3, 4)),
        ((2, 1, 5, 3), (6, 3, 4)),
        ((1, 5, 3), (2, 1, 3, 8)),
        ((4,), (4, 9)),
        ((7, 4), (4,)),
    ],
)
def test_parts_make_the_product(one: tuple[int, ...], two: tuple[int, ...], parts: int, monkeypatch) -> None:
    monkeypatch.setattr(products, "PARTS", ((1, parts),))
    x, y = RNG.standard_normal(one), RNG.standard_normal(two)
    np.testing.assert_allclose(products.multiply(x, y), x @ y, rtol=1e-13, atol=1e-13)
    out = np.empty((x @ y).shape)
    assert products.multiply(x, y, out=out) is out
    np.testing.assert_allclose(out, x @ y, rtol=1e-13, atol=1e-13)


def test_the_same_bits_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = RNG.standard_normal((90, 500), np.float32), RNG.standard_normal((500, 700), np.float32)
    found = []
    for number in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", number)
        blas.hold()  # whose own threads would change them where there is no other
        try:
            with team():
                found.append(products.multiply(x, y))
        finally:
            blas.let_go()
    assert x.size * y.shape[1] >= products.PARTS[0][0]
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "PARTS", ((1, 2),))
    with pytest.raises(ValueError, match="mismatch"):
        products.multiply(np.ones((3, 4)), np.ones((5, 6)))
    with pytest.raises(ValueError, match="broadcast"):
        products.multiply(np.ones((2, 3, 4)), np.ones((3, 4, 6)))
