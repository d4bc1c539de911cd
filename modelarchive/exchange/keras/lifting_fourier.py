"""How Fourier transforms are lifted: as products with the table of the waves, along axes of known sizes."""

from __future__ import annotations

from typing import Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ops import one
from modelarchive.exchange.keras.lifting_ordering import known_size, part
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal

#: The longest axis that is transformed.
_LONGEST: Final = 1024
_SIZES: Final = f"along axes of known sizes, at most {_LONGEST:,}"


def waves(size: int, most: int = _LONGEST) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines (places, frequencies) of whole turns along an axis.

    Args:
        size: How long the axis is.
        most: How long it may be.
    """
    if size > most:
        raise Refusal(f"a transform of {size:,} elements is not supported, at most of {most:,}")
    spend("Fourier transforms", elements=2 * size * size)
    # Turns are counted anew, so that large angles are as precise as small ones.
    angles = np.outer(np.arange(size), np.arange(size)) % size * (2 * np.pi / size)
    return np.cos(angles), np.sin(angles)


def _product(context: Context, x: Ref, table: np.ndarray) -> Term:
    """Each row along the last axis times a table."""
    return Term(context, x).op("matmul", Term(context, context.constant(table, context.dtype(x).name)))


def _pair(context: Context) -> tuple[Ref, Ref]:
    """Real and imaginary parts."""
    found = context.xs
    if len(found) != 2:
        raise Refusal(f"is called on {len(found)} tensors, expected real and imaginary parts")
    return context.as_float(found[0]), context.as_float(found[1])


def _along(context: Context, pair: tuple[Ref, Ref], *, inverse: bool) -> tuple[Ref, Ref]:
    """The transform along the last axis."""
    size = known_size(context, pair[0], -1)
    cosine, sine = waves(size)
    if inverse:
        cosine, sine = cosine / size, -sine / size
    real, imaginary = pair
    first = _product(context, real, cosine) + _product(context, imaginary, sine)
    second = _product(context, imaginary, cosine) - _product(context, real, sine)
    return first.ref, second.ref


def _transformed(axes: int, *, inverse: bool = False) -> Lift:
    """FFT, FFT2, IFFT2: along the last axes."""

    def lift(context: Context) -> list[Ref]:
        pair = _along(context, _pair(context), inverse=inverse)
        if axes == 2:
            one, two = (_turned(context, each) for each in pair)
            one, two = _along(context, (one, two), inverse=inverse)
            pair = _turned(context, one), _turned(context, two)
        return list(pair)

    return lift


def _turned(context: Context, x: Ref) -> Ref:
    rank = context.rank(x)
    return context.op("transpose", x, axes=[*range(rank - 2), rank - 1, rank - 2])


def _length(context: Context, usual: int) -> int:
    found = context.config.value("fft_length", None)
    size = usual if found is None else found
    if type(size) is not int or size < 1:
        raise Refusal(f"fft_length = {size!r} is no size")
    return size


def _sized(context: Context, x: Ref, size: int) -> Ref:
    """The last axis cut off at a size, or filled with zeros up to it."""
    more = size - known_size(context, x, -1)
    if more > 0:
        pairs = [*[[0, 0]] * (context.rank(x) - 1), [0, more]]
        return context.op("pad", x, padding=pairs, mode="constant", value=0.0)
    return part(context, x, -1, None, size) if more else x


def _of_reals(context: Context) -> list[Ref]:
    """RFFT: of the frequencies of real numbers the half that says all."""
    x = context.as_float(one(context))
    size = _length(context, known_size(context, x, -1))
    half = size // 2 + 1
    cosine, sine = waves(size)
    x = _sized(context, x, size)
    return [_product(context, x, table[:, :half]).ref for table in (cosine, -sine)]


def _to_reals(context: Context) -> Ref:
    """IRFFT: back again; of the other half the frequencies are those of this one, turned."""
    real, imaginary = _pair(context)
    size = _length(context, 2 * (known_size(context, real, -1) - 1))
    half = size // 2 + 1
    cosine, sine = waves(size)
    times = np.full((half, 1), 2.0 / size)
    times[0] = 1 / size
    if size % 2 == 0:
        times[-1] = 1 / size
    real, imaginary = (_sized(context, each, half) for each in (real, imaginary))
    return (_product(context, real, times * cosine[:half]) - _product(context, imaginary, times * sine[:half])).ref


#: Fourier transforms.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("FFT", "matmul", _transformed(1), _SIZES),
    operation("FFT2", "matmul, transpose", _transformed(2), _SIZES),
    operation("IFFT2", "matmul, transpose", _transformed(2, inverse=True), _SIZES),
    operation("RFFT", "matmul", _of_reals, _SIZES),
    operation("IRFFT", "matmul", _to_reals, _SIZES),
)
