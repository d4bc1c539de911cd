"""Attention without kernels that hide what it does, while a module is exported or runs."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def slow_attention() -> Iterator[None]:
    """Layers of attention, and ``flex_attention``, in operators that say what they do."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    flex: Any = sys.modules.get("torch.nn.attention.flex_attention")  # who calls it has imported it
    region = getattr(flex, "flex_attention_hop", None)
    try:
        if region is not None:
            flex.flex_attention_hop = _flex_attention
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        if region is not None:
            flex.flex_attention_hop = region


def _flex_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    score_mod: Callable[..., torch.Tensor],
    block_mask: tuple[Any, ...],
    scale: float,
    *rest: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Attention whose scores somebody's functions change, of (batch, heads, length, features).

    The functions, which are of one score and its four places, are called once with all of them.
    Source: ``torch._higher_order_ops.flex_attention.math_attention``.

    Returns:
        The result, the logarithms (to 2) of the sums of exponentials, and the largest scores.
    """
    groups = query.size(1) // key.size(1)
    key, value = (each.repeat_interleave(groups, 1) if groups > 1 else each for each in (key, value))
    working = torch.float64 if query.dtype == torch.float64 else torch.float32
    scores = (query @ key.transpose(-2, -1)).to(working) * scale
    places = [
        torch.arange(size, device=query.device).reshape([-1 if axis == own else 1 for axis in range(4)])
        for own, size in enumerate(scores.shape)
    ]
    scores = score_mod(scores, *places).to(working)
    scores = torch.where(block_mask[-1](*places), scores, -math.inf)
    sees_nothing = (scores == -math.inf).all(-1, keepdim=True)
    weights = torch.where(sees_nothing, 0.0, scores.softmax(-1))
    sums = torch.where(sees_nothing.squeeze(-1), -math.inf, scores.logsumexp(-1))
    found = weights.to(query.dtype) @ value
    return found, sums / math.log(2), scores.amax(-1) / math.log(2)
