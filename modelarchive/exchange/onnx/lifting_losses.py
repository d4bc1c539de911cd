"""How ONNX's losses are lifted: cross entropy, and the logarithm of a likelihood."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def _likelihood(context: Context) -> Ref:
    return _picked(context, context.ref(0))


def _cross_entropy(context: Context) -> tuple[Ref, Ref]:
    logarithms = context.block({"kind": "LogSoftmax", "axis": 1 - context.rank(0)}, context.ref(0))
    return _picked(context, logarithms), logarithms


def _picked(context: Context, logarithms: Ref) -> Ref:
    """The negative logarithm at each target, weighted by class, those of one class left out; reduced."""
    node, dtype = context.node, context.dtype(0)
    reduction, ignored = node.text("reduction", "mean"), node.integer("ignore_index", None)
    if reduction not in ("none", "sum", "mean") or context.rank(0) < 2:
        raise Refusal(f"{node.op} of {context.rank(0)} axes with reduction = {reduction!r} is not supported")
    targets = context.as_dtype(context.ref(1), "int64")
    counts = None
    if ignored is not None:
        left_out = context.op("equal", targets, context.literal(ignored, "int64"))
        counts = context.op("equal", left_out, context.literal(False, "bool"))
        targets = context.op("where", counts, targets, context.literal(0, "int64"))
    found = context.op("gather", logarithms, context.op("expand_dims", targets, axis=[1]), axis=1)
    loss = context.op("negative", context.op("squeeze", found, axis=[1]))
    weights = context.op("take", context.ref(2), targets, axis=0) if context.has(2) else None
    if counts is not None:
        zero, one = context.literal(0, dtype), context.literal(1, dtype)
        weights = context.op("where", counts, one if weights is None else weights, zero)
    loss = loss if weights is None else context.op("multiply", loss, weights)
    if reduction == "none":
        return loss
    if reduction == "mean" and weights is None:
        return context.op("mean", loss, axis=None, keepdims=False)
    total = context.op("sum", loss, axis=None, keepdims=False)
    if reduction == "sum" or weights is None:
        return total
    return context.op("divide", total, context.op("sum", weights, axis=None, keepdims=False))


ROWS: Final[list[Lifting]] = [
    Lifting("NegativeLogLikelihoodLoss", "gather, negative, multiply, mean, sum", _likelihood),
    Lifting("SoftmaxCrossEntropyLoss", "LogSoftmax, gather, negative, multiply, mean, sum", _cross_entropy),
]
