"""How the vocabulary's kinds are said in ONNX: kind -> operators. One row a kind."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.onnx.composing import Entry, Given, Place, Saying
from modelarchive.exchange.onnx.saying_activations import ELEMENTWISE, activated
from modelarchive.exchange.onnx.saying_attention import ATTENTION, affine
from modelarchive.exchange.onnx.saying_recurrent import RECURRENT
from modelarchive.exchange.onnx.saying_shapes import indices, padded, reshaped, transposed
from modelarchive.exchange.onnx.saying_windows import WINDOWS
from modelarchive.ops.shapes import normal_axes


def _dense(place: Place, layer: Any, given: list[Given]) -> Entry:
    x, rank = place.array(given[0]), given[0].rank
    if layer.flatten and rank != 2:
        x, rank = place.op("Flatten", x, axis=1), 2
    return activated(
        place, layer.activation, affine(place, layer.weight, layer.bias if layer.use_bias else None, x, rank)
    )


def _embedding(place: Place, layer: Any, given: list[Given]) -> Entry:
    weight = place.parameter(layer.weight, place.known[0].array_dtype)
    return place.op("Gather", weight, indices(place, given[0]), axis=0)


def _moved(place: Place, x: Entry, axis: int, to: int, rank: int) -> Entry:
    """One axis in the place of another; doing it again undoes it."""
    order = list(range(rank))
    order[axis], order[to] = to, axis
    return place.op("Transpose", x, perm=order) if axis != to else x


def _channels_second(place: Place, x: Entry, axis: int, rank: int) -> tuple[Entry, int]:
    """An array whose channels are its second axis, and its rank."""
    if rank == 1:
        return place.op("Unsqueeze", x, place.ints([0])), 2
    return _moved(place, x, axis, 1, rank), rank


def _channels_back(place: Place, x: Entry, axis: int, rank: int) -> Entry:
    return place.op("Squeeze", x, place.ints([0])) if rank == 1 else _moved(place, x, axis, 1, rank)


def _batch_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    rank = given[0].rank
    axis = layer.axis % rank
    x, _ = _channels_second(place, place.array(given[0]), axis, rank)
    weight, bias = _scale_and_shift(place, layer, x, layer.in_channels)
    statistics = [place.parameter(each) for each in (layer.running_mean, layer.running_var)]
    attributes = {"epsilon": float(layer.epsilon), "momentum": float(layer.momentum)}
    return _channels_back(place, place.op("BatchNormalization", x, weight, bias, *statistics, **attributes), axis, rank)


def _scale_and_shift(place: Place, layer: Any, x: Entry, size: int | None) -> tuple[Entry, Entry]:
    """Weight and bias, ones and zeros where the layer has none: ONNX's operators take both.

    Args:
        place: Where.
        layer: The layer.
        x: An array whose second axis are the channels.
        size: How many there are; None: that is not fixed.
    """

    def filled(value: int) -> Entry:
        if size is not None:
            return place.made(np.full((size,), value))
        return place.op("Expand", place.made(value), place.size(x, 1))

    weight = place.parameter(layer.weight) if layer.scale else filled(1)
    return weight, place.parameter(layer.bias) if layer.center else filled(0)


def _layer_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    rank = given[0].rank
    axes = normal_axes(layer.axis, rank)
    x = place.array(given[0])
    order = [axis for axis in range(rank) if axis not in axes] + list(axes)
    kept = order == list(range(rank))
    x = x if kept else place.op("Transpose", x, perm=order)
    shape = [given[0].sizes[axis] for axis in axes]
    ones = np.ones([1] if None in shape else [int(size or 0) for size in shape])
    inputs = [place.parameter(layer.weight) if layer.scale else place.made(ones)]
    if layer.center:
        inputs.append(place.parameter(layer.bias))
    x = place.op("LayerNormalization", x, *inputs, axis=-len(axes), epsilon=float(layer.epsilon))
    return x if kept else place.op("Transpose", x, perm=np.argsort(order).tolist())


def _rms_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    x, rank = place.array(given[0]), given[0].rank
    axes = normal_axes(layer.axis, rank)
    mean = place.op("ReduceMean", place.op("Mul", x, x), place.ints(axes), keepdims=1)
    root = place.op("Sqrt", place.op("Add", mean, place.made(layer.epsilon)))
    y = place.op("Div", x, root)
    if not layer.scale:
        return y
    weight = place.parameter(layer.weight)
    if list(axes) != sorted(axes):
        weight = place.op("Transpose", weight, perm=np.argsort(axes).tolist())
    # New axes of size 1 between and behind those that are normalised.
    new = [axis - min(axes) for axis in range(min(axes), rank) if axis not in axes]
    return place.op("Mul", y, place.op("Unsqueeze", weight, place.ints(new)) if new else weight)


def _instance_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    rank = given[0].rank
    axis = layer.axis % rank
    x = _moved(place, place.array(given[0]), axis, 1, rank)
    weight, bias = _scale_and_shift(place, layer, x, given[0].sizes[axis])
    # The operator wants axes behind the channels.
    x = place.op("Unsqueeze", x, place.ints([2])) if rank == 2 else x
    x = place.op("InstanceNormalization", x, weight, bias, epsilon=float(layer.epsilon))
    x = place.op("Squeeze", x, place.ints([2])) if rank == 2 else x
    return _moved(place, x, axis, 1, rank)


def _group_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    """As InstanceNormalization of the groups: GroupNormalization loses digits where the mean is not near 0.

    Runtimes have it as the function that ONNX defines it by, which takes the square of the mean off that of squares.
    """
    rank, sizes = given[0].rank, list(given[0].sizes)
    axis = layer.axis % rank
    x = _moved(place, place.array(given[0]), axis, 1, rank)
    sizes[axis], sizes[1] = sizes[1], sizes[axis]
    unit = [place.made(np.full((layer.num_groups,), value)) for value in (1, 0)]
    groups = place.op("Reshape", x, place.ints([0, layer.num_groups, -1]))
    groups = place.op("InstanceNormalization", groups, *unit, epsilon=float(layer.epsilon))
    whole = place.op("Shape", x) if None in sizes[1:] else place.ints([0, *(size or 0 for size in sizes[1:])])
    y = place.op("Reshape", groups, whole)
    axes = place.ints(range(1, rank - 1))
    for used, op, own in ((layer.scale, "Mul", "weight"), (layer.center, "Add", "bias")):
        if used:
            parameter = place.parameter(layer.parameters[own])
            y = place.op(op, y, place.op("Unsqueeze", parameter, axes) if rank > 2 else parameter)
    return _moved(place, y, axis, 1, rank)


def _dropout(place: Place, layer: Any, given: list[Given]) -> Entry:
    """An identity in inference; the operator takes floats and rates below 1."""
    x = place.array(given[0])
    if given[0].dtype != np.float32 or layer.rate >= 1:
        return place.op("Identity", x)
    return place.op("Dropout", x, place.made(layer.rate, np.float32))


def _identity(place: Place, layer: Any, given: list[Given]) -> Entry:
    return place.op("Identity", place.array(given[0]))


def _flatten(place: Place, layer: Any, given: list[Given]) -> Entry:
    return place.op("Flatten", place.array(given[0]), axis=1)


#: Kind -> how it is said.
KINDS_OUT: Final[dict[str, Saying]] = {
    "Dense": Saying(_dense, ("Gemm", "MatMul")),
    "Embedding": Saying(
        _embedding, ("Gather",), wide=False, losses="a negative index counts from the end, here it is refused"
    ),
    **WINDOWS,
    "BatchNorm": Saying(_batch_norm, ("BatchNormalization",)),
    "LayerNorm": Saying(_layer_norm, ("LayerNormalization",)),
    "RMSNorm": Saying(_rms_norm, ("ReduceMean", "Sqrt", "Div", "Mul"), losses="written as a formula"),
    "InstanceNorm": Saying(_instance_norm, ("InstanceNormalization",), single=True),
    "GroupNorm": Saying(
        _group_norm, ("Reshape", "InstanceNormalization", "Mul", "Add"), single=True, losses="written as a formula"
    ),
    **RECURRENT,
    **ATTENTION,
    **ELEMENTWISE,
    "Dropout": Saying(_dropout, ("Dropout",), wide=False, losses="an Identity where the dtype is not float32"),
    "Identity": Saying(_identity, ("Identity",), wide=False),
    "Flatten": Saying(_flatten, ("Flatten",), wide=False),
    "Reshape": Saying(lambda place, layer, given: reshaped(place, given[0], layer.shape), ("Reshape",), wide=False),
    "Permute": Saying(lambda place, layer, given: transposed(place, given[0], layer.axes), ("Transpose",), wide=False),
    "Pad": Saying(
        lambda place, layer, given: padded(place, given[0], layer.padding, layer.mode, layer.value),
        ("Pad",),
        wide=False,
    ),
}
