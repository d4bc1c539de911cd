"""ATen operators that go along an axis and keep what they have found, in ops: products, extremes so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted
from modelarchive.exchange.torch.lifting_elementwise import log1p
from modelarchive.exchange.torch.lifting_shapes import exchanged, picked, reshaped
from modelarchive.exchange.torch.recorded import cast
from modelarchive.nn.dim import Dim


def _is_free(x: Any, dim: int) -> bool:
    return isinstance(x.shape[dim], Dim)


def _product(context: Context, x: Any, *, dim: Any = None, dims: Any = None, keepdim: bool = False, **more: Any) -> Any:
    """Halves of the axis are multiplied, until one element is left."""
    x = cast(x, context.dtype)
    dim = dims if dim is None else dim
    if dim is None:
        x, dim = reshaped(x, [math.prod(x.shape)]), 0
    for axis in sorted(each % max(x.ndim, 1) for each in (dim if isinstance(dim, list | tuple) else [dim]))[::-1]:
        x = _one_product(x, axis, keepdim=keepdim) if x.ndim else x
    return x


def _one_product(x: Any, axis: int, *, keepdim: bool) -> Any:
    if _is_free(x, axis):
        return _by_logarithms(x, lambda each: ops.sum(each, axis=axis, keepdims=keepdim))
    size = int(x.shape[axis])
    if size == 0:
        raise Refusal("a product of no elements")
    while size > 1:
        half, rest = divmod(size, 2)
        found = ops.multiply(picked(x, axis, slice(0, half)), picked(x, axis, slice(half, 2 * half)))
        x = ops.concatenate([found, picked(x, axis, slice(2 * half, None))], axis=axis) if rest else found
        size = half + rest
    return x if keepdim else ops.squeeze(x, axis=axis)


def _by_logarithms(x: Any, sums: Callable[[Any], Any]) -> Any:
    """Products of any number of elements: in float64, whose rounding the dtype of `x` does not have.

    Args:
        x: The elements.
        sums: Adds up what is multiplied.
    """
    if x.dtype.kind in "iu":
        raise Refusal("a product of integers along an axis whose size is not fixed: declare it with a fixed size")
    if x.dtype == np.float64:
        raise Refusal("a product of float64 along an axis whose size is not fixed: declare it with a fixed size")
    wide = cast(x, "float64")
    negative = sums(cast(ops.less(wide, 0), "int64"))
    size = ops.exp(sums(ops.log(ops.abs(wide))))
    return cast(ops.where(ops.equal(ops.remainder(negative, 2), 1), ops.negative(size), size), x.dtype)


def _scan(x: Any, dim: int, combined: Callable[[Any, Any], Any]) -> Any:
    """What each element makes with all before it, by steps that double."""
    step, size = 1, int(x.shape[dim])
    while step < size:
        later = combined(picked(x, dim, slice(0, -step)), picked(x, dim, slice(step, None)))
        x = ops.concatenate([picked(x, dim, slice(0, step)), later], axis=dim)
        step *= 2
    return x


def _before(x: Any, axis: int, otherwise: Any) -> Any:
    """On a new axis behind the last, all elements of an axis up to each one, and a number in the place of others."""
    size = x.shape[axis]
    last = ops.expand_dims(exchanged(x, axis, -1), axis=x.ndim - 1)
    places = counted(size)
    is_before = np.less_equal(places, ops.expand_dims(places, axis=1))
    return ops.where(is_before, last, np.asarray(otherwise, x.dtype))


def _cumulated_product(context: Context, x: Any, *, dim: int, dtype: Any = None) -> Any:
    x = cast(x, context.dtype)
    if x.ndim and _is_free(x, dim):
        return _by_logarithms(x, lambda each: ops.cumsum(each, axis=dim))
    return _scan(x, dim, ops.multiply) if x.ndim else x


def _log_sum(one: Any, other: Any) -> Any:
    largest = ops.maximum(one, other)
    away = ops.negative(ops.abs(ops.subtract(one, other)))
    # Two equal infinities have no difference.
    away = ops.where(ops.equal(one, other), np.zeros((), one.dtype), away)
    return ops.add(largest, log1p(ops.exp(away)))


def _log_cumulated_sum(context: Context, x: Any, *, dim: int) -> Any:
    if x.ndim and _is_free(x, dim):
        before = _before(x, dim, -np.inf)
        largest = ops.max(before, axis=-1, keepdims=True)
        largest = ops.where(ops.less(ops.abs(largest), np.inf), largest, np.zeros((), x.dtype))
        total = ops.log(ops.sum(ops.exp(ops.subtract(before, largest)), axis=-1))
        return exchanged(ops.add(total, ops.squeeze(largest, axis=-1)), dim, -1)
    return _scan(x, dim, _log_sum) if x.ndim else x


def _so_far(larger: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The largest or smallest element so far and its place, the last one of several."""

    def row(context: Context, x: Any, *, dim: int) -> Any:
        if not x.ndim:
            return x, np.zeros((), np.int64)
        axis = dim % x.ndim
        if _is_free(x, axis):
            return _free_so_far(x, axis, is_largest=larger is ops.greater)
        size = int(x.shape[axis])
        places = ops.expand_dims(counted(size), axis=tuple(at for at in range(x.ndim) if at != axis))
        places = ops.add(places, ops.cast(ops.less(x, x), dtype="int64"))
        step = 1
        while step < size:
            before, now = (picked(x, axis, each) for each in (slice(0, -step), slice(step, None)))
            earlier, here = (picked(places, axis, each) for each in (slice(0, -step), slice(step, None)))
            wins = np.logical_or(np.logical_or(larger(now, before), ops.equal(now, before)), np.not_equal(now, now))
            wins = np.logical_and(wins, np.logical_or(ops.equal(before, before), np.not_equal(now, now)))
            values, chosen = ops.where(wins, now, before), ops.where(wins, here, earlier)
            x = ops.concatenate([picked(x, axis, slice(0, step)), values], axis=axis)
            places = ops.concatenate([picked(places, axis, slice(0, step)), chosen], axis=axis)
            step *= 2
        return x, places

    return row


def _free_so_far(x: Any, axis: int, *, is_largest: bool) -> tuple[Any, Any]:
    """Likewise of an axis of any size."""
    lowest = -np.inf if x.dtype.kind not in "iu" else np.iinfo(x.dtype).min
    highest = np.inf if x.dtype.kind not in "iu" else np.iinfo(x.dtype).max
    before = _before(x, axis, lowest if is_largest else highest)
    best = (ops.max if is_largest else ops.min)(before, axis=-1)
    # The last one of several: NaN is larger and smaller than anything, and equal to nothing.
    moved = exchanged(x, axis, -1)
    is_best = np.logical_or(ops.equal(moved, best), np.not_equal(moved, moved))
    numbered = ops.where(is_best, counted(x.shape[axis]), np.asarray(-1, np.int64))
    places = ops.max(_before(numbered, -1, -1), axis=-1)
    return exchanged(best, axis, -1), exchanged(places, axis, -1)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "prod": _product,
    "cumprod": _cumulated_product,
    "logcumsumexp": _log_cumulated_sum,
    "cummax": _so_far(ops.greater),
    "cummin": _so_far(ops.less),
}
