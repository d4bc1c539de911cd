"""How ONNX's operators are lifted that round, divide to whole numbers, or work on bits; and further functions."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context, Lift
from modelarchive.exchange.onnx.values import Sizes
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

#: From which number on a square and 1 more are the square, to the digits of a dtype.
_FAR: Final = {"float16": 100.0, "bfloat16": 100.0, "float64": 1e8}


def _ceil(context: Context) -> Ref:
    down = context.op("floor", context.op("negative", context.ref(0)))
    found = context.op("negative", down)
    if (sizes := context.cast_sizes()) is not None:
        context.builder.casts[found] = sizes
    return found


def _divide(context: Context) -> Ref:
    """Integers to the whole number nearer to 0."""
    dtype = context.alike(0, 1)
    x, y = context.ref(0), context.ref(1)
    if dtype[0] not in "iu":
        found = context.op("divide", x, y)
        sizes = context.cast_sizes()
        if sizes is not None and context.is_constant(1) and abs(context.constant(1)).tolist() == 1:
            # So exporters count the steps of a range.
            context.builder.casts[found] = Sizes(np.asarray(sizes.array * int(context.number(1)), object), sizes.dtype)
        return found
    quotient = context.op("floor_divide", x, y)
    if dtype[0] == "u":
        return quotient
    below = context.op("less", quotient, context.literal(0, dtype))
    exact = context.op("equal", context.op("multiply", quotient, y), x)
    up = context.op("add", quotient, context.literal(1, dtype))
    return context.op("where", context.op("multiply", below, negated(context, exact)), up, quotient)


def negated(context: Context, ref: Ref) -> Ref:
    """What is not true."""
    return context.op("equal", ref, context.literal(False, "bool"))


def _modulo(context: Context) -> Ref:
    """The rest, of the sign of the divisor; with fmod of that of the dividend."""
    dtype = context.alike(0, 1)
    x, y = context.ref(0), context.ref(1)
    rest = context.op("remainder", x, y)
    if not context.node.flag("fmod", default=False):
        if dtype[0] not in "iu":
            raise Refusal(f"Mod of {dtype} without fmod is not supported")
        return rest
    if dtype[0] == "u":
        return rest
    zero = context.literal(0, dtype)
    apart = negated(context, context.op("equal", context.op("less", rest, zero), context.op("less", x, zero)))
    some = negated(context, context.op("equal", rest, zero))
    return context.op("where", context.op("multiply", apart, some), context.op("subtract", rest, y), rest)


def _shifted(context: Context) -> Ref:
    dtype = context.alike(0, 1)
    direction = context.node.text("direction")
    if direction not in ("LEFT", "RIGHT") or dtype[0] not in "iu":
        raise Refusal(f"BitShift of {dtype} in the direction {direction!r} is not supported")
    moved = context.op(f"{direction.lower()}_shift", context.ref(0), context.ref(1))
    # By as many places as there are bits, or more, nothing is left.
    bits = dtypes.DENSE[dtype].itemsize * 8
    inside = context.op("less", context.ref(1), context.literal(bits, dtype))
    if direction == "RIGHT" and dtype[0] == "i":
        return moved
    return context.op("where", inside, moved, context.literal(0, dtype))


def _bitwise(name: str) -> Lift:
    def lift(context: Context) -> Ref:
        if context.alike(0, 1)[0] not in "iu":
            raise Refusal(f"{context.node.op} of {context.dtype(0)} is not supported")
        return context.op(name, context.ref(0), context.ref(1))

    return lift


def _bitwise_not(context: Context) -> Ref:
    dtype = context.dtype(0)
    if dtype[0] not in "iu":
        raise Refusal(f"BitwiseNot of {dtype} is not supported")
    ones = -1 if dtype[0] == "i" else int(np.iinfo(dtypes.DENSE[dtype]).max)
    return context.op("bitwise_xor", context.ref(0), context.literal(ones, dtype))


class _Formula:
    """Arithmetic on the results of one operator, in its dtype."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.dtype = context.dtype(0)
        if self.dtype[0] in "iub":
            raise Refusal(f"{context.node.op} of {self.dtype} is not supported")
        self.x = context.ref(0)

    def __call__(self, name: str, *operands: Any) -> Ref:
        refs = [each if isinstance(each, Ref) else self.context.literal(each, self.dtype) for each in operands]
        return self.context.op(name, *refs)


