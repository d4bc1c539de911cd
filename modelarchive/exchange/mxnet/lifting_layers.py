"""How MXNet's operators with parameters or windows are lifted: to layers of the vocabulary."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Packed, Zeros
from modelarchive.exchange.mxnet.lifting_context import Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.store.deferred import Deferred

#: Number of spatial axes -> their layout, channels first.
LAYOUTS: Final = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def windows(context: Context, *, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Rank, and the fields that a convolution or pooling has for each spatial axis."""
    at = context.attributes
    kernel = at.sizes("kernel")
    rank = len(kernel)
    if rank not in LAYOUTS:
        raise Refusal(f"a window of {rank} axes is not supported")
    config: dict[str, Any] = {fields["kernel"]: list(kernel)}
    for name, default in (("stride", 1), ("dilate", 1), ("pad", 0), ("adj", 0)):
        if name in fields:
            found = at.sizes(name, "()") or (default,) * rank
            if len(found) != rank:
                raise Refusal(f"{name} has {len(found)} sizes, the window {rank}")
            config[fields[name]] = [[each, each] for each in found] if name == "pad" else list(found)
    layout = at.text("layout", "None")
    config["layout"] = LAYOUTS[rank] if layout == "None" else layout
    if sorted(config["layout"]) != sorted(LAYOUTS[rank]):
        raise Refusal(f"layout = {layout[:80]!r} is not supported for {rank} axes")
    return rank, config


_CONVOLUTION: Final = {"kernel": "kernel_size", "stride": "strides", "dilate": "dilation", "pad": "padding"}


def _convolution(context: Context) -> Ref:
    """Convolution; where the channels are last, so are they in MXNet's weight."""
    at = context.attributes
    rank, config = windows(context, fields=_CONVOLUTION)
    use_bias = not at.flag("no_bias", default=False)
    stored, weight = _weight(context, rank)
    if config["layout"][-1] == "C":
        order = (0, rank + 1, *range(1, rank + 1))
        weight = weight.changed(lambda x: x.transpose(order), [weight.shape[each] for each in order])
    groups = at.integer("num_group", 1)
    config |= {
        "kind": f"Conv{rank}D",
        "channels": at.integer("num_filter"),
        "groups": groups,
        "activation": None,
        "use_bias": use_bias,
        "in_channels": weight.shape[1] * groups,
    }
    bias = {"bias": context.parameter(2)} if use_bias else {}
    return context.block(config, context.ref(0), weight=(stored, weight), **bias)


def _deconvolution(context: Context) -> Ref:
    """Transposed convolution."""
    at = context.attributes
    rank, config = windows(context, fields=_CONVOLUTION | {"adj": "output_padding"})
    if any(target := at.sizes("target_shape", "()")):
        config |= _aimed(context, config, target)
    use_bias = not at.flag("no_bias", default=True)
    stored, weight = _weight(context, rank)
    if config["layout"][-1] == "C":
        raise Refusal("a transposed convolution with its channels last is not supported")
    config |= {
        "kind": f"Conv{rank}DTranspose",
        "channels": at.integer("num_filter"),
        "groups": at.integer("num_group", 1),
        "activation": None,
        "use_bias": use_bias,
        "in_channels": weight.shape[0],
    }
    bias = {"bias": context.parameter(2)} if use_bias else {}
    return context.block(config, context.ref(0), weight=(stored, weight), **bias)


