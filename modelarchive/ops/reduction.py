"""Ops that reduce, contract or run along axes: sums, means, extremes, softmax and the matrix product."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops import shapes
from modelarchive.ops.precision import common_dtype, in_float32, is_narrow, wide
from modelarchive.ops.products import multiply
from modelarchive.ops.registry import Array, op, same
from modelarchive.ops.shapes import Axes
from modelarchive.ops.threads import piece_of, share

#: Elements from which on threads are worth their start.
WORTH: Final = 1 << 18


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
    return in_float32(multiply, x, y)  # type: ignore[no-any-return]


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


def _varied(shape: shapes.Shape, *, axis: Axes = None, keepdims: bool = False, ddof: int = 0) -> shapes.Shape:
    result = shapes.reduced(shape, axis=axis, keepdims=keepdims)
    count = math.prod(shape[place] for place in shapes.normal_axes(axis, len(shape)))
    if ddof not in (0, 1):
        raise ValueError(f"ddof: expected 0 or 1, found {ddof!r}")
    if count <= ddof:
        raise ValueError(f"expected more than {ddof} elements to reduce, found {count} in shape {tuple(shape)}")
    return result


@op(infer=_varied, dtype=_mean_dtype)
def var(x: ArrayLike, /, axis: Axes = None, keepdims: bool = False, ddof: int = 0) -> Array:
    """Variance over axes: the mean square of the differences from the mean.

    Args:
        x: Any shape; a float dtype is kept, integers give float64.
        axis: One axis, several, or None for all.
        keepdims: Keep the reduced axes with size 1.
        ddof: The sum is divided by the number of elements minus this: 0, or 1 for the unbiased estimate.

    Returns:
        A new array.

    Raises:
        ValueError: There are not enough elements.
    """
    array = np.asarray(x)
    _varied(array.shape, axis=axis, keepdims=keepdims, ddof=ddof)
    return in_float32(np.var, array, axis=_tuple(axis), keepdims=keepdims, ddof=ddof)  # type: ignore[no-any-return]


def _argmax_shape(shape: shapes.Shape, *, axis: int | None = None, keepdims: bool = False) -> shapes.Shape:
    result = shapes.reduced(shape, axis=axis, keepdims=keepdims)
    if (axis is None and not math.prod(shape)) or (axis is not None and not shape[axis]):
        raise ValueError(f"expected at least one element to reduce, found shape {tuple(shape)}, axis {axis}")
    return result


def _int64(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
    return np.dtype(np.int64)


@op(infer=_argmax_shape, dtype=_int64, numpy=[np.argmax])
def argmax(x: ArrayLike, /, axis: int | None = None, keepdims: bool = False) -> Array:
    """Place of the largest element along an axis: the first of several, that of a NaN if there is one.

    Args:
        x: Any shape and real dtype.
        axis: The axis; None: of all elements in row-major order.
        keepdims: Keep the reduced axes with size 1.

    Returns:
        A new int64 array.

    Raises:
        ValueError: There is no element.
    """
    array = np.asarray(x)
    _argmax_shape(array.shape, axis=axis, keepdims=keepdims)
    array = array.astype(wide(array.dtype), copy=False)
    return np.asarray(np.argmax(array, axis=axis, keepdims=keepdims), np.int64)


def _along(shape: shapes.Shape, *, axis: int) -> shapes.Shape:
    shapes.normal_axis(axis, len(shape))
    return tuple(shape)


@op(infer=_along, dtype=_sum_dtype)
def cumsum(x: ArrayLike, /, axis: int) -> Array:
    """Sum of the elements so far along an axis, each included.

    Args:
        x: Any shape of at least one dimension; dtypes as in :func:`sum`.
        axis: The axis.

    Returns:
        A new array of the same shape.
    """
    array = np.asarray(x)
    return in_float32(np.cumsum, array, axis=shapes.normal_axis(axis, array.ndim))  # type: ignore[no-any-return]


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


@op(infer=_softmax_shape, kind="LogSoftmax")
def log_softmax(x: ArrayLike, /, axis: int = -1) -> Array:
    """Logarithm of :func:`softmax`, computed so that nothing overflows or vanishes; arguments as there."""
    return in_float32(_log_softmax, np.asarray(x), axis=axis)  # type: ignore[no-any-return]


def _log_softmax(x: Array, *, axis: int) -> Array:
    shapes.normal_axis(axis, x.ndim)
    x = x.astype(_mean_dtype(x.dtype), copy=False)
    if x.size == 0:
        return x.copy()
    shifted: Array = x - np.max(x, axis=axis, keepdims=True)
    shifted -= np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
    return shifted


def _softmax(x: Array, *, axis: int) -> Array:
    axis = shapes.normal_axis(axis, x.ndim)
    x = x.astype(_mean_dtype(x.dtype), copy=False)
    if x.size == 0:
        return x.copy()
    size = math.prod(x.shape[axis:])
    parts, result = x.reshape(-1, *x.shape[axis:]), np.empty((x.size // size, *x.shape[axis:]), x.dtype)
    several = piece_of(x.size) // size or 1

    def compute(first: int) -> None:
        part, out = parts[first : first + several], result[first : first + several]
        np.subtract(part, np.max(part, axis=1, keepdims=True), out=out)
        np.exp(out, out=out)
        out /= np.sum(out, axis=1, keepdims=True)

    share(lambda: compute, range(0, len(parts), several), alone=x.size < WORTH)
    return result.reshape(x.shape)


def _tuple(axis: Axes) -> Any:
    return axis if axis is None or isinstance(axis, int) else tuple(axis)
