"""Shape rules of the ops on plain ints, shared by the op families; a misfit is a ValueError."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

Shape = tuple[int, ...]
#: An axis, several, or all of them.
Axes = int | Sequence[int] | None
#: A literal basic index: an int, None for a new axis, or [start, stop, step] for a slice.
Index = Sequence[int | Sequence[int | None] | None]


def broadcast(*shapes: Shape, **arguments: Any) -> Shape:
    """The shape that `shapes` broadcast to (NumPy's rule)."""
    rank = max((len(shape) for shape in shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for position, size in enumerate(shape, start=rank - len(shape)):
            if result[position] == 1:
                result[position] = size
            elif size not in (1, result[position]):
                expected = " and ".join(str(tuple(each)) for each in shapes)
                raise ValueError(f"expected shapes that broadcast together, found {expected}")
    return tuple(result)


def unchanged(shape: Shape, *others: Shape, **arguments: Any) -> Shape:
    """The shape of the first array."""
    return tuple(shape)


def normal_axis(axis: int, rank: int) -> int:
    """`axis` counted from the front.

    Raises:
        ValueError: There is no such axis.
    """
    if not -rank <= axis < rank:
        raise ValueError(f"expected an axis of an array of {rank} dimensions, found axis {axis}")
    return axis % rank


def normal_axes(axes: Axes, rank: int) -> tuple[int, ...]:
    """`axes` counted from the front; all of them for None.

    Raises:
        ValueError: There is no such axis, or one comes twice.
    """
    if axes is None:
        return tuple(range(rank))
    several = (axes,) if isinstance(axes, int) else tuple(axes)
    result = tuple(normal_axis(axis, rank) for axis in several)
    if len(set(result)) != len(result):
        raise ValueError(f"expected every axis once, found {list(several)}")
    return result


def reduced(shape: Shape, *, axis: Axes = None, keepdims: bool = False, **arguments: Any) -> Shape:
    """The shape after a reduction over `axis`."""
    axes = normal_axes(axis, len(shape))
    if keepdims:
        return tuple(1 if position in axes else size for position, size in enumerate(shape))
    return tuple(size for position, size in enumerate(shape) if position not in axes)


def reduced_nonempty(shape: Shape, *, axis: Axes = None, keepdims: bool = False) -> Shape:
    """As :func:`reduced`, for a reduction that has no result for zero elements."""
    result = reduced(shape, axis=axis, keepdims=keepdims)
    if math.prod(result) and not math.prod(shape):
        raise ValueError(f"expected at least one element to reduce, found shape {tuple(shape)}, axis {axis}")
    return result


def matmul(first: Shape, second: Shape) -> Shape:
    """The shape of a matrix product, stacks of matrices broadcast."""
    if not first or not second:
        raise ValueError(f"expected arrays of at least 1 dimension, found {tuple(first)} and {tuple(second)}")
    rows = first[-2:-1]
    columns = second[-1:] if len(second) > 1 else ()
    inner = second[-2] if len(second) > 1 else second[0]
    if first[-1] != inner:
        raise ValueError(
            f"expected {first[-1]} rows in the second matrix, found {inner}: {tuple(first)} @ {tuple(second)}"
        )
    return (*broadcast(first[:-2], second[:-2]), *rows, *columns)


def concatenate(*shapes: Shape, axis: int = 0) -> Shape:
    """The shape of arrays joined along `axis`."""
    if not shapes or not shapes[0]:
        raise ValueError("expected at least one array of at least 1 dimension")
    along = normal_axis(axis, len(shapes[0]))
    rank, before, behind = len(shapes[0]), tuple(shapes[0][:along]), tuple(shapes[0][along + 1 :])
    for shape in shapes:
        if len(shape) != rank or tuple(shape[:along]) != before or tuple(shape[along + 1 :]) != behind:
            found = " and ".join(str(tuple(each)) for each in shapes)
            raise ValueError(f"expected shapes that are equal but for axis {along}, found {found}")
    total = sum(shape[along] for shape in shapes)
    return (*before, total, *behind)


def stack(*shapes: Shape, axis: int = 0) -> Shape:
    """The shape of arrays put side by side on a new axis."""
    if len(set(map(tuple, shapes))) != 1:
        found = " and ".join(str(tuple(each)) for each in shapes) or "no array"
        raise ValueError(f"expected equal shapes, found {found}")
    position = normal_axis(axis, len(shapes[0]) + 1)
    return (*shapes[0][:position], len(shapes), *shapes[0][position:])


def reshape(before: Shape, *, shape: Sequence[int | None]) -> Shape:
    """The literal `shape` resolved: None keeps the input's axis at that place, one -1 is inferred."""
    wanted: list[int | None] = [shape] if isinstance(shape, int) else list(shape)
    kept = [position for position, size in enumerate(wanted) if size is None]
    if kept and kept[-1] >= len(before):
        raise ValueError(f"expected an axis {kept[-1]} to keep, found shape {tuple(before)}")
    sizes = [before[position] if size is None else size for position, size in enumerate(wanted)]
    # Axes that are kept do not count, so that an empty batch leaves the rest to be inferred.
    total = math.prod(size for position, size in enumerate(before) if position not in kept)
    known = math.prod(size for position, size in enumerate(sizes) if size != -1 and position not in kept)
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        raise ValueError(f"expected sizes and at most one -1, found {list(shape)}")
    if -1 in sizes:
        if known == 0 or total % known:
            raise ValueError(f"expected {list(shape)} to divide {total} elements, found {known} a row")
        sizes[sizes.index(-1)] = total // known
    elif known != total:
        raise ValueError(f"expected a shape of {total} elements, found {list(shape)} of {known}")
    return tuple(sizes)


def transpose(shape: Shape, *, axes: Sequence[int] | None = None) -> Shape:
    """The shape with its axes in the order `axes`; reversed for None."""
    order = tuple(reversed(range(len(shape)))) if axes is None else normal_axes(axes, len(shape))
    if len(order) != len(shape):
        raise ValueError(f"expected an order of {len(shape)} axes, found {list(axes or ())}")
    return tuple(shape[axis] for axis in order)


def squeeze(shape: Shape, *, axis: Axes = None) -> Shape:
    """The shape without the axes of size 1 that `axis` names; without all of them for None."""
    if axis is None:
        return tuple(size for size in shape if size != 1)
    axes = normal_axes(axis, len(shape))
    if any(shape[position] != 1 for position in axes):
        raise ValueError(f"expected size 1 at axis {axis}, found shape {tuple(shape)}")
    return tuple(size for position, size in enumerate(shape) if position not in axes)


def expand_dims(shape: Shape, *, axis: int | Sequence[int]) -> Shape:
    """The shape with new axes of size 1 at the places `axis` of the result."""
    several = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = len(shape) + len(several)
    new = normal_axes(several, rank)
    sizes = iter(shape)
    return tuple(1 if position in new else next(sizes) for position in range(rank))


def sliced(shape: Shape, *, index: Index) -> Shape:
    """The shape of a basic index in its literal form."""
    taken = sum(item is not None for item in index)
    if taken > len(shape):
        raise ValueError(f"expected at most {len(shape)} indices, found {taken}")
    result: list[int] = []
    position = 0
    for item in index:
        if item is None:
            result.append(1)
            continue
        size = shape[position]
        if isinstance(item, int):
            if not -size <= item < size:
                raise ValueError(f"expected an index of axis {position} of size {size}, found {item}")
        else:
            result.append(len(range(*python_slice(item).indices(size))))
        position += 1
    return (*result, *shape[position:])


def python_slice(bounds: Sequence[int | None]) -> slice:
    """The Python slice of literal ``[start, stop, step]``."""
    if len(bounds) != 3:
        raise ValueError(f"expected [start, stop, step], found {list(bounds)}")
    if bounds[2] == 0:
        raise ValueError("expected a step other than 0, found 0")
    return slice(*bounds)


def literal_index(index: Any, rank: int) -> list[int | list[int | None] | None]:
    """A Python basic index as literals, its Ellipsis written out for an array of `rank` dimensions.

    Raises:
        ValueError: The index is not made of ints, slices of ints, None and one Ellipsis.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    dots = [place for place, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise ValueError("expected at most one Ellipsis in an index")
    if dots:
        missing = rank - sum(item is not None for item in items) + 1
        items[dots[0] : dots[0] + 1] = [slice(None)] * missing
    return [_literal(item) for item in items]


def _literal(item: Any) -> int | list[int | None] | None:
    if item is None:
        return None
    if isinstance(item, slice):
        return [None if bound is None else _int(bound) for bound in (item.start, item.stop, item.step)]
    return _int(item)


def _int(value: Any) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"expected an index of literal ints, slices, None and Ellipsis, found {value!r}")
