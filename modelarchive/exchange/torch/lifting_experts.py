"""ATen operators of mixtures of experts, in ops: how many rows each expert has, and products by its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted
from modelarchive.exchange.torch.recorded import cast


def _counts(context: Context, x: Any, *, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements fall into each of some parts of an interval, whose end belongs to the last one."""
    if min == max:
        raise Refusal("a histogram between the smallest and the largest element")
    x = ops.reshape(x, shape=[-1])
    place = cast(ops.multiply(ops.subtract(x, min), bins / (max - min)), "int64")
    place = ops.minimum(place, bins - 1)
    is_inside = np.logical_and(np.greater_equal(x, min), np.less_equal(x, max))
    matches = ops.equal(ops.expand_dims(ops.where(is_inside, place, -1), axis=1), np.arange(bins))
    return ops.sum(cast(matches, context.dtype), axis=0)


def _product_of_groups(
    context: Context,
    x: Any,
    *,
    mat2: Any = None,
    weight: Any = None,
    offs: Any = None,
    bias: Any = None,
    out_dtype: Any = None,
) -> Any:
    """Rows that stand in groups, each times the matrix of its group.

    Whether a row is in a group depends on values, so all rows are multiplied by all matrices.
    """
    weight = mat2 if weight is None else weight
    if offs is None or bias is not None or x.ndim != 2 or weight.ndim != 3:
        raise Refusal(
            "a product by groups that is not one of rows (rows, inputs) and weights (groups, inputs, outputs)"
        )
    rows = counted(x.shape[0])
    offs = cast(offs, "int64")
    is_behind = np.greater_equal(ops.expand_dims(rows, axis=1), ops.expand_dims(offs, axis=0))
    group = ops.sum(cast(is_behind, "int64"), axis=1)
    own = ops.expand_dims(ops.minimum(group, weight.shape[0] - 1), axis=(0, 2))
    found = ops.squeeze(ops.gather(ops.matmul(x, weight), own, axis=0), axis=0)
    return ops.where(ops.expand_dims(ops.less(group, weight.shape[0]), axis=1), found, np.zeros((), x.dtype))


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "histc": _counts, "_grouped_mm": _product_of_groups, "transformers::grouped_mm_fallback": _product_of_groups,
}  # fmt: skip
