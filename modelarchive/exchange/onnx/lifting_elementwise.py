"""How ONNX's operators are lifted that work element by element, or compare, choose and convert."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context, Lift
from modelarchive.exchange.onnx.values import Constant, Sizes
from modelarchive.exchange.onnx.words import ACTIVATIONS, BINARY, DTYPES, LARGEST, UNARY
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.store.deferred import Deferred


def unary(name: str) -> Lift:
    """An op of one array that has floats."""

    def lift(context: Context) -> Ref:
        if context.dtype(0)[0] in "iub" and name not in ("negative", "abs"):
            raise Refusal(f"{context.node.op} of {context.dtype(0)} is not supported")
        return context.op(name, context.ref(0))

    return lift


def binary(name: str) -> Lift:
    """An op of two arrays of one dtype."""

    def lift(context: Context) -> Ref:
        dtype = context.alike(0, 1)
        if name == "matmul":
            return context.as_dtype(context.op(name, context.ref(0), context.ref(1)), dtype)
        return context.op(name, context.ref(0), context.ref(1))

    return lift


def several(name: str) -> Lift:
    """An op of two arrays, over any number of them."""

    def lift(context: Context) -> Ref:
        context.alike(*range(len(context)))
        return context.all_of(name, context.refs())

    return lift


def _mean(context: Context) -> Ref:
    dtype = context.alike(*range(len(context)))
    return context.op("divide", context.all_of("add", context.refs()), context.literal(len(context), dtype))


def _power(context: Context) -> Ref:
    base, exponent = context.dtype(0), context.dtype(1)
    if base[0] in "iu":
        if base != exponent or (context.is_constant(1) and context.constant(1).min(initial=0) < 0):
            raise Refusal(f"a power of {base} by {exponent} is not supported, only one that is not negative")
        return context.op("power", context.ref(0), context.ref(1))
    return context.op("power", context.ref(0), context.as_dtype(context.ref(1), base))


def _reciprocal(context: Context) -> Ref:
    return context.op("divide", context.literal(1, context.dtype(0)), context.ref(0))


def _tangent(context: Context) -> Ref:
    return context.op("divide", context.op("sin", context.ref(0)), context.op("cos", context.ref(0)))


def _sign(context: Context) -> Ref:
    dtype = context.dtype(0)
    zero, one = context.literal(0, dtype), context.literal(1, dtype)
    if dtype[0] == "u":
        return context.op("minimum", context.ref(0), one)
    positive, negative = context.op("greater", context.ref(0), zero), context.op("less", context.ref(0), zero)
    found = context.op("subtract", context.as_dtype(positive, dtype), context.as_dtype(negative, dtype))
    if dtype[0] in "iu":
        return found
    # What is no number has no sign: it stays.
    return context.op("where", context.op("equal", context.ref(0), context.ref(0)), found, context.ref(0))


def same(context: Context) -> Any:
    """The input."""
    return context.operand(0)


def _dropout(context: Context) -> Ref | tuple[Ref, ...]:
    context.node.integer("seed", 0)
    rate = float(context.number(1)) if context.is_constant(1) else 0.5
    if context.has(2) and rate and (not context.is_constant(2) or bool(context.number(2))):
        raise Refusal("dropout that also drops in inference is not supported")
    result = context.block({"kind": "Dropout", "rate": rate}, context.ref(0))
    if not context.used(1):
        return result
    if context.opset < 12:
        raise Refusal("the mask of Dropout before opset 12 is not supported: runtimes give it in two ways")
    return result, context.op("broadcast_to", context.literal(True, "bool"), context.ref(0), shape=context.shape(0))


def function(name: str) -> Lift:
    """An activation without parameters."""

    def lift(context: Context) -> Ref:
        if name == "relu" and context.dtype(0)[0] in "iu":
            return context.op("maximum", context.ref(0), context.literal(0, context.dtype(0)))
        return context.activation(name, context.ref(0))

    return lift


def _with_alpha(name: str, default: float) -> Lift:
    return lambda context: context.activation(name, context.ref(0), context.node.number("alpha", default))


def _selu(context: Context) -> Ref:
    alpha, gamma = context.node.number("alpha", 1.6732632), context.node.number("gamma", 1.0507010)
    if abs(alpha - 1.6732632423543772) < 1e-6 and abs(gamma - 1.0507009873554805) < 1e-6:
        return context.activation("selu", context.ref(0))
    return context.op(
        "multiply", context.activation("elu", context.ref(0), alpha), context.literal(gamma, context.dtype(0))
    )


def _hard_sigmoid(context: Context) -> Ref:
    alpha, beta = context.node.number("alpha", 0.2), context.node.number("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return context.activation("hard_sigmoid", context.ref(0))
    dtype = context.dtype(0)
    scaled = context.op("multiply", context.ref(0), context.literal(alpha, dtype))
    return context.op("clip", context.op("add", scaled, context.literal(beta, dtype)), low=0.0, high=1.0)


def _gelu(context: Context) -> Ref:
    style = context.node.text("approximate", "none")
    if style not in ("none", "tanh"):
        raise Refusal(f"approximate = {style!r} is not supported")
    return context.activation("gelu" if style == "none" else "gelu_tanh", context.ref(0))


def _swish(context: Context) -> Ref:
    alpha = context.node.number("alpha", 1.0)
    if alpha == 1:
        return context.activation("silu", context.ref(0))
    scaled = context.op("multiply", context.ref(0), context.literal(alpha, context.dtype(0)))
    return context.op("multiply", context.ref(0), context.activation("sigmoid", scaled))


def _thresholded(context: Context) -> Ref:
    alpha, dtype = context.node.number("alpha", 1.0), context.dtype(0)
    over = context.op("greater", context.ref(0), context.literal(alpha, dtype))
    return context.op("where", over, context.ref(0), context.literal(0, dtype))


def _shrink(context: Context) -> Ref:
    bias, limit, dtype = context.node.number("bias", 0.0), context.node.number("lambd", 0.5), context.dtype(0)
    if dtype[0] in "iu":
        raise Refusal(f"Shrink of {dtype} is not supported")
    x, zero = context.ref(0), context.literal(0, dtype)
    above = context.op(
        "where", context.op("greater", x, context.literal(limit, dtype)), _less(context, x, bias, dtype), zero
    )
    below = context.op("less", x, context.literal(-limit, dtype))
    return context.op("where", below, context.op("add", x, context.literal(bias, dtype)), above)


def _less(context: Context, x: Ref, bias: float, dtype: str) -> Ref:
    return context.op("subtract", x, context.literal(bias, dtype))


def _prelu(context: Context) -> Ref:
    """A slope for each channel is the layer; one that has the shape of the input, or is computed, is spelled out."""
    shape = context.known(1).shapes[0]
    rank = context.rank(0)
    many = [axis for axis, size in enumerate(shape, rank - len(shape)) if size != 1]
    if isinstance(context.operand(1), Constant) and len(many) <= 1 and context.dtype(0)[0] not in "iu":
        axis = many[0] if many else 1
        slope = context.stored(1).reshaped((int(np.prod(shape)),))
        config = {"kind": "PReLU", "in_channels": slope.array.shape[0], "axis": axis}
        return context.block(config, context.ref(0), weight=slope)
    zero = context.literal(0, context.alike(0, 1))
    scaled = context.op("multiply", context.ref(1), context.op("minimum", context.ref(0), zero))
    return context.op("add", context.op("maximum", context.ref(0), zero), scaled)


def _clip(context: Context) -> Any:
    dtype = context.dtype(0)
    if not context.has(1) and not context.has(2):
        return context.operand(0)
    x = context.ref(0)
    known = all(not context.has(index) or context.is_constant(index) for index in (1, 2))
    bounds = [context.number(index) if known and context.has(index) else None for index in (1, 2)]
    small = all(bound is None or abs(bound) < 2**53 for bound in bounds)
    if known and small and dtype[0] != "b":
        return context.op("clip", x, low=bounds[0], high=bounds[1])
    # In this order: where the lower bound is above the upper one, the upper one wins.
    for name, index in (("maximum", 1), ("minimum", 2)):
        x = context.op(name, x, context.ref(index)) if context.has(index) else x
    return x


def _cast_to(context: Context, ref: Ref, to: str, *, saturate: bool) -> Ref:
    before = str(context.known_of(ref).array_dtype)
    if to in LARGEST and before != to:
        ref = context.as_dtype(ref, "float64" if before == "float64" else "float32")
        if saturate:
            ref = context.op("clip", ref, low=-LARGEST[to], high=LARGEST[to])
    if to[0] in "iu" and before[0] in "fb" and before != "bool":
        context.note("numbers beyond the range of the integers are left to the processor, here as in ONNX")
    return context.as_dtype(ref, to)


def _cast(context: Context) -> Ref | Sizes:
    saturate = context.node.flag("saturate", default=True)
    context.node.text("round_mode", "up")
    code = context.node.integer("to")
    if code not in DTYPES:
        raise Refusal(f"the element type {code} is not supported")
    if (before := context.cast_sizes()) is not None and DTYPES[code] in ("int32", "int64"):
        return Sizes(before.array, DTYPES[code])
    found = _cast_to(context, context.ref(0), DTYPES[code], saturate=saturate)
    if isinstance(sizes := context.operand(0), Sizes):
        context.builder.casts[found] = sizes
    return found


def _cast_like(context: Context) -> Any:
    saturate = context.node.flag("saturate", default=True)
    context.node.text("round_mode", "up")
    to = context.dtype(1)
    if context.is_constant(0) and not context.stored(0).stored and not to.startswith("float8"):
        return Constant(Deferred.of(context.constant(0).astype(dtypes.DENSE[to])))
    return _cast_to(context, context.ref(0), to, saturate=saturate)


def _not(context: Context) -> Ref:
    return context.op("equal", context.ref(0), context.literal(False, "bool"))


def _xor(context: Context) -> Ref:
    return context.op("equal", context.op("equal", context.ref(0), context.ref(1)), context.literal(False, "bool"))


def _or_equal(name: str) -> Lift:
    """Less or equal: either of the two, and neither for NaN."""

    def lift(context: Context) -> Ref:
        context.alike(0, 1)
        pair = context.ref(0), context.ref(1)
        return context.op("maximum", context.op(name, *pair), context.op("equal", *pair))

    return lift


def _is_nan(context: Context) -> Ref:
    return context.op("equal", context.op("equal", context.ref(0), context.ref(0)), context.literal(False, "bool"))


def _is_infinite(context: Context) -> Ref:
    positive, negative = (context.node.flag(f"detect_{sign}", default=True) for sign in ("positive", "negative"))
    dtype = context.dtype(0)
    if positive and negative:
        return context.op("equal", context.op("abs", context.ref(0)), context.literal(np.inf, dtype))
    if not positive and not negative:
        return context.op("less", context.op("abs", context.ref(0)), context.literal(0, dtype))
    return context.op("equal", context.ref(0), context.literal(np.inf if positive else -np.inf, dtype))


def _where(context: Context) -> Ref:
    context.alike(1, 2)
    return context.op("where", context.ref(0), context.ref(1), context.ref(2))


_UNARY_ROWS: Final[list[Lifting]] = [Lifting(theirs, ours, unary(ours)) for ours, theirs in UNARY.items()]
_BINARY_ROWS: Final[list[Lifting]] = [
    Lifting(theirs, ours, several(ours) if theirs in ("Max", "Min") else binary(ours))
    for ours, theirs in BINARY.items()
    if ours != "divide"
]
_FUNCTION_ROWS: Final[list[Lifting]] = [
    Lifting(theirs, "Activation" if ours != "relu" else "Activation, maximum", function(ours))
    for ours, theirs in ACTIVATIONS.items()
]

ROWS: Final[list[Lifting]] = [
    *_UNARY_ROWS,
    *_BINARY_ROWS,
    *_FUNCTION_ROWS,
    Lifting("Pow", "power", _power, "of integers one that is negative is an error"),
    Lifting("Sum", "add", several("add")),
    Lifting("Mean", "add, divide", _mean),
    Lifting("Reciprocal", "divide", _reciprocal),
    Lifting("Sin", "sin", unary("sin")),
    Lifting("Cos", "cos", unary("cos")),
    Lifting("Tan", "sin, cos, divide", _tangent),
    Lifting("Sign", "greater, less, subtract, where", _sign),
    Lifting("Identity", "(the input)", same),
    Lifting("Dropout", "Dropout", _dropout, "one that drops in inference too is refused"),
    Lifting("LeakyRelu", "Activation", _with_alpha("leaky_relu", 0.01)),
    Lifting("Elu", "Activation", _with_alpha("elu", 1.0)),
    Lifting("Celu", "Activation", _with_alpha("celu", 1.0)),
    Lifting("Selu", "Activation, elu, multiply", _selu),
    Lifting("HardSigmoid", "Activation, multiply, add, clip", _hard_sigmoid),
    Lifting("Gelu", "Activation, gelu_tanh", _gelu),
    Lifting("Swish", "Activation, multiply, sigmoid", _swish),
    Lifting("ThresholdedRelu", "greater, where", _thresholded),
    Lifting("Shrink", "greater, less, where, add, subtract", _shrink),
    Lifting("PRelu", "PReLU, maximum, minimum, multiply, add", _prelu),
    Lifting("Clip", "clip, maximum, minimum", _clip),
    Lifting("Cast", "cast", _cast, "no texts; of element types that the vocabulary has not, stored arrays only"),
    Lifting("CastLike", "cast", _cast_like, "as Cast"),
    Lifting("Not", "equal", _not),
    Lifting("And", "multiply", binary("multiply")),
    Lifting("Or", "maximum", binary("maximum")),
    Lifting("Xor", "equal", _xor),
    Lifting("GreaterOrEqual", "greater, equal, maximum", _or_equal("greater")),
    Lifting("LessOrEqual", "less, equal, maximum", _or_equal("less")),
    Lifting("IsNaN", "equal", _is_nan),
    Lifting("IsInf", "abs, equal", _is_infinite),
    Lifting("Where", "where", _where),
]
