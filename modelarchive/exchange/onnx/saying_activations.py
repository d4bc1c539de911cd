"""How the activation functions are said in ONNX: name -> operators. One row an activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.composing import Entry, Given, Place, Saying
from modelarchive.exchange.onnx.words import ACTIVATIONS
from modelarchive.ops.activation import ALPHAS

#: Makes the nodes of an activation without a parameter.
_Formula = Callable[[Place, Entry], Entry]


#: Those that ONNX Runtime computes in float64 too.
_DOUBLE: Final = ("gelu_tanh", "hard_tanh", "quick_gelu", "relu", "relu6", "sigmoid", "silu", "tanh")


def activated(place: Place, name: str | None, x: Entry, alpha: float | None = None) -> Entry:
    """An activation function on a tensor of the dtype in which the result is computed."""
    if name is None:
        return x
    if name not in _DOUBLE and place.dtype == np.float64:
        narrow = place.single()
        found = activated(narrow, name, place.cast(x, place.dtype, narrow.dtype), alpha)
        return place.cast(found, narrow.dtype, place.dtype)
    if name in ALPHAS:
        return _WITH_ALPHA[name](place, x, float(ALPHAS[name] if alpha is None else alpha))
    return _FORMULAS[name](place, x)


def _celu(place: Place, x: Entry, alpha: float) -> Entry:
    """By Elu, for Celu takes float32 only."""
    steep = place.made(alpha)
    return place.op("Mul", place.op("Elu", place.op("Div", x, steep), alpha=1.0), steep)


def _clipped(low: float, high: float) -> _Formula:
    return lambda place, x: place.op("Clip", x, place.made(low), place.made(high))


def _relu(place: Place, x: Entry) -> Entry:
    """Runtimes have Relu for floats."""
    return place.op("Relu", x) if place.dtype.kind == "f" else place.op("Max", x, place.made(0))


def _times_sigmoid(place: Place, x: Entry, factor: float = 1.0) -> Entry:
    scaled = x if factor == 1 else place.op("Mul", x, place.made(factor))
    return place.op("Mul", x, place.op("Sigmoid", scaled))


def _log_sigmoid(place: Place, x: Entry) -> Entry:
    return place.op("Neg", place.op("Softplus", place.op("Neg", x)))


_WITH_ALPHA: Final[dict[str, Callable[[Place, Entry, float], Entry]]] = {
    "leaky_relu": lambda place, x, alpha: place.op("LeakyRelu", x, alpha=alpha),
    "elu": lambda place, x, alpha: place.op("Elu", x, alpha=alpha),
    "celu": _celu,
}
_FORMULAS: Final[dict[str, _Formula]] = {
    **{name: lambda place, x, op=op: place.op(op, x) for name, op in ACTIVATIONS.items()},  # type: ignore[misc]
    "relu": _relu,
    "relu6": _clipped(0.0, 6.0),
    "hard_tanh": _clipped(-1.0, 1.0),
    "selu": lambda place, x: place.op("Selu", x, alpha=1.6732632423543772, gamma=1.0507009873554805),
    "gelu": lambda place, x: place.op("Gelu", x, approximate="none"),
    "gelu_tanh": lambda place, x: place.op("Gelu", x, approximate="tanh"),
    "quick_gelu": lambda place, x: _times_sigmoid(place, x, 1.702),
    "silu": _times_sigmoid,
    "log_sigmoid": _log_sigmoid,
    "hard_sigmoid": lambda place, x: place.op("HardSigmoid", x, alpha=1 / 6, beta=0.5),
}


def _prelu(place: Place, layer: Any, given: list[Given]) -> Entry:
    slope = place.parameter(layer.weight)
    if layer.in_channels != 1:
        axis = layer.axis % given[0].rank
        behind = given[0].rank - axis - 1
        slope = place.op("Unsqueeze", slope, place.ints(range(1, 1 + behind))) if behind else slope
    return place.op("PRelu", place.array(given[0]), slope)


def normalised(op: str) -> Callable[[Place, Any, list[Given]], Entry]:
    """Softmax or its logarithm along an axis."""
    return lambda place, layer, given: place.op(op, place.array(given[0]), axis=layer.axis)


#: Kind -> how it is said.
ELEMENTWISE: Final[dict[str, Saying]] = {
    "Activation": Saying(
        lambda place, layer, given: activated(place, layer.activation, place.array(given[0]), layer.alpha),
        tuple(sorted({*ACTIVATIONS.values(), "Clip", "Elu", "Gelu", "HardSigmoid", "LeakyRelu", "Selu"})),
        losses="an activation without an operator of its own is said by several",
    ),
    "PReLU": Saying(_prelu, ("PRelu",), single=True),
    "Softmax": Saying(normalised("Softmax"), ("Softmax",)),
    "LogSoftmax": Saying(normalised("LogSoftmax"), ("LogSoftmax",)),
}
