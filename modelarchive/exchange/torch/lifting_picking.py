"""ATen operators that pick elements by indices, in ops: along one axis, or by several arrays at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, same
from modelarchive.exchange.torch.lifting_shapes import reshaped
from modelarchive.exchange.torch.recorded import cast, scope
from modelarchive.nn.dim import Dim


def _gather(context: Context, x: Any, *, dim: int, index: Any, sparse_grad: bool = False) -> Any:
    index_shape, shape = list(index.shape), list(x.shape)
    for axis, (size, wanted) in enumerate(zip(shape, index_shape, strict=True)):
        if axis != dim % x.ndim and not same(size, wanted):
            if isinstance(size, Dim) or isinstance(wanted, Dim):
                raise Refusal("gather of a part of an axis that is not fixed")
            x = x[(*[slice(None)] * axis, slice(0, wanted))]  # PyTorch leaves the rest
    return ops.gather(x, index, axis=dim)


def _index_select(context: Context, x: Any, *, dim: int, index: Any) -> Any:
    return ops.take(x, index, axis=dim)


def _index(context: Context, x: Any, *, indices: Sequence[Any]) -> Any:
    indices = [part for each in indices for part in _counted_out(each)]
    if not are_neighbours(indices):
        order, indices = to_the_front(indices, x.ndim)
        x = ops.transpose(x, axes=order)
    first, arrays = neighbours(indices)
    if len(arrays) == 1:
        return ops.take(x, arrays[0], axis=first)
    sizes = x.shape[first : first + len(arrays)]
    single = _one_by_one(x, first, arrays, context.shape)
    if single is not None:
        return single
    merged = reshaped(x, [*x.shape[:first], product_of(sizes), *x.shape[first + len(arrays) :]])
    return ops.take(merged, place_of(sizes, arrays), axis=first)


def neighbours(indices: Sequence[Any]) -> tuple[int, list[Any]]:
    """The first axis that is indexed by an array, and the arrays.

    Raises:
        Refusal: They stand at axes that are not neighbours, or are truths.
    """
    indices = [part for each in indices for part in _counted_out(each)]
    places = [axis for axis, each in enumerate(indices) if each is not None]
    arrays = [indices[axis] for axis in places]
    if any(each.dtype == np.bool_ for each in arrays):
        raise Refusal("a choice of elements by truths, whose number is not known")
    if places != list(range(places[0], places[-1] + 1)):
        raise Refusal("indices at axes that are not neighbours")
    return places[0], arrays


def are_neighbours(indices: Sequence[Any]) -> bool:
    """Whether all arrays among indices stand at axes beside each other."""
    places = [axis for axis, each in enumerate(indices) if each is not None]
    return places == list(range(places[0], places[-1] + 1))


def to_the_front(indices: Sequence[Any], rank: int) -> tuple[list[int], list[Any]]:
    """The order of axes in which those with indices come first, as PyTorch has them where they are apart; those."""
    places = [axis for axis, each in enumerate(indices) if each is not None]
    return [*places, *(axis for axis in range(rank) if axis not in places)], [indices[axis] for axis in places]


def _counted_out(index: Any) -> list[Any]:
    """Constant truths as the places where they are true."""
    if isinstance(index, np.ndarray) and index.dtype == np.bool_:
        return list(np.nonzero(index))
    return [index]


def _one_by_one(x: Any, first: int, arrays: Sequence[Any], shape: Sequence[Any]) -> Any:
    """Elements by arrays of indices each of which runs along an axis of its own, as in a grid; None: others."""
    last = -1
    for axis, each in enumerate(arrays):
        long = [at - each.ndim for at, size in enumerate(each.shape) if isinstance(size, Dim) or size != 1]
        place = long[0] + len(shape) if long else last
        if len(long) != 1 or place <= last:
            return None
        last = place
        row = reshaped(each, [each.shape[long[0]]])
        x = ops.take(x, row, axis=first + axis)
    return reshaped(x, shape)


def place_of(sizes: Sequence[Any], arrays: Sequence[Any]) -> Any:
    """Indices into neighbouring axes as indices into one, in which they are merged; none is negative."""
    place: Any = None
    for size, each in zip(sizes, arrays, strict=True):
        each = cast(each, "int64")
        if isinstance(each, np.ndarray):
            each = each if (each >= 0).all() else ops.where(each < 0, ops.add(each, _scalar(size)), each)
        else:
            each = ops.where(ops.less(each, 0), ops.add(each, _scalar(size)), each)
        place = each if place is None else ops.add(ops.multiply(place, _scalar(size)), each)
    return place


def _scalar(size: Any) -> Any:
    return scope().size(size, ()) if isinstance(size, Dim) else size


def product_of(sizes: Sequence[Any]) -> Any:
    """The number of elements of an array of these sizes."""
    found: Any = 1
    for size in sizes:
        found = found * size
    return found


def _take(context: Context, x: Any, *, index: Any) -> Any:
    flat = reshaped(x, [product_of(x.shape)])
    return ops.take(flat, place_of([flat.shape[0]], [index]), axis=0)


def _embedding(context: Context, weight: Any, *, indices: Any, **ignored: Any) -> Any:
    return ops.take(weight, indices, axis=0)


def _one_hot(context: Context, x: Any, *, num_classes: int = -1) -> Any:
    if num_classes < 0:
        raise Refusal("one_hot without a number of classes")
    return ops.take(np.eye(num_classes, dtype=np.int64), x, axis=0)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "gather": _gather, "index_select": _index_select, "index": _index, "_unsafe_index": _index,
    "take": _take, "embedding": _embedding, "one_hot": _one_hot,
}  # fmt: skip
