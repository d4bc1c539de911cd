"""How activation functions are lowered to MXNet: name -> operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from modelarchive.exchange.mxnet.emitting import Entry
from modelarchive.exchange.mxnet.lowering_context import Context
from modelarchive.exchange.refusal import Refusal


def activated(context: Context, name: str | None, x: Entry, alpha: float | None = None) -> Entry:
    """An activation function on a result."""
    if name is None:
        return x
    if name in _ACTIVATIONS:
        return context.op("Activation", x, act_type=_ACTIVATIONS[name])
    if name in _LEAKY:
        return context.op("LeakyReLU", x, act_type=_LEAKY[name])
    if name == "leaky_relu":
        return context.op("LeakyReLU", x, act_type="leaky", slope=float(0.01 if alpha is None else alpha))
    if name == "elu":
        return context.op("LeakyReLU", x, act_type="elu", slope=float(1.0 if alpha is None else alpha))
    if name == "celu":
        steep = 1.0 if alpha is None else float(alpha)
        bent = context.op("LeakyReLU", context.op("_div_scalar", x, scalar=steep), act_type="elu", slope=1.0)
        return context.op("_mul_scalar", bent, scalar=steep)
    if name in _BOUNDS:
        return context.op("clip", x, a_min=_BOUNDS[name][0], a_max=_BOUNDS[name][1])
    if name in _COMPOSED:
        return _COMPOSED[name](context, x)
    raise Refusal(f"the activation {name!r} has no counterpart")


def _sigmoid_of(context: Context, x: Entry, factor: float = 1.0) -> Entry:
    scaled = x if factor == 1 else context.op("_mul_scalar", x, scalar=factor)
    return context.op("Activation", scaled, act_type="sigmoid")


def _hard_sigmoid(context: Context, x: Entry) -> Entry:
    return context.op("hard_sigmoid", x, alpha=1 / 6, beta=0.5)


def _gelu_tanh(context: Context, x: Entry) -> Entry:
    cube = context.op("elemwise_mul", context.op("square", x), x)
    inner = context.op("elemwise_add", x, context.op("_mul_scalar", cube, scalar=0.044715))
    bent = context.op("tanh", context.op("_mul_scalar", inner, scalar=float(np.sqrt(2 / np.pi))))
    return context.op(
        "elemwise_mul", context.op("_mul_scalar", x, scalar=0.5), context.op("_plus_scalar", bent, scalar=1.0)
    )


_ACTIVATIONS: Final = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softrelu",
    "softsign": "softsign",
}
_LEAKY: Final = {"selu": "selu", "gelu": "gelu"}
_BOUNDS: Final = {"relu6": (0.0, 6.0), "hard_tanh": (-1.0, 1.0)}
_COMPOSED: Final[dict[str, Callable[[Context, Entry], Entry]]] = {
    "silu": lambda context, x: context.op("elemwise_mul", x, _sigmoid_of(context, x)),
    "quick_gelu": lambda context, x: context.op("elemwise_mul", x, _sigmoid_of(context, x, 1.702)),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda context, x: context.op("elemwise_mul", x, _hard_sigmoid(context, x)),
    "mish": lambda context, x: context.op(
        "elemwise_mul", x, context.op("tanh", context.op("Activation", x, act_type="softrelu"))
    ),
    "log_sigmoid": lambda context, x: context.op(
        "negative", context.op("Activation", context.op("negative", x), act_type="softrelu")
    ),
    "gelu_tanh": _gelu_tanh,
}
