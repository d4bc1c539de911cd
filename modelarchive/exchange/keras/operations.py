"""The table of Keras' operations: one row a class behind ``keras.ops``."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.keras import reading_operations as read
from modelarchive.exchange.keras.row import Row


def _one(theirs: str, ours: str, losses: str = "") -> Row:
    return Row(theirs, ours, read.unary(ours), losses=losses, masks="drop")


def _two(theirs: str, ours: str, losses: str = "") -> Row:
    return Row(theirs, ours, read.binary(ours), losses=losses, masks="drop")


def _reduction(theirs: str, ours: str) -> Row:
    return Row(theirs, ours, read.reduction(ours), masks="drop")


def _activation(theirs: str, ours: str, setting: str = "", default: float = 0.0) -> Row:
    return Row(theirs, f"Activation {ours}", read.activated(ours, setting, default), masks="drop")


def _other(theirs: str, ours: str, how: read.Read, losses: str = "") -> Row:
    return Row(theirs, ours, how, losses=losses, masks="drop")


_ROWS: Final = (
    _two("Add", "add"),
    _two("Subtract", "subtract"),
    _two("Multiply", "multiply"),
    _two("Divide", "divide"),
    _two("TrueDivide", "divide"),
    _two("Power", "power"),
    _two("Maximum", "maximum"),
    _two("Minimum", "minimum"),
    _two("Matmul", "matmul"),
    _two("Equal", "equal"),
    _two("Greater", "greater"),
    _two("Less", "less"),
    _other("NotEqual", "equal", read.negated("equal")),
    _other("GreaterEqual", "less, equal", read.negated("less"), "true for NaN, where Keras says false"),
    _other("LessEqual", "greater, equal", read.negated("greater"), "true for NaN, where Keras says false"),
    _two("LogicalAnd", "minimum", "of truths only"),
    _two("LogicalOr", "maximum", "of truths only"),
    _other("LogicalNot", "equal", lambda step: step.op("equal", read.one(step), step.constant(False, "bool"))),
    _one("Negative", "negative"),
    _one("Absolute", "abs"),
    _one("Abs", "abs"),
    _one("Exp", "exp"),
    _one("Log", "log"),
    _one("Sqrt", "sqrt"),
    _one("Rsqrt", "rsqrt"),
    _one("Erf", "erf"),
    _one("Sin", "sin"),
    _one("Cos", "cos"),
    _other("Square", "multiply", read.square),
    _other("Reciprocal", "divide", read.reciprocal),
    _reduction("Sum", "sum"),
    _reduction("Mean", "mean"),
    _reduction("Max", "max"),
    _reduction("Min", "min"),
    _reduction("Amax", "max"),
    _reduction("Amin", "min"),
    _reduction("Var", "var"),
    _other("Std", "var, sqrt", read.deviation),
    _other("Logsumexp", "max, exp, sum, log", read.log_sum_exp),
    _other("Argmax", "argmax", read.argmax),
    _other("Cumsum", "cumsum", read.cumulated),
    _other("Concatenate", "concatenate", read.joined("concatenate")),
    _other("Stack", "stack", read.joined("stack")),
    _other("Split", "split", read.split),
    _other("Unstack", "slice", read.unstack, "of axes of a known size"),
    _other("Reshape", "reshape", read.reshape),
    _other("Transpose", "transpose", read.transpose),
    _other("Swapaxes", "transpose", read.swapped),
    _other("Moveaxis", "transpose", read.moved),
    _other("ExpandDims", "expand_dims", read.expanded),
    _other("Squeeze", "squeeze", read.squeezed),
    _other("GetItem", "slice", read.picked, "ranges and numbers; computed indices are refused"),
    _other("Flip", "slice", read.flipped),
    _other("Pad", "pad", read.padded, "modes constant and reflect"),
    _other("Clip", "clip", read.clip),
    _other("Where", "where", read.chosen),
    _other("Take", "take", read.taken),
    _other("TakeAlongAxis", "gather", read.taken_along),
    _other("Repeat", "take", read.repeated, "along axes of a known size"),
    _other("Tile", "concatenate", read.tiled, "at most 64 copies along an axis"),
    _other("BroadcastTo", "broadcast_to", read.stretched),
    _other("Einsum", "einsum", read.einsum, "patterns that are written out, with ->"),
    _other("Dot", "matmul", read.dotted, "of a second tensor of one or two axes"),
    _other("Tensordot", "matmul", read.dotted, "over one axis"),
    _other("Cast", "cast", read.cast),
    _other("StopGradient", "Identity", read.untouched, "gradients pass"),
    _other("Copy", "Identity", read.untouched),
    _other("ConvertToTensor", "Identity", read.untouched),
    _activation("Relu", "relu"),
    _activation("Relu6", "relu6"),
    _activation("Sigmoid", "sigmoid"),
    _activation("Tanh", "tanh"),
    _activation("Softplus", "softplus"),
    _activation("Softsign", "softsign"),
    _activation("Silu", "silu"),
    _activation("LogSigmoid", "log_sigmoid"),
    _activation("LeakyRelu", "leaky_relu", "negative_slope", 0.2),
    _activation("HardSigmoid", "hard_sigmoid"),
    _activation("HardSilu", "hard_swish"),
    _activation("HardTanh", "hard_tanh"),
    _activation("Elu", "elu", "alpha", 1.0),
    _activation("Celu", "celu", "alpha", 1.0),
    _activation("Selu", "selu"),
    _other("Gelu", "Activation gelu or gelu_tanh", read.gelu),
    _other("Glu", "split, multiply", read.glu),
    _other("Softmax", "Softmax", read.softmax("Softmax")),
    _other("LogSoftmax", "LogSoftmax", read.softmax("LogSoftmax")),
    _other("Resize", "Upsample", read.resized, "bilinear, without cropping or smoothing"),
)

#: Class -> row.
OPERATIONS: Final[dict[str, Row]] = {row.theirs: row for row in _ROWS}
