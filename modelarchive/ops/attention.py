"""Scaled dot-product attention of many heads, and the sinusoids of positions."""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np

from modelarchive.ops.products import multiply
from modelarchive.ops.registry import Array
from modelarchive.ops.threads import share

#: Elements of the scores that are worked on at once, so that they stay in the cache.
_BLOCK: Final = 1 << 20


def attention(query: Array, key: Array, value: Array, mask: Array | None, *, causal: bool, scale: float) -> Array:
    """``softmax(scale * query key^T + mask) value`` for each head (Vaswani et al. 2017, arXiv:1706.03762).

    The meaning is that of ``torch.nn.functional.scaled_dot_product_attention`` with ``enable_gqa``.

    Args:
        query: ``(batch, queries, heads, head_dim)`` float32 or float64; it is overwritten.
        key: ``(batch, keys, kv_heads, head_dim)``; head h of the query uses head ``h // (heads / kv_heads)``.
        value: Like `key`.
        mask: None, or at most 4 axes that broadcast to ``(batch, heads, queries, keys)``: bool, True where
            a query may attend; or numbers that are added to the scores.
        causal: Whether query i attends to the keys up to i only.
        scale: Factor of the scores.

    Returns:
        A new array ``(batch, queries, heads, head_dim)``; zeros where a query may attend to no key.
    """
    batch, queries, heads, size = query.shape
    keys, kv_heads = key.shape[1:3]
    result = np.zeros(query.shape, query.dtype)
    if not result.size or not keys:
        return result
    query *= query.dtype.type(scale)
    grouped = (batch, queries, kv_heads, heads // kv_heads, size)
    grouped_query = query.reshape(grouped).transpose(0, 2, 3, 1, 4)
    grouped_result = result.reshape(grouped).transpose(0, 2, 3, 1, 4)
    # (batch, kv_heads, 1, head_dim, keys) and (batch, kv_heads, 1, keys, head_dim): views, as the others.
    key, value = key.transpose(0, 2, 3, 1)[:, :, None], value.transpose(0, 2, 1, 3)[:, :, None]
    mask = None if mask is None else _grouped(mask, kv_heads)
    rows = min(queries, max(1, _BLOCK // (heads * keys)))
    items = max(1, _BLOCK // (heads * keys * rows))

    def attend(item: tuple[int, int]) -> None:
        first, start = item
        some, stop = slice(first, first + items), min(start + rows, queries)
        until = min(stop, keys) if causal else keys
        _attend(
            grouped_query[some, ..., start:stop, :],
            key[some, ..., :until],
            value[some, ..., :until, :],
            None if mask is None else _part(mask, some, slice(start, stop), slice(until)),
            grouped_result[some, ..., start:stop, :],
            start if causal else None,
        )

    share(lambda: attend, itertools.product(range(0, batch, items), range(0, queries, rows)))
    return result


def _attend(query: Array, key: Array, value: Array, mask: Array | None, result: Array, start: int | None) -> None:
    """One block; `start` is the position of its first query where attention is causal."""
    scores = multiply(query, key)
    if mask is not None and mask.dtype == np.bool_:
        np.copyto(scores, -np.inf, where=~mask)
    elif mask is not None:
        scores += mask
    if start is not None:
        keys, queries = np.arange(scores.shape[-1]), np.arange(start, start + scores.shape[-2])
        np.copyto(scores, -np.inf, where=keys > queries[:, None])
    top = scores.max(axis=-1, keepdims=True)
    top[top == -np.inf] = 0  # of a query that may attend to no key
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    total[total == 0] = 1
    multiply(scores, value, out=result)
    result /= total


def _grouped(mask: Array, kv_heads: int) -> Array:
    """A mask as ``(batch, kv_heads, group, queries, keys)``, each axis of its size or 1."""
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    batch, heads, queries, keys = mask.shape
    kv_heads = 1 if heads == 1 else kv_heads
    return mask.reshape(batch, kv_heads, heads // kv_heads, queries, keys)


def _part(mask: Array, items: slice, queries: slice, keys: slice) -> Array:
    batch, _, _, rows, columns = mask.shape
    return mask[items if batch > 1 else slice(None), :, :, queries if rows > 1 else slice(None)][
        ..., keys if columns > 1 else slice(None)
    ]


def sinusoids(length: int, units: int, base: float) -> Array:
    """Positions as waves: element 2 i is ``sin(position * base ** (-2 i / units))``, 2 i + 1 its cosine.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5.

    Args:
        length: How many positions, from 0 on.
        units: Width; the last cosine is left out where it is odd.
        base: 10000 in the paper.

    Returns:
        A new array ``(length, units)`` of float64.
    """
    per_position = base ** (-np.arange(0, units, 2, dtype=np.float64) / units)
    angles: Any = np.multiply.outer(np.arange(length, dtype=np.float64), per_position)
    result = np.empty((length, units))
    result[:, 0::2] = np.sin(angles)
    result[:, 1::2] = np.cos(angles[:, : units // 2])
    return result
