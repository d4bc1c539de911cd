"""What ONNX's operators mean that work element by element, or compare, choose and convert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.step import Step, all_of
from modelarchive.exchange.onnx.values import Constant, Ref
from modelarchive.exchange.onnx.words import ACTIVATIONS, BINARY, DTYPES, UNARY
from modelarchive.exchange.refusal import Refusal

Read = Callable[[Step], Any]
Row = tuple[str, str, Read, str]


def unary(name: str) -> Read:
    """An op of one array that has floats."""

    def read(step: Step) -> Ref:
        if step.dtype(0)[0] in "iub" and name not in ("negative", "abs"):
            raise Refusal(f"{step.node.op} of {step.dtype(0)} has no counterpart")
        return step.op(name, step.ref(0))

    return read


def binary(name: str) -> Read:
    """An op of two arrays of one dtype."""

    def read(step: Step) -> Ref:
        dtype = step.alike(0, 1)
        if name == "divide" and dtype[0] in "iu":
            raise Refusal("division of integers, which drops the rest, has no counterpart")
        if name == "matmul":
            return step.as_dtype(step.op(name, step.ref(0), step.ref(1)), dtype)
        return step.op(name, step.ref(0), step.ref(1))

    return read


def several(name: str) -> Read:
    """An op of two arrays, over any number of them."""

    def read(step: Step) -> Ref:
        step.alike(*range(len(step)))
        return all_of(step, name, step.refs())

    return read


def _mean(step: Step) -> Ref:
    dtype = step.alike(*range(len(step)))
    return step.op("divide", all_of(step, "add", step.refs()), step.literal(len(step), dtype))


def _power(step: Step) -> Ref:
    base, exponent = step.dtype(0), step.dtype(1)
    if base[0] in "iu":
        if base != exponent or not step.is_constant(1) or step.constant(1).min(initial=0) < 0:
            raise Refusal(
                f"a power of {base} by {exponent} has no counterpart, only one that is known and not negative"
            )
        return step.op("power", step.ref(0), step.ref(1))
    return step.op("power", step.ref(0), step.as_dtype(step.ref(1), base))


def _reciprocal(step: Step) -> Ref:
    return step.op("divide", step.literal(1, step.dtype(0)), step.ref(0))


def _tangent(step: Step) -> Ref:
    return step.op("divide", step.op("sin", step.ref(0)), step.op("cos", step.ref(0)))


def _sign(step: Step) -> Ref:
    dtype = step.dtype(0)
    zero, one = step.literal(0, dtype), step.literal(1, dtype)
    if dtype[0] == "u":
        return step.op("minimum", step.ref(0), one)
    positive, negative = step.op("greater", step.ref(0), zero), step.op("less", step.ref(0), zero)
    return step.op("subtract", step.as_dtype(positive, dtype), step.as_dtype(negative, dtype))


def same(step: Step) -> Any:
    """The input."""
    return step.operand(0)


def _dropout(step: Step) -> Ref | tuple[Ref, ...]:
    step.node.integer("seed", 0)
    if step.has(2) and (not step.is_constant(2) or bool(step.number(2))):
        raise Refusal("dropout that also drops in inference has no counterpart")
    rate = float(step.number(1)) if step.has(1) else 0.5
    result = step.block({"kind": "Dropout", "rate": rate}, step.ref(0))
    if not step.used(1):
        return result
    mask = step.op("broadcast_to", step.literal(True, "bool"), step.ref(0), shape=step.shape(0))
    return result, mask


def function(name: str) -> Read:
    """An activation without parameters."""
    return lambda step: step.activation(name, step.ref(0))


def _with_alpha(name: str, default: float) -> Read:
    return lambda step: step.activation(name, step.ref(0), step.node.number("alpha", default))


def _selu(step: Step) -> Ref:
    alpha, gamma = step.node.number("alpha", 1.6732632), step.node.number("gamma", 1.0507010)
    if abs(alpha - 1.6732632423543772) < 1e-6 and abs(gamma - 1.0507009873554805) < 1e-6:
        return step.activation("selu", step.ref(0))
    return step.op("multiply", step.activation("elu", step.ref(0), alpha), step.literal(gamma, step.dtype(0)))


def _hard_sigmoid(step: Step) -> Ref:
    alpha, beta = step.node.number("alpha", 0.2), step.node.number("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return step.activation("hard_sigmoid", step.ref(0))
    dtype = step.dtype(0)
    scaled = step.op("multiply", step.ref(0), step.literal(alpha, dtype))
    return step.op("clip", step.op("add", scaled, step.literal(beta, dtype)), low=0.0, high=1.0)


def _gelu(step: Step) -> Ref:
    style = step.node.text("approximate", "none")
    if style not in ("none", "tanh"):
        raise Refusal(f"approximate = {style!r} has no counterpart")
    return step.activation("gelu" if style == "none" else "gelu_tanh", step.ref(0))


def _swish(step: Step) -> Ref:
    alpha = step.node.number("alpha", 1.0)
    if alpha == 1:
        return step.activation("silu", step.ref(0))
    scaled = step.op("multiply", step.ref(0), step.literal(alpha, step.dtype(0)))
    return step.op("multiply", step.ref(0), step.activation("sigmoid", scaled))


def _thresholded(step: Step) -> Ref:
    alpha, dtype = step.node.number("alpha", 1.0), step.dtype(0)
    over = step.op("greater", step.ref(0), step.literal(alpha, dtype))
    return step.op("where", over, step.ref(0), step.literal(0, dtype))


def _shrink(step: Step) -> Ref:
    bias, limit, dtype = step.node.number("bias", 0.0), step.node.number("lambd", 0.5), step.dtype(0)
    if dtype[0] in "iu":
        raise Refusal(f"Shrink of {dtype} has no counterpart")
    x, zero = step.ref(0), step.literal(0, dtype)
    above = step.op("where", step.op("greater", x, step.literal(limit, dtype)), _less(step, x, bias, dtype), zero)
    below = step.op("less", x, step.literal(-limit, dtype))
    return step.op("where", below, step.op("add", x, step.literal(bias, dtype)), above)


def _less(step: Step, x: Ref, bias: float, dtype: str) -> Ref:
    return step.op("subtract", x, step.literal(bias, dtype))


def _prelu(step: Step) -> Ref:
    """A slope for each channel is the layer; one that has the shape of the input, or is computed, is spelled out."""
    shape = step.known(1).shapes[0]
    rank = step.rank(0)
    many = [axis for axis, size in enumerate(shape, rank - len(shape)) if size != 1]
    if isinstance(step.operand(1), Constant) and len(many) <= 1 and step.dtype(0)[0] not in "iu":
        axis = many[0] if many else 1
        slope = step.stored(1).reshaped((int(np.prod(shape)),))
        config = {"kind": "PReLU", "in_channels": slope.array.shape[0], "axis": axis}
        return step.block(config, step.ref(0), weight=slope)
    zero = step.literal(0, step.alike(0, 1))
    scaled = step.op("multiply", step.ref(1), step.op("minimum", step.ref(0), zero))
    return step.op("add", step.op("maximum", step.ref(0), zero), scaled)


def _clip(step: Step) -> Any:
    dtype = step.dtype(0)
    if not step.has(1) and not step.has(2):
        return step.operand(0)
    x = step.ref(0)
    known = all(not step.has(index) or step.is_constant(index) for index in (1, 2))
    bounds = [step.number(index) if known and step.has(index) else None for index in (1, 2)]
    small = all(bound is None or abs(bound) < 2**53 for bound in bounds)
    if known and small and dtype[0] != "b":
        return step.op("clip", x, low=bounds[0], high=bounds[1])
    # In this order: where the lower bound is above the upper one, the upper one wins.
    for name, index in (("maximum", 1), ("minimum", 2)):
        x = step.op(name, x, step.ref(index)) if step.has(index) else x
    return x


def _cast_to(step: Step, ref: Ref, to: str) -> Ref:
    before = str(step.known_of(ref).array_dtype)
    if to.startswith("float8") or before.startswith("float8"):
        raise Refusal(f"a cast from {before} to {to} rounds in other ways, and has no counterpart")
    if to[0] in "iu" and before[0] in "fb" and before != "bool":
        step.note("numbers beyond the range of the integers are left to the processor, here as in ONNX")
    return step.as_dtype(ref, to)


def _cast(step: Step) -> Ref:
    step.node.integer("saturate", 1)
    step.node.text("round_mode", "up")
    code = step.node.integer("to")
    if code not in DTYPES:
        raise Refusal(f"the element type {code} has no counterpart")
    return _cast_to(step, step.ref(0), DTYPES[code])


def _cast_like(step: Step) -> Ref:
    step.node.integer("saturate", 1)
    step.node.text("round_mode", "up")
    return _cast_to(step, step.ref(0), step.dtype(1))


def _not(step: Step) -> Ref:
    return step.op("equal", step.ref(0), step.literal(False, "bool"))


def _xor(step: Step) -> Ref:
    return step.op("equal", step.op("equal", step.ref(0), step.ref(1)), step.literal(False, "bool"))


def _or_equal(name: str) -> Read:
    """Less or equal: either of the two, and neither for NaN."""

    def read(step: Step) -> Ref:
        step.alike(0, 1)
        pair = step.ref(0), step.ref(1)
        return step.op("maximum", step.op(name, *pair), step.op("equal", *pair))

    return read


def _is_nan(step: Step) -> Ref:
    return step.op("equal", step.op("equal", step.ref(0), step.ref(0)), step.literal(False, "bool"))


def _is_infinite(step: Step) -> Ref:
    positive, negative = (step.node.flag(f"detect_{sign}", default=True) for sign in ("positive", "negative"))
    dtype = step.dtype(0)
    if positive and negative:
        return step.op("equal", step.op("abs", step.ref(0)), step.literal(np.inf, dtype))
    if not positive and not negative:
        raise Refusal("looking for no infinity at all has no counterpart")
    return step.op("equal", step.ref(0), step.literal(np.inf if positive else -np.inf, dtype))


def _where(step: Step) -> Ref:
    step.alike(1, 2)
    return step.op("where", step.ref(0), step.ref(1), step.ref(2))


def _dequantize(step: Step) -> Ref:
    """(x - zero point) times scale, for one scale or one for each element of an axis."""
    axis, block = step.node.integer("axis", 1), step.node.integer("block_size", 0)
    step.node.expect("output_dtype", "i", 0)
    dtype, scales = step.dtype(1), step.rank(1)
    if block or scales > 1 or dtype != "float32" or step.dtype(0)[0] not in "iu":
        raise Refusal("scales of blocks, or of another dtype than float32, have no counterpart")

    def placed(ref: Ref) -> Ref:
        if scales == 0 or (scales == 1 and step.shape(1) == [1] and step.rank(0) != 1):
            return ref
        shape = [1] * step.rank(0)
        shape[step.axis(axis)] = -1
        return step.op("reshape", ref, shape=shape)

    x = step.as_dtype(step.ref(0), "int32")
    if step.has(2):
        x = step.op("subtract", x, step.as_dtype(placed(step.ref(2)), "int32"))
    return step.op("multiply", step.as_dtype(x, dtype), placed(step.ref(1)))


_UNARY_ROWS: Final[list[Row]] = [(theirs, ours, unary(ours), "") for ours, theirs in UNARY.items()]
_BINARY_ROWS: Final[list[Row]] = [
    (theirs, ours, several(ours) if theirs in ("Max", "Min") else binary(ours), "") for ours, theirs in BINARY.items()
]
_FUNCTION_ROWS: Final[list[Row]] = [(theirs, "Activation", function(ours), "") for ours, theirs in ACTIVATIONS.items()]

#: Name, what it becomes, how, what is lost.
ELEMENTWISE: Final[list[Row]] = [
    *_UNARY_ROWS,
    *_BINARY_ROWS,
    *_FUNCTION_ROWS,
    ("Pow", "power", _power, "integers only to a known power that is not negative"),
    ("Sum", "add", several("add"), ""),
    ("Mean", "add, divide", _mean, ""),
    ("Reciprocal", "divide", _reciprocal, ""),
    ("Sin", "sin", unary("sin"), ""),
    ("Cos", "cos", unary("cos"), ""),
    ("Tan", "sin, cos, divide", _tangent, ""),
    ("Sign", "greater, less, subtract", _sign, ""),
    ("Identity", "(the input)", same, ""),
    ("Dropout", "Dropout", _dropout, "one that drops in inference too is refused"),
    ("LeakyRelu", "Activation", _with_alpha("leaky_relu", 0.01), ""),
    ("Elu", "Activation", _with_alpha("elu", 1.0), ""),
    ("Celu", "Activation", _with_alpha("celu", 1.0), ""),
    ("Selu", "Activation, elu, multiply", _selu, ""),
    ("HardSigmoid", "Activation, multiply, add, clip", _hard_sigmoid, ""),
    ("Gelu", "Activation, gelu_tanh", _gelu, ""),
    ("Swish", "Activation, multiply, sigmoid", _swish, ""),
    ("ThresholdedRelu", "greater, where", _thresholded, ""),
    ("Shrink", "greater, less, where, add, subtract", _shrink, ""),
    ("PRelu", "PReLU, maximum, minimum, multiply, add", _prelu, ""),
    ("Clip", "clip, maximum, minimum", _clip, ""),
    ("Cast", "cast", _cast, "no float8, no strings, nothing of fewer than eight bits"),
    ("CastLike", "cast", _cast_like, "as Cast"),
    ("Not", "equal", _not, ""),
    ("And", "multiply", binary("multiply"), ""),
    ("Or", "maximum", binary("maximum"), ""),
    ("Xor", "equal", _xor, ""),
    ("GreaterOrEqual", "greater, equal, maximum", _or_equal("greater"), ""),
    ("LessOrEqual", "less, equal, maximum", _or_equal("less"), ""),
    ("IsNaN", "equal", _is_nan, ""),
    ("IsInf", "abs, equal", _is_infinite, ""),
    ("Where", "where", _where, ""),
    ("DequantizeLinear", "cast, subtract, multiply", _dequantize, "one scale, or one for each element of an axis"),
]
