"""Ops that put elements in order, and that write elements at computed places."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops import shapes
from modelarchive.ops.precision import rounded, wide
from modelarchive.ops.registry import Array, op, same
from modelarchive.ops.shapes import Shape

#: What becomes of an element that is there and one that is written; None: the latter stays.
REDUCTIONS: Final = {"none": None, "add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum}


def _ordered(shape: Shape, *, axis: int = -1, descending: bool = False) -> Shape:
    shapes.normal_axis(axis, len(shape))
    return tuple(shape)


def _int64(first: Any, **arguments: Any) -> np.dtype[Any]:
    if np.result_type(first).kind == "c":
        raise ValueError(f"expected real numbers, found dtype {np.result_type(first)}")
    return np.dtype(np.int64)


@op(infer=_ordered, dtype=_int64)
def argsort(x: ArrayLike, /, axis: int = -1, descending: bool = False) -> Array:
    """The places of the elements along an axis, in the order of their size; equal ones stay in their order.

    Args:
        x: Any shape of at least one dimension; any real dtype. NaN counts as the largest.
        axis: The axis.
        descending: Whether the largest comes first.

    Returns:
        A new int64 array of the same shape.

    Raises:
        ValueError: There is no such axis, or the numbers are complex.
    """
    array = np.asarray(x)
    _int64(array.dtype)
    place = shapes.normal_axis(axis, array.ndim)
    array = array.astype(wide(array.dtype), copy=False)
    if not descending:
        return np.argsort(array, axis=place, kind="stable").astype(np.int64, copy=False)
    # From behind, so that equal ones stay in their order.
    turned = np.argsort(np.flip(array, place), axis=place, kind="stable")
    return np.asarray(array.shape[place] - 1 - np.flip(turned, place), np.int64)


def _scattered(shape: Shape, indices: Shape, updates: Shape, *, axis: int = 0, reduction: str = "none") -> Shape:
    place = shapes.normal_axis(axis, len(shape))
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(REDUCTIONS)}, found {reduction!r}")
    if len(indices) != len(shape):
        raise ValueError(f"expected indices of {len(shape)} dimensions, found shape {tuple(indices)}")
    if any(found > size for at, (found, size) in enumerate(zip(indices, shape, strict=True)) if at != place):
        raise ValueError(f"expected indices within shape {tuple(shape)} but for axis {axis}, found {tuple(indices)}")
    if len(updates) > len(indices) or shapes.broadcast(tuple(updates), tuple(indices)) != tuple(indices):
        raise ValueError(f"expected updates that stretch to shape {tuple(indices)}, found {tuple(updates)}")
    return tuple(shape)


def _scattered_dtype(first: Any, indices: Any, updates: Any, **arguments: Any) -> np.dtype[Any]:
    found = np.result_type(indices)
    if found.kind not in "iu":
        raise ValueError(f"expected integer indices, found {found}")
    return same(first)


@op(infer=_scattered, dtype=_scattered_dtype)
def scatter(x: ArrayLike, indices: ArrayLike, updates: ArrayLike, /, axis: int = 0, reduction: str = "none") -> Array:
    """A copy of `x` with elements written at places along an axis (``torch.scatter``, ONNX's ScatterElements).

    Args:
        x: Any dtype; at least one dimension.
        indices: Integers with as many dimensions as `x`, and not larger but for `axis`; negative ones count from the
            end.
        updates: What is written, of a shape that stretches to that of `indices`; taken in the dtype of `x`.
        axis: The axis that the indices run along.
        reduction: "none" writes, and which one stays of several at one place is left open; "add", "multiply",
            "maximum" and "minimum" make one of what is there and what is written.

    Returns:
        A new array of the shape and dtype of `x`.

    Raises:
        IndexError: An index is outside the axis.
        ValueError: Shapes or dtypes do not fit, or there is no such reduction.
    """
    array, places, values = np.asarray(x), np.asarray(indices), np.asarray(updates)
    _scattered_dtype(array.dtype, places.dtype, values.dtype)
    _scattered(array.shape, places.shape, values.shape, axis=axis, reduction=reduction)
    along = shapes.normal_axis(axis, array.ndim)
    index: list[Any] = list(np.ix_(*map(np.arange, places.shape)))
    index[along] = places
    values = np.broadcast_to(rounded(values, array.dtype), places.shape)
    function: Any = REDUCTIONS[reduction]
    if function is None:
        result = array.copy()
        result[tuple(index)] = values
        return result
    result = array.astype(wide(array.dtype), copy=True)
    function.at(result, tuple(index), values.astype(result.dtype, copy=False))
    return rounded(result, array.dtype)
