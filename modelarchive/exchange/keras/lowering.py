"""How the vocabulary's kinds are lowered to Keras: kind -> layers. One row a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelarchive.exchange.axes import several
from modelarchive.exchange.formulas import rms_norm
from modelarchive.exchange.keras.emitting import Tensor
from modelarchive.exchange.keras.lowering_activations import activation
from modelarchive.exchange.keras.lowering_attention import ATTENTION
from modelarchive.exchange.keras.lowering_context import Context, Value, by_formula
from modelarchive.exchange.keras.lowering_dense import DENSE
from modelarchive.exchange.keras.lowering_ops import OPS
from modelarchive.exchange.keras.lowering_recurrent import RECURRENT
from modelarchive.exchange.keras.lowering_shapes import SHAPES
from modelarchive.exchange.keras.lowering_windows import WINDOWS
from modelarchive.exchange.keras.stored import stored
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.nn import Layer


def _remembered(context: Context, layer: Layer, value: Value) -> tuple[Tensor, bool]:
    """The tensor with its channels where they were when this layer was first called."""
    last = context.emitter.first_called.setdefault(id(layer), value.last and value.rank > 2)
    dtype = context.dtype
    return (context.moved(value, dtype) if last else context.plain(value, dtype)), last


def _axis(axis: int, rank: int, *, last: bool) -> int:
    """An axis of a value as that of its tensor."""
    axis %= rank
    if not last or axis == 0:
        return axis
    return rank - 1 if axis == 1 else axis - 1


def _batch_norm(context: Context, layer: Any, given: list[Value]) -> Value:
    x, last = _remembered(context, layer, given[0])
    axis = _axis(layer.axis, given[0].rank, last=last)
    if given[0].rank == 1:
        raise Refusal("a BatchNorm of an input with one axis is not supported")
    config = {
        "axis": -1 if axis == given[0].rank - 1 else axis,
        "momentum": layer.momentum,
        "epsilon": layer.epsilon,
        "center": layer.center,
        "scale": layer.scale,
    }
    made = context.layer("BatchNormalization", x, weights=stored("BatchNormalization", layer), **config)
    return context.result(made, last=last)


def _layer_norm(context: Context, layer: Any, given: list[Value]) -> Value:
    """Over the last axes: PyTorch's backend takes these, whatever the layer says."""
    rank = given[0].rank
    axes = [axis % rank for axis in several(layer.axis)]
    order = [axis for axis in range(rank) if axis not in axes] + axes
    if 0 in axes:
        raise Refusal(f"a {layer.kind} over the batch is not supported")
    x = context.permuted(context.plain(given[0], context.dtype), order)
    config = {"axis": -1 if len(axes) == 1 else list(range(-len(axes), 0)), "epsilon": layer.epsilon}
    if layer.kind == "LayerNorm":
        config |= {"center": layer.center, "scale": layer.scale}
    theirs = f"{layer.kind.removesuffix('Norm')}Normalization"
    made = context.layer(theirs, x, weights=stored(theirs, layer), **config)
    back = [order.index(axis) for axis in range(rank)]
    return context.result(context.permuted(made, back))


def _rms_norm(context: Context, layer: Any, given: list[Value]) -> Value:
    """Keras' own layer, which has a scale and normalises one axis; else a formula."""
    if len(several(layer.axis)) == 1 and layer.scale:
        return _layer_norm(context, layer, given)
    made: Value = by_formula(rms_norm).lower(context, layer, given)
    return made


def _group_norm(context: Context, layer: Any, given: list[Value]) -> Value:
    """Statistics of a group; Keras' own layer where the channels are last, which all of its backends do alike."""
    value = given[0]
    axis = layer.axis % value.rank
    if axis == 0:
        raise Refusal(f"a {layer.kind} whose channels are the batch is not supported")
    order = [*(each for each in range(value.rank) if each != axis), axis]
    moved = axis == 1 and value.rank > 2
    x = context.moved(value, context.dtype) if moved else context.permuted(context.plain(value, context.dtype), order)
    if value.rank == 2 and layer.kind == "InstanceNorm":
        raise Refusal("an InstanceNorm of channels with one element is not supported")
    config = {
        "groups": -1 if layer.kind == "InstanceNorm" else layer.num_groups,
        "axis": -1,
        "epsilon": layer.epsilon,
        "center": layer.center,
        "scale": layer.scale,
    }
    made = context.layer("GroupNormalization", x, weights=stored("GroupNormalization", layer), **config)
    if moved:
        return context.result(made, last=True)
    return context.result(context.permuted(made, [order.index(each) for each in range(value.rank)]))


def _prelu(context: Context, layer: Any, given: list[Value]) -> Value:
    value = given[0]
    x, last = _remembered(context, layer, value)
    rank = value.rank
    if rank == 1:
        raise Refusal("a PReLU of an input with one axis is not supported")
    channels = _axis(layer.axis, rank, last=last)
    slopes = layer.weight.value()
    own = channels if slopes.size > 1 else 0
    if slopes.size > 1 and channels == 0:
        raise Refusal("a PReLU with a slope for each element of the batch is not supported")
    shared = [axis for axis in range(1, rank) if axis != own]
    alpha = slopes.reshape([slopes.size if axis == own else 1 for axis in range(1, rank)])
    weights = [(alpha, [layer.weight])]
    return context.result(context.layer("PReLU", x, weights=weights, shared_axes=shared), last=last)


def _activation(context: Context, layer: Any, given: list[Value]) -> Value:
    value = given[0]
    x = context.cast(value.tensor, context.dtype)
    return context.result(activation(context, layer.activation, x, layer.alpha), last=value.last)


def _along(name: str) -> Any:
    def lower(context: Context, layer: Any, given: list[Value]) -> Value:
        value = given[0]
        axis = _axis(layer.axis, value.rank, last=value.last)
        x = context.cast(value.tensor, context.dtype)
        axis = -1 if axis == value.rank - 1 else axis
        if name == "softmax":
            return context.result(context.layer("Softmax", x, axis=axis), last=value.last)
        return context.result(context.op("log_softmax", x, axis=axis), last=value.last)

    return lower


def _as_it_is(theirs: str, *fields: str) -> Any:
    def lower(context: Context, layer: Any, given: list[Value]) -> Value:
        value = given[0]
        config = {field: getattr(layer, field) for field in fields}
        made = context.layer(theirs, value.tensor, dtype=value.tensor.dtype, **config)
        return context.result(made, last=value.last)

    return lower


#: Kind or op -> how it is lowered; adding one is one row.
LOWERINGS: Final[Mapping[str, Lowering]] = {
    **DENSE,
    "BatchNorm": Lowering("BatchNormalization", _batch_norm),
    "LayerNorm": Lowering("LayerNormalization", _layer_norm),
    "RMSNorm": Lowering("RMSNormalization", _rms_norm, "operations, unless over the last axis with a scale"),
    "GroupNorm": Lowering("GroupNormalization", _group_norm),
    "InstanceNorm": Lowering("GroupNormalization", _group_norm, "as groups of one channel"),
    "PReLU": Lowering("PReLU", _prelu),
    "Activation": Lowering("Activation LeakyReLU ELU ReLU", _activation),
    "Softmax": Lowering("Softmax", _along("softmax")),
    "LogSoftmax": Lowering("LogSoftmax", _along("log_softmax")),
    "Dropout": Lowering("Dropout", _as_it_is("Dropout", "rate")),
    "Identity": Lowering("Identity", _as_it_is("Identity")),
    **SHAPES,
    **WINDOWS,
    **RECURRENT,
    **ATTENTION,
    **OPS,
}
