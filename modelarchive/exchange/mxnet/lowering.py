"""How the vocabulary's kinds are lowered to MXNet: kind -> operators. One row a kind."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.axes import several
from modelarchive.exchange.formulas import layer_norm, rms_norm
from modelarchive.exchange.mxnet.emitting import Entry
from modelarchive.exchange.mxnet.lowering_activations import activated
from modelarchive.exchange.mxnet.lowering_attention import ATTENTION
from modelarchive.exchange.mxnet.lowering_context import Context, by_formula
from modelarchive.exchange.mxnet.lowering_ops import OPS
from modelarchive.exchange.mxnet.lowering_recurrent import RECURRENT
from modelarchive.exchange.mxnet.lowering_shapes import padding, reshape
from modelarchive.exchange.mxnet.lowering_windows import WINDOWS
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Value


def _dense(context: Context, layer: Any, given: list[Value]) -> Entry:
    inputs = [context.array(given[0]), context.parameter(layer.parameters["weight"])]
    if layer.use_bias:
        inputs.append(context.parameter(layer.parameters["bias"]))
    attributes = {"num_hidden": layer.units, "no_bias": not layer.use_bias, "flatten": layer.flatten}
    return activated(context, layer.activation, context.op("FullyConnected", *inputs, **attributes))


def _embedding(context: Context, layer: Any, given: list[Value]) -> Entry:
    sizes = {"input_dim": layer.input_dim, "output_dim": layer.output_dim}
    dtype = str(layer.parameters["weight"].dtype)
    return context.op(
        "Embedding", context.array(given[0]), context.parameter(layer.parameters["weight"]), dtype=dtype, **sizes
    )


def _affine(context: Context, layer: Any, x: Value, size: int | None = None) -> list[Entry]:
    """Scale and shift; MXNet has no layer without them."""
    channels = _channels(layer, x) if size is None else size
    dtype = layer.dtype if x.known is None else x.known.array_dtype
    found = []
    for own, used, name, value in (("weight", layer.scale, "gamma", 1), ("bias", layer.center, "beta", 0)):
        if used and size is None:
            found.append(context.parameter(layer.parameters[own]))
        else:
            found.append(context.made(name, np.full((channels,), value, dtype)))
    return found


def _channels(layer: Any, x: Value) -> int:
    """How many a layer has that may have no parameters to say so."""
    axis, channels = layer.axis, layer.in_channels
    if isinstance(axis, tuple | list):
        axis, channels = axis[0], channels[0] if channels else 0
    if not channels and x.known is not None:
        one, other = (shape[axis] for shape in x.known.shapes)
        channels = one if one == other else 0
    if not channels:
        raise Refusal("the number of channels is not known: declare the model's inputs")
    return int(channels)


def _batch_norm(context: Context, layer: Any, given: list[Value]) -> Entry:
    statistics = [context.parameter(layer.parameters[name], aux=True) for name in ("running_mean", "running_var")]
    attributes = {"eps": float(layer.epsilon), "momentum": float(layer.momentum), "axis": layer.axis}
    inputs = [context.array(given[0]), *_affine(context, layer, given[0]), *statistics]
    return context.op("BatchNorm", *inputs, fix_gamma=not layer.scale, use_global_stats=False, **attributes)


def _layer_norm(context: Context, layer: Any, given: list[Value]) -> Entry:
    axes = several(layer.axis)
    if len(axes) > 1:
        made: Entry = layer_norm(context, layer, given).tensor
        return made
    size = None if layer.scale or layer.center else given[0].sizes[axes[0]]
    inputs = [context.array(given[0]), *_affine(context, layer, given[0], size)]
    return context.op("LayerNorm", *inputs, axis=axes[0], eps=float(layer.epsilon))


def _second(context: Context, x: Entry, axis: int) -> Entry:
    """The channels behind the batch, where MXNet has them; doing it again undoes it."""
    return x if axis == 1 else context.op("SwapAxis", x, dim1=1, dim2=axis)


def _instance_norm(context: Context, layer: Any, given: list[Value]) -> Entry:
    x = _second(context, context.array(given[0]), layer.axis)
    size = None if layer.scale or layer.center else given[0].sizes[layer.axis]
    inputs = _affine(context, layer, given[0], size)
    # The operator wants axes behind the channels.
    has_none = given[0].known is not None and given[0].rank == 2
    x = context.op("expand_dims", x, axis=2) if has_none else x
    x = context.op("InstanceNorm", x, *inputs, eps=float(layer.epsilon))
    x = context.op("squeeze", x, axis=[2]) if has_none else x
    return _second(context, x, layer.axis)


def _group_norm(context: Context, layer: Any, given: list[Value]) -> Entry:
    """MXNet 1.x scales groups and not channels: the scale and shift of channels follow by themselves."""
    attributes = {"num_groups": layer.num_groups, "eps": float(layer.epsilon)}
    both = [layer.parameters[name] for name in ("weight", "bias") if name in layer.parameters]
    alike = context.emitter.grouped(both, layer.num_groups) if len(both) == 2 else None
    x = _second(context, context.array(given[0]), layer.axis)
    if alike is not None:
        return _second(context, context.op("GroupNorm", x, *alike, **attributes), layer.axis)
    x = context.op("GroupNorm", x, *_affine(context, layer, given[0], layer.num_groups), **attributes)
    shape = [1, -1, *[1] * (given[0].rank - 2)]
    for own, used, op in (("weight", layer.scale, "broadcast_mul"), ("bias", layer.center, "broadcast_add")):
        if used:
            x = context.op(op, x, context.op("Reshape", context.parameter(layer.parameters[own]), shape=shape))
    return _second(context, x, layer.axis)


def _prelu(context: Context, layer: Any, given: list[Value]) -> Entry:
    axis = layer.axis if layer.in_channels != 1 else 1
    if axis != 1 and given[0].rank == 1:
        raise Refusal("a PReLU of an input with one axis is not supported")
    x = _second(context, context.array(given[0]), axis)
    made = context.op("LeakyReLU", x, context.parameter(layer.parameters["weight"]), act_type="prelu")
    return _second(context, made, axis)


def _softmax(op: str) -> Lowering:
    """Softmax or its logarithm."""
    return Lowering(op, lambda context, layer, given: context.op(op, context.array(given[0]), axis=layer.axis))


#: Kind or op -> how it is lowered.
LOWERINGS: Final[dict[str, Lowering]] = {
    "Dense": Lowering("FullyConnected", _dense),
    "Embedding": Lowering("Embedding", _embedding),
    **WINDOWS,
    "BatchNorm": Lowering("BatchNorm", _batch_norm),
    "LayerNorm": Lowering("LayerNorm", _layer_norm, "written as a formula over several axes"),
    "InstanceNorm": Lowering("InstanceNorm", _instance_norm),
    "GroupNorm": Lowering("GroupNorm broadcast_mul broadcast_add", _group_norm),
    "RMSNorm": by_formula(rms_norm, "broadcast_mul mean sqrt broadcast_div"),
    "PReLU": Lowering("LeakyReLU", _prelu),
    **RECURRENT,
    "Activation": Lowering(
        "Activation LeakyReLU clip hard_sigmoid",
        lambda context, layer, given: activated(context, layer.activation, context.array(given[0]), layer.alpha),
        "one without an operator of its own is written as several",
    ),
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
    "Dropout": Lowering(
        "Dropout", lambda context, layer, given: context.op("Dropout", context.array(given[0]), p=float(layer.rate))
    ),
    "Identity": Lowering("_copy", lambda context, layer, given: context.op("_copy", context.array(given[0]))),
    "Flatten": Lowering("Flatten", lambda context, layer, given: context.op("Flatten", context.array(given[0]))),
    "Reshape": Lowering("Reshape", lambda context, layer, given: reshape(context, given[0], layer.shape)),
    "Permute": Lowering(
        "transpose",
        lambda context, layer, given: context.op("transpose", context.array(given[0]), axes=layer.axes),
    ),
    "Pad": Lowering(
        "Pad", lambda context, layer, given: padding(context, given[0], layer.padding, layer.mode, layer.value)
    ),
    **ATTENTION,
    **OPS,
}
