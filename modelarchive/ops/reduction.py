"""Ops that reduce or contract axes: sums, means, extremes, softmax and the matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops import shapes
from modelarchive.ops.precision import common_dtype, in_float32, is_narrow
from modelarchive.ops.registry import Array, op, same
from modelarchive.ops.shapes import Axes


def _sum_dtype(first: Any, **arguments: Any) -> np.dtype[Any]:
    dtype = np.result_type(first)
    return dtype if is_narrow(dtype) else np.zeros((), dtype).sum().dtype


def _mean_dtype(first: Any, **arguments: Any) -> np.dtype[Any]:
    dtype = np.result_type(first)
    return np.dtype(np.float64) if dtype.kind in "biu" else dtype


@op(infer=shapes.matmul, dtype=common_dtype, numpy=[np.matmul])
def matmul(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Matrix product, stacks of matrices broadcast (NumPy's ``@``).

    Args:
        x: ``(..., rows, inner)`` or ``(inner,)``; any numeric dtype.
        y: ``(..., inner, columns)`` or ``(inner,)``.

    Returns:
        A new array ``(..., rows, columns)``, without the axis that a 1-d operand lacks.
    """
    return in_float32(np.matmul, x, y)  # type: ignore[no-any-return]


@op(infer=shapes.reduced, dtype=_sum_dtype, numpy=[np.sum])
def sum(x: ArrayLike, /, axis: Axes = None, keepdims: bool = False) -> Array:
    """Sum over axes.

    Args:
        x: Any shape; floats keep their dtype, small integers become the platform's int as in NumPy.
        axis: One axis, several, or None for all.
        keepdims: Keep the reduced axes with size 1.

    Returns:
        A new array.
    """
    return in_float32(np.sum, np.asarray(x), axis=_tuple(axis), keepdims=keepdims)  # type: ignore[no-any-return]


@op(infer=shapes.reduced_nonempty, dtype=_mean_dtype, numpy=[np.mean])
def mean(x: ArrayLike, /, axis: Axes = None, keepdims: bool = False) -> Array:
    """Arithmetic mean over axes; arguments as in :func:`sum`, integers give float64 as in NumPy."""
    return in_float32(np.mean, np.asarray(x), axis=_tuple(axis), keepdims=keepdims)  # type: ignore[no-any-return]


@op(infer=shapes.reduced_nonempty, dtype=same, numpy=[np.max])
def max(x: ArrayLike, /, axis: Axes = None, keepdims: bool = False) -> Array:
    """Largest element over axes, NaN if there is one; arguments as in :func:`sum`, the dtype is kept."""
    return in_float32(np.max, np.asarray(x), axis=_tuple(axis), keepdims=keepdims)  # type: ignore[no-any-return]


@op(infer=shapes.reduced_nonempty, dtype=same, numpy=[np.min])
def min(x: ArrayLike, /, axis: Axes = None, keepdims: bool = False) -> Array:
    """Smallest element over axes, NaN if there is one; arguments as in :func:`sum`, the dtype is kept."""
    return in_float32(np.min, np.asarray(x), axis=_tuple(axis), keepdims=keepdims)  # type: ignore[no-any-return]


def _softmax_shape(shape: shapes.Shape, *, axis: int = -1) -> shapes.Shape:
    shapes.normal_axis(axis, len(shape))
    return tuple(shape)


@op(infer=_softmax_shape, dtype=_mean_dtype)
def softmax(x: ArrayLike, /, axis: int = -1) -> Array:
    """``exp(x) / sum(exp(x))`` along an axis, computed from ``x - max(x)`` so that nothing overflows.

    Args:
        x: Any shape of at least one dimension; a float dtype is kept, integers give float64.
        axis: The axis along which the result sums to 1.

    Returns:
        A new array of the same shape.
    """
    return in_float32(_softmax, np.asarray(x), axis=axis)  # type: ignore[no-any-return]


def _softmax(x: Array, *, axis: int) -> Array:
    shapes.normal_axis(axis, x.ndim)
    x = x.astype(_mean_dtype(x.dtype), copy=False)
    if x.size == 0:
        return x.copy()
    powers: Array = np.exp(x - np.max(x, axis=axis, keepdims=True))
    powers /= np.sum(powers, axis=axis, keepdims=True)
    return powers


def _tuple(axis: Axes) -> Any:
    return axis if axis is None or isinstance(axis, int) else tuple(axis)
