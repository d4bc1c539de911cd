"""The table of leaf modules: classes of torch.nn that are a kind of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from modelarchive import nn
from modelarchive.exchange.refusal import Refusal

_Make = Callable[[Any], nn.Layer | None]


def _linear(module: Any) -> nn.Layer:
    return nn.Dense(module.out_features, None, module.bias is not None, False, in_units=module.in_features)


def _embedding(module: Any) -> nn.Layer:
    if module.max_norm is not None:
        raise Refusal("max_norm changes the table while it is read")
    return nn.Embedding(module.num_embeddings, module.embedding_dim, padding_idx=module.padding_idx)


def _convolution(rank: int) -> _Make:
    def make(module: Any) -> nn.Layer:
        if module.padding_mode != "zeros":
            raise Refusal(f"padding_mode {module.padding_mode!r}; put a padding layer before the convolution")
        padding = module.padding
        if padding == "valid":
            padding = (0,) * rank
        if padding == "same":
            whole = [step * (size - 1) for step, size in zip(module.dilation, module.kernel_size, strict=True)]
            padding = [(each // 2, each - each // 2) for each in whole]
        else:
            padding = [(each, each) for each in padding]
        kind: Any = nn.KINDS[f"Conv{rank}D"]
        return kind(  # type: ignore[no-any-return]
            module.out_channels,
            module.kernel_size,
            module.stride,
            padding,
            module.dilation,
            module.groups,
            use_bias=module.bias is not None,
            in_channels=module.in_channels,
        )

    return make


def _transposed(rank: int) -> _Make:
    def make(module: Any) -> nn.Layer:
        kind: Any = nn.KINDS[f"Conv{rank}DTranspose"]
        return kind(  # type: ignore[no-any-return]
            module.out_channels,
            module.kernel_size,
            module.stride,
            [(each, each) for each in module.padding],
            module.output_padding,
            module.dilation,
            module.groups,
            use_bias=module.bias is not None,
            in_channels=module.in_channels,
        )

    return make


def _max_pool(rank: int) -> _Make:
    def make(module: Any) -> nn.Layer:
        if module.return_indices or any(each != 1 for each in several(module.dilation, rank)):
            raise Refusal("max pooling with dilation or indices")
        return _pooling(f"MaxPool{rank}D", module, rank)

    return make


def _avg_pool(rank: int) -> _Make:
    def make(module: Any) -> nn.Layer:
        if getattr(module, "divisor_override", None) is not None:
            raise Refusal("average pooling with a divisor of its own")
        return _pooling(f"AvgPool{rank}D", module, rank, count_include_pad=module.count_include_pad)

    return make


def _pooling(kind: str, module: Any, rank: int, **more: Any) -> nn.Layer:
    fields = {
        "pool_size": several(module.kernel_size, rank),
        "strides": several(module.stride, rank),
        "padding": several(module.padding, rank),
        "ceil_mode": module.ceil_mode,
    }
    return nn.KINDS[kind].from_config({**fields, **more})


def inside(window: Sequence[int], padding: Sequence[int], sizes: Sequence[Any]) -> list[int]:
    """Windows that are no larger than the array and its padding, of which there is one where partial ones count.

    Args:
        window: The sizes of a window.
        padding: What is around the array on each side.
        sizes: The sizes of the array; free ones, which are no ints, are taken to be larger.
    """
    rows = zip(window, padding, sizes[-len(window) :], strict=True)
    return [min(each, size + 2 * around) if type(size) is int else each for each, around, size in rows]


def several(value: Any, rank: int) -> list[int]:
    """One int for each spatial axis."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    return items * rank if len(items) == 1 else items


def adaptive(how: str, rank: int, output_size: Any) -> tuple[str, dict[str, Any]]:
    """The kind and fields of adaptive pooling.

    Raises:
        Refusal: The vocabulary has none for this size.
    """
    sizes = several(output_size, rank)
    layout = "NC" + "DHW"[3 - rank :]
    if all(size == 1 for size in sizes):
        return f"Global{how}Pool{rank}D", {"layout": layout}
    if how == "Max" or rank == 3 or not all(type(size) is int for size in sizes):
        raise Refusal(f"adaptive {how.lower()} pooling of {rank} axes to {output_size}")
    return f"AdaptiveAvgPool{rank}D", {"output_size": sizes, "layout": layout}


def _adaptive(how: str, rank: int) -> _Make:
    def make(module: Any) -> nn.Layer:
        if getattr(module, "return_indices", False):
            raise Refusal("pooling that returns indices")
        kind, fields = adaptive(how, rank, module.output_size)
        return nn.KINDS[kind](**fields)

    return make


def _batch_norm(module: Any) -> nn.Layer:
    if module.running_mean is None:
        raise Refusal("no running statistics: it normalises by those of the batch, in evaluation too")
    momentum = 0.1 if module.momentum is None else module.momentum
    flags = (module.bias is not None, module.weight is not None)
    return nn.BatchNorm(1, 1 - momentum, module.eps, *flags, in_channels=module.num_features)


