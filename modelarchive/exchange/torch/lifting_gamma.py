"""ATen operators of the gamma function, in ops: Stirling's series beyond 8, its recurrence below, its reflection.

Computed with 64 bits, of which 32 are kept: near the zeros of the logarithm large terms cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.torch.lifting_context import Context
from modelarchive.exchange.torch.recorded import cast

#: From where the series is exact.
_FAR: Final = 8
#: Coefficients of 1 / x, 1 / x**3, ... in the logarithm of gamma: Bernoulli numbers, NIST's Handbook 5.11.1.
_STIRLING: Final = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_Parts = tuple[Any, Any, Any, list[Any]]


def _parts(x: Any) -> _Parts:
    """Whether it is reflected, how far the nearest whole number is, a number from 8 on, what it was moved over."""
    is_reflected = ops.less(x, 0.5)
    size = ops.where(is_reflected, ops.subtract(1, x), x)
    is_near = ops.less(size, _FAR)
    passed = [ops.where(is_near, ops.add(size, step), np.ones((), np.float64)) for step in range(_FAR)]
    return (
        is_reflected,
        ops.subtract(x, ops.floor(ops.add(x, 0.5))),
        ops.where(is_near, ops.add(size, _FAR), size),
        passed,
    )


def _series(inverse: Any, coefficients: tuple[float, ...]) -> Any:
    square = ops.multiply(inverse, inverse)
    found: Any = coefficients[-1]
    for each in reversed(coefficients[:-1]):
        found = ops.add(ops.multiply(square, found), each)
    return found


def _log_gamma(context: Context, x: Any) -> Any:
    x = cast(x, np.dtype(np.float64))
    is_reflected, rest, far, passed = _parts(x)
    inverse = ops.divide(1, far)
    found = ops.subtract(
        ops.multiply(ops.subtract(far, 0.5), ops.log(far)), ops.subtract(far, math.log(2 * math.pi) / 2)
    )
    found = ops.add(found, ops.multiply(inverse, _series(inverse, _STIRLING)))
    product = passed[0]
    for each in passed[1:]:
        product = ops.multiply(product, each)
    found = ops.subtract(found, ops.log(product))
    reflected = ops.subtract(math.log(math.pi), ops.add(ops.log(ops.abs(ops.sin(ops.multiply(rest, math.pi)))), found))
    found = ops.where(is_reflected, reflected, found)
    return cast(ops.where(ops.equal(ops.abs(x), np.inf), np.asarray(np.inf), found), context.dtype)


def _digamma(context: Context, x: Any) -> Any:
    x = cast(x, np.dtype(np.float64))
    is_reflected, rest, far, passed = _parts(x)
    inverse = ops.divide(1, far)
    # The series' derivative: the exponents 1, 3, ... come down.
    slopes = tuple(each * (2 * place + 1) for place, each in enumerate(_STIRLING))
    steps = ops.multiply(ops.multiply(inverse, inverse), _series(inverse, slopes))
    found = ops.subtract(ops.log(far), ops.add(ops.multiply(inverse, 0.5), steps))
    is_near = ops.less(ops.where(is_reflected, ops.subtract(1, x), x), _FAR)
    moved: Any = ops.divide(1, passed[0])
    for each in passed[1:]:
        moved = ops.add(moved, ops.divide(1, each))
    found = ops.where(is_near, ops.subtract(found, moved), found)
    angle = ops.multiply(rest, math.pi)
    reflected = ops.subtract(found, ops.divide(ops.multiply(ops.cos(angle), math.pi), ops.sin(angle)))
    found = ops.where(is_reflected, reflected, found)
    # No value at whole numbers below 0, and none that is told from which side at 0.
    is_pole = np.logical_and(ops.equal(rest, 0), is_reflected)
    found = ops.where(is_pole, np.asarray(np.nan), found)
    found = ops.where(ops.equal(x, 0), ops.divide(-1, x), found)
    return cast(ops.where(ops.equal(x, np.inf), x, found), context.dtype)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {"lgamma": _log_gamma, "digamma": _digamma}
