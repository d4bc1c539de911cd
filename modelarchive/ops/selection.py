"""Ops that pick, repeat and surround elements: split, take, gather, where, pad, broadcast_to, shape_of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops import shapes
from modelarchive.ops.precision import common_dtype, rounded
from modelarchive.ops.registry import Array, op, same
from modelarchive.ops.shapes import Shape

#: How elements beyond the border are made, in NumPy's words.
PAD_MODES: Final = ("constant", "reflect", "edge", "wrap")
#: Equal parts that one split makes at most; more have to be listed size by size.
MAX_PARTS: Final = 128
_INFINITE: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def _indices(first: Any, indices: Any, **arguments: Any) -> np.dtype[Any]:
    found = np.result_type(indices)
    if found.kind not in "iu":
        raise ValueError(f"expected integer indices, found {found}")
    return same(first)


def _split_shapes(shape: Shape, *, sizes: int | Sequence[int], axis: int = 0) -> tuple[Shape, ...]:
    place = shapes.normal_axis(axis, len(shape))
    total = shape[place]
    if isinstance(sizes, int):
        if not 1 <= sizes <= MAX_PARTS:
            raise ValueError(f"sizes: expected 1 to {MAX_PARTS} equal parts, or a list of sizes, found {sizes}")
        if total % sizes:
            raise ValueError(f"sizes: expected a number of parts that divides {total}, found {sizes}")
        return ((*shape[:place], total // sizes, *shape[place + 1 :]),) * sizes
    known = sum(size for size in sizes if size != -1)
    if not sizes or list(sizes).count(-1) > 1 or any(size < -1 for size in sizes):
        raise ValueError(f"sizes: expected sizes and at most one -1, found {list(sizes)}")
    if known > total or (known < total and -1 not in sizes):
        raise ValueError(f"sizes: expected sizes that sum to {total}, found {list(sizes)}")
    parts = [total - known if size == -1 else size for size in sizes]
    return tuple((*shape[:place], part, *shape[place + 1 :]) for part in parts)


@op(infer=_split_shapes, dtype=same)
def split(x: ArrayLike, /, sizes: int | Sequence[int], axis: int = 0) -> tuple[Array, ...]:
    """`x` cut into parts along an axis.

    Args:
        x: Any shape and dtype.
        sizes: A number of equal parts, at most 128; or the size of each part, one of them -1 for what is
            left. (NumPy's ``split`` takes the places of the cuts instead.)
        axis: The axis that is cut.

    Returns:
        A tuple of views, one a part, also where there is only one.

    Raises:
        ValueError: The sizes do not sum to that of the axis.
    """
    array = np.asarray(x)
    place = shapes.normal_axis(axis, array.ndim)
    parts = [part[place] for part in _split_shapes(array.shape, sizes=sizes, axis=axis)]
    return tuple(np.split(array, list(itertools.accumulate(parts[:-1])), place))


def _taken(shape: Shape, indices: Shape, *, axis: int = 0) -> Shape:
    place = shapes.normal_axis(axis, len(shape))
    return (*shape[:place], *indices, *shape[place + 1 :])


@op(infer=_taken, dtype=_indices)
def take(x: ArrayLike, indices: ArrayLike, /, axis: int = 0) -> Array:
    """Whole slices of `x` along an axis, in the order of `indices` (``numpy.take``, ONNX's Gather).

    Args:
        x: Any dtype; at least one dimension.
        indices: Integers of any shape; negative ones count from the end.
        axis: The axis that is replaced by the axes of `indices`.

    Returns:
        A new array of the dtype of `x`.

    Raises:
        IndexError: An index is outside the axis.
        ValueError: The indices are no integers.
    """
    array, places = np.asarray(x), np.asarray(indices)
    _indices(array.dtype, places.dtype)
    return np.take(array, places, axis=shapes.normal_axis(axis, array.ndim))


def _gathered(shape: Shape, indices: Shape, *, axis: int = 0) -> Shape:
    place = shapes.normal_axis(axis, len(shape))
    if len(indices) != len(shape):
        raise ValueError(f"expected indices of {len(shape)} dimensions, found shape {tuple(indices)}")
    found = shapes.broadcast((*shape[:place], 1, *shape[place + 1 :]), (*indices[:place], 1, *indices[place + 1 :]))
    return (*found[:place], indices[place], *found[place + 1 :])


@op(infer=_gathered, dtype=_indices)
def gather(x: ArrayLike, indices: ArrayLike, /, axis: int = 0) -> Array:
    """One element of `x` for each index, all other axes aligned (``numpy.take_along_axis``, ``torch.gather``).

    Args:
        x: Any dtype; at least one dimension.
        indices: Integers, with as many dimensions as `x`; its other axes broadcast with those of `x`.
        axis: The axis that the indices run along.

    Returns:
        A new array of the dtype of `x`.

    Raises:
        IndexError: An index is outside the axis.
        ValueError: Shapes do not fit, or the indices are no integers.
    """
    array, places = np.asarray(x), np.asarray(indices)
    _indices(array.dtype, places.dtype)
    _gathered(array.shape, places.shape, axis=axis)
    return np.take_along_axis(array, places, axis)


def _where_dtype(condition: Any, x: Any, y: Any, **arguments: Any) -> np.dtype[Any]:
    return np.dtype(common_dtype(x, y))


@op(infer=shapes.broadcast, dtype=_where_dtype, numpy=[np.where])
def where(condition: ArrayLike, x: ArrayLike, y: ArrayLike, /) -> Array:
    """`x` where `condition` is true (or not 0), else `y`; all three broadcast.

    Args:
        condition: bool, or numbers.
        x: Any dtype; a Python number is weak.
        y: As `x`.

    Returns:
        A new array of the dtype that `x` and `y` promote to.
    """
    dtype = common_dtype(x, y)
    return np.where(np.asarray(condition), rounded(x, dtype), rounded(y, dtype))


def _padded(shape: Shape, *, padding: Sequence[Sequence[int]], mode: str = "constant", value: Any = 0) -> Shape:
    if mode not in PAD_MODES:
        raise ValueError(f"mode: expected one of {', '.join(PAD_MODES)}, found {mode!r}")
    if len(padding) > len(shape):
        raise ValueError(f"padding: expected at most {len(shape)} pairs, found {len(padding)}")
    kept = len(shape) - len(padding)
    result = list(shape[:kept])
    for size, pair in zip(shape[kept:], padding, strict=True):
        if len(pair) != 2 or min(pair) < 0:
            raise ValueError(f"padding: expected pairs (before, after) that are not negative, found {list(pair)}")
        room = {"constant": None, "reflect": size - 1, "wrap": size, "edge": None if size else 0}[mode]
        if room is not None and max(pair) > max(room, 0):
            raise ValueError(f"padding: expected at most {max(room, 0)} in mode {mode!r}, found {list(pair)}")
        result.append(size + pair[0] + pair[1])
    return tuple(result)


def pad_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """The number that the literal `value` means ("-Infinity", 0.5) in an array of `dtype`.

    Raises:
        ValueError: It has no such value.
    """
    number = _INFINITE[value] if isinstance(value, str) and value in _INFINITE else value
    if not isinstance(number, int | float | np.number | np.bool_):
        raise ValueError(f"value: expected a number, found {value!r}")
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            result = np.asarray(number).astype(dtype)
        except (OverflowError, TypeError) as error:
            raise ValueError(f"value: expected a number of dtype {dtype}, found {value!r}") from error
    if dtype.kind in "biu" and not (math.isfinite(number) and int(result) == number):
        raise ValueError(f"value: expected a number of dtype {dtype}, found {value!r}")
    return result


def _pad_dtype(first: Any, *, padding: Any, mode: str = "constant", value: Any = 0) -> np.dtype[Any]:
    dtype = same(first)
    pad_value(value, dtype)
    return dtype


@op(infer=_padded, dtype=_pad_dtype)
def pad(x: ArrayLike, /, padding: Sequence[Sequence[int]], mode: str = "constant", value: float | str = 0) -> Array:
    """`x` with elements before and after, along its last axes.

    Args:
        x: Any shape and dtype.
        padding: A pair (before, after) for each of the last ``len(padding)`` axes; the others stay.
        mode: "constant", "reflect" (mirrored without the border itself, less than the axis has), "edge" (the
            border repeated) or "wrap" (from the other end, at most what the axis has); NumPy's words.
        value: The constant, in the dtype of `x`; also "Infinity", "-Infinity", "NaN".

    Returns:
        A new array.

    Raises:
        ValueError: The padding does not fit the shape, or the value the dtype.
    """
    array = np.asarray(x)
    _padded(array.shape, padding=padding, mode=mode)
    constant = pad_value(value, array.dtype)
    widths = [(0, 0)] * (array.ndim - len(padding)) + [(int(before), int(after)) for before, after in padding]
    if mode != "constant":
        return np.pad(array, widths, mode)  # type: ignore[call-overload, no-any-return]
    result = np.full(_padded(array.shape, padding=padding), constant, array.dtype)
    inner = tuple(slice(before, before + size) for (before, _), size in zip(widths, array.shape, strict=True))
    result[inner] = array
    return result


def _broadcast(before: Shape, like: Shape, *, shape: Sequence[int | None]) -> Shape:
    wanted: list[int] = []
    for position, size in enumerate(shape):
        if size is None and position >= len(like):
            raise ValueError(f"shape: expected an axis {position} to take the size of, found shape {tuple(like)}")
        wanted.append(like[position] if size is None else size)
    if any(size < 0 for size in wanted):
        raise ValueError(f"shape: expected sizes, found {wanted}")
    if len(before) > len(wanted) or shapes.broadcast(before, tuple(wanted)) != tuple(wanted):
        raise ValueError(f"expected a shape that {tuple(before)} stretches to, found {tuple(wanted)}")
    return tuple(wanted)


@op(infer=_broadcast, dtype=same)
def broadcast_to(x: ArrayLike, like: ArrayLike, /, shape: Sequence[int | None]) -> Array:
    """`x` stretched to a shape by NumPy's rule of broadcasting.

    Args:
        x: Any shape and dtype.
        like: An array that only its shape is taken of; `x` itself will do where no size is None.
        shape: The sizes; None at place i takes that of axis i of `like` (the batch, for example).

    Returns:
        A read-only view.

    Raises:
        ValueError: `x` does not stretch to that shape.
    """
    array = np.asarray(x)
    return np.broadcast_to(array, _broadcast(array.shape, np.shape(like), shape=shape))


def _rank(shape: Shape) -> Shape:
    return (len(shape),)


def _int64(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
    return np.dtype(np.int64)


@op(infer=_rank, dtype=_int64)
def shape_of(x: ArrayLike, /) -> Array:
    """The sizes of the axes of `x` as an int64 array ``(dimensions,)``."""
    return np.asarray(np.shape(x), np.int64)
