"""How the vocabulary's kinds are said in MXNet: kind -> operators. One row a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.mxnet.exporting import Entry, Given, Place, Writer, entry, rank
from modelarchive.exchange.mxnet.saying_attention import ATTENTION
from modelarchive.exchange.refusal import Refusal


def activated(place: Place, name: str | None, x: Entry, alpha: float | None = None) -> Entry:
    """An activation function on a result."""
    if name is None:
        return x
    if name in _ACTIVATIONS:
        return place.op("Activation", x, act_type=_ACTIVATIONS[name])
    if name in _LEAKY:
        return place.op("LeakyReLU", x, act_type=_LEAKY[name])
    if name == "leaky_relu":
        return place.op("LeakyReLU", x, act_type="leaky", slope=float(0.01 if alpha is None else alpha))
    if name == "elu":
        return place.op("LeakyReLU", x, act_type="elu", slope=float(1.0 if alpha is None else alpha))
    if name == "celu":
        steep = 1.0 if alpha is None else float(alpha)
        bent = place.op("LeakyReLU", place.op("_div_scalar", x, scalar=steep), act_type="elu", slope=1.0)
        return place.op("_mul_scalar", bent, scalar=steep)
    if name in _BOUNDS:
        return place.op("clip", x, a_min=_BOUNDS[name][0], a_max=_BOUNDS[name][1])
    if name in _COMPOSED:
        return _COMPOSED[name](place, x)
    raise Refusal(f"the activation {name!r} has no counterpart")


def _sigmoid_of(place: Place, x: Entry, factor: float = 1.0) -> Entry:
    scaled = x if factor == 1 else place.op("_mul_scalar", x, scalar=factor)
    return place.op("Activation", scaled, act_type="sigmoid")


def _hard_sigmoid(place: Place, x: Entry) -> Entry:
    return place.op("hard_sigmoid", x, alpha=1 / 6, beta=0.5)


def _gelu_tanh(place: Place, x: Entry) -> Entry:
    cube = place.op("elemwise_mul", place.op("square", x), x)
    inner = place.op("elemwise_add", x, place.op("_mul_scalar", cube, scalar=0.044715))
    bent = place.op("tanh", place.op("_mul_scalar", inner, scalar=float(np.sqrt(2 / np.pi))))
    return place.op("elemwise_mul", place.op("_mul_scalar", x, scalar=0.5), place.op("_plus_scalar", bent, scalar=1.0))


_ACTIVATIONS: Final = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softrelu",
    "softsign": "softsign",
}
_LEAKY: Final = {"selu": "selu", "gelu": "gelu"}
_BOUNDS: Final = {"relu6": (0.0, 6.0), "hard_tanh": (-1.0, 1.0)}
_COMPOSED: Final[dict[str, Callable[[Place, Entry], Entry]]] = {
    "silu": lambda place, x: place.op("elemwise_mul", x, _sigmoid_of(place, x)),
    "quick_gelu": lambda place, x: place.op("elemwise_mul", x, _sigmoid_of(place, x, 1.702)),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda place, x: place.op("elemwise_mul", x, _hard_sigmoid(place, x)),
    "mish": lambda place, x: place.op(
        "elemwise_mul", x, place.op("tanh", place.op("Activation", x, act_type="softrelu"))
    ),
    "log_sigmoid": lambda place, x: place.op(
        "negative", place.op("Activation", place.op("negative", x), act_type="softrelu")
    ),
    "gelu_tanh": _gelu_tanh,
}


def _dense(place: Place, layer: Any, given: list[Given]) -> Entry:
    inputs = [entry(given[0]), place.parameter(layer, "weight")]
    if layer.use_bias:
        inputs.append(place.parameter(layer, "bias"))
    attributes = {"num_hidden": layer.units, "no_bias": not layer.use_bias, "flatten": layer.flatten}
    return activated(place, layer.activation, place.op("FullyConnected", *inputs, **attributes))


def _embedding(place: Place, layer: Any, given: list[Given]) -> Entry:
    sizes = {"input_dim": layer.input_dim, "output_dim": layer.output_dim}
    dtype = str(layer.parameters["weight"].dtype)
    return place.op("Embedding", entry(given[0]), place.parameter(layer, "weight"), dtype=dtype, **sizes)


def _first(place: Place, layer: Any, x: Entry) -> Entry:
    """MXNet on a processor computes with the channels first only."""
    last = len(layer.layout) - 1
    return place.op("transpose", x, axes=[0, last, *range(1, last)]) if layer.layout[-1] == "C" else x


def _last(place: Place, layer: Any, x: Entry) -> Entry:
    last = len(layer.layout) - 1
    return place.op("transpose", x, axes=[0, *range(2, last + 1), 1]) if layer.layout[-1] == "C" else x


def _padded(place: Place, layer: Any, x: Entry) -> tuple[Entry, list[int]]:
    """The same padding before and after as the operator says it, anything else as an operator of its own."""
    if all(before == after for before, after in layer.padding):
        return x, [before for before, _ in layer.padding]
    if len(layer.padding) < 2:
        raise Refusal(f"padding {layer.padding} of one axis has no counterpart, only the same before and after")
    widths = [0, 0, 0, 0, *(each for pair in layer.padding for each in pair)]
    return place.op("Pad", x, mode="constant", pad_width=widths, constant_value=0.0), [0] * len(layer.padding)


def _convolution(place: Place, layer: Any, given: list[Given]) -> Entry:
    x, pad = _padded(place, layer, _first(place, layer, entry(given[0])))
    attributes = {
        "kernel": layer.kernel_size,
        "stride": layer.strides,
        "dilate": layer.dilation,
        "pad": pad,
        "num_filter": layer.channels,
        "num_group": layer.groups,
        "no_bias": not layer.use_bias,
    }
    op = "Convolution"
    if layer.kind.endswith("Transpose"):
        op = "Deconvolution"
        attributes["adj"] = layer.output_padding
        if any(before != after for before, after in layer.padding):
            raise Refusal("a transposed convolution with different padding before and after has no counterpart")
    inputs = [x, place.parameter(layer, "weight")]
    if layer.use_bias:
        inputs.append(place.parameter(layer, "bias"))
    return _last(place, layer, activated(place, layer.activation, place.op(op, *inputs, **attributes)))


def _pooling(style: str) -> Writer:
    def say(place: Place, layer: Any, given: list[Given]) -> Entry:
        if any(before != after for before, after in layer.padding):
            raise Refusal("pooling with different padding before and after has no counterpart")
        pad = [before for before, _ in layer.padding]
        attributes = {
            "kernel": layer.pool_size,
            "stride": layer.strides,
            "pad": pad,
            "pool_type": style,
            "pooling_convention": "full" if layer.ceil_mode else "valid",
        }
        if style == "avg":
            attributes["count_include_pad"] = layer.count_include_pad
        sizes = zip(layer.pool_size, layer.strides, pad, strict=True)
        if layer.ceil_mode and any(size < stride + each for size, stride, each in sizes):
            place.note("MXNet counts a last window that begins behind the input, where there is one")
        return _last(place, layer, place.op("Pooling", _first(place, layer, entry(given[0])), **attributes))

    return say


def _global_pooling(style: str) -> Writer:
    def say(place: Place, layer: Any, given: list[Given]) -> Entry:
        x = _first(place, layer, entry(given[0]))
        kernel = [1] * (len(layer.layout) - 2)
        return _last(place, layer, place.op("Pooling", x, kernel=kernel, global_pool=True, pool_type=style))

    return say


def _adaptive(place: Place, layer: Any, given: list[Given]) -> Entry:
    x = _first(place, layer, entry(given[0]))
    return _last(place, layer, place.op("_contrib_AdaptiveAvgPooling2D", x, output_size=layer.output_size))


def _adaptive_line(place: Place, layer: Any, given: list[Given]) -> Entry:
    """One axis, as an image of one row."""
    x = place.op("expand_dims", _first(place, layer, entry(given[0])), axis=2)
    y = place.op("_contrib_AdaptiveAvgPooling2D", x, output_size=[1, *layer.output_size])
    return _last(place, layer, place.op("squeeze", y, axis=[2]))


def _affine(place: Place, layer: Any, x: Given, size: int | None = None) -> list[Entry]:
    """Scale and shift; MXNet has no layer without them."""
    channels = _channels(layer, x) if size is None else size
    dtype = layer.dtype if layer.dtype in ("float32", "float64", "float16") else "float32"
    found = []
    for own, used, name, value in (("weight", layer.scale, "gamma", 1), ("bias", layer.center, "beta", 0)):
        if used and size is None:
            found.append(place.parameter(layer, own))
        else:
            found.append(place.made(name, np.full((channels,), value, dtype)))
    return found


def _channels(layer: Any, x: Given) -> int:
    """How many a layer has that may have no parameters to say so."""
    axis, channels = layer.axis, layer.in_channels
    if isinstance(axis, Sequence):
        axis, channels = axis[0], channels[0] if channels else 0
    if not channels and x.known is not None:
        one, other = (shape[axis] for shape in x.known.shapes)
        channels = one if one == other else 0
    if not channels:
        raise Refusal("the number of channels is not known: declare the model's inputs")
    return int(channels)


def _batch_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    statistics = [place.parameter(layer, name, aux=True) for name in ("running_mean", "running_var")]
    attributes = {"eps": float(layer.epsilon), "momentum": float(layer.momentum), "axis": layer.axis}
    inputs = [entry(given[0]), *_affine(place, layer, given[0]), *statistics]
    return place.op("BatchNorm", *inputs, fix_gamma=not layer.scale, use_global_stats=False, **attributes)


def _layer_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    axis = layer.axis
    if isinstance(axis, Sequence):
        if len(axis) != 1:
            raise Refusal("a LayerNorm over several axes together has no counterpart")
        axis = axis[0]
    return place.op("LayerNorm", entry(given[0]), *_affine(place, layer, given[0]), axis=axis, eps=float(layer.epsilon))


def _instance_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    if layer.axis != 1:
        raise Refusal("an InstanceNorm with other channels than axis 1 has no counterpart")
    return place.op("InstanceNorm", entry(given[0]), *_affine(place, layer, given[0]), eps=float(layer.epsilon))


def _group_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    """MXNet 1.x scales groups and not channels: the scale and shift of channels follow by themselves."""
    if layer.axis != 1:
        raise Refusal("a GroupNorm with other channels than axis 1 has no counterpart")
    plain = _affine(place, layer, given[0], layer.num_groups)
    x = place.op("GroupNorm", entry(given[0]), *plain, num_groups=layer.num_groups, eps=float(layer.epsilon))
    shape = [1, -1, *[1] * (rank(given[0]) - 2)]
    for own, used, op in (("weight", layer.scale, "broadcast_mul"), ("bias", layer.center, "broadcast_add")):
        if used:
            x = place.op(op, x, place.op("Reshape", place.parameter(layer, own), shape=shape))
    return x


def _rms_norm(place: Place, layer: Any, given: list[Given]) -> Entry:
    if layer.axis not in (-1, [-1], (-1,)):
        raise Refusal("an RMSNorm over other axes than the last has no counterpart")
    x = entry(given[0])
    mean = place.op("mean", place.op("square", x), axis=[-1], keepdims=True)
    inverse = place.op("rsqrt", place.op("_plus_scalar", mean, scalar=float(layer.epsilon)))
    y = place.op("broadcast_mul", x, inverse)
    return place.op("broadcast_mul", y, place.parameter(layer, "weight")) if layer.scale else y


def _prelu(place: Place, layer: Any, given: list[Given]) -> Entry:
    if layer.axis != 1 and layer.in_channels != 1:
        raise Refusal("a PReLU with other channels than axis 1 has no counterpart")
    return place.op("LeakyReLU", entry(given[0]), place.parameter(layer, "weight"), act_type="prelu")


def _recurrent(place: Place, layer: Any, given: list[Given]) -> Any:
    """The fused operator takes all parameters as one flat array: weights first, then biases."""
    if layer.kind == "GRU" and not layer.linear_before_reset:
        raise Refusal("a GRU that resets before the product has no counterpart")
    mode = f"rnn_{layer.activation}" if layer.kind == "RNN" else layer.kind.lower()
    sides = ("", "_reverse") if layer.bidirectional else ("",)
    suffixes = [f"l{each}{side}" for each in range(layer.num_layers) for side in sides]
    flat = [
        place.op("Reshape", place.parameter(layer, f"weight_{to}_{suffix}"), shape=[-1])
        for suffix in suffixes
        for to in ("ih", "hh")
    ]
    rows = layer.gates * layer.hidden_size
    for suffix in suffixes:
        for to in ("ih", "hh"):
            own = f"bias_{to}_{suffix}"
            bias = place.parameter(layer, own) if layer.use_bias else place.made(own, np.zeros(rows, layer.dtype))
            flat.append(place.op("Reshape", bias, shape=[-1]))
    packed = place.op("_rnn_param_concat", *flat, dim=0, num_args=len(flat))
    x = entry(given[0])
    turned = layer.layout == "NTC"
    x = place.op("SwapAxis", x, dim1=0, dim2=1) if turned else x
    shape = (len(suffixes), 0, layer.hidden_size)
    states = [entry(each) for each in given[1:]] or [
        place.op("_zeros", shape=shape, dtype="float32") for _ in layer.states
    ]
    attributes = {
        "mode": mode,
        "state_size": layer.hidden_size,
        "num_layers": layer.num_layers,
        "bidirectional": layer.bidirectional,
        "p": float(layer.dropout),
        "state_outputs": layer.return_state,
    }
    found = place.op("RNN", x, packed, *states, **attributes)
    output = place.op("SwapAxis", found, dim1=0, dim2=1) if turned else found
    if not layer.return_state:
        return output
    return (output, *([found[0], 1 + each, 0] for each in range(len(layer.states))))


def _upsample(place: Place, layer: Any, given: list[Given]) -> Entry:
    x = _first(place, layer, entry(given[0]))
    if len(layer.layout) != 4:
        raise Refusal("an Upsample of other than two axes has no counterpart")
    if layer.mode == "nearest" and layer.scale is not None and len(set(layer.scale)) == 1:
        y = place.op("UpSampling", x, scale=layer.scale[0], sample_type="nearest", num_args=1)
    elif layer.mode == "linear":
        names = ("height", "width") if layer.scale is None else ("scale_height", "scale_width")
        sizes = layer.size if layer.scale is None else [float(each) for each in layer.scale]
        attributes = {**dict(zip(names, sizes, strict=True)), "align_corners": layer.align_corners}
        y = place.op("_contrib_BilinearResize2D", x, **attributes)
    else:
        raise Refusal("of Upsample, nearest by one scale and linear have counterparts")
    return _last(place, layer, y)


def padding(place: Place, x: Given, pairs: Sequence[Sequence[int]], mode: str, value: Any) -> Entry:
    """Pad, which MXNet has for the axes behind the first two of four or five: others are turned there and back."""
    axes = rank(x)
    widths = [(0, 0)] * (axes - len(pairs)) + [(before, after) for before, after in pairs]
    still = [axis for axis, width in enumerate(widths) if not any(width)]
    if mode == "wrap" or isinstance(value, str):
        raise Refusal("padding that wraps around, or by something that is no number, has no counterpart")
    if len(still) == axes:
        return entry(x)
    more = next((more for more in range(5) if axes + more in (4, 5) and len(still) + more >= 2), None)
    if more is None:
        raise Refusal("padding has a counterpart for at most three axes of five only")
    found = entry(x)
    for _ in range(more):
        found = place.op("expand_dims", found, axis=0)
    widths = [(0, 0)] * more + widths
    order = sorted(range(axes + more), key=lambda axis: (any(widths[axis]), axis))
    back = [order.index(axis) for axis in range(axes + more)]
    turned = order != sorted(order)
    found = place.op("transpose", found, axes=order) if turned else found
    flat = [each for axis in order for each in widths[axis]]
    found = place.op("Pad", found, mode=mode, pad_width=flat, constant_value=float(value))
    found = place.op("transpose", found, axes=back) if turned else found
    for _ in range(more):
        found = place.op("squeeze", found, axis=[0])
    return found


def reshape(place: Place, x: Entry, shape: Sequence[int | None]) -> Entry:
    """MXNet's 0 is what null is here; its sizes are not 0."""
    if 0 in shape or not shape:
        raise Refusal(f"the shape {list(shape)} has no counterpart")
    return place.op("Reshape", x, shape=[0 if size is None else size for size in shape])


