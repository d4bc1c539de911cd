"""How activation functions are lowered to MXNet: name -> operators."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from modelarchive.exchange.formulas import activation
from modelarchive.exchange.mxnet.emitting import Entry
from modelarchive.exchange.mxnet.lowering_context import Context
from modelarchive.exchange.walking import Value
from modelarchive.ops.activation import ALPHAS

#: Activation -> MXNet's operator, and its attributes.
_OWN: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "relu": ("Activation", {"act_type": "relu"}),
    "sigmoid": ("Activation", {"act_type": "sigmoid"}),
    "tanh": ("Activation", {"act_type": "tanh"}),
    "softplus": ("Activation", {"act_type": "softrelu"}),
    "softsign": ("Activation", {"act_type": "softsign"}),
    "selu": ("LeakyReLU", {"act_type": "selu"}),
    "gelu": ("LeakyReLU", {"act_type": "gelu"}),
    "leaky_relu": ("LeakyReLU", {"act_type": "leaky"}),
    "elu": ("LeakyReLU", {"act_type": "elu"}),
    "relu6": ("clip", {"a_min": 0.0, "a_max": 6.0}),
    "hard_tanh": ("clip", {"a_min": -1.0, "a_max": 1.0}),
    "hard_sigmoid": ("hard_sigmoid", {"alpha": 1 / 6, "beta": 0.5}),
}


def activated(context: Context, name: str | None, x: Entry, alpha: float | None = None) -> Entry:
    """An activation function on a result."""
    if name is None:
        return x
    if name in _OWN:
        op, attributes = _OWN[name]
        slope = {"slope": float(ALPHAS[name] if alpha is None else alpha)} if name in ALPHAS else {}
        return context.op(op, x, **attributes, **slope)
    made: Entry = activation(context, partial(_of_value, context), name, Value(x, context.known[0]), alpha).tensor
    return made


def _of_value(context: Context, name: str, x: Value, alpha: float | None = None) -> Value:
    return Value(activated(context, name, x.tensor, alpha), x.known)
