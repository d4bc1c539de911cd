"""ATen operators of bags, in ops: the sum, mean or largest of the rows of a table that each bag names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from modelarchive import ops
from modelarchive.exchange.torch.lifting_context import Context, counted
from modelarchive.exchange.torch.lifting_shapes import picked, reshaped
from modelarchive.exchange.torch.recorded import cast


def _bags(
    context: Context,
    weight: Any,
    *,
    indices: Any,
    offsets: Any = None,
    mode: int = 0,
    per_sample_weights: Any = None,
    padding_idx: Any = -1,
    include_last_offset: bool = False,
    **ignored: Any,
) -> Any:
    """Bags that begin at places in a row of indices; rows of which `padding_idx` is the number count for nothing."""
    length = _length(context.node.args[2], include_last_offset=include_last_offset)
    is_padded = padding_idx not in (None, -1)
    counts: Any = None
    if length is not None:
        shape = [context.shape[0], length]
        indices = reshaped(indices, shape)
        per_sample_weights = None if per_sample_weights is None else reshaped(per_sample_weights, shape)
        if is_padded:
            counts = np.not_equal(indices, padding_idx)
    else:
        offsets = picked(offsets, 0, slice(None, -1)) if include_last_offset else offsets
        counts = _members(indices, offsets, context.shape[0])
        counts = np.logical_and(counts, np.not_equal(indices, padding_idx)) if is_padded else counts
    rows = ops.take(weight, indices, axis=0)
    if per_sample_weights is not None:
        rows = ops.multiply(rows, ops.expand_dims(per_sample_weights, axis=rows.ndim - 1))
    return _reduced(rows, counts, mode), None, None, None


def _length(offsets: Any, *, include_last_offset: bool) -> int | None:
    """How long bags are whose beginnings were counted out in forward; None: they are of several lengths."""
    target = getattr(offsets, "target", None)
    if target is torch.ops.aten.arange.start_step and not include_last_offset:
        start, _, step = (*offsets.args, 1)[:3]
        if start == 0 and isinstance(step, int):
            return step
    return None


def _members(indices: Any, offsets: Any, number: Any) -> Any:
    """Which indices belong to which bag, ``(bags, indices)``: those from its beginning to that of the next."""
    places = counted(indices.shape[0])
    begun = np.less_equal(ops.expand_dims(cast(offsets, "int64"), axis=1), ops.expand_dims(places, axis=0))
    bag = ops.subtract(ops.sum(cast(begun, "int64"), axis=0), 1)
    return ops.equal(ops.expand_dims(counted(number), axis=1), ops.expand_dims(bag, axis=0))


def _reduced(rows: Any, counts: Any, mode: int) -> Any:
    """Rows ``(indices, width)`` or ``(bags, length, width)`` as one for each bag, of those that count."""
    if counts is None:
        return (ops.sum, ops.mean, ops.max)[mode](rows, axis=1, keepdims=False)
    chosen = ops.expand_dims(counts, axis=2)
    rows = rows if rows.ndim == 3 else ops.expand_dims(rows, axis=0)
    number = ops.sum(cast(chosen, "int64"), axis=1)
    if mode == 2:
        lowest = np.asarray(-np.inf, rows.dtype)
        found = ops.max(ops.where(chosen, rows, lowest), axis=1, keepdims=False)
        return ops.where(ops.equal(number, 0), np.zeros((), rows.dtype), found)
    found = ops.sum(ops.where(chosen, rows, np.zeros((), rows.dtype)), axis=1)
    return found if mode == 0 else ops.divide(found, cast(ops.maximum(number, 1), rows.dtype))


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = dict.fromkeys(
    ("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"), _bags
)
