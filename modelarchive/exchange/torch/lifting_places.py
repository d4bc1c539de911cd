"""ATen operators that write elements at places, in ops: scattering, adding, assigning by indices and truths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, full
from modelarchive.exchange.torch.lifting_picking import are_neighbours, neighbours, place_of, product_of, to_the_front
from modelarchive.exchange.torch.lifting_shapes import picked, reshaped, stretched
from modelarchive.exchange.torch.recorded import cast, is_array
from modelarchive.nn.dim import Dim


def _row_along(values: Any, rank: int, axis: int) -> Any:
    """A row of values that stands along an axis."""
    return ops.expand_dims(values, axis=tuple(at for at in range(rank) if at != axis)) if rank > 1 else values


#: PyTorch's words for what two elements make at one place.
_REDUCTIONS: Final = {
    "sum": "add", "add": "add", "prod": "multiply", "multiply": "multiply", "amax": "maximum", "amin": "minimum",
}  # fmt: skip


def _within(src: Any, shape: Sequence[Any]) -> Any:
    """The part of an array that indices ask for: they may be fewer."""
    if not is_array(src) or not src.ndim:
        return src
    for axis, (size, wanted) in enumerate(zip(src.shape, shape, strict=True)):
        is_fixed = not isinstance(size, Dim) and not isinstance(wanted, Dim)
        if is_fixed and size != wanted:
            src = picked(src, axis, slice(0, wanted))
    return src


def _scatter(
    context: Context, x: Any, *, dim: int, index: Any, src: Any = None, value: Any = None, reduce: str = ""
) -> Any:
    updates = context.constant(value) if src is None else _within(src, index.shape)
    return ops.scatter(x, index, updates, axis=dim, reduction=_REDUCTIONS[reduce] if reduce else "none")


def _scatter_add(context: Context, x: Any, *, dim: int, index: Any, src: Any) -> Any:
    return ops.scatter(x, index, _within(src, index.shape), axis=dim, reduction="add")


def _reduced(x: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool) -> Any:
    if not include_self:
        start = {"sum": 0, "mean": 0, "prod": 1, "amax": _lowest(x.dtype), "amin": _highest(x.dtype)}[reduce]
        x = ops.scatter(x, index, np.asarray(start, x.dtype), axis=dim)
    if reduce != "mean":
        return ops.scatter(x, index, src, axis=dim, reduction=_REDUCTIONS[reduce])
    total = ops.scatter(x, index, src, axis=dim, reduction="add")
    ones = full(x.shape, 1, x.dtype)
    if not include_self:
        ones = ops.scatter(ones, index, np.zeros((), x.dtype), axis=dim)
    count = ops.scatter(ones, index, np.ones((), x.dtype), axis=dim, reduction="add")
    count = ops.maximum(count, 1)
    return ops.floor_divide(total, count) if x.dtype.kind in "iu" else ops.divide(total, count)


def _lowest(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _highest(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


def _scatter_reduce(
    context: Context, x: Any, *, dim: int, index: Any, src: Any, reduce: str, include_self: bool = True
) -> Any:
    return _reduced(x, dim, index, _within(src, index.shape), reduce, include_self=include_self)


def _spread(index: Any, dim: int, source: Any) -> Any:
    """Places along one axis, for each element of an array."""
    axis = dim % max(source.ndim, 1)
    if not index.ndim:
        index = ops.expand_dims(index, axis=0)
    return stretched(_row_along(index, source.ndim, axis), source.shape)


def _index_add(context: Context, x: Any, *, dim: int, index: Any, source: Any, alpha: Any = 1) -> Any:
    source = source if alpha == 1 else ops.multiply(source, alpha)
    return ops.scatter(x, _spread(index, dim, source), source, axis=dim, reduction="add")


def _index_copy(context: Context, x: Any, *, dim: int, index: Any, source: Any) -> Any:
    return ops.scatter(x, _spread(index, dim, source), source, axis=dim)


def _index_reduce(
    context: Context, x: Any, *, dim: int, index: Any, source: Any, reduce: str, include_self: bool = True
) -> Any:
    return _reduced(x, dim, _spread(index, dim, source), source, reduce, include_self=include_self)


def _index_fill(context: Context, x: Any, *, dim: int, index: Any, value: Any) -> Any:
    axis = dim % x.ndim
    if isinstance(index, np.ndarray) and not isinstance(x.shape[axis], Dim):
        hit = np.isin(np.arange(x.shape[axis]), index % x.shape[axis])
        return ops.where(_row_along(hit, x.ndim, axis), context.constant(value), x)
    places = index if index.ndim else ops.expand_dims(index, axis=0)
    places = _row_along(places, x.ndim, axis)
    places = stretched(places, [places.shape[axis] if at == axis else size for at, size in enumerate(x.shape)])
    return ops.scatter(x, places, context.constant(value), axis=dim)


def _assigned(context: Context, x: Any, *, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """An array with a part replaced that is known, or where something is true."""
    places = [axis for axis, each in enumerate(indices) if each is not None]
    if len(places) != 1:
        raise Refusal("elements that are assigned by several arrays of indices")
    axis, index = places[0], indices[places[0]]
    values = cast(values, x.dtype)
    if index.dtype == np.bool_:
        rest = x.ndim - axis - index.ndim
        rows = values.shape[values.ndim - rest - 1] if values.ndim > rest else 1
        if isinstance(rows, Dim) or rows != 1:
            return _assigned_in_order(x, axis, index, values, accumulate=accumulate)
        values = reshaped(values, values.shape[values.ndim - rest :]) if values.ndim > rest else values
        mask = ops.expand_dims(index, axis=tuple(range(axis))) if axis else index
        mask = ops.expand_dims(mask, axis=tuple(range(mask.ndim, x.ndim))) if rest else mask
        return ops.where(mask, ops.add(x, values) if accumulate else values, x)
    if not isinstance(index, np.ndarray) or index.ndim > 1 or isinstance(x.shape[axis], Dim) or accumulate:
        raise Refusal("elements that are assigned at places that are computed")
    return _replaced(x, axis, np.atleast_1d(index) % x.shape[axis], values)


def _assigned_in_order(x: Any, axis: int, index: Any, values: Any, *, accumulate: bool) -> Any:
    """An array with rows of values, one after the other, where something is true."""
    shape, rest = list(index.shape), list(x.shape[index.ndim :])
    if axis or values.ndim != len(rest) + 1:
        raise Refusal("several values that are assigned by truths behind the first axis")
    rows = ops.take(values, _number_of_each(index, values.shape[0]), axis=0)
    rows = stretched(reshaped(rows, [*shape, *values.shape[1:]]), x.shape)
    mask = ops.expand_dims(index, axis=tuple(range(len(shape), x.ndim))) if rest else index
    return ops.where(mask, ops.add(x, rows) if accumulate else rows, x)


def _number_of_each(mask: Any, most: Any) -> Any:
    """Which of the elements that are true each one is, counted through all axes."""
    flat = reshaped(mask, [product_of(mask.shape)])
    number = ops.maximum(ops.subtract(ops.cumsum(cast(flat, "int64"), axis=0), 1), 0)
    return number if isinstance(most, Dim) else ops.minimum(number, most - 1)


def _replaced(x: Any, axis: int, index: Any, values: Any) -> Any:
    """An array with the parts at some places of an axis replaced."""
    parts = stretched(values, [len(index) if at == axis else size for at, size in enumerate(x.shape)])
    order = np.arange(x.shape[axis]) + len(index)
    order[index] = np.arange(len(index))
    return ops.take(ops.concatenate([parts, x], axis=axis), order, axis=axis)


def _index_put(context: Context, x: Any, *, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    places = [axis for axis, each in enumerate(indices) if each is not None]
    arrays = [indices[axis] for axis in places]
    values = cast(values, x.dtype)
    if len(arrays) == 1 and (arrays[0].dtype == np.bool_ or (isinstance(arrays[0], np.ndarray) and not accumulate)):
        return _assigned(context, x, indices=indices, values=values, accumulate=accumulate)
    if not are_neighbours(indices):
        return _put_apart(context, x, indices=indices, values=values, accumulate=accumulate)
    first, arrays = neighbours(indices)
    sizes = x.shape[first : first + len(arrays)]
    place = place_of(sizes, arrays)
    merged = reshaped(x, [*x.shape[:first], product_of(sizes), *x.shape[first + len(arrays) :]])
    written = _written(merged, first, place, values, accumulate=accumulate)
    return reshaped(written, x.shape)


def _put_apart(context: Context, x: Any, *, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """Elements that are assigned at axes that are no neighbours: these come to the front meanwhile."""
    order, arrays = to_the_front(indices, x.ndim)
    found = _index_put(context, ops.transpose(x, axes=order), indices=arrays, values=values, accumulate=accumulate)
    return ops.transpose(found, axes=np.argsort(order).tolist())


def _written(x: Any, axis: int, place: Any, values: Any, *, accumulate: bool) -> Any:
    """An array with values at computed places of an axis."""
    lead, tail = list(x.shape[:axis]), list(x.shape[axis + 1 :])
    values = stretched(values, [*lead, *place.shape, *tail])
    values = reshaped(values, [*lead, product_of(place.shape), *tail])
    place = _spread(reshaped(place, [product_of(place.shape)]), axis, values)
    return ops.scatter(x, place, values, axis=axis, reduction="add" if accumulate else "none")


def _masked_scatter(context: Context, x: Any, *, mask: Any, source: Any) -> Any:
    """The elements of `source`, one after the other, where the mask is true."""
    x, mask = stretched(x, context.shape), stretched(mask, context.shape)
    source = reshaped(source, [product_of(source.shape)])
    number = _number_of_each(mask, source.shape[0])
    return ops.where(mask, reshaped(ops.take(source, number, axis=0), context.shape), x)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "scatter": _scatter, "scatter_add": _scatter_add, "scatter_reduce": _scatter_reduce,
    "index_add": _index_add, "index_copy": _index_copy, "index_reduce": _index_reduce, "index_fill": _index_fill,
    **dict.fromkeys(("index_put", "_unsafe_index_put", "_index_put_impl"), _index_put),
    "masked_scatter": _masked_scatter,
}  # fmt: skip
