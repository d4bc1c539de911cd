"""ATen operators that find places and write to them, in ops: the largest few, sorting, scattering, assigning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.torch.lifting_context import Context, cast, counted, is_array, same
from modelarchive.exchange.torch.lifting_shapes import stretched
from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.nn.dim import Dim


def row_along(values: Any, rank: int, axis: int) -> Any:
    """A row of values that stands along an axis."""
    return ops.expand_dims(values, axis=tuple(at for at in range(rank) if at != axis)) if rank > 1 else values


def largest(x: Any, number: int, dim: int, *, largest: bool) -> tuple[Any, Any]:
    """The largest elements along an axis, in their order, and their places: one after the other."""
    axis = dim % x.ndim
    rest = cast(x, "int64") if x.dtype.kind in "bu" else x
    rest = rest if largest else ops.negative(rest)
    if rest.dtype.kind == "f":
        # Below all that is left there is what was taken.
        lowest, taken = np.finfo(rest.dtype).min, np.asarray(-np.inf, rest.dtype)
        rest = ops.maximum(rest, np.asarray(lowest, rest.dtype))
    else:
        taken = np.asarray(np.iinfo(rest.dtype).min if rest.dtype.kind == "i" else -3e38, rest.dtype)
    places = row_along(counted(x.shape[axis]), x.ndim, axis)
    found = []
    for _ in range(number):
        found.append(ops.argmax(rest, axis=axis, keepdims=True))
        rest = ops.where(ops.equal(places, found[-1]), taken, rest)
    indices = ops.concatenate(found, axis=axis)
    return ops.gather(x, indices, axis=axis), indices


def _matches(x: Any, dim: int, index: Any) -> tuple[Any, int]:
    """Whether each place along an axis is each of the indices, which stand along the axis behind it."""
    axis = dim % x.ndim
    if any(
        at != axis and not same(one, other) for at, (one, other) in enumerate(zip(x.shape, index.shape, strict=True))
    ):
        raise CannotError("indices of a part of the array")
    places = row_along(counted(x.shape[axis]), x.ndim + 1, axis)
    return ops.equal(places, ops.expand_dims(cast(index, "int64"), axis=axis)), axis + 1


def _spread(matches: Any, axis: int, src: Any, dtype: Any) -> Any:
    zero = np.zeros((), src.dtype)
    return cast(ops.sum(ops.where(matches, ops.expand_dims(src, axis=axis - 1), zero), axis=axis), dtype)


def _scatter(context: Context, x: Any, *, dim: int, index: Any, src: Any = None, value: Any = None) -> Any:
    matches, axis = _matches(x, dim, index)
    hit = ops.greater(ops.max(cast(matches, "uint8"), axis=axis), np.uint8(0))
    if value is not None:
        return ops.where(hit, context.constant(value), x)
    return ops.where(hit, _spread(matches, axis, src, x.dtype), x)


def _scatter_add(context: Context, x: Any, *, dim: int, index: Any, src: Any) -> Any:
    matches, axis = _matches(x, dim, index)
    return ops.add(x, _spread(matches, axis, src, x.dtype))


def assigned(context: Context, x: Any, *, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """An array with a part replaced that is known, or where something is true."""
    places = [axis for axis, each in enumerate(indices) if each is not None]
    if len(places) != 1:
        raise CannotError("elements that are assigned by several arrays of indices")
    axis, index = places[0], indices[places[0]]
    values = cast(values, x.dtype)
    if index.dtype == np.bool_:
        if values.ndim and not all(not isinstance(size, Dim) and size == 1 for size in values.shape):
            raise CannotError("several values that are assigned by truths")
        mask = ops.expand_dims(index, axis=tuple(range(axis))) if axis else index
        rest = x.ndim - mask.ndim
        mask = ops.expand_dims(mask, axis=tuple(range(mask.ndim, mask.ndim + rest))) if rest else mask
        return ops.where(mask, ops.add(x, values) if accumulate else values, x)
    if not isinstance(index, np.ndarray) or index.ndim > 1 or isinstance(x.shape[axis], Dim) or accumulate:
        raise CannotError("elements that are assigned at places that are computed")
    return _replaced(x, axis, np.atleast_1d(index) % x.shape[axis], values)


def _replaced(x: Any, axis: int, index: Any, values: Any) -> Any:
    """An array with the parts at some places of an axis replaced."""
    parts = stretched(values, [len(index) if at == axis else size for at, size in enumerate(x.shape)])
    order = np.arange(x.shape[axis]) + len(index)
    order[index] = np.arange(len(index))
    return ops.take(ops.concatenate([parts, x], axis=axis), order, axis=axis)


def _index_fill(context: Context, x: Any, *, dim: int, index: Any, value: Any) -> Any:
    if not is_array(index) or not isinstance(index, np.ndarray):
        raise CannotError("elements that are filled at places that are computed")
    hit = np.isin(np.arange(x.shape[dim]), index % x.shape[dim])
    return ops.where(row_along(hit, x.ndim, dim % x.ndim), context.constant(value), x)


#: Operator -> what it means.
PLACES: Final[dict[str, Callable[..., Any]]] = {
    "scatter": _scatter, "scatter_add": _scatter_add, "index_fill": _index_fill,
}  # fmt: skip
