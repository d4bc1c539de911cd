"""How Keras' operations are lifted that masks are made with: truths, what is chosen by them, arrays of one number."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import DTYPES
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_dtypes import as_dtype, settled
from modelarchive.exchange.keras.lifting_ops import one, two
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.parameter import dtype_name
from modelarchive.store.strict import short


def _quantified(name: str) -> Lift:
    """Any (the largest truth) or All (the least)."""

    def lift(context: Context) -> Ref:
        truths = context.op("cast", context.op("cast", one(context), dtype="bool"), dtype="float32")
        axes, keep = context.config.axes("axis", None), context.config.flag("keepdims", default=False)
        found = context.op(name, truths, axis=axes, keepdims=keep)
        return context.op("greater", found, context.constant(0.5))

    return lift


def _filled(number: float) -> Lift:
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


def _of_truths(name: str) -> Lift:
    """A function of two truths: what is not 0 is true."""

    def lift(context: Context) -> Ref:
        found = (one(context, place, f"x{place + 1}") for place in (0, 1))
        return context.op(name, *(as_dtype(context, each, "bool") for each in found))

    return lift


def _not_true(context: Context) -> Ref:
    """LogicalNot."""
    return context.op("equal", as_dtype(context, one(context), "bool"), context.constant(False, "bool"))


def _unequal(context: Context) -> Ref:
    """NotEqual."""
    return context.op("equal", context.op("equal", *two(context)), context.constant(False, "bool"))


def _or_equal(name: str) -> Lift:
    """GreaterEqual, LessEqual: of NaN neither is true."""

    def lift(context: Context) -> Ref:
        x, y = two(context)
        return context.op("maximum", context.op(name, x, y), context.op("equal", x, y))

    return lift


def _chosen(context: Context) -> Ref:
    """Where."""
    condition = as_dtype(context, one(context, 0, "condition"), "bool")
    found = [context.argument(name, place) for place, name in ((1, "x1"), (2, "x2"))]
    if None in found:
        raise Refusal("Where is called without what is chosen")
    return context.op("where", condition, *settled(context, found))


def square(context: Context) -> Ref:
    """Square."""
    x = one(context)
    x = as_dtype(context, x, "int32") if context.dtype(x).kind == "b" else x
    return context.op("multiply", x, x)


#: Operations that masks are made with.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("NotEqual", "equal", _unequal),
    operation("GreaterEqual", "greater, equal, maximum", _or_equal("greater")),
    operation("LessEqual", "less, equal, maximum", _or_equal("less")),
    operation("LogicalAnd", "minimum", _of_truths("minimum")),
    operation("LogicalOr", "maximum", _of_truths("maximum")),
    operation("LogicalNot", "equal", _not_true),
    operation("Any", "max", _quantified("max")),
    operation("All", "min", _quantified("min")),
    operation("ZerosLike", "broadcast_to", _filled(0.0)),
    operation("OnesLike", "broadcast_to", _filled(1.0)),
    operation("Where", "where", _chosen),
)
