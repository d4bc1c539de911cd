"""How the vocabulary's kinds are lowered to ONNX: kind -> operators. One row a kind."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.formulas import rms_norm
from modelarchive.exchange.onnx.emitting import Entry
from modelarchive.exchange.onnx.lowering_activations import ELEMENTWISE, activated
from modelarchive.exchange.onnx.lowering_attention import ATTENTION
from modelarchive.exchange.onnx.lowering_context import Context, Lowering, Value, by_formula
from modelarchive.exchange.onnx.lowering_ops import OPS
from modelarchive.exchange.onnx.lowering_recurrent import RECURRENT
from modelarchive.exchange.onnx.lowering_shapes import indices, padded, reshaped, transposed
from modelarchive.exchange.onnx.lowering_windows import WINDOWS
from modelarchive.nn.parameter import Parameter
from modelarchive.ops.shapes import normal_axes


def _dense(context: Context, layer: Any, given: list[Value]) -> Entry:
    x, rank = context.array(given[0]), given[0].rank
    if layer.flatten and rank != 2:
        x, rank = context.op("Flatten", x, axis=1), 2
    return activated(
        context, layer.activation, _affine(context, layer.weight, layer.bias if layer.use_bias else None, x, rank)
    )


def _affine(context: Context, weight: Parameter, bias: Parameter | None, x: Entry, rank: int) -> Entry:
    """The product of a matrix, or of several, with the transposed weight, and the bias."""
    added = [] if bias is None else [context.parameter(bias)]
    if rank == 2:
        return context.op("Gemm", x, context.parameter(weight), *added, transB=1)
    product = context.op("MatMul", x, context.op("Transpose", context.parameter(weight), perm=[1, 0]))
    return context.op("Add", product, *added) if added else product


def _embedding(context: Context, layer: Any, given: list[Value]) -> Entry:
    weight = context.parameter(layer.weight, context.known[0].array_dtype)
    return context.op("Gather", weight, indices(context, given[0]), axis=0)


def _moved(context: Context, x: Entry, axis: int, to: int, rank: int) -> Entry:
    """One axis in the place of another; doing it again undoes it."""
    order = list(range(rank))
    order[axis], order[to] = to, axis
    return context.op("Transpose", x, perm=order) if axis != to else x


def _channels_second(context: Context, x: Entry, axis: int, rank: int) -> tuple[Entry, int]:
    """An array whose channels are its second axis, and its rank."""
    if rank == 1:
        return context.op("Unsqueeze", x, context.ints([0])), 2
    return _moved(context, x, axis, 1, rank), rank


def _channels_back(context: Context, x: Entry, axis: int, rank: int) -> Entry:
    return context.op("Squeeze", x, context.ints([0])) if rank == 1 else _moved(context, x, axis, 1, rank)


def _batch_norm(context: Context, layer: Any, given: list[Value]) -> Entry:
    rank = given[0].rank
    axis = layer.axis % rank
    x, _ = _channels_second(context, context.array(given[0]), axis, rank)
    weight, bias = _scale_and_shift(context, layer, x, layer.in_channels)
    statistics = [context.parameter(each) for each in (layer.running_mean, layer.running_var)]
    attributes = {"epsilon": float(layer.epsilon), "momentum": float(layer.momentum)}
    return _channels_back(
        context, context.op("BatchNormalization", x, weight, bias, *statistics, **attributes), axis, rank
    )


def _scale_and_shift(context: Context, layer: Any, x: Entry, size: int | None) -> tuple[Entry, Entry]:
    """Weight and bias, ones and zeros where the layer has none: ONNX's operators take both.

    Args:
        context: Where.
        layer: The layer.
        x: An array whose second axis are the channels.
        size: How many there are; None: that is not fixed.
    """

    def filled(value: int) -> Entry:
        if size is not None:
            return context.made(np.full((size,), value))
        return context.op("Expand", context.made(value), context.size(x, 1))

    weight = context.parameter(layer.weight) if layer.scale else filled(1)
    return weight, context.parameter(layer.bias) if layer.center else filled(0)


def _layer_norm(context: Context, layer: Any, given: list[Value]) -> Entry:
    rank = given[0].rank
    axes = normal_axes(layer.axis, rank)
    x = context.array(given[0])
    order = [axis for axis in range(rank) if axis not in axes] + list(axes)
    kept = order == list(range(rank))
    x = x if kept else context.op("Transpose", x, perm=order)
    shape = [given[0].sizes[axis] for axis in axes]
    ones = np.ones([1] if None in shape else [int(size or 0) for size in shape])
    inputs = [context.parameter(layer.weight) if layer.scale else context.made(ones)]
    if layer.center:
        inputs.append(context.parameter(layer.bias))
    x = context.op("LayerNormalization", x, *inputs, axis=-len(axes), epsilon=float(layer.epsilon))
    return x if kept else context.op("Transpose", x, perm=np.argsort(order).tolist())


def _instance_norm(context: Context, layer: Any, given: list[Value]) -> Entry:
    rank = given[0].rank
    axis = layer.axis % rank
    x = _moved(context, context.array(given[0]), axis, 1, rank)
    weight, bias = _scale_and_shift(context, layer, x, given[0].sizes[axis])
    # The operator wants axes behind the channels.
    x = context.op("Unsqueeze", x, context.ints([2])) if rank == 2 else x
    x = context.op("InstanceNormalization", x, weight, bias, epsilon=float(layer.epsilon))
    x = context.op("Squeeze", x, context.ints([2])) if rank == 2 else x
    return _moved(context, x, axis, 1, rank)


def _group_norm(context: Context, layer: Any, given: list[Value]) -> Entry:
    """As InstanceNormalization of the groups: GroupNormalization loses digits where the mean is not near 0.

    Runtimes have it as the function that ONNX defines it by, which takes the square of the mean off that of squares.
    """
    rank, sizes = given[0].rank, list(given[0].sizes)
    axis = layer.axis % rank
    x = _moved(context, context.array(given[0]), axis, 1, rank)
    sizes[axis], sizes[1] = sizes[1], sizes[axis]
    unit = [context.made(np.full((layer.num_groups,), value)) for value in (1, 0)]
    groups = context.op("Reshape", x, context.ints([0, layer.num_groups, -1]))
    groups = context.op("InstanceNormalization", groups, *unit, epsilon=float(layer.epsilon))
    whole = context.op("Shape", x) if None in sizes[1:] else context.ints([0, *(size or 0 for size in sizes[1:])])
    y = context.op("Reshape", groups, whole)
    axes = context.ints(range(1, rank - 1))
    for used, op, own in ((layer.scale, "Mul", "weight"), (layer.center, "Add", "bias")):
        if used:
            parameter = context.parameter(layer.parameters[own])
            y = context.op(op, y, context.op("Unsqueeze", parameter, axes) if rank > 2 else parameter)
    return _moved(context, y, axis, 1, rank)


def _dropout(context: Context, layer: Any, given: list[Value]) -> Entry:
    """An identity in inference; the operator takes floats and rates below 1."""
    x = context.array(given[0])
    if given[0].dtype != np.float32 or layer.rate >= 1:
        return context.op("Identity", x)
    return context.op("Dropout", x, context.made(layer.rate, np.float32))


def _identity(context: Context, layer: Any, given: list[Value]) -> Entry:
    return context.op("Identity", context.array(given[0]))


def _flatten(context: Context, layer: Any, given: list[Value]) -> Entry:
    return context.op("Flatten", context.array(given[0]), axis=1)


#: Kind or op -> how it is lowered; a constant and a parameter are tensors themselves.
LOWERINGS: Final[dict[str, Lowering]] = {
    "Dense": Lowering("Gemm MatMul", _dense),
    "Embedding": Lowering(
        "Gather", _embedding, wide=False, losses="a negative index counts from the end, here it is refused"
    ),
    **WINDOWS,
    "BatchNorm": Lowering("BatchNormalization", _batch_norm),
    "LayerNorm": Lowering("LayerNormalization", _layer_norm),
    "RMSNorm": by_formula(rms_norm, "ReduceMean Sqrt Div Mul"),
    "InstanceNorm": Lowering("InstanceNormalization", _instance_norm, single=True),
    "GroupNorm": Lowering(
        "Reshape InstanceNormalization Mul Add", _group_norm, single=True, losses="written as a formula"
    ),
    **RECURRENT,
    **ATTENTION,
    **ELEMENTWISE,
    "Dropout": Lowering("Dropout", _dropout, wide=False, losses="an Identity where the dtype is not float32"),
    "Identity": Lowering("Identity", _identity, wide=False),
    "Flatten": Lowering("Flatten", _flatten, wide=False),
    "Reshape": Lowering("Reshape", lambda context, layer, given: reshaped(context, given[0], layer.shape), wide=False),
    "Permute": Lowering(
        "Transpose", lambda context, layer, given: transposed(context, given[0], layer.axes), wide=False
    ),
    "Pad": Lowering(
        "Pad",
        lambda context, layer, given: padded(context, given[0], layer.padding, layer.mode, layer.value),
        wide=False,
    ),
    **OPS,
}
