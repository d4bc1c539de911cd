"""Ops that work element by element, with NumPy's broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from modelarchive.dtypes import DENSE
from modelarchive.ops import shapes
from modelarchive.ops.precision import common_dtype, in_float32, is_narrow, rounded, wide
from modelarchive.ops.registry import Array, op
from modelarchive.ops.special import erf as erf_of_floats


def _probed(function: Any) -> Any:
    """The dtype rule of a NumPy function: what it returns for ones of the given dtypes."""

    def dtype(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
        # A Python number stays one: it is weak, and its own value decides nothing.
        ones = [np.ones((), each) if isinstance(each, np.dtype) else each for each in dtypes]
        return np.asarray(in_float32(function, *ones)).dtype

    return dtype


def _divided(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
    common = common_dtype(*dtypes)
    return np.dtype(np.float64) if common.kind in "biu" else common


@op(infer=shapes.broadcast, dtype=_probed(np.add), numpy=[np.add])
def add(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Sum of two arrays, element by element.

    Args:
        x: Any shape that broadcasts with `y`; any dtype. A Python number is weak.
        y: As `x`.

    Returns:
        A new array of the broadcast shape and NumPy's promoted dtype.
    """
    return in_float32(np.add, x, y)  # type: ignore[no-any-return]


@op(infer=shapes.broadcast, dtype=_probed(np.subtract), numpy=[np.subtract])
def subtract(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Difference of two arrays; shapes and dtypes as in :func:`add`."""
    return in_float32(np.subtract, x, y)  # type: ignore[no-any-return]


@op(infer=shapes.broadcast, dtype=_probed(np.multiply), numpy=[np.multiply])
def multiply(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Product of two arrays, element by element; shapes and dtypes as in :func:`add`."""
    return in_float32(np.multiply, x, y)  # type: ignore[no-any-return]


@op(infer=shapes.broadcast, dtype=_divided, numpy=[np.divide])
def divide(x: ArrayLike, y: ArrayLike, /) -> Array:
    """True quotient of two arrays; shapes as in :func:`add`, integers give float64 as in NumPy."""
    return in_float32(np.divide, x, y)  # type: ignore[no-any-return]


@op(infer=shapes.broadcast, dtype=common_dtype, numpy=[np.power])
def power(x: ArrayLike, y: ArrayLike, /) -> Array:
    """`x` to the power `y`; shapes and dtypes as in :func:`add`. Integers refuse negative powers."""
    return in_float32(_to_the_power, x, y)  # type: ignore[no-any-return]


def _to_the_power(x: Any, y: Any) -> Any:
    # The operator's squares and roots may differ from the function's in the last bit, before NumPy 2.3: networks
    # are written with the operator.
    return x**y if hasattr(x, "dtype") or hasattr(y, "dtype") else np.power(x, y)


@op(infer=shapes.broadcast, dtype=_probed(np.maximum), numpy=[np.maximum])
def maximum(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Larger of two arrays, element by element, NaN if either is; shapes and dtypes as in :func:`add`."""
    return in_float32(np.maximum, x, y)  # type: ignore[no-any-return]


@op(infer=shapes.broadcast, dtype=_probed(np.minimum), numpy=[np.minimum])
def minimum(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Smaller of two arrays, element by element, NaN if either is; shapes and dtypes as in :func:`add`."""
    return in_float32(np.minimum, x, y)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_probed(np.negative), numpy=[np.negative])
def negative(x: ArrayLike, /) -> Array:
    """`x` with its sign turned; any shape, any dtype but bool, both kept."""
    return in_float32(np.negative, x)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_probed(np.absolute), numpy=[np.absolute])
def abs(x: ArrayLike, /) -> Array:
    """Absolute value; any shape and dtype, both kept (a complex number gives its real modulus)."""
    return in_float32(np.absolute, x)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_probed(np.exp), numpy=[np.exp])
def exp(x: ArrayLike, /) -> Array:
    """Exponential; any shape; a float dtype is kept, integers become floats as in NumPy."""
    return in_float32(np.exp, x)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_probed(np.log), numpy=[np.log])
def log(x: ArrayLike, /) -> Array:
    """Natural logarithm; shapes and dtypes as in :func:`exp`."""
    return in_float32(np.log, x)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_probed(np.sqrt), numpy=[np.sqrt])
def sqrt(x: ArrayLike, /) -> Array:
    """Square root; shapes and dtypes as in :func:`exp`."""
    return in_float32(np.sqrt, x)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_probed(np.sin), numpy=[np.sin])
def sin(x: ArrayLike, /) -> Array:
    """Sine of an angle in radians; shapes and dtypes as in :func:`exp`."""
    return in_float32(np.sin, x)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_probed(np.cos), numpy=[np.cos])
def cos(x: ArrayLike, /) -> Array:
    """Cosine of an angle in radians; shapes and dtypes as in :func:`exp`."""
    return in_float32(np.cos, x)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_probed(np.arctan), numpy=[np.arctan])
