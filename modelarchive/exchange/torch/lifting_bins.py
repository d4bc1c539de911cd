"""ATen operators that pool an axis into a number of parts, as equal as may be, which may overlap: in ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted, same, uses
from modelarchive.exchange.torch.lifting_sizes import number_of
from modelarchive.exchange.torch.lifting_windows import along
from modelarchive.exchange.torch.recorded import cast
from modelarchive.nn.dim import Dim


def _bins(size: int, parts: int) -> list[range]:
    return [range(at * size // parts, -((at + 1) * size // -parts)) for at in range(parts)]


def _is_free(size: Any, parts: Any) -> bool:
    return isinstance(size, Dim) or isinstance(parts, Dim)


def _free_bins(size: Any, parts: Any) -> tuple[Any, Any]:
    """Which elements are in which part, ``(size, parts)``, and how many: of an axis of any size, in any number."""
    whole, number = number_of(size), number_of(parts)
    places, each = ops.expand_dims(counted(size), axis=1), counted(parts)
    first = ops.floor_divide(ops.multiply(each, whole), number)
    behind = ops.floor_divide(ops.add(ops.multiply(ops.add(each, 1), whole), ops.subtract(number, 1)), number)
    return np.logical_and(np.greater_equal(places, first), ops.less(places, behind)), ops.subtract(behind, first)


def _mean(rank: int) -> Callable[..., Any]:
    def row(context: Context, x: Any, *, output_size: Any) -> Any:
        for axis, parts in enumerate(context.shape[-rank:], start=-rank):
            size = x.shape[axis]
            if same(size, parts):
                continue
            if parts.__class__ is int and parts == 1:
                x = ops.mean(x, axis=axis, keepdims=True)
                continue
            if _is_free(size, parts):
                inside, numbers = _free_bins(size, parts)
                matrix = ops.divide(cast(inside, x.dtype), cast(numbers, x.dtype))
            else:
                matrix = np.zeros((size, parts), np.float64)
                for at, each in enumerate(_bins(size, parts)):
                    matrix[list(each), at] = 1 / len(each)
                matrix = cast(matrix, x.dtype)
            x = along(x, matrix, axis)
        return x

    return row


def _largest(rank: int) -> Callable[..., Any]:
    def row(context: Context, x: Any, *, output_size: Any) -> Any:
        value = context.value
        if isinstance(value, tuple | list) and uses(context.node, 1):
            raise Refusal("adaptive max pooling that gives places")
        for axis, parts in enumerate(context.shape[-rank:], start=x.ndim - rank):
            size = x.shape[axis]
            if same(size, parts):
                continue
            if parts.__class__ is int and parts == 1:
                x = ops.max(x, axis=axis, keepdims=True)
            elif _is_free(size, parts):
                inside, _ = _free_bins(size, parts)
                others = tuple(range(2, x.ndim - axis + 1))
                inside = ops.expand_dims(inside, axis=others) if others else inside
                lowest = np.asarray(-np.inf if x.dtype.kind not in "iu" else np.iinfo(x.dtype).min, x.dtype)
                x = ops.max(ops.where(inside, ops.expand_dims(x, axis=axis + 1), lowest), axis=axis)
            else:
                bins = _bins(size, parts)
                longest = max(map(len, bins))
                places = np.array([[*each, *[each[-1]] * (longest - len(each))] for each in bins])
                x = ops.max(ops.take(x, places, axis=axis), axis=axis + 1)
        return x, None

    return row


_RANKS: Final = (1, 2, 3)
#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    **{f"adaptive_avg_pool{rank}d": _mean(rank) for rank in _RANKS},
    **{f"_adaptive_avg_pool{rank}d": _mean(rank) for rank in (2, 3)},
    **{f"adaptive_max_pool{rank}d": _largest(rank) for rank in _RANKS},
}
