"""ATen operators that put elements in order or write them to computed places, in ops: all pairs are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.torch.lifting_context import Context, cast, counted, is_array
from modelarchive.exchange.torch.lifting_picking import neighbours, place_of, product_of
from modelarchive.exchange.torch.lifting_places import assigned, largest, row_along
from modelarchive.exchange.torch.lifting_shapes import exchanged, reshaped, stretched
from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.nn.dim import Dim

#: Elements that are found one after the other; more are ranked.
_FEW: Final = 16


def _ordered(x: Any, dim: int, number: Any, *, descending: bool) -> tuple[Any, Any]:
    """The first elements along an axis in the order of their size, those of one size as they stand, and their places.

    The rank of an element is the number of those that come before it.
    """
    axis = dim % x.ndim
    numbers = cast(x, "int64") if x.dtype.kind in "bu" else x
    rank = x.ndim + 1
    mine, other = ops.expand_dims(numbers, axis=axis + 1), ops.expand_dims(numbers, axis=axis)
    places = counted(x.shape[axis])
    is_earlier = ops.less(row_along(places, rank, axis + 1), row_along(places, rank, axis))
    is_before = ops.greater(other, mine) if descending else ops.less(other, mine)
    is_before = np.logical_or(is_before, np.logical_and(ops.equal(other, mine), is_earlier))
    ranks = ops.sum(cast(is_before, "int64"), axis=axis + 1)
    # The place of rank k is the sum over places of those that have it.
    matches = ops.equal(ops.expand_dims(ranks, axis=axis), row_along(counted(number), rank, axis))
    indices = ops.sum(ops.multiply(cast(matches, "int64"), row_along(places, rank, axis + 1)), axis=axis + 1)
    return ops.gather(x, indices, axis=axis), indices


def _topk(context: Context, x: Any, *, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if not isinstance(k, Dim) and k <= _FEW:
        return _one_by_one(x, k, dim, largest=largest)
    return _ordered(x, dim, k, descending=largest)


_one_by_one = largest


def _sort(context: Context, x: Any, *, stable: Any = None, dim: int = -1, descending: bool = False) -> Any:
    return _ordered(x, dim, x.shape[dim], descending=descending) if x.ndim else (x, np.zeros((), np.int64))


def _argsort(context: Context, x: Any, **more: Any) -> Any:
    return _sort(context, x, **more)[1]


def _index_put(context: Context, x: Any, *, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    places = [axis for axis, each in enumerate(indices) if each is not None]
    arrays = [indices[axis] for axis in places]
    values = cast(values, x.dtype)
    if len(arrays) == 1 and (arrays[0].dtype == np.bool_ or (isinstance(arrays[0], np.ndarray) and not accumulate)):
        return assigned(context, x, indices=indices, values=values, accumulate=accumulate)
    first, arrays = neighbours(indices)
    sizes = x.shape[first : first + len(arrays)]
    place = place_of(sizes, arrays)
    merged = reshaped(x, [*x.shape[:first], product_of(sizes), *x.shape[first + len(arrays) :]])
    written = _written(merged, first, place, values, accumulate=accumulate)
    return reshaped(written, x.shape)


def _written(x: Any, axis: int, place: Any, values: Any, *, accumulate: bool) -> Any:
    """An array with values at computed places of an axis: the last one counts, or all of them are added."""
    lead, tail = list(x.shape[:axis]), list(x.shape[axis + 1 :])
    if values.ndim:
        values = stretched(values, [*lead, *place.shape, *tail])
        values = reshaped(values, [*lead, product_of(place.shape), *tail])
    place = reshaped(place, [product_of(place.shape)])
    matches = ops.equal(ops.expand_dims(counted(x.shape[axis]), axis=1), ops.expand_dims(place, axis=0))
    if accumulate:
        values = values if values.ndim else stretched(values, [*lead, place.shape[0], *tail])
        return ops.add(x, _summed(matches, values, axis))
    is_hit = row_along(ops.greater(ops.max(cast(matches, "uint8"), axis=1), np.uint8(0)), x.ndim, axis)
    if not values.ndim:
        return ops.where(is_hit, values, x)
    order = ops.multiply(cast(matches, "int64"), ops.add(counted(place.shape[0]), 1))
    return ops.where(is_hit, ops.take(values, ops.argmax(order, axis=1), axis=axis), x)


def _summed(matches: Any, values: Any, axis: int) -> Any:
    """For each place the sum of the values that belong to it, along an axis."""
    matches = cast(matches, values.dtype)
    if values.ndim == 1:
        return ops.matmul(matches, values)
    turned = exchanged(values, axis, -2) if axis != values.ndim - 1 else exchanged(values, -1, -2)
    found = ops.matmul(matches, turned)
    return exchanged(found, axis, -2) if axis != values.ndim - 1 else exchanged(found, -1, -2)


def _index_add(context: Context, x: Any, *, dim: int, index: Any, source: Any, alpha: Any = 1) -> Any:
    source = cast(source, x.dtype)
    source = source if alpha == 1 else ops.multiply(source, alpha)
    axis = dim % x.ndim
    return _written(x, axis, place_of([x.shape[axis]], [index]), source, accumulate=True)


def _masked_scatter(context: Context, x: Any, *, mask: Any, source: Any) -> Any:
    """The elements of `source`, one after the other, where the mask is true."""
    x, mask = stretched(x, context.shape), stretched(mask, context.shape)
    flat = reshaped(mask, [product_of(mask.shape)])
    number = ops.maximum(ops.subtract(ops.cumsum(cast(flat, "int64"), axis=0), 1), 0)
    source = reshaped(source, [product_of(source.shape)])
    if not isinstance(source.shape[0], Dim):
        number = ops.minimum(number, source.shape[0] - 1)
    return ops.where(mask, reshaped(ops.take(source, number, axis=0), context.shape), x)


def _searched(context: Context, x: Any, *, boundaries: Any, out_int32: bool = False, right: bool = False) -> Any:
    if not is_array(x):
        raise CannotError("a number among boundaries")
    behind = ops.expand_dims(x, axis=x.ndim)
    found = np.less_equal(boundaries, behind) if right else ops.less(boundaries, behind)
    return ops.sum(cast(found, context.dtype), axis=-1)


#: Operator -> what it means.
ORDER: Final[dict[str, Callable[..., Any]]] = {
    "topk": _topk, "sort": _sort, "argsort": _argsort, "index_put": _index_put, "_unsafe_index_put": _index_put,
    "index_add": _index_add, "masked_scatter": _masked_scatter, "bucketize": _searched,
}  # fmt: skip