def softmax(op: str) -> Writer:
    """Softmax or its logarithm."""
    return lambda place, layer, given: place.op(op, entry(given[0]), axis=layer.axis)


#: Kind -> how it is said.
KINDS_OUT: Final[dict[str, Writer]] = {
    "Dense": _dense,
    "Embedding": _embedding,
    **{f"Conv{n}D{kind}": _convolution for n in (1, 2, 3) for kind in ("", "Transpose")},
    **{f"{name}Pool{n}D": _pooling(name.lower()) for n in (1, 2, 3) for name in ("Max", "Avg")},
    **{f"Global{name}Pool{n}D": _global_pooling(name.lower()) for n in (1, 2, 3) for name in ("Max", "Avg")},
    "AdaptiveAvgPool1D": _adaptive_line,
    "AdaptiveAvgPool2D": _adaptive,
    "BatchNorm": _batch_norm,
    "LayerNorm": _layer_norm,
    "InstanceNorm": _instance_norm,
    "GroupNorm": _group_norm,
    "RMSNorm": _rms_norm,
    "PReLU": _prelu,
    **dict.fromkeys(("RNN", "LSTM", "GRU"), _recurrent),
    "Activation": lambda place, layer, given: activated(place, layer.activation, entry(given[0]), layer.alpha),
    "Softmax": softmax("softmax"),
    "LogSoftmax": softmax("log_softmax"),
    "Dropout": lambda place, layer, given: place.op("Dropout", entry(given[0]), p=float(layer.rate)),
    "Identity": lambda place, layer, given: place.op("_copy", entry(given[0])),
    "Flatten": lambda place, layer, given: place.op("Flatten", entry(given[0])),
    "Reshape": lambda place, layer, given: reshape(place, entry(given[0]), layer.shape),
    "Permute": lambda place, layer, given: place.op("transpose", entry(given[0]), axes=layer.axes),
    "Pad": lambda place, layer, given: padding(place, given[0], layer.padding, layer.mode, layer.value),
    "Upsample": _upsample,
    **ATTENTION,
}
