"""ATen operators that put elements in order, in ops: the largest few, sorting, medians, places among boundaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted, uses
from modelarchive.exchange.torch.lifting_shapes import picked, reshaped
from modelarchive.exchange.torch.lifting_sizes import number_of
from modelarchive.exchange.torch.recorded import cast, is_array
from modelarchive.nn.dim import Dim


def _order(x: Any, dim: int, *, descending: bool) -> Any:
    return ops.argsort(cast(x, "uint8") if x.dtype == np.bool_ else x, axis=dim, descending=descending)


def _sort(context: Context, x: Any, *, stable: Any = None, dim: int = -1, descending: bool = False) -> Any:
    if not x.ndim:
        return x, np.zeros((), np.int64)
    order = _order(x, dim, descending=descending)
    return ops.gather(x, order, axis=dim), order


def _argsort(context: Context, x: Any, *, stable: Any = None, dim: int = -1, descending: bool = False) -> Any:
    return _order(x, dim, descending=descending) if x.ndim else np.zeros((), np.int64)


def _topk(context: Context, x: Any, *, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if not x.ndim:
        return x, np.zeros((), np.int64)
    order = _order(x, dim, descending=largest)
    order = picked(order, dim, slice(0, k)) if isinstance(k, int) else ops.take(order, counted(k), axis=dim % x.ndim)
    return ops.gather(x, order, axis=dim), order


def _at_rank(x: Any, place: Any, dim: int, *, keepdim: bool) -> tuple[Any, Any]:
    """The element with so many smaller ones along an axis, and its place."""
    order = _order(x, dim, descending=False)
    if is_array(place):
        order = ops.take(order, ops.reshape(place, shape=[1]), axis=dim % x.ndim)
    else:
        order = picked(order, dim, slice(place, place + 1))
    found = ops.gather(x, order, axis=dim)
    return (found, order) if keepdim else (ops.squeeze(found, axis=dim), ops.squeeze(order, axis=dim))


def _kth_value(context: Context, x: Any, *, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    return _at_rank(x, k - 1, dim, keepdim=keepdim)


def _median(context: Context, x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    whole = dim is None
    if whole:
        x, dim = reshaped(x, [x.size]), 0
    size = x.shape[dim]
    place = ops.floor_divide(ops.subtract(number_of(size), 1), 2) if isinstance(size, Dim) else (size - 1) // 2
    found, order = _at_rank(x, place, dim, keepdim=keepdim)
    if x.dtype.kind not in "biu":
        found = _or_nan(x, found, dim, keepdim=keepdim)
    return found if whole else (found, order)


def _mode(context: Context, x: Any, *, dim: int = -1, keepdim: bool = False) -> Any:
    """The smallest of the elements that are there most often."""
    if uses(context.node, 1):
        raise Refusal("the places of mode, of which PyTorch does not say which it takes")
    axis = dim % max(x.ndim, 1)
    alike = ops.equal(ops.expand_dims(x, axis=axis + 1), ops.expand_dims(x, axis=axis))
    counts = ops.sum(cast(alike, "int64"), axis=axis + 1)
    often = ops.equal(counts, ops.max(counts, axis=axis, keepdims=True))
    most = np.iinfo(x.dtype).max if x.dtype.kind in "iu" else np.inf
    return ops.min(ops.where(often, x, np.asarray(most, x.dtype)), axis=axis, keepdims=keepdim), None


def _or_nan(x: Any, found: Any, dim: int, *, keepdim: bool) -> Any:
    """What was found along an axis, or NaN where there is one."""
    missing = ops.max(cast(np.not_equal(x, x), "uint8"), axis=dim, keepdims=keepdim)
    return ops.where(ops.equal(missing, np.uint8(1)), np.asarray(np.nan, x.dtype), found)


def _searched(context: Context, x: Any, *, boundaries: Any, out_int32: bool = False, right: bool = False) -> Any:
    if not is_array(x):
        raise Refusal("a number among boundaries")
    behind = ops.expand_dims(x, axis=x.ndim)
    # What is no number stands behind all boundaries.
    stays = ops.greater(boundaries, behind) if right else np.greater_equal(boundaries, behind)
    return ops.sum(cast(np.logical_not(stays), context.dtype), axis=-1)


def _among(context: Context, boundaries: Any, values: Any, *, side: Any = None, sorter: Any = None, **more: Any) -> Any:
    """Places among boundaries that each row of values has of its own."""
    if sorter is not None:
        boundaries = ops.gather(boundaries, sorter, axis=-1)
    more["right"] = more.get("right", False) or side == "right"
    if is_array(boundaries) and boundaries.ndim > 1:
        boundaries = ops.expand_dims(boundaries, axis=boundaries.ndim - 1)
    return _searched(context, values, boundaries=boundaries, **more)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "sort": _sort, "argsort": _argsort, "topk": _topk, "kthvalue": _kth_value, "median": _median,
    "mode": _mode, "bucketize": _searched,
    "searchsorted": lambda context, x, **given: _among(context, x, given.pop("self"), **given),
}  # fmt: skip
