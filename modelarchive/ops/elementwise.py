"""Ops that work element by element, with NumPy's broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from modelarchive.dtypes import DENSE
from modelarchive.ops import shapes
from modelarchive.ops.precision import common_dtype, in_float32, rounded
from modelarchive.ops.registry import Array, op


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
    return in_float32(np.power, x, y)  # type: ignore[no-any-return]


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
