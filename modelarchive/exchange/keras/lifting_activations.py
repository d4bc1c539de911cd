"""How Keras' activations are lifted: to fields of layers where the vocabulary has the function, else to nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_members import sparsemax
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

_Add = Callable[[Context, Ref, str], Ref]


@dataclass(frozen=True)
class Activation:
    """A function of each element.

    Attributes:
        name: Its name in Keras.
        field: What a layer's field ``activation`` says of it; None: none does, or nothing is to be done.
        add: Adds it to a graph as a step; None: nothing is to be done.
    """

    name: str
    field: str | None
    add: _Add | None


def _kind(name: str, alpha: float | None = None) -> _Add:
    return lambda context, ref, role: context.plain("Activation", ref, role=role, activation=name, alpha=alpha)


def _softmax(kind: str) -> _Add:
    return lambda context, ref, role: context.plain(kind, ref, role=role, axis=-1)


def _op(name: str) -> _Add:
    return lambda context, ref, role: context.op(name, ref, role=role)


def _tanh_shrink(context: Context, ref: Ref, role: str) -> Ref:
    return context.op(
        "subtract",
        ref,
        context.plain("Activation", ref, role=f"{role}_tanh".lstrip("_"), activation="tanh"),
        role=role,
    )


def _squareplus(context: Context, ref: Ref, role: str) -> Ref:
    root = context.op("sqrt", context.op("add", context.op("multiply", ref, ref), context.constant(4.0)))
    return context.op("multiply", context.op("add", ref, root), context.constant(0.5), role=role)


def _old_hard_sigmoid(context: Context, ref: Ref, role: str) -> Ref:
    steeper = context.op("add", context.op("multiply", ref, context.constant(0.2)), context.constant(0.5))
    return context.op("clip", steeper, role=role, low=0.0, high=1.0)


def _glu(context: Context, ref: Ref, role: str) -> Ref:
    first, second = context.ops("split", ref, sizes=2, axis=-1, role="halves")
    gate = context.plain("Activation", second, role="gate", activation="sigmoid")
    return context.op("multiply", first, gate, role=role)


def _shrunk(*, by_how_much: bool) -> _Add:
    """Zeros between -0.5 and 0.5, and what is beyond, less these where it is soft."""

    def add(context: Context, ref: Ref, role: str) -> Ref:
        near = context.op("clip", ref, low=-0.5, high=0.5, role="near")
        far = context.op("subtract", ref, near, role=role if by_how_much else "far")
        if by_how_much:
            return far
        is_far = context.op("greater", context.op("abs", ref, role="size"), context.constant(0.5), role="is_far")
        return context.op("where", is_far, ref, context.op("multiply", ref, context.constant(0.0)), role=role)

    return add


def _sparse_plus(context: Context, ref: Ref, role: str) -> Ref:
    raised = context.op("add", ref, context.constant(1.0), role="raised")
    bent = context.op("multiply", context.op("multiply", raised, raised), context.constant(0.25), role="bent")
    inner = context.op("where", context.op("less", ref, context.constant(1.0)), bent, ref, role="inner")
    return context.op("where", context.op("less", ref, context.constant(-1.0)), context.constant(0.0), inner, role=role)


def _sparse_sigmoid(context: Context, ref: Ref, role: str) -> Ref:
    half = context.op("multiply", context.op("add", ref, context.constant(1.0)), context.constant(0.5), role="half")
    return context.op("clip", half, low=0.0, high=1.0, role=role)


#: Of each name in Keras the name in the vocabulary, where it is the same function in a field and as a step.
_SAME: Final = {
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "elu": "elu",
    "selu": "selu",
    "celu": "celu",
    "gelu": "gelu",
    "softplus": "softplus",
    "softsign": "softsign",
    "silu": "silu",
    "swish": "silu",
    "mish": "mish",
    "hard_sigmoid": "hard_sigmoid",
    "hard_silu": "hard_swish",
    "hard_swish": "hard_swish",
    "hard_tanh": "hard_tanh",
    "log_sigmoid": "log_sigmoid",
}
_ROWS: Final = (
    Activation("linear", None, None),
    *(Activation(theirs, ours, _kind(ours)) for theirs, ours in _SAME.items()),
    Activation("leaky_relu", None, _kind("leaky_relu", 0.2)),
    Activation("softmax", None, _softmax("Softmax")),
    Activation("log_softmax", None, _softmax("LogSoftmax")),
    Activation("exponential", None, _op("exp")),
    Activation("tanh_shrink", None, _tanh_shrink),
    Activation("squareplus", None, _squareplus),
    Activation("glu", None, _glu),
    Activation("hard_shrink", None, _shrunk(by_how_much=False)),
    Activation("soft_shrink", None, _shrunk(by_how_much=True)),
    Activation("sparse_plus", None, _sparse_plus),
    Activation("sparsemax", None, lambda context, ref, role: sparsemax(context, ref, -1, role)),
    Activation("sparse_sigmoid", None, _sparse_sigmoid),
)
#: Name in Keras -> activation.
ACTIVATIONS: Final = {row.name: row for row in _ROWS}
#: Functions that Keras 3 changed.
_KERAS2: Final = {"hard_sigmoid": Activation("hard_sigmoid", None, _old_hard_sigmoid)}


def activation_of(context: Context, value: Any) -> Activation:
    """The activation that a config names.

    Raises:
        Refusal: It is none of Keras', or is not supported.
    """
    name = value
    if isinstance(value, dict):
        config = value.get("config")
        name = config if isinstance(config, str) else value.get("class_name")
        if isinstance(config, dict) and (layer := _layer(str(name), config)) is not None:
            return layer
        registered = value.get("registered_name")
        if str(value.get("module") or "keras").partition(".")[0] not in ("keras", "builtins") or ">" in str(registered):
            raise Refusal(
                f"the activation {short(registered or name)} is its author's own, which only its code can say"
            )
        if name is None:  # a lambda is stored as its bytecode, without a name
            raise Refusal(f"the activation {short(value)} is code, which is not read")
    if name is None:
        return ACTIVATIONS["linear"]
    if context.is_keras2 and name in _KERAS2:
        return _KERAS2[name]
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise Refusal(f"the activation {short(name)} is not supported")
    return ACTIVATIONS[name]


def added(context: Context, found: Activation, ref: Ref, role: str | None = None) -> Ref:
    """The function of each element of a tensor, as a node of its own; its role is its name, unless it has another."""
    return found.add(context, ref, found.name if role is None else role) if found.add else ref


def behind(context: Context, ref: Ref, found: Activation) -> Ref:
    """The function behind a layer, where it is no field of it."""
    return ref if found.field else added(context, found, ref)


def _layer(name: str, config: dict[str, Any]) -> Activation | None:
    """A layer in the place of a function."""
    slope = config.get("negative_slope", config.get("alpha"))
    if name == "LeakyReLU" and isinstance(slope, int | float):
        return Activation("leaky_relu", None, _kind("leaky_relu", float(slope)))
    if name == "ELU" and isinstance(config.get("alpha", 1.0), int | float):
        return Activation("elu", None, _kind("elu", float(config.get("alpha", 1.0))))
    if name == "ReLU" and not config.get("negative_slope") and not config.get("threshold"):
        limit = config.get("max_value")
        if limit in (None, 6):
            return ACTIVATIONS["relu" if limit is None else "relu6"]
    if name == "Softmax" and config.get("axis", -1) == -1:
        return ACTIVATIONS["softmax"]
    return ACTIVATIONS["linear"] if name == "Identity" else None
