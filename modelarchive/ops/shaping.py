"""Ops that move elements and change none: join, reshape, reorder, slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops import shapes
from modelarchive.ops.precision import common_dtype, joined
from modelarchive.ops.registry import Array, op, same
from modelarchive.ops.threads import share

#: Elements from which on threads copy faster together.
WORTH: Final = 1 << 20


@op(infer=shapes.concatenate, dtype=common_dtype, numpy=[np.concatenate], sequence=True)
def concatenate(arrays: Sequence[ArrayLike], /, axis: int = 0) -> Array:
    """Arrays joined along an axis that they have.

    Args:
        arrays: At least one; shapes equal but for `axis`. Different dtypes promote as in NumPy.
        axis: The axis along which they are joined.

    Returns:
        A new array.
    """
    return joined(_concatenated, arrays, axis=axis)  # type: ignore[no-any-return]


def _concatenated(arrays: Sequence[Any], axis: int) -> Array:
    """What NumPy gives, large parts copied by several threads."""
    given = [np.asarray(array) for array in arrays]
    if sum(array.size for array in given) < WORTH:
        return np.concatenate(given, axis=axis)
    out = np.empty(shapes.concatenate(*(array.shape for array in given), axis=axis), np.result_type(*given))
    places = np.split(out, np.cumsum([array.shape[axis] for array in given])[:-1], axis=axis)

    def copy(item: tuple[Array, Array]) -> None:
        np.copyto(*item)

    share(lambda: copy, zip(places, given, strict=True))
    return out


@op(infer=shapes.stack, dtype=common_dtype, numpy=[np.stack], sequence=True)
def stack(arrays: Sequence[ArrayLike], /, axis: int = 0) -> Array:
    """Arrays of one shape put side by side on a new axis.

    Args:
        arrays: At least one, of equal shapes. Different dtypes promote as in NumPy.
        axis: The place of the new axis in the result.

    Returns:
        A new array with one dimension more.
    """
    return joined(np.stack, arrays, axis=axis)  # type: ignore[no-any-return]


@op(infer=shapes.reshape, dtype=same, numpy=[np.reshape])
def reshape(x: ArrayLike, /, shape: Sequence[int | None]) -> Array:
    """The elements of `x` in another shape, in row-major order.

    Args:
        x: Any shape and dtype.
        shape: The new sizes. None at place i keeps axis i of `x`, one -1 is inferred from the rest.

    Returns:
        A view where NumPy can make one, else a copy.

    Raises:
        ValueError: The number of elements differs.
    """
    array = np.asarray(x)
    return array.reshape(shapes.reshape(array.shape, shape=shape))


@op(infer=shapes.transpose, dtype=same, numpy=[np.transpose])
def transpose(x: ArrayLike, /, axes: Sequence[int] | None = None) -> Array:
    """`x` with its axes in another order.

    Args:
        x: Any shape and dtype.
        axes: The order; None reverses it.

    Returns:
        A view.
    """
    return np.transpose(np.asarray(x), None if axes is None else tuple(axes))


@op(infer=shapes.squeeze, dtype=same, numpy=[np.squeeze])
def squeeze(x: ArrayLike, /, axis: int | Sequence[int] | None = None) -> Array:
    """`x` without axes of size 1.

    Args:
        x: Any shape and dtype.
        axis: The axes to drop; None drops every axis of size 1.

    Returns:
        A view.
    """
    return np.squeeze(np.asarray(x), _tuple(axis))


@op(infer=shapes.expand_dims, dtype=same, numpy=[np.expand_dims])
def expand_dims(x: ArrayLike, /, axis: int | Sequence[int]) -> Array:
    """`x` with new axes of size 1.

    Args:
        x: Any shape and dtype.
        axis: The places of the new axes in the result.

    Returns:
        A view.
    """
    return np.expand_dims(np.asarray(x), _tuple(axis))


@op(infer=shapes.sliced, dtype=same)
def slice(x: ArrayLike, /, index: shapes.Index) -> Array:
    """Basic indexing with literals: ``x[:, 0, None]`` is ``slice(x, [[None, None, None], 0, None])``.

    Args:
        x: Any shape and dtype.
        index: For each axis an int or ``[start, stop, step]``; None makes a new axis of size 1. Axes
            behind the last index are kept whole.

    Returns:
        A view.

    Raises:
        ValueError: An index is outside its axis, or there are too many.
    """
    array = np.asarray(x)
    shapes.sliced(array.shape, index=index)
    items: list[Any] = [item if item is None or isinstance(item, int) else shapes.python_slice(item) for item in index]
    return array[(*items, ...)]


def _tuple(axis: int | Sequence[int] | None) -> Any:
    return axis if axis is None or isinstance(axis, int) else tuple(axis)
