"""Sizes that are not fixed: what arithmetic with them gives, and that it ends."""

import pytest

import modelarchive as ma
from modelarchive.nn.dim import LARGEST, Dim


def test_arithmetic_is_that_of_both_sizes() -> None:
    size = Dim(12, 20)
    assert (size * 3 + 1).pair == (37, 61)
    assert (3 - size).pair == (-9, -17)
    assert size // size == 1
    assert size - size == 0


@pytest.mark.parametrize(
    "compute",
    [lambda x: x * x, lambda x: x + x, lambda x: x - -LARGEST, lambda x: -LARGEST - x, lambda x: LARGEST * x],
)
def test_sizes_stay_within_64_bits(compute) -> None:
    with pytest.raises(ma.SpecError, match=r"larger than 2\*\*63"):
        compute(Dim(LARGEST - 1, LARGEST))


def squared(size: Dim) -> Dim:
    """Squared until that is refused."""
    return squared(size * size)


def test_a_size_that_is_squared_again_and_again_ends() -> None:
    with pytest.raises(ma.SpecError):
        squared(Dim(12, 20))


def test_the_largest_size_is_one() -> None:
    assert (Dim(LARGEST - 2, LARGEST - 1) + 1).pair == (LARGEST - 1, LARGEST)
