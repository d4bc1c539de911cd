"""How Keras' operations are lifted that masks are made with: arrays of one number, and whether any or all are true."""

from __future__ import annotations

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import DTYPES
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_ops import one
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.parameter import dtype_name
from modelarchive.store.strict import short


def quantified(name: str) -> Lift:
    """Any (the largest truth) or All (the least)."""

    def lift(context: Context) -> Ref:
        truths = context.op("cast", context.op("cast", one(context), dtype="bool"), dtype="float32")
        axes, keep = context.config.axes("axis", None), context.config.flag("keepdims", default=False)
        found = context.op(name, truths, axis=axes, keepdims=keep)
        return context.op("greater", found, context.constant(0.5))

    return lift


def filled(number: float) -> Lift:
    """ZerosLike, OnesLike."""

    def lift(context: Context) -> Ref:
        x, dtype = one(context), context.config.value("dtype", None)
        if dtype is not None and dtype not in DTYPES:
            raise Refusal(f"dtype = {short(dtype)} is not supported")
        found = dtype or dtype_name(context.dtype(x))
        value: float = bool(number) if found == "bool" else number if context.dtype(x).kind == "f" else int(number)
        single = context.constant(value, found)
        return context.op("broadcast_to", single, x, shape=[None] * context.rank(x))

    return lift
