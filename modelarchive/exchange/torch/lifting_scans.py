"""ATen operators that go along an axis and keep what they have found, in ops: products, extremes so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, cast, counted
from modelarchive.exchange.torch.lifting_elementwise import log1p
from modelarchive.exchange.torch.lifting_shapes import picked, reshaped
from modelarchive.nn.dim import Dim


def _length(context: Context, x: Any, dim: int) -> int:
    size = x.shape[dim]
    if isinstance(size, Dim):
        raise Refusal(f"{context.name} along an axis whose size is not fixed: declare it with a fixed size")
    return int(size)


def _product(context: Context, x: Any, *, dim: Any = None, dims: Any = None, keepdim: bool = False, **more: Any) -> Any:
    """Halves of the axis are multiplied, until one element is left."""
    x = cast(x, context.dtype)
    dim = dims if dim is None else dim
    if dim is None:
        if any(isinstance(size, Dim) for size in x.shape):
            raise Refusal("a product of all elements of an array whose size is not fixed")
        x, dim = reshaped(x, [math.prod(x.shape)]), 0
    for axis in sorted(each % max(x.ndim, 1) for each in (dim if isinstance(dim, list | tuple) else [dim]))[::-1]:
        x = _one_product(context, x, axis, keepdim=keepdim) if x.ndim else x
    return x


def _one_product(context: Context, x: Any, axis: int, *, keepdim: bool) -> Any:
    size = _length(context, x, axis)
    if size == 0:
        raise Refusal("a product of no elements")
    while size > 1:
        half, rest = divmod(size, 2)
        found = ops.multiply(picked(x, axis, slice(0, half)), picked(x, axis, slice(half, 2 * half)))
        x = ops.concatenate([found, picked(x, axis, slice(2 * half, None))], axis=axis) if rest else found
        size = half + rest
    return x if keepdim else ops.squeeze(x, axis=axis)


def _scan(context: Context, x: Any, dim: int, combined: Callable[[Any, Any], Any]) -> Any:
    """What each element makes with all before it, by steps that double."""
    step, size = 1, _length(context, x, dim)
    while step < size:
        later = combined(picked(x, dim, slice(0, -step)), picked(x, dim, slice(step, None)))
        x = ops.concatenate([picked(x, dim, slice(0, step)), later], axis=dim)
        step *= 2
    return x


def _cumulated_product(context: Context, x: Any, *, dim: int, dtype: Any = None) -> Any:
    x = cast(x, context.dtype)
    return _scan(context, x, dim, ops.multiply) if x.ndim else x


def _log_sum(one: Any, other: Any) -> Any:
    largest = ops.maximum(one, other)
    away = ops.negative(ops.abs(ops.subtract(one, other)))
    # Two equal infinities have no difference.
    away = ops.where(ops.equal(one, other), np.zeros((), one.dtype), away)
    return ops.add(largest, log1p(ops.exp(away)))


def _log_cumulated_sum(context: Context, x: Any, *, dim: int) -> Any:
    return _scan(context, x, dim, _log_sum) if x.ndim else x


def _so_far(larger: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The largest or smallest element so far and its place, the last one of several."""

    def row(context: Context, x: Any, *, dim: int) -> Any:
        if not x.ndim:
            return x, np.zeros((), np.int64)
        axis, size = dim % x.ndim, _length(context, x, dim)
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


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "prod": _product,
    "cumprod": _cumulated_product,
    "logcumsumexp": _log_cumulated_sum,
    "cummax": _so_far(ops.greater),
    "cummin": _so_far(ops.less),
}
