"""ATen operators that order elements, and that read and write them at computed places, in ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.torch.lifting_context import Context, cast, counted, full, is_array
from modelarchive.exchange.torch.lifting_places import PLACES
from modelarchive.exchange.torch.lifting_shapes import SHAPES, picked, reshaped, stretched
from modelarchive.exchange.torch.lifting_sums import SUMS
from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.nn.dim import Dim

# ---------------------------------------------------------------------- order


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


def _at_rank(x: Any, place: int, dim: int, *, keepdim: bool) -> tuple[Any, Any]:
    """The element with so many smaller ones along an axis, and its place."""
    order = picked(_order(x, dim, descending=False), dim, slice(place, place + 1))
    found = ops.gather(x, order, axis=dim)
    return (found, order) if keepdim else (ops.squeeze(found, axis=dim), ops.squeeze(order, axis=dim))


def _kth_value(context: Context, x: Any, *, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    return _at_rank(x, k - 1, dim, keepdim=keepdim)


def _median(context: Context, x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    whole = dim is None
    if whole:
        x, dim = reshaped(x, [x.size]), 0
    size = x.shape[dim]
    if isinstance(size, Dim):
        raise CannotError("the median along an axis whose size is not fixed: declare it with a fixed size")
    found, order = _at_rank(x, (size - 1) // 2, dim, keepdim=keepdim)
    if x.dtype.kind not in "biu":
        found = _or_nan(x, found, dim, keepdim=keepdim)
    return found if whole else (found, order)


def _or_nan(x: Any, found: Any, dim: int, *, keepdim: bool) -> Any:
    """What was found along an axis, or NaN where there is one."""
    missing = ops.max(cast(np.not_equal(x, x), "uint8"), axis=dim, keepdims=keepdim)
    return ops.where(ops.equal(missing, np.uint8(1)), np.asarray(np.nan, x.dtype), found)


# ---------------------------------------------------------------------- writing

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
    row = (
        ops.expand_dims(index, axis=tuple(at for at in range(source.ndim) if at != axis)) if source.ndim > 1 else index
    )
    return stretched(row, source.shape)


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
    if isinstance(index, np.ndarray):
        return PLACES["index_fill"](context, x, dim=dim, index=index, value=value)
    axis = dim % x.ndim
    places = index if index.ndim else ops.expand_dims(index, axis=0)
    places = ops.expand_dims(places, axis=tuple(at for at in range(x.ndim) if at != axis)) if x.ndim > 1 else places
    places = stretched(places, [places.shape[axis] if at == axis else size for at, size in enumerate(x.shape)])
    return ops.scatter(x, places, context.constant(value), axis=dim)


# ---------------------------------------------------------------------- several indices


def _counted_out(index: Any) -> list[Any]:
    """Constant truths as the places where they are true."""
    if isinstance(index, np.ndarray) and index.dtype == np.bool_:
        return list(np.nonzero(index))
    return [index]


def _from_the_front(index: Any, size: Any) -> Any:
    index = cast(index, "int64")
    if isinstance(index, np.ndarray):
        if (index >= 0).all():
            return index
        if not isinstance(size, Dim):
            return np.where(index < 0, index + size, index)
    return ops.where(ops.less(index, 0), ops.add(index, size), index)


def _put(context: Context, x: Any, *, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """Elements written where several arrays say: the axes that these are for are one axis meanwhile."""
    indices = [part for each in indices for part in _counted_out(each)]
    places = [axis for axis, each in enumerate(indices) if each is not None]
    if any(indices[axis].dtype == np.bool_ for axis in places):
        return PLACES["index_put"](context, x, indices=indices, values=values, accumulate=accumulate)
    rest = [axis for axis in range(x.ndim) if axis not in places]
    sizes = [x.shape[axis] for axis in places]
    place = _place([indices[axis] for axis in places], sizes)
    front = ops.transpose(x, axes=[*places, *rest])
    tail = [x.shape[axis] for axis in rest]
    merged = reshaped(front, [_whole(sizes), *tail])
    written = reshaped(_values(cast(values, x.dtype), place, places, rest, tail), [place.size, *tail])
    index = _spread(reshaped(place, [place.size]), 0, written)
    found = ops.scatter(merged, index, written, axis=0, reduction="add" if accumulate else "none")
    order = np.argsort([*places, *rest]).tolist()
    return ops.transpose(reshaped(found, [*sizes, *tail]), axes=order)


def _place(arrays: Sequence[Any], sizes: Sequence[Any]) -> Any:
    """Indices into several axes as indices into one, in which they are merged."""
    place: Any = None
    for size, each in zip(sizes, arrays, strict=True):
        each = _from_the_front(each, size)
        place = each if place is None else ops.add(ops.multiply(place, size), each)
    return place


def _whole(sizes: Sequence[Any]) -> Any:
    found: Any = 1
    for size in sizes:
        found = found * size
    return found


def _values(values: Any, place: Any, places: Sequence[int], rest: Sequence[int], tail: Sequence[Any]) -> Any:
    """What is written, the axes of the indices in front."""
    first, number = places[0], place.ndim
    is_together = list(places) == list(range(first, first + len(places)))
    before = sum(axis < first for axis in rest) if is_together else 0
    shape = [*tail[:before], *place.shape, *tail[before:]]
    values = stretched(values, shape)
    order = [*range(before, before + number), *range(before), *range(before + number, len(shape))]
    return ops.transpose(values, axes=order)


def _index(context: Context, x: Any, *, indices: Sequence[Any]) -> Any:
    """Indices at axes that are no neighbours: these come to the front."""
    found = [part for each in indices for part in _counted_out(each)]
    places = [axis for axis, each in enumerate(found) if each is not None]
    if places == list(range(places[0], places[0] + len(places))) or any(found[at].dtype == np.bool_ for at in places):
        return SUMS["index"](context, x, indices=indices)
    rest = [axis for axis in range(x.ndim) if axis not in places]
    x = ops.transpose(x, axes=[*places, *rest])
    return SUMS["index"](context, x, indices=[found[axis] for axis in places])


def _take(context: Context, x: Any, *, index: Any) -> Any:
    return ops.take(reshaped(x, [x.size]), _from_the_front(index, x.size), axis=0)


def _roll(context: Context, x: Any, *, shifts: Any, dims: Any = ()) -> Any:
    if dims not in ((), [], None):
        return SHAPES["roll"](context, x, shifts=shifts, dims=dims)
    (shift,) = shifts if isinstance(shifts, list | tuple) else (shifts,)
    flat = SHAPES["roll"](context, reshaped(x, [x.size]), shifts=[shift], dims=[0])
    return reshaped(flat, list(x.shape))


#: Operator -> what it means.
SCATTERING: Final[dict[str, Callable[..., Any]]] = {
    "sort": _sort, "argsort": _argsort, "topk": _topk, "kthvalue": _kth_value, "median": _median,
    "scatter": _scatter, "scatter_add": _scatter_add, "scatter_reduce": _scatter_reduce,
    "index_add": _index_add, "index_copy": _index_copy, "index_reduce": _index_reduce, "index_fill": _index_fill,
    "index_put": _put, "_unsafe_index_put": _put, "_index_put_impl": _put, "index": _index, "_unsafe_index": _index,
    "take": _take, "roll": _roll,
}  # fmt: skip