def _sizes(module: Any) -> dict[str, Any]:
    shape = tuple(module.normalized_shape)
    single = len(shape) == 1
    return {
        "axis": -1 if single else tuple(range(-len(shape), 0)),
        "in_channels": shape[0] if single else shape,
        "scale": module.weight is not None,
    }


def _layer_norm(module: Any) -> nn.Layer:
    return nn.LayerNorm(epsilon=module.eps, center=module.bias is not None, **_sizes(module))


def _rms_norm(module: Any) -> nn.Layer:
    if module.eps is None and module.weight is None:
        raise Refusal("eps is None, which is that of the input's dtype")
    eps = torch.finfo(module.weight.dtype).eps if module.eps is None else module.eps
    return nn.RMSNorm(epsilon=eps, **_sizes(module))


def _group_norm(module: Any) -> nn.Layer:
    flags = (module.bias is not None, module.weight is not None)
    return nn.GroupNorm(module.num_groups, module.eps, *flags, in_channels=module.num_channels)


def _instance_norm(module: Any) -> nn.Layer:
    flags = (module.bias is not None, module.weight is not None)
    if module.track_running_stats:
        return nn.BatchNorm(1, 1 - (module.momentum or 0.1), module.eps, *flags, in_channels=module.num_features)
    return nn.InstanceNorm(1, module.eps, *flags, in_channels=module.num_features)


def _recurrent(kind: Any) -> _Make:
    def make(module: Any) -> nn.Layer:
        if module.proj_size:
            raise Refusal("proj_size: projected states are no kind of the vocabulary")
        more = {"activation": module.nonlinearity} if kind is nn.RNN else {}
        layer: nn.Layer = kind(
            module.hidden_size,
            module.num_layers,
            layout="NTC" if module.batch_first else "TNC",
            dropout=float(module.dropout),
            bidirectional=module.bidirectional,
            input_size=module.input_size,
            use_bias=module.bias,
            return_state=True,
            **more,
        )
        return layer

    return make


def _attention(module: Any) -> nn.Layer:
    if module.bias_k is not None or module.add_zero_attn:
        raise Refusal("add_bias_kv and add_zero_attn are not in the vocabulary")
    if module.in_proj_weight is None:
        raise Refusal("kdim or vdim other than embed_dim; use projections of your own")
    bias = module.in_proj_bias is not None
    return nn.MultiHeadAttention(
        module.embed_dim,
        module.num_heads,
        use_bias=(bias, bias, bias, module.out_proj.bias is not None),
        packed=True,
        in_units=module.embed_dim,
        dropout=float(module.dropout),
    )


def _activation(name: str, field: str = "") -> _Make:
    def make(module: Any) -> nn.Layer:
        return nn.Activation(name, getattr(module, field) if field else None)

    return make


def _gelu(module: Any) -> nn.Layer:
    return nn.Activation("gelu_tanh" if module.approximate == "tanh" else "gelu")


def _softplus(module: Any) -> nn.Layer:
    if module.beta != 1:
        raise Refusal(f"softplus with beta {module.beta}")
    return nn.Activation("softplus")


def _hard_tanh(module: Any) -> nn.Layer | None:
    return nn.Activation("hard_tanh") if (module.min_val, module.max_val) == (-1, 1) else None


def _softmax(kind: Any) -> _Make:
    def make(module: Any) -> nn.Layer:
        if module.dim is None:
            raise Refusal("softmax without dim")
        layer: nn.Layer = kind(module.dim)
        return layer

    return make


def _flatten(module: Any) -> nn.Layer | None:
    return nn.Flatten() if (module.start_dim, module.end_dim) == (1, -1) else None


def _prelu(module: Any) -> nn.Layer:
    return nn.PReLU(in_channels=module.num_parameters)


def _dropout(module: Any) -> nn.Layer:
    return nn.Dropout(module.p)


#: Dropout of other distributions: the same in evaluation, and noted.
OTHER_DROPOUTS: Final = (
    torch.nn.Dropout1d,
    torch.nn.Dropout2d,
    torch.nn.Dropout3d,
    torch.nn.AlphaDropout,
    torch.nn.FeatureAlphaDropout,
)


@dataclass(frozen=True)
class _Leaf:
    """Classes of torch.nn that are read as a kind.

    Attributes:
        classes: The classes.
        make: What makes the layer; None from it: the module's forward is read like any other.
        ours: The kinds that it may become, separated by commas.
        losses: What is changed, lost or refused.
    """

    classes: tuple[type, ...]
    make: _Make
    ours: str
    losses: str = ""


def _ranked(name: str, ours: str, make: Callable[[int], _Make], losses: str = "") -> Iterator[_Leaf]:
    """A row for each number of spatial axes."""
    for rank in (1, 2, 3):
        yield _Leaf((getattr(torch.nn, f"{name}{rank}d"),), make(rank), ours.format(rank), losses)


