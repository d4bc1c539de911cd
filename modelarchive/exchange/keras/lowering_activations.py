"""How activation functions are lowered to Keras."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from modelarchive.exchange import formulas
from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_context import Context, Value
from modelarchive.nn.evaluate import Abstract

#: Activation -> the name that Keras has for the same function, as the argument of a layer.
ACTIVATED: Final[dict[str | None, str | None]] = {
    None: None,
    "elu": "elu",
    "celu": "celu",
    "gelu": "gelu",
    "hard_sigmoid": "hard_sigmoid",
    "hard_swish": "hard_silu",
    "hard_tanh": "hard_tanh",
    "log_sigmoid": "log_sigmoid",
    "mish": "mish",
    "relu": "relu",
    "relu6": "relu6",
    "selu": "selu",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "softplus": "softplus",
    "softsign": "softsign",
    "tanh": "tanh",
}


_OTHERS: Final[dict[str, Callable[[Context, Tensor, Any], Tensor]]] = {
    "gelu_tanh": lambda context, x, alpha: context.op("gelu", x, approximate=True),
    "leaky_relu": lambda context, x, alpha: context.layer(
        "LeakyReLU", x, role="activation", negative_slope=0.01 if alpha is None else alpha
    ),
}


def activated(context: Context, name: str | None, x: Tensor) -> Tensor:
    """An activation function on the result of a layer."""
    return x if name is None else activation(context, name, x, None, role="activation")


def activation(context: Context, name: str, x: Tensor, alpha: float | None, *, role: str = "") -> Tensor:
    """An activation function, with its own alpha."""
    if name == "elu" and alpha not in (None, 1.0):
        return context.layer("ELU", x, role=role, alpha=alpha)
    if name == "celu" and alpha not in (None, 1.0):
        return context.op("celu", x, alpha=alpha)
    if name in _OTHERS:
        return _OTHERS[name](context, x, alpha)
    if name in ACTIVATED:
        return context.layer("Activation", x, role=role, activation=ACTIVATED[name])
    value = Value(x, Abstract(context.known[0].shapes, context.known[0].array_dtype))
    return formulas.activation(context, partial(_of_value, context), name, value, alpha).tensor


def _of_value(context: Context, name: str, x: Value, alpha: float | None = None) -> Value:
    return Value(activation(context, name, x.tensor, alpha), x.known)