def _root(f: _Formula, x: Ref) -> Ref:
    """The square root of 1 - x^2, exact where x is near to 1 or -1."""
    return f("sqrt", f("multiply", f("subtract", 1, x), f("add", 1, x)))


def _arc_sine(context: Context) -> Ref:
    f = _Formula(context)
    return f("multiply", 2, f("atan", f("divide", f.x, f("add", 1, _root(f, f.x)))))


def _arc_cosine(context: Context) -> Ref:
    f = _Formula(context)
    half = f("multiply", 2, f("atan", f("divide", f.x, f("add", 1, _root(f, f.x)))))
    return f("subtract", math.pi / 2, half)


def _hyperbolic(sign: str) -> Lift:
    def lift(context: Context) -> Ref:
        f = _Formula(context)
        return f("multiply", 0.5, f(sign, f("exp", f.x), f("exp", f("negative", f.x))))

    return lift


def _area_sine(context: Context) -> Ref:
    """Of the absolute value, and the sign again: a difference of large numbers has no digits."""
    f = _Formula(context)
    size = f("abs", f.x)
    near = _held(context, size)
    found = f("log", f("add", near, f("sqrt", f("add", f("multiply", near, near), 1))))
    found = _or_far(context, size, found)
    return context.op("where", context.op("less", f.x, context.literal(0, f.dtype)), f("negative", found), found)


def _area_cosine(context: Context) -> Ref:
    f = _Formula(context)
    near = _held(context, f.x)
    found = f("log", f("add", near, f("sqrt", f("multiply", f("subtract", near, 1), f("add", near, 1)))))
    return _or_far(context, f.x, found)


def _limit(context: Context, ref: Ref) -> Ref:
    dtype = str(context.known_of(ref).array_dtype)
    return context.literal(_FAR.get(dtype, 1e4), dtype)


def _held(context: Context, ref: Ref) -> Ref:
    """Numbers up to the limit: the square of a larger one may be too large."""
    return context.op("minimum", ref, _limit(context, ref))


def _or_far(context: Context, size: Ref, near: Ref) -> Ref:
    """An inverse of cosh or sinh; of numbers beyond the limit, the logarithm of their double."""
    limit = _limit(context, size)
    far = context.op("log", context.op("maximum", size, limit))
    far = context.op("add", far, context.literal(math.log(2), str(context.known_of(size).array_dtype)))
    return context.op("where", context.op("greater", size, limit), far, near)


def _area_tangent(context: Context) -> Ref:
    f = _Formula(context)
    return f("multiply", 0.5, f("log", f("divide", f("add", 1, f.x), f("subtract", 1, f.x))))


ROWS: Final[list[Lifting]] = [
    Lifting("Floor", "floor", lambda context: context.op("floor", context.ref(0))),
    Lifting("Ceil", "floor, negative", _ceil),
    Lifting("Round", "round", lambda context: context.op("round", context.ref(0))),
    Lifting("Div", "divide, floor_divide", _divide),
    Lifting("Mod", "remainder, where", _modulo),
    Lifting("BitShift", "left_shift, right_shift", _shifted),
    Lifting("BitwiseAnd", "bitwise_and", _bitwise("bitwise_and")),
    Lifting("BitwiseOr", "bitwise_or", _bitwise("bitwise_or")),
    Lifting("BitwiseXor", "bitwise_xor", _bitwise("bitwise_xor")),
    Lifting("BitwiseNot", "bitwise_xor", _bitwise_not),
    Lifting("Atan", "atan", lambda context: _Formula(context)("atan", context.ref(0))),
    Lifting("Asin", "atan, sqrt, divide", _arc_sine),
    Lifting("Acos", "atan, sqrt, divide", _arc_cosine),
    Lifting("Sinh", "exp, subtract", _hyperbolic("subtract")),
    Lifting("Cosh", "exp, add", _hyperbolic("add")),
    Lifting("Asinh", "log, sqrt, where", _area_sine),
    Lifting("Acosh", "log, sqrt, where", _area_cosine),
    Lifting("Atanh", "log, divide", _area_tangent),
]
