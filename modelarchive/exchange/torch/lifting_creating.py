"""ATen operators that make new arrays, in ops: of one number, of numbers in a row, triangles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.torch.lifting_context import Context, counted, full
from modelarchive.exchange.torch.lifting_shapes import stretched
from modelarchive.exchange.torch.lifting_sizes import number_of
from modelarchive.exchange.torch.recorded import cast, has_array, is_array
from modelarchive.nn.dim import Dim


def _filled(value: Any) -> Callable[..., Any]:
    def row(context: Context, *ignored: Any, **more: Any) -> Any:
        return full(context.shape, value, context.dtype)

    return row


def _full(context: Context, *ignored: Any, fill_value: Any = None, **more: Any) -> Any:
    if is_array(fill_value) or isinstance(fill_value, Dim):
        return stretched(cast(_number(fill_value), context.dtype), context.shape)
    return full(context.shape, fill_value, context.dtype)


def _fill(context: Context, x: Any, *, value: Any) -> Any:
    return _full(context, fill_value=value)


def _number(value: Any) -> Any:
    return number_of(value) if isinstance(value, Dim) else value


def _arange(context: Context, *args: Any, start: Any = 0, end: Any = None, step: Any = 1, **ignored: Any) -> Any:
    first = args[0] if args else 0
    start, end = (start, first) if end is None else (first if args else start, end)
    places = counted(context.shape[0])
    if isinstance(step, Dim) or step != 1:
        places = ops.multiply(places, _number(step))
    if isinstance(start, Dim) and not has_array(start) and step in (1, -1):
        # Where it begins is as far from its end as it is long.
        back = (ops.subtract if step == 1 else ops.add)(_number(end), _number(context.shape[0]))
        return cast(ops.add(places, back), context.dtype)
    if isinstance(start, Dim) or start != 0:
        places = ops.add(places, _number(start))
    return cast(places, context.dtype)


def _scalar(context: Context, value: Any, **ignored: Any) -> Any:
    if isinstance(value, Dim) or is_array(value):
        return cast(_number(value), context.dtype)
    return np.asarray(value, context.dtype)


def _triangle(*, lower: bool) -> Callable[..., Any]:
    def row(context: Context, x: Any, *, diagonal: int = 0) -> Any:
        rows, columns = x.shape[-2:]
        if isinstance(rows, Dim) or isinstance(columns, Dim):
            down, across = ops.expand_dims(counted(rows), axis=1), ops.expand_dims(counted(columns), axis=0)
            below = ops.subtract(across, down)
            keep = np.less_equal(below, diagonal) if lower else np.greater_equal(below, diagonal)
        elif not rows * columns:
            return x  # NumPy counts the columns, of which there may be any number without rows
        else:
            keep = (np.tril if lower else np.triu)(np.ones((rows, columns), bool), diagonal)
        return ops.where(keep, x, np.zeros((), x.dtype))

    return row


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "empty", "new_empty", "empty_like"), _filled(0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), _filled(1)),
    **dict.fromkeys(("full", "full_like", "new_full"), _full),
    "fill": _fill, "arange": _arange, "scalar_tensor": _scalar,
    "tril": _triangle(lower=True), "triu": _triangle(lower=False),
}  # fmt: skip