_ADAPTIVE: Final = "an output size of 1 is global pooling; in three axes only that"
_BATCHES: Final = "num_batches_tracked is left out, with a note; without running statistics it is refused"
_STATES: Final = "with computed weights, or proj_size: step by step, where their number is fixed"

#: The table. A new class is a row.
ROWS: Final = (
    _Leaf((torch.nn.Linear, torch.nn.modules.linear.NonDynamicallyQuantizableLinear), _linear, "Dense"),
    _Leaf((torch.nn.Embedding,), _embedding, "Embedding", "max_norm in ops"),
    *_ranked("Conv", "Conv{}D", _convolution, "padding_mode other than zeros is refused"),
    *_ranked("ConvTranspose", "Conv{}DTranspose", _transposed),
    *_ranked("MaxPool", "MaxPool{}D", _max_pool, "dilation and indices are refused"),
    *_ranked("AvgPool", "AvgPool{}D", _avg_pool, "divisor_override is refused"),
    *_ranked("AdaptiveAvgPool", "GlobalAvgPool{0}D, AdaptiveAvgPool{0}D", partial(_adaptive, "Avg"), _ADAPTIVE),
    *_ranked("AdaptiveMaxPool", "GlobalMaxPool{0}D", partial(_adaptive, "Max"), "an output size of 1 only"),
    *_ranked("BatchNorm", "BatchNorm", lambda rank: _batch_norm, _BATCHES),
    _Leaf((torch.nn.SyncBatchNorm,), _batch_norm, "BatchNorm", _BATCHES),
    _Leaf((torch.nn.LayerNorm,), _layer_norm, "LayerNorm"),
    _Leaf((torch.nn.RMSNorm,), _rms_norm, "RMSNorm"),
    _Leaf((torch.nn.GroupNorm,), _group_norm, "GroupNorm"),
    *_ranked("InstanceNorm", "InstanceNorm", lambda rank: _instance_norm, "with running statistics: BatchNorm"),
    _Leaf((torch.nn.RNN,), _recurrent(nn.RNN), "RNN", _STATES),
    _Leaf((torch.nn.LSTM,), _recurrent(nn.LSTM), "LSTM", _STATES),
    _Leaf((torch.nn.GRU,), _recurrent(nn.GRU), "GRU", _STATES),
    _Leaf(
        (torch.nn.MultiheadAttention,),
        _attention,
        "MultiHeadAttention",
        "add_bias_kv, add_zero_attn, kdim and vdim, and the weights that it returns are refused",
    ),
    _Leaf((torch.nn.ReLU,), _activation("relu"), "Activation"),
    _Leaf((torch.nn.ReLU6,), _activation("relu6"), "Activation"),
    _Leaf((torch.nn.LeakyReLU,), _activation("leaky_relu", "negative_slope"), "Activation"),
    _Leaf((torch.nn.ELU,), _activation("elu", "alpha"), "Activation"),
    _Leaf((torch.nn.CELU,), _activation("celu", "alpha"), "Activation"),
    _Leaf((torch.nn.SELU,), _activation("selu"), "Activation"),
    _Leaf((torch.nn.GELU,), _gelu, "Activation"),
    _Leaf((torch.nn.SiLU,), _activation("silu"), "Activation"),
    _Leaf((torch.nn.Mish,), _activation("mish"), "Activation"),
    _Leaf((torch.nn.Softplus,), _softplus, "Activation", "beta other than 1 is refused"),
    _Leaf((torch.nn.Softsign,), _activation("softsign"), "Activation"),
    _Leaf((torch.nn.Hardsigmoid,), _activation("hard_sigmoid"), "Activation"),
    _Leaf((torch.nn.Hardswish,), _activation("hard_swish"), "Activation"),
    _Leaf((torch.nn.Hardtanh,), _hard_tanh, "Activation", "other bounds than -1 and 1: a clip"),
    _Leaf((torch.nn.Sigmoid,), _activation("sigmoid"), "Activation"),
    _Leaf((torch.nn.LogSigmoid,), _activation("log_sigmoid"), "Activation"),
    _Leaf((torch.nn.Tanh,), _activation("tanh"), "Activation"),
    _Leaf((torch.nn.Softmax,), _softmax(nn.Softmax), "Softmax"),
    _Leaf((torch.nn.LogSoftmax,), _softmax(nn.LogSoftmax), "LogSoftmax"),
    _Leaf((torch.nn.Softmax2d,), lambda module: nn.Softmax(-3), "Softmax"),
    _Leaf((torch.nn.PReLU,), _prelu, "PReLU"),
    _Leaf((torch.nn.Dropout,), _dropout, "Dropout"),
    _Leaf(OTHER_DROPOUTS, _dropout, "Dropout", "drops elements in training, with a note"),
    _Leaf((torch.nn.Identity,), lambda module: nn.Identity(), "Identity"),
    _Leaf((torch.nn.Flatten,), _flatten, "Flatten", "other axes: a reshape"),
)
#: Class -> what makes the layer.
LEAVES: Final[dict[type, _Make]] = {each: row.make for row in ROWS for each in row.classes}