def _aimed(context: Context, config: dict[str, Any], target: tuple[int, ...]) -> dict[str, Any]:
    """The padding that MXNet takes for a result of given sizes; what `pad` and `adj` say does not matter then."""
    sizes = context.shape(0)[2:]
    if len(target) != len(sizes) or None in sizes:
        raise Refusal("target_shape is supported for inputs of known sizes only: pass inputs= with fixed sizes")
    if set(config["dilation"]) != {1}:
        raise Refusal("target_shape of a dilated window is not supported, only pad and adj")
    windows_ = zip(sizes, config["strides"], config["kernel_size"], target, strict=True)
    over = [((size or 0) - 1) * stride + kernel - aim for size, stride, kernel, aim in windows_]
    if min(over) < 0:
        raise Refusal(f"target_shape = {target} is larger than what {sizes} can become")
    return {"padding": [[(each + 1) // 2] * 2 for each in over], "output_padding": [each % 2 for each in over]}


def _weight(context: Context, rank: int) -> tuple[str, Deferred]:
    stored, weight = context.parameter(1)
    if len(weight.shape) != rank + 2:
        raise Refusal(f"the weight {stored!r} has the shape {weight.shape}, expected {rank + 2} axes")
    return stored, weight


def _dense(context: Context) -> Ref:
    """FullyConnected."""
    at = context.attributes
    units, use_bias = at.integer("num_hidden"), not at.flag("no_bias", default=False)
    if context.variable(1) is None:
        return _product(context, flatten=at.flag("flatten", default=True), use_bias=use_bias)
    weight = context.parameter(1)
    if len(weight[1].shape) != 2:
        raise Refusal(f"the weight {weight[0]!r} has the shape {weight[1].shape}, expected 2 axes")
    config = {
        "kind": "Dense",
        "units": units,
        "activation": None,
        "use_bias": use_bias,
        "flatten": at.flag("flatten", default=True),
        "in_units": weight[1].shape[1],
    }
    bias = {"bias": context.parameter(2)} if use_bias else {}
    return context.block(config, context.ref(0), weight=weight, **bias)


def _product(context: Context, *, flatten: bool, use_bias: bool) -> Ref:
    """FullyConnected with a weight that is computed, a part of a larger one for example."""
    x = context.ref(0)
    if flatten and context.rank(0) > 2:
        x = context.op("reshape", x, shape=[None, -1])
    if context.rank(1) != 2:
        raise Refusal(f"the weight has {context.rank(1)} axes, expected 2")
    found = context.op("matmul", x, context.op("transpose", context.ref(1), axes=[1, 0]))
    return context.op("add", found, context.ref(2)) if use_bias else found


def _embedding(context: Context) -> Ref:
    """Embedding: MXNet takes the indices as floats, and those outside as the nearest row."""
    at = context.attributes
    rows, width = at.integer("input_dim"), at.integer("output_dim")
    at.text("dtype", "float32")
    config = {"kind": "Embedding", "input_dim": rows, "output_dim": width, "padding_idx": None}
    context.note("an index outside of the table is an error; MXNet takes the nearest row")
    if context.variable(1) is None:
        return context.op("take", context.ref(1), context.whole(0), axis=0)
    return context.block(config, context.whole(0), weight=context.parameter(1))


def _batch_norm(context: Context) -> Ref:
    """BatchNorm in inference."""
    at = context.attributes
    epsilon, axis = at.number("eps", 1e-3), at.integer("axis", 1)
    momentum, fixed = at.number("momentum", 0.9), at.flag("fix_gamma", default=True)
    at.flag("use_global_stats", default=False)
    at.flag("output_mean_var", default=False)
    for name in ("ndev", "key", "min_calib_range", "max_calib_range"):
        at.text(name, "None")
    at.expect("act_type", "None")
    gamma, beta = context.parameter(1), context.parameter(2)
    statistics = [_statistic(context, 3, "moving_mean"), _statistic(context, 4, "moving_var")]
    config = {
        "kind": "BatchNorm",
        "axis": axis,
        "momentum": momentum,
        "epsilon": epsilon,
        "center": True,
        "scale": not fixed,
        "in_channels": beta[1].size,
    }
    if fixed:
        context.note(f"{gamma[0]!r} is left out: fix_gamma takes it as 1")
    scale, x = {} if fixed else {"weight": gamma}, context.ref(0)
    found = context.block(config, x, **scale, bias=beta, running_mean=statistics[0], running_var=statistics[1])
    # Of float16 its parameters may be float32, and the result is what was given.
    found = context.cast(found, context.dtype(x)) if context.is_known(0) else found
    return context.activation("relu", found) if context.node.op == "_contrib_BatchNormWithReLU" else found


def _statistic(context: Context, index: int, name: str) -> tuple[str, Deferred]:
    if len(context) > index:
        return context.parameter(index)
    # Before 0.9 these were no inputs, and had their names from the operator's.
    stored = f"{context.node.name}_{name}"
    if stored not in context.builder.stored:
        raise Refusal(f"the parameter {stored!r} is not in the file of arrays")
    return stored, context.builder.stored[stored]


def _layer_norm(context: Context) -> Ref:
    """LayerNorm."""
    at = context.attributes
    axis, epsilon = at.integer("axis", -1), at.number("eps", 1e-5)
    at.flag("output_mean_var", default=False)
    return _affine(context, {"kind": "LayerNorm", "axis": axis, "epsilon": epsilon})


def _instance_norm(context: Context) -> Ref:
    """InstanceNorm."""
    return _affine(context, {"kind": "InstanceNorm", "axis": 1, "epsilon": context.attributes.number("eps", 1e-3)})


def _group_norm(context: Context) -> Ref:
    """GroupNorm, whose scale and shift are those of groups in 1.9, and of channels in 2.x."""
    at = context.attributes
    groups, epsilon = at.integer("num_groups", 1), at.number("eps", 1e-5)
    at.flag("output_mean_var", default=False)
    config = {"kind": "GroupNorm", "num_groups": groups, "epsilon": epsilon, "axis": 1}
    if context.parameter(1)[1].size != groups:
        return _affine(context, config)
    channels = context.shape(0)[1] if context.rank(0) > 1 else None
    if channels is None or groups < 1 or channels % groups:
        raise Refusal("the number of channels that it normalises is not known")
    if channels != groups:
        context.note(f"the scale and shift of each group are repeated for each of its {channels // groups} channels")
    found = {}
    for name, index in (("weight", 1), ("bias", 2)):
        stored, array = context.parameter(index)
        if array.size != groups:
            raise Refusal(f"{stored!r} has {array.size} elements for {groups} groups")
        times = channels // groups
        found[name] = (stored, array.changed(lambda x, n=times: np.repeat(x.reshape(-1), n), [channels]))  # type: ignore[misc]
    return context.block(config | {"center": True, "scale": True, "in_channels": channels}, context.ref(0), **found)


def _affine(context: Context, config: dict[str, Any]) -> Ref:
    weight, bias = context.parameter(1), context.parameter(2)
    config |= {"center": True, "scale": True, "in_channels": weight[1].size}
    return context.block(config, context.ref(0), weight=weight, bias=bias)


#: mode -> (kind, gates, fields of its own).
MODES: Final[dict[str, tuple[str, int, dict[str, Any]]]] = {
    "lstm": ("LSTM", 4, {}),
    "gru": ("GRU", 3, {"linear_before_reset": True}),
    "rnn_tanh": ("RNN", 1, {"activation": "tanh"}),
    "rnn_relu": ("RNN", 1, {"activation": "relu"}),
}


def _recurrent(context: Context) -> tuple[Ref, ...]:
    """RNN: the fused recurrence, whose parameters are one flat array or the parts of one."""
    at = context.attributes
    mode = at.text("mode")
    if mode not in MODES:
        raise Refusal(f"mode = {mode!r} is not supported")
    kind, gates, fields = MODES[mode]
    for name in ("projection_size", "lstm_state_clip_min", "lstm_state_clip_max"):
        at.expect(name, "None")
    at.off("use_sequence_length")
    at.flag("lstm_state_clip_nan", default=False)
    at.flag("state_outputs", default=False)
    layers, hidden = at.integer("num_layers"), at.integer("state_size")
    both = at.flag("bidirectional", default=False)
    if not (0 < layers <= 64 and 0 < hidden < 2**31):
        raise Refusal(f"{layers} layers of {hidden} units are not supported")
    packed = context.raw(1)
    parts = list(packed.parts) if isinstance(packed, Packed) else [context.parameter(1)[0]]
    parameters = _unpacked(context, parts, gates * hidden, hidden, layers, 2 if both else 1)
    config = {
        "kind": kind,
        "hidden_size": hidden,
        "num_layers": layers,
        "layout": "TNC",
        "dropout": at.number("p", 0.0),
        "bidirectional": both,
        "input_size": parameters["weight_ih_l0"][1].shape[1],
        "use_bias": True,
        "return_state": any(index > 0 for index in context.used),
        **fields,
    }
    states = (
        []
        if len(context) < 3 or isinstance(context.raw(2), Zeros)
        else [context.ref(at) for at in range(2, len(context))]
    )
    ref = context.block(config, context.ref(0), *states, **parameters)
    if not config["return_state"]:
        return (ref,)
    return ref.parts(3 if mode == "lstm" else 2)


def packed_inputs(total: int, rows: int, hidden: int, layers: int, directions: int) -> int | None:
    """The size of a fused recurrence's input, from how many elements its parameters have; None: it is none."""
    later = rows * (layers - 1) * directions * (hidden * directions + hidden)
    first = total - later - 2 * rows * layers * directions - rows * hidden * directions
    inputs, rest = divmod(first, rows * directions)
    return None if rest or inputs < 1 else inputs


def _unpacked(
    context: Context, parts: list[str], rows: int, hidden: int, layers: int, directions: int
) -> dict[str, tuple[str, Deferred]]:
    """Own name -> (name in the file, array), in the order in which MXNet and cuDNN pack them."""
    arrays = [context.builder.stored[part] for part in parts]
    total = sum(each.size for each in arrays)
    inputs = packed_inputs(total, rows, hidden, layers, directions)
    if inputs is None:
        raise Refusal(f"the packed parameters have {total:,} elements, which do not fit the other attributes")
    suffixes = [(layer, f"l{layer}{tail}") for layer in range(layers) for tail in ("", "_reverse")[:directions]]
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, suffix in suffixes:
        shapes[f"weight_ih_{suffix}"] = (rows, inputs if layer == 0 else hidden * directions)
        shapes[f"weight_hh_{suffix}"] = (rows, hidden)
    for _, suffix in suffixes:
        shapes |= {f"bias_ih_{suffix}": (rows,), f"bias_hh_{suffix}": (rows,)}
    if [each.size for each in arrays] == [math.prod(shape) for shape in shapes.values()]:
        return {
            own: (part, array if array.shape == shape else array.changed(lambda x, s=shape: x.reshape(s), shape))  # type: ignore[misc]
            for (own, shape), part, array in zip(shapes.items(), parts, arrays, strict=True)
        }
    if len(arrays) > 1:
        raise Refusal("the parameters that are packed do not have the sizes that the recurrence takes")
    found: dict[str, tuple[str, Deferred]] = {}
    begin = 0
    for own, shape in shapes.items():
        end = begin + math.prod(shape)

        def cut(x: np.ndarray, b: int = begin, e: int = end, s: tuple[int, ...] = shape) -> np.ndarray:
            return x.reshape(-1)[b:e].reshape(s)

        found[own] = (f"{parts[0]}[{begin}:{end}]", arrays[0].changed(cut, shape))
        begin = end
    context.note(f"{parts[0]!r} is cut into {len(found)} parameters")
    return found


def _rank(kind: str) -> str:
    return ", ".join(kind.format(rank) for rank in (1, 2, 3))


_CONVOLUTIONS: Final = _rank("Conv{}D")
_TRANSPOSED: Final = _rank("Conv{}DTranspose")
_RANGE: Final = "an index out of range is an error here, and the nearest row in MXNet: with a note"

#: Layers.
ROWS: Final = (
    Lifting("FullyConnected _npx_fully_connected", "Dense", _dense),
    Lifting("Embedding _npx_embedding", "Embedding", _embedding, _RANGE),
    Lifting("Convolution Convolution_v1 _npx_convolution", _CONVOLUTIONS, _convolution),
    Lifting("Deconvolution _npx_deconvolution", _TRANSPOSED, _deconvolution),
    Lifting(
        "BatchNorm BatchNorm_v1 CuDNNBatchNorm _contrib_SyncBatchNorm _contrib_BatchNormWithReLU _npx_batch_norm",
        "BatchNorm",
        _batch_norm,
        "with fix_gamma read without weight, with a note: MXNet takes it as 1",
    ),
    Lifting("LayerNorm _npx_layer_norm", "LayerNorm", _layer_norm),
    Lifting("InstanceNorm _npx_instance_norm", "InstanceNorm", _instance_norm),
    Lifting(
        "GroupNorm _npx_group_norm",
        "GroupNorm",
        _group_norm,
        "the scale of a group, as in 1.9, is repeated for its channels, with a note; written times theirs",
    ),
    Lifting("RNN _npx_rnn", "RNN, LSTM, GRU", _recurrent, "packed parameters are cut into their parts, with a note"),
)
