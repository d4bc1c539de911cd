"""How the activation functions are lowered to ONNX: name -> operators. One row an activation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from modelarchive.exchange.formulas import activation
from modelarchive.exchange.onnx.emitting import Entry
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value
from modelarchive.exchange.onnx.words import ACTIVATIONS
from modelarchive.nn.evaluate import Abstract
from modelarchive.ops.activation import ALPHAS

#: Makes the nodes of an activation without a parameter.
_Formula = Callable[[Context, Entry], Entry]


#: Those that ONNX Runtime computes in float64 too.
_DOUBLE: Final = ("gelu_tanh", "hard_tanh", "quick_gelu", "relu", "relu6", "sigmoid", "silu", "tanh")


def activated(context: Context, name: str | None, x: Entry, alpha: float | None = None) -> Entry:
    """An activation function on a tensor of the dtype in which the result is computed."""
    if name is None:
        return x
    if name not in _DOUBLE and context.dtype == np.float64:
        narrow = context.single()
        found = activated(narrow, name, context.cast(x, context.dtype, narrow.dtype), alpha)
        return context.cast(found, narrow.dtype, context.dtype)
    if name in _OWN_WITH_ALPHA:
        return context.op(_OWN_WITH_ALPHA[name], x, alpha=float(ALPHAS[name] if alpha is None else alpha))
    if name in _OWN:
        return _OWN[name](context, x)
    value = Value(x, Abstract(context.known[0].shapes, context.dtype))
    made: Entry = activation(context, partial(_of_value, context), name, value, alpha).tensor
    return made


def _of_value(context: Context, name: str, x: Value, alpha: float | None = None) -> Value:
    return Value(activated(context, name, x.tensor, alpha), x.known)


def _clipped(low: float, high: float) -> _Formula:
    return lambda context, x: context.op("Clip", x, context.made(low), context.made(high))


def _relu(context: Context, x: Entry) -> Entry:
    """Runtimes have Relu for floats."""
    return context.op("Relu", x) if context.dtype.kind == "f" else context.op("Max", x, context.made(0))


#: Celu takes float32 only.
_OWN_WITH_ALPHA: Final = {"leaky_relu": "LeakyRelu", "elu": "Elu"}
_OWN: Final[dict[str, _Formula]] = {
    **{name: lambda context, x, op=op: context.op(op, x) for name, op in ACTIVATIONS.items()},  # type: ignore[misc]
    "relu": _relu,
    "relu6": _clipped(0.0, 6.0),
    "hard_tanh": _clipped(-1.0, 1.0),
    "selu": lambda context, x: context.op("Selu", x, alpha=1.6732632423543772, gamma=1.0507009873554805),
    "gelu": lambda context, x: context.op("Gelu", x, approximate="none"),
    "gelu_tanh": lambda context, x: context.op("Gelu", x, approximate="tanh"),
    "hard_sigmoid": lambda context, x: context.op("HardSigmoid", x, alpha=1 / 6, beta=0.5),
}


def _prelu(context: Context, layer: Any, given: list[Value]) -> Entry:
    slope = context.parameter(layer.weight)
    if layer.in_channels != 1:
        axis = layer.axis % given[0].rank
        behind = given[0].rank - axis - 1
        slope = context.op("Unsqueeze", slope, context.ints(range(1, 1 + behind))) if behind else slope
    return context.op("PRelu", context.array(given[0]), slope)


def normalised(op: str) -> Callable[[Context, Any, list[Value]], Entry]:
    """Softmax or its logarithm along an axis."""
    return lambda context, layer, given: context.op(op, context.array(given[0]), axis=layer.axis)


#: Kind -> how it is lowered.
ELEMENTWISE: Final[dict[str, Lowering]] = {
    "Activation": Lowering(
        " ".join(sorted({*ACTIVATIONS.values(), "Clip", "Elu", "Gelu", "HardSigmoid", "LeakyRelu", "Selu"})),
        lambda context, layer, given: activated(context, layer.activation, context.array(given[0]), layer.alpha),
        losses="an activation without an operator of its own is written as several",
    ),
    "PReLU": Lowering("PRelu", _prelu, single=True),
    "Softmax": Lowering("Softmax", normalised("Softmax")),
    "LogSoftmax": Lowering("LogSoftmax", normalised("LogSoftmax")),
}