def atan(x: ArrayLike, /) -> Array:
    """Arc tangent in radians, between -pi/2 and pi/2; shapes and dtypes as in :func:`exp`."""
    return in_float32(np.arctan, x)  # type: ignore[no-any-return]


def _reciprocal_root(x: Any) -> Any:
    return 1 / np.sqrt(x)


@op(infer=shapes.unchanged, dtype=_probed(_reciprocal_root))
def rsqrt(x: ArrayLike, /) -> Array:
    """``1 / sqrt(x)``; shapes and dtypes as in :func:`exp`."""
    return in_float32(_reciprocal_root, x)  # type: ignore[no-any-return]


@op(infer=shapes.unchanged, dtype=_divided)
def erf(x: ArrayLike, /) -> Array:
    """Error function ``2 / sqrt(pi)`` times the integral of ``exp(-t^2)`` from 0 to `x`.

    Any shape; a float dtype is kept, integers give float64.
    """
    array = np.asarray(x)
    floats = np.atleast_1d(array.astype(_divided(array.dtype), copy=False))
    return np.reshape(in_float32(erf_of_floats, floats), array.shape)


def _bool(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
    return np.dtype(np.bool_)


def _compared(function: Any, x: ArrayLike, y: ArrayLike) -> Array:
    """Compare; in float32 where NumPy has no comparison, the operands in their common dtype first."""
    if any(is_narrow(np.asarray(each).dtype) for each in (x, y)):
        dtype = common_dtype(x, y)
        x, y = (rounded(each, dtype).astype(wide(dtype)) for each in (x, y))
    return np.asarray(function(x, y))


@op(infer=shapes.broadcast, dtype=_bool, numpy=[np.equal])
def equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether `x` and `y` are equal, element by element: a bool array; shapes as in :func:`add`, NaN equals nothing."""
    return _compared(np.equal, x, y)


@op(infer=shapes.broadcast, dtype=_bool, numpy=[np.greater])
def greater(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether ``x > y``, element by element: a bool array; shapes as in :func:`add`, false for NaN."""
    return _compared(np.greater, x, y)


@op(infer=shapes.broadcast, dtype=_bool, numpy=[np.less])
def less(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether ``x < y``, element by element: a bool array; shapes as in :func:`add`, false for NaN."""
    return _compared(np.less, x, y)


def _clip_dtype(first: Any, *, low: Any, high: Any) -> np.dtype[Any]:
    bounds = [bound for bound in (low, high) if bound is not None]
    if not bounds or not all(isinstance(bound, int | float) for bound in bounds):
        raise ValueError(f"expected a number as low or high, found {low!r} and {high!r}")
    dtype = common_dtype(first, *bounds)
    if dtype.kind in "iu" and not all(np.iinfo(dtype).min <= bound <= np.iinfo(dtype).max for bound in bounds):
        raise ValueError(f"expected bounds of dtype {dtype}, found {low!r} and {high!r}")
    return dtype


@op(infer=shapes.unchanged, dtype=_clip_dtype)
def clip(x: ArrayLike, /, low: float | None, high: float | None) -> Array:
    """``min(max(x, low), high)``, NaN kept.

    Args:
        x: Any shape and real dtype.
        low: The lower bound, a weak number; None: none.
        high: The upper bound, likewise; one of the two is given.

    Returns:
        A new array of the dtype that `x` and the bounds promote to.

    Raises:
        ValueError: There is no bound, or one that has no value in that dtype.
    """
    dtype = _clip_dtype(x, low=low, high=high)
    array = rounded(x, dtype).astype(wide(dtype), copy=False)
    # The bounds are numbers of the result's dtype, float16 and bfloat16 too.
    bounds: list[Any] = [None if bound is None else rounded(bound, dtype).astype(wide(dtype)) for bound in (low, high)]
    return rounded(np.clip(array, *bounds), dtype)


def _cast(first: Any, *, dtype: DTypeLike) -> np.dtype[Any]:
    if isinstance(dtype, str):
        if dtype not in DENSE:
            raise ValueError(f"expected a dtype of {', '.join(DENSE)}, found {dtype!r}")
        return DENSE[dtype]
    return np.dtype(dtype)


@op(infer=shapes.unchanged, dtype=_cast, numpy=[np.astype] if hasattr(np, "astype") else [])
def cast(x: ArrayLike, /, dtype: DTypeLike) -> Array:
    """`x` in another dtype.

    Args:
        x: Any shape and dtype.
        dtype: The logical name of a dtype (``"float32"``, ``"bfloat16"``), or a NumPy dtype.

    Returns:
        An array of the same shape; `x` itself where it has that dtype.

    Raises:
        ValueError: There is no dtype of that name.
    """
    return rounded(x, _cast(x, dtype=dtype))
