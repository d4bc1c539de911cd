"""What the values of an array are like: range, mean, deviation, zeros, what is not finite, and a histogram."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np

#: Numbers looked at together: as doubles they stay in the cache.
PIECE: Final = 1 << 16
#: Single precision adds up so many before double precision does.
_ROW: Final = 256
#: Bins of a histogram.
BINS: Final = 48
#: A histogram is of at most so many values, taken in runs that are spread evenly.
_MOST_SAMPLED: Final = 1 << 20
#: Value of each code of the dtypes of one byte that NumPy has no fast loops for.
_TABLES: Final = {
    np.dtype(each): np.arange(256, dtype=np.uint8).view(each).astype(np.float32)
    for each in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
}


@dataclass(frozen=True)
class Histogram:
    """How many values lie in bins of one width, from the least to the greatest finite value.

    Attributes:
        counts: Of each bin.
        is_sample: Whether they are of a sample, in runs spread evenly over the array.
    """

    counts: tuple[int, ...]
    is_sample: bool


@dataclass(frozen=True)
class Statistics:
    """What an array's values are like.

    Attributes:
        size: How many there are.
        zeros: How many are 0.
        nans: How many are not a number.
        infinities: How many are infinite.
        least: The least finite one; None where there is none, and for complex numbers. So with the next three.
        greatest: The greatest finite one.
        mean: Of the finite ones.
        deviation: Their standard deviation (divided by how many there are).
        histogram: Of the finite ones.
    """

    size: int
    zeros: int
    nans: int
    infinities: int
    least: float | None = None
    greatest: float | None = None
    mean: float | None = None
    deviation: float | None = None
    histogram: Histogram | None = None

    @property
    def not_finite(self) -> int:
        """How many values are no finite number."""
        return self.nans + self.infinities

    def as_json(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)


def statistics(pieces: Iterable[np.ndarray], size: int) -> Statistics | None:
    """Look at an array once, piece by piece.

    Args:
        pieces: Its values in order, flat arrays of one dtype; none of them is kept.
        size: How many values they hold together.

    Returns:
        None for texts.
    """
    found = _Running(size)
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in pieces:
            if piece.dtype.kind not in "biufcV" or piece.dtype.type is np.void:
                return None
            for start in range(0, piece.size, PIECE):
                found.add(piece[start : start + PIECE])
        return found.result()


def _real(piece: np.ndarray) -> np.ndarray:
    """The values as single or double precision, whichever holds them."""
    if piece.dtype == ml_dtypes.bfloat16:
        return (piece.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if piece.dtype in _TABLES:
        table: np.ndarray = _TABLES[piece.dtype]
        return table.take(piece.view(np.uint8))
    if piece.dtype.kind == "f":
        return piece.astype(np.float32) if piece.dtype.itemsize < 4 else piece
    return piece.astype(np.float64)


def _in_rows(real: np.ndarray) -> tuple[float, float] | None:
    """Mean, and sum of squared distances from it, by single precision in short rows; None if that is not precise."""
    if real.dtype != np.float32 or real.size % _ROW:
        return None
    rows = real.reshape(-1, _ROW)
    total = float(np.einsum("ij->i", rows).sum(dtype=np.float64))
    power = float(np.einsum("ij,ij->i", rows, rows).sum(dtype=np.float64)) / real.size
    mean = total / real.size
    # Neither too large or too small for squares, nor the deviation small beside the mean.
    return (mean, (power - mean * mean) * real.size) if 1e-24 < power < 1e24 and mean * mean < power / 2 else None


def _in_doubles(real: np.ndarray) -> tuple[float, float]:
    """Mean, and sum of squared distances from it, by double precision."""
    double = real.astype(np.float64)
    mean = float(np.clip(double.mean(), double.min(), double.max()))
    double -= mean
    # Not a product of BLAS, whose threads would wait for each other in every piece.
    return mean, float(np.einsum("i,i->", double, double))


class _Running:
    """What is known of the pieces so far."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.zeros = self.nans = self.infinities = self.finite = 0
        self.least, self.greatest = math.inf, -math.inf
        self.mean = self.squares = 0.0
        self.step = max(1, -(-size // _MOST_SAMPLED))
        self.sample: list[np.ndarray] = []
        self.is_complex = False

    def add(self, piece: np.ndarray) -> None:
        """Take in some more values."""
        if piece.dtype.kind == "c":
            self.is_complex = True
            self.zeros += int(np.count_nonzero(piece == 0))
            self._count_bad(piece)
            return
        real = _real(piece)
        # Comparing is several times as fast as counting numbers.
        self.zeros += int(np.count_nonzero(real == 0))
        least, greatest = float(real.min()), float(real.max())
        if not (math.isfinite(least) and math.isfinite(greatest)):
            self._count_bad(real)
            real = real[np.isfinite(real)]
            if not real.size:
                return
            least, greatest = float(real.min()), float(real.max())
        self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)
        self._merge(real.size, *(_in_rows(real) or _in_doubles(real)))
        # The first of so many, at least one: a run, not every n-th, which could be one column of a matrix.
        self.sample.append(real[: -(-real.size // self.step)].copy())

    def _merge(self, size: int, mean: float, squares: float) -> None:
        """Take in the mean of so many values, and the sum of the squares of their distances from it.

        Chan, Golub, LeVeque (1979): a large mean does not drown a small deviation.
        """
        apart, share = mean - self.mean, size / (self.finite + size)
        self.squares += squares + apart * self.finite * share * apart
        self.mean += apart * share
        self.finite += size

    def _count_bad(self, piece: np.ndarray) -> None:
        nans = int(np.count_nonzero(np.isnan(piece)))
        self.nans += nans
        self.infinities += piece.size - nans - int(np.count_nonzero(np.isfinite(piece)))

    def result(self) -> Statistics:
        """What all of it is like."""
        counted = Statistics(self.size, self.zeros, self.nans, self.infinities)
        if not self.finite or self.is_complex:
            return counted
        return Statistics(
            self.size,
            self.zeros,
            self.nans,
            self.infinities,
            self.least,
            self.greatest,
            self.mean,
            math.sqrt(self.squares / self.finite),
            self._histogram(),
        )

    def _histogram(self) -> Histogram:
        values = np.concatenate(self.sample).astype(np.float64)
        # Halves, because the width of the whole range may be too large for a double.
        low, high = self.least / 2, self.greatest / 2
        if high - low < 1e-300:
            counts = np.zeros(BINS, np.int64)
            counts[BINS // 2] = values.size
        else:
            at = ((values / 2 - low) / (high - low) * BINS).astype(np.int64)
            counts = np.bincount(np.clip(at, 0, BINS - 1), minlength=BINS)
        return Histogram(tuple(counts.tolist()), self.step > 1)
