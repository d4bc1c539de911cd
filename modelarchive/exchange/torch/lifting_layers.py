"""ATen operators that are calls of layers: the kind with its fields, its parameters, what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import torch

from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.leaves import adaptive, inside, several

#: Arguments of a call by the names of the operator's schema, without those that are its defaults.
Given: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Lifted:
    """A call as that of a layer.

    Attributes:
        kind: The kind of the vocabulary.
        fields: Its fields.
        parts: Name of a parameter of the layer -> the argument that it is.
        inputs: What the layer is called on.
        several: Whether it returns several arrays, as the operator does.
    """

    kind: str
    fields: dict[str, Any]
    parts: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Any, ...] = ()
    several: bool = False


Lift: TypeAlias = Callable[[Given], "Lifted | None"]


def shape(node: Any) -> list[Any]:
    """The shape of an argument, its free sizes as PyTorch writes them."""
    return list(node.meta["val"].shape)


def _parts(given: Given, *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None}


def _linear(given: Given) -> Lifted | None:
    weight = given["weight"]
    if len(shape(weight)) != 2:
        return None
    units, inputs = shape(weight)
    parts = _parts(given, "weight", "bias")
    fields = {"units": units, "use_bias": "bias" in parts, "flatten": False, "in_units": inputs}
    return Lifted("Dense", fields, parts, (given["input"],))


def _embedding(given: Given) -> Lifted:
    rows, width = shape(given["weight"])
    padding = given.get("padding_idx", -1)
    fields = {"input_dim": rows, "output_dim": width, "padding_idx": None if padding < 0 else padding}
    return Lifted("Embedding", fields, {"weight": given["weight"]}, (given["indices"],))


def _convolution(rank: int | None) -> Lift:
    def lift(given: Given) -> Lifted | None:
        parts = _parts(given, "weight", "bias")
        channels, inputs, *kernel = shape(given["weight"])
        axes = len(kernel) if rank is None else rank
        transposed = given.get("transposed", False)
        if len(shape(given["input"])) != axes + 2:
            return None  # without a batch
        groups = given.get("groups", 1)
        if not isinstance(groups, int):
            return None
        dilation = several(given.get("dilation", 1), axes)
        fields = {
            "kernel_size": kernel,
            "strides": several(given.get("stride", 1), axes),
            "padding": sides(given.get("padding", 0), axes, kernel, dilation),
            "dilation": dilation,
            "groups": groups,
            "use_bias": "bias" in parts,
        }
        if transposed:
            return _transposed_fields(given, fields, parts, axes)
        fields |= {"channels": channels, "in_channels": inputs * groups}
        return Lifted(f"Conv{axes}D", fields, parts, (given["input"],))

    return lift


def sides(padding: Any, axes: int, kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """Padding as pairs (before, after), from numbers or the words "same" and "valid"."""
    if padding == "same":
        whole = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        return [(each // 2, each - each // 2) for each in whole]
    return [(each, each) for each in several(0 if padding == "valid" else padding, axes)]


def _transposed_fields(given: Given, fields: dict[str, Any], parts: dict[str, Any], axes: int) -> Lifted:
    inputs, channels, *_ = shape(given["weight"])
    more = {
        "channels": channels * fields["groups"],
        "in_channels": inputs,
        "output_padding": several(given.get("output_padding", 0), axes),
    }
    return Lifted(f"Conv{axes}DTranspose", fields | more, parts, (given["input"],))


def _transposed(rank: int) -> Lift:
    plain = _convolution(rank)
    return lambda given: plain({**given, "transposed": True})


def _batch_norm(given: Given) -> Lifted | None:
    if given.get("running_mean") is None or (given.get("training") and given["running_mean"].op != "placeholder"):
        return None  # which no layer says
    if given.get("training"):
        raise Refusal("normalisation by the batch's own statistics: export the module in evaluation, module.eval()")
    parts = _parts(given, "weight", "bias", "running_mean", "running_var")
    fields = {
        "axis": 1,
        "momentum": 1 - given.get("momentum", 0.1),
        "epsilon": given["eps"],
        "center": "bias" in parts,
        "scale": "weight" in parts,
        "in_channels": shape(given["running_mean"])[0],
    }
    return Lifted("BatchNorm", fields, parts, (given["input"],))


def _over_axes(kind: str) -> Lift:
    def lift(given: Given) -> Lifted | None:
        sizes = given["normalized_shape"]
        if not all(isinstance(size, int) for size in sizes):
            return None
        parts = _parts(given, "weight", "bias")
        if given.get("eps") is None:
            epsilon = torch.finfo(given["input"].meta["val"].dtype).eps if kind == "RMSNorm" else 1e-5
        else:
            epsilon = given["eps"]
        fields = {
            "axis": -1 if len(sizes) == 1 else tuple(range(-len(sizes), 0)),
            "in_channels": sizes[0] if len(sizes) == 1 else tuple(sizes),
            "scale": "weight" in parts,
            "epsilon": epsilon,
        }
        if kind == "LayerNorm":
            fields["center"] = "bias" in parts
        return Lifted(kind, fields, parts, (given["input"],))

    return lift


def _group_norm(given: Given) -> Lifted | None:
    parts = _parts(given, "weight", "bias")
    channels = shape(given["input"])[1]
    groups = given["num_groups"] if "num_groups" in given else given["group"]
    fields = {
        "num_groups": groups,
        "epsilon": given.get("eps", 1e-5),
        "center": "bias" in parts,
        "scale": "weight" in parts,
        "in_channels": channels,
    }
    return Lifted("GroupNorm", fields, parts, (given["input"],)) if isinstance(channels, int) else None


def _instance_norm(given: Given) -> Lifted | None:
    if not given.get("use_input_stats"):
        return _batch_norm(given)
    parts = _parts(given, "weight", "bias")
    channels = shape(given["input"])[1]
    fields = {
        "axis": 1,
        "epsilon": given["eps"],
        "center": "bias" in parts,
        "scale": "weight" in parts,
        "in_channels": channels,
    }
    return Lifted("InstanceNorm", fields, parts, (given["input"],)) if isinstance(channels, int) else None


def _prelu(given: Given) -> Lifted:
    return Lifted("PReLU", {"in_channels": shape(given["weight"])[0]}, {"weight": given["weight"]}, (given["self"],))


def _recurrent(kind: str, **more: Any) -> Lift:
    def lift(given: Given) -> Lifted | None:
        if "batch_sizes" in given:
            return None
        biases = given["has_biases"]
        each = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if biases else ("weight_ih", "weight_hh")
        ways = ("", "_reverse") if given["bidirectional"] else ("",)
        names = [f"{name}_l{at}{way}" for at in range(given["num_layers"]) for way in ways for name in each]
        if len(names) != len(given["params"]):
            return None  # projected states, which are no kind: step by step
        parts = dict(zip(names, given["params"], strict=True))
        fields = {
            "hidden_size": shape(parts["weight_hh_l0"])[1],
            "num_layers": given["num_layers"],
            "layout": "NTC" if given["batch_first"] else "TNC",
            "dropout": float(given["dropout"]),
            "bidirectional": given["bidirectional"],
            "input_size": shape(parts["weight_ih_l0"])[1],
            "use_bias": biases,
            "return_state": True,
            **more,
        }
        states = given["hx"] if isinstance(given["hx"], list | tuple) else [given["hx"]]
        given_states = () if all(map(is_zeros, states)) else tuple(states)
        return Lifted(kind, fields, parts, (given["input"], *given_states), several=True)

    return lift


def is_zeros(node: Any) -> bool:
    """Whether an argument is an array of zeros."""
    while getattr(node, "target", None) is torch.ops.aten.slice.Tensor:
        node = node.args[0]  # of a layer among several
    return getattr(node, "target", None) in (torch.ops.aten.zeros.default, torch.ops.aten.new_zeros.default)


def _activation(name: str, argument: str = "", usual: float | None = None) -> Lift:
    def lift(given: Given) -> Lifted:
        fields = {"activation": name}
        if argument:
            fields["alpha"] = given.get(argument, usual)
        return Lifted("Activation", fields, inputs=(given["self"],))

    return lift


def _gelu(given: Given) -> Lifted:
    name = "gelu_tanh" if given.get("approximate", "none") == "tanh" else "gelu"
    return Lifted("Activation", {"activation": name}, inputs=(given["self"],))


def _elu(given: Given) -> Lifted | None:
    if given.get("scale", 1) != 1 or given.get("input_scale", 1) != 1:
        return None
    return Lifted("Activation", {"activation": "elu", "alpha": given.get("alpha", 1.0)}, inputs=(given["self"],))


def _softplus(given: Given) -> Lifted | None:
    is_plain = given.get("beta", 1) == 1 and given.get("threshold", 20) == 20
    return _activation("softplus")(given) if is_plain else None


def _hard_tanh(given: Given) -> Lifted | None:
    bounds = (given.get("min_val", -1), given.get("max_val", 1))
    name = {(-1, 1): "hard_tanh", (0, 6): "relu6"}.get(bounds)
    return None if name is None else _activation(name)(given)


def _softmax(kind: str) -> Lift:
    return lambda given: Lifted(kind, {"axis": given["dim"]}, inputs=(given["self"],)) if "dtype" not in given else None


def _dropout(given: Given) -> Lifted | None:
    if given.get("train") and given["p"]:
        raise Refusal("dropout that drops in evaluation too (training=True)")
    return Lifted("Dropout", {"rate": given["p"]}, inputs=(given.get("input", given.get("self")),))


def _pool(how: str, rank: int) -> Lift:
    def lift(given: Given) -> Lifted | None:
        if any(each != 1 for each in several(given.get("dilation", 1), rank)):
            return None
        if given.get("divisor_override") is not None or len(shape(given["self"])) != rank + 2:
            return None
        size, padding = several(given["kernel_size"], rank), several(given.get("padding", 0), rank)
        has_partial = given.get("ceil_mode", False)
        fields: dict[str, Any] = {
            "pool_size": inside(size, padding, shape(given["self"])) if has_partial else size,
            "strides": several(given.get("stride") or size, rank),
            "padding": [(each, each) for each in padding],
            "ceil_mode": has_partial,
        }
        if how == "Avg":
            fields["count_include_pad"] = given.get("count_include_pad", True)
        return Lifted(f"{how}Pool{rank}D", fields, inputs=(given["self"],))

    return lift


def _adaptive(how: str, rank: int) -> Lift:
    def lift(given: Given) -> Lifted | None:
        if len(shape(given["self"])) != rank + 2:
            return None
        if any(isinstance(each, torch.fx.Node) for each in several(given["output_size"], rank)):
            return None  # a size that is not fixed
        try:
            kind, fields = adaptive(how, rank, given["output_size"])
        except Refusal:
            return None  # in ops
        return Lifted(kind, fields, inputs=(given["self"],))

    return lift


def _flatten(given: Given) -> Lifted | None:
    if given.get("start_dim", 0) != 1 or given.get("end_dim", -1) not in (-1, len(shape(given["self"])) - 1):
        return None
    return Lifted("Flatten", {}, inputs=(given["self"],))


def _upsample(mode: str, rank: int) -> Lift:
    def lift(given: Given) -> Lifted | None:
        size, factors = given.get("output_size"), given.get("scale_factors") or ()
        scale = None
        if size is not None:
            if not all(isinstance(each, int) for each in size):
                return None
        elif not all(float(each).is_integer() for each in factors):
            return None
        else:
            scale = [int(each) for each in factors]
        fields = {
            "scale": scale,
            "size": None if size is None else list(size),
            "mode": mode,
            "align_corners": bool(given.get("align_corners", False)),
            "layout": "NC" + "DHW"[3 - rank :],
        }
        return Lifted("Upsample", fields, inputs=(given.get("input", given.get("self")),))

    return lift


def _scan(given: Given) -> Lifted:
    fields = {"states": len(given["states"]), **{key: given[key] for key in ("axes", "output_axes", "body")}}
    return Lifted("Scan", fields, inputs=(*given["states"], *given["sequences"], *given["others"]), several=True)


_RANKS: Final = (1, 2, 3)
_PLAIN: Final = {
    "relu": "relu", "relu6": "relu6", "selu": "selu", "sigmoid": "sigmoid", "silu": "silu", "mish": "mish",
    "tanh": "tanh", "hardswish": "hard_swish", "hardsigmoid": "hard_sigmoid", "log_sigmoid": "log_sigmoid",
}  # fmt: skip
#: Operator -> its call as a layer's; None from it: it is read as ops.
LAYERS: Final[dict[str, Lift]] = {
    "modelarchive::scan": _scan,
    "linear": _linear,
    "embedding": _embedding,
    "convolution": _convolution(None),
    **{f"conv{rank}d": _convolution(rank) for rank in _RANKS},
    **{f"conv_transpose{rank}d": _transposed(rank) for rank in _RANKS},
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "layer_norm": _over_axes("LayerNorm"),
    "native_layer_norm": _over_axes("LayerNorm"),
    "rms_norm": _over_axes("RMSNorm"),
    "group_norm": _group_norm,
    "native_group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "lstm": _recurrent("LSTM"),
    "gru": _recurrent("GRU"),
    "rnn_tanh": _recurrent("RNN", activation="tanh"),
    "rnn_relu": _recurrent("RNN", activation="relu"),
    **{name: _activation(ours) for name, ours in _PLAIN.items()},
    "gelu": _gelu,
    "leaky_relu": _activation("leaky_relu", "negative_slope", 0.01),
    "elu": _elu,
    "celu": _activation("celu", "alpha", 1.0),
    "softplus": _softplus,
    "hardtanh": _hard_tanh,
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "dropout": _dropout,
    **{f"max_pool{rank}d": _pool("Max", rank) for rank in _RANKS},
    **{f"max_pool{rank}d_with_indices": _pool("Max", rank) for rank in _RANKS},
    **{f"avg_pool{rank}d": _pool("Avg", rank) for rank in _RANKS},
    **{f"adaptive_avg_pool{rank}d": _adaptive("Avg", rank) for rank in _RANKS},
    **{f"adaptive_max_pool{rank}d": _adaptive("Max", rank) for rank in _RANKS},
    "flatten": _flatten,
    **{f"upsample_nearest{rank}d": _upsample("nearest", rank) for rank in _RANKS},
    "upsample_linear1d": _upsample("linear", 1),
    "upsample_bilinear2d": _upsample("linear", 2),
    "upsample_trilinear3d": _upsample("linear", 3),
}
#: Operators of single elements.
ACTIVATIONS: Final = frozenset({*_PLAIN, "gelu", "leaky_relu", "elu", "celu", "softplus", "hardtanh"})
#: Operators that go through all steps of an axis.
RECURRENT: Final = ("lstm", "gru", "rnn_tanh", "rnn_relu")
#: Operators of several results, of which a layer gives the first.
FIRST: Final = frozenset(
    {"_native_batch_norm_legit_no_training", "native_layer_norm", "native_group_norm",
     *(f"max_pool{rank}d_with_indices" for rank in _RANKS), *(f"adaptive_max_pool{rank}d" for rank in _RANKS)}
)  # fmt: skip
