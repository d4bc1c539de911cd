"""How Softmax is lifted: along one axis or several together, of what a mask counts."""

from __future__ import annotations

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_masks import large_negative, mask_of
from modelarchive.exchange.refusal import Refusal


def softmax(context: Context) -> Ref:
    """Softmax along an axis, or along several together."""
    axes = context.config.axes("axis", -1) or []
    return masked_softmax(context, context.x, mask_of(context, place=1), axes)


def masked_softmax(context: Context, x: Ref, mask: Ref | None, axes: list[int]) -> Ref:
    """The softmax of what counts; zeros for the rest."""
    if mask is None:
        return _softmax(context, x, axes)
    if context.rank(mask) > context.rank(x):
        raise Refusal(f"takes a mask of {context.rank(mask)} axes for a tensor of {context.rank(x)}")
    x = context.op("where", mask, x, context.constant(large_negative(context.dtype(x))), role="kept")
    return context.op("where", mask, _softmax(context, x, axes), context.constant(0.0))


def _softmax(context: Context, x: Ref, axes: list[int]) -> Ref:
    if len(axes) == 1:
        return context.plain("Softmax", x, axis=axes[0])
    high = context.op("max", x, axis=axes, keepdims=True)
    powers = context.op("exp", context.op("subtract", x, high))
    return context.op("divide", powers, context.op("sum", powers, axis=axes, keepdims=True))
