"""The error function, which NumPy lacks."""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np

from modelarchive.ops.registry import Array

# Chebyshev coefficients of log(erfc(x) / t) + x^2 in 2t - 1 with t = 2 / (2 + x), x >= 0, the form of Press
# et al., Numerical Recipes (3rd ed.), section 6.2.2; interpolated at 64 nodes in 50 digits.
_CHEBYSHEV: Final = (
    -0.6513268598908547,
    0.6419697923564902,
    0.019476473204185836,
    -0.009561514786808632,
    -0.0009465953444820369,
    0.00036683949785276145,
    4.252332480690777e-05,
    -2.0278578112534242e-05,
    -1.6242900046470256e-06,
    1.3036558355805232e-06,
    1.5626441722066142e-08,
    -8.523809591492654e-08,
    6.5290544390988515e-09,
    5.059343495551469e-09,
    -9.91364156493033e-10,
    -2.273651222931836e-10,
    9.646791102015527e-11,
    2.3940380830391146e-12,
    -6.886027526497553e-12,
    8.944879273090725e-13,
    3.130921399342958e-13,
    -1.1270822361367252e-13,
    3.810905255189232e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291233e-17,
    1.210237189224279e-16,
    -2.816663087747177e-17,
)
_TAYLOR: Final = tuple(2 / math.sqrt(math.pi) * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(13))


@cache
def _polynomial() -> tuple[float, ...]:
    """As many terms as float32 can tell apart, as a polynomial: it takes half the passes over memory.

    Made at the first use: numpy.polynomial takes long to import.
    """
    return tuple(np.polynomial.chebyshev.cheb2poly(_CHEBYSHEV[:13])[::-1].tolist())


def erfc(x: Array) -> Array:
    """``1 - erf(x)`` for `x` from 0 on, to all but the last digits of its own size however small it is.

    Args:
        x: Not negative, float32 or float64, of any shape but a scalar's.

    Returns:
        A new array of the same shape and dtype.
    """
    # Beyond these the result is 0 in their dtype, and the square might overflow.
    x = np.minimum(x, x.dtype.type(15 if x.dtype == np.float32 else 40))
    t = 2 / (2 + x)
    u = 2 * t - 1
    power = _horner(_polynomial(), u) if x.dtype == np.float32 else np.polynomial.chebyshev.chebval(u, _CHEBYSHEV)
    power -= x * x
    result: Array = np.exp(power, out=power)
    result *= t
    return result


def erf(x: Array) -> Array:
    """Error function of a float32 or float64 array of any shape but a scalar's, in the same dtype."""
    size = np.abs(x)
    # 1 - erfc loses digits near 0, where the series needs few terms.
    small = np.minimum(size, x.dtype.type(0.5))
    series = small * _horner(_TAYLOR[::-1], small * small)
    return np.copysign(np.where(size < 0.5, series, 1 - erfc(size)), x)


def _horner(coefficients: tuple[float, ...], x: Array) -> Array:
    result = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result *= x
        result += x.dtype.type(coefficient)
    return result
