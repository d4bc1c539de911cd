"""ATen operators of matrices, in ops: diagonals, bilinear forms, products of vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted, same
from modelarchive.exchange.torch.lifting_shapes import picked, reshaped, stretched
from modelarchive.exchange.torch.recorded import cast
from modelarchive.nn.dim import Dim
from modelarchive.ops.contraction import normal_pattern


def _diagonal(context: Context, x: Any, *, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Elements with the same place along two axes, as the last axis."""
    rows, columns = dim1 % x.ndim, dim2 % x.ndim
    rest = [axis for axis in range(x.ndim) if axis not in (rows, columns)]
    x = ops.transpose(x, axes=[*rest, rows, columns])
    if offset:
        x = picked(x, -1 if offset > 0 else -2, slice(abs(offset), None))
    height, width = x.shape[-2:]
    if isinstance(height, Dim) or isinstance(width, Dim):
        if not (isinstance(height, Dim) and isinstance(width, Dim) and height == width):
            raise Refusal("a diagonal of a matrix whose size is not fixed")
    else:
        side = min(height, width)
        x = x[(..., slice(0, side), slice(0, side))]
    return ops.einsum([x], pattern=normal_pattern("...aa->...a", [x.ndim]))


def _diagonal_scatter(context: Context, x: Any, *, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Elements with the same place along two axes, replaced."""
    rows, columns = dim1 % x.ndim, dim2 % x.ndim
    rest = [axis for axis in range(x.ndim) if axis not in (rows, columns)]
    height, width = (counted(x.shape[axis]) for axis in (rows, columns))
    is_there = ops.equal(ops.subtract(width, ops.expand_dims(height, axis=1)), np.asarray(offset))
    length, side = src.shape[-1], x.shape[rows if offset >= 0 else columns]
    if not same(length, side):
        if isinstance(length, Dim) or isinstance(side, Dim):
            raise Refusal("a diagonal of a matrix whose size is not fixed")
        src = ops.pad(src, padding=[(0, 0)] * (src.ndim - 1) + [(0, side - length)])
    src = ops.expand_dims(src, axis=src.ndim - (0 if offset >= 0 else 1))
    back = np.argsort([*rest, rows, columns]).tolist()
    found = ops.where(is_there, cast(src, x.dtype), ops.transpose(x, axes=[*rest, rows, columns]))
    return ops.transpose(found, axes=back)


def _trace(context: Context, x: Any) -> Any:
    return ops.sum(cast(_diagonal(context, x), context.dtype), axis=0)


def _bilinear(context: Context, input1: Any, *, input2: Any, weight: Any, bias: Any = None) -> Any:
    pattern = normal_pattern("...i,oij,...j->...o", [input1.ndim, weight.ndim, input2.ndim])
    found = ops.einsum([input1, weight, input2], pattern=pattern)
    return found if bias is None else ops.add(found, bias)


def _cross(context: Context, x: Any, *, other: Any, dim: int = -1) -> Any:
    """The product of vectors with three elements."""
    x, other = (stretched(cast(each, context.dtype), context.shape) for each in (x, other))
    turn, back = np.array([1, 2, 0]), np.array([2, 0, 1])
    axis = dim % x.ndim
    one = ops.multiply(ops.take(x, turn, axis=axis), ops.take(other, back, axis=axis))
    return ops.subtract(one, ops.multiply(ops.take(x, back, axis=axis), ops.take(other, turn, axis=axis)))


def _cartesian(context: Context, tensors: Sequence[Any]) -> Any:
    """All combinations of elements of rows, a combination a row."""
    if len(tensors) == 1:
        return tensors[0]
    sizes = [each.shape[0] for each in tensors]
    rows = [
        stretched(ops.expand_dims(each, axis=tuple(range(1, len(sizes) - at))), [*sizes[at:]])
        for at, each in enumerate(tensors)
    ]
    return reshaped(ops.stack([stretched(each, sizes) for each in rows], axis=-1), context.shape)


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "diagonal": _diagonal,
    "diagonal_copy": _diagonal,
    "diagonal_scatter": _diagonal_scatter,
    "cartesian_prod": _cartesian,
    "trace": _trace,
    "bilinear": _bilinear,
    "linalg_cross": _cross,
    "cross": _cross,
}
