"""The table of leaf modules: classes of torch.nn that are a kind of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from modelarchive import nn
from modelarchive.exchange.torch.functionals import adaptive, several
from modelarchive.exchange.torch.proxy import CannotError

Make = Callable[[Any], nn.Layer | None]


def _linear(module: Any) -> nn.Layer:
    return nn.Dense(module.out_features, None, module.bias is not None, False, in_units=module.in_features)


def _embedding(module: Any) -> nn.Layer:
    if module.max_norm is not None:
        raise CannotError("max_norm changes the table while it is read")
    return nn.Embedding(module.num_embeddings, module.embedding_dim, padding_idx=module.padding_idx)


def _convolution(rank: int) -> Make:
    def make(module: Any) -> nn.Layer:
        if module.padding_mode != "zeros":
            raise CannotError(f"padding_mode {module.padding_mode!r}; put a padding layer before the convolution")
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


def _transposed(rank: int) -> Make:
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


def _max_pool(rank: int) -> Make:
    def make(module: Any) -> nn.Layer:
        if module.return_indices or any(each != 1 for each in several(module.dilation, rank)):
            raise CannotError("max pooling with dilation or indices")
        return _pooling(f"MaxPool{rank}D", module, rank)

    return make


def _avg_pool(rank: int) -> Make:
    def make(module: Any) -> nn.Layer:
        if getattr(module, "divisor_override", None) is not None:
            raise CannotError("average pooling with a divisor of its own")
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


def _adaptive(how: str, rank: int) -> Make:
    def make(module: Any) -> nn.Layer:
        if getattr(module, "return_indices", False):
            raise CannotError("pooling that returns indices")
        kind, fields = adaptive(how, rank, module.output_size)
        return nn.KINDS[kind](**fields)

    return make


def _batch_norm(module: Any) -> nn.Layer:
    if module.running_mean is None:
        raise CannotError("no running statistics: it normalises by those of the batch, in evaluation too")
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
        raise CannotError("eps is None, which is that of the input's dtype")
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


def _recurrent(kind: Any) -> Make:
    def make(module: Any) -> nn.Layer:
        if module.proj_size:
            raise CannotError("proj_size: projected states are no kind of the vocabulary")
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
        raise CannotError("add_bias_kv and add_zero_attn are not in the vocabulary")
    if module.in_proj_weight is None:
        raise CannotError("kdim or vdim other than embed_dim; use projections of your own")
    bias = module.in_proj_bias is not None
    return nn.MultiHeadAttention(
        module.embed_dim,
        module.num_heads,
        use_bias=(bias, bias, bias, module.out_proj.bias is not None),
        packed=True,
        in_units=module.embed_dim,
        dropout=float(module.dropout),
    )


def _activation(name: str, field: str = "") -> Make:
    def make(module: Any) -> nn.Layer:
        return nn.Activation(name, getattr(module, field) if field else None)

    return make


def _gelu(module: Any) -> nn.Layer:
    return nn.Activation("gelu_tanh" if module.approximate == "tanh" else "gelu")


def _softplus(module: Any) -> nn.Layer:
    if module.beta != 1:
        raise CannotError(f"softplus with beta {module.beta}")
    return nn.Activation("softplus")


def _hard_tanh(module: Any) -> nn.Layer | None:
    return nn.Activation("hard_tanh") if (module.min_val, module.max_val) == (-1, 1) else None


def _softmax(kind: Any) -> Make:
    def make(module: Any) -> nn.Layer:
        if module.dim is None:
            raise CannotError("softmax without dim")
        layer: nn.Layer = kind(module.dim)
        return layer

    return make


def _flatten(module: Any) -> nn.Layer | None:
    return nn.Flatten() if (module.start_dim, module.end_dim) == (1, -1) else None


def _prelu(module: Any) -> nn.Layer:
    return nn.PReLU(in_channels=module.num_parameters)


def _dropout(module: Any) -> nn.Layer:
    return nn.Dropout(module.p)


_RANKS: Final = (1, 2, 3)
#: Dropout of other distributions: the same in evaluation, and noted.
OTHER_DROPOUTS: Final = (
    torch.nn.Dropout1d,
    torch.nn.Dropout2d,
    torch.nn.Dropout3d,
    torch.nn.AlphaDropout,
    torch.nn.FeatureAlphaDropout,
)
#: Class -> function that makes the layer; None from it: its forward is read like any other. A new class is a row.
LEAVES: Final[dict[type, Make]] = {
    torch.nn.Linear: _linear,
    torch.nn.modules.linear.NonDynamicallyQuantizableLinear: _linear,
    torch.nn.Embedding: _embedding,
    **{getattr(torch.nn, f"Conv{rank}d"): _convolution(rank) for rank in _RANKS},
    **{getattr(torch.nn, f"ConvTranspose{rank}d"): _transposed(rank) for rank in _RANKS},
    **{getattr(torch.nn, f"MaxPool{rank}d"): _max_pool(rank) for rank in _RANKS},
    **{getattr(torch.nn, f"AvgPool{rank}d"): _avg_pool(rank) for rank in _RANKS},
    **{
        getattr(torch.nn, f"Adaptive{how}Pool{rank}d"): _adaptive(how, rank)
        for how in ("Avg", "Max")
        for rank in _RANKS
    },
    **{getattr(torch.nn, f"BatchNorm{rank}d"): _batch_norm for rank in _RANKS},
    torch.nn.SyncBatchNorm: _batch_norm,
    torch.nn.LayerNorm: _layer_norm,
    torch.nn.RMSNorm: _rms_norm,
    torch.nn.GroupNorm: _group_norm,
    **{getattr(torch.nn, f"InstanceNorm{rank}d"): _instance_norm for rank in _RANKS},
    torch.nn.RNN: _recurrent(nn.RNN),
    torch.nn.LSTM: _recurrent(nn.LSTM),
    torch.nn.GRU: _recurrent(nn.GRU),
    torch.nn.MultiheadAttention: _attention,
    torch.nn.ReLU: _activation("relu"),
    torch.nn.ReLU6: _activation("relu6"),
    torch.nn.LeakyReLU: _activation("leaky_relu", "negative_slope"),
    torch.nn.ELU: _activation("elu", "alpha"),
    torch.nn.CELU: _activation("celu", "alpha"),
    torch.nn.SELU: _activation("selu"),
    torch.nn.GELU: _gelu,
    torch.nn.SiLU: _activation("silu"),
    torch.nn.Mish: _activation("mish"),
    torch.nn.Softplus: _softplus,
    torch.nn.Softsign: _activation("softsign"),
    torch.nn.Hardsigmoid: _activation("hard_sigmoid"),
    torch.nn.Hardswish: _activation("hard_swish"),
    torch.nn.Hardtanh: _hard_tanh,
    torch.nn.Sigmoid: _activation("sigmoid"),
    torch.nn.LogSigmoid: _activation("log_sigmoid"),
    torch.nn.Tanh: _activation("tanh"),
    torch.nn.Softmax: _softmax(nn.Softmax),
    torch.nn.LogSoftmax: _softmax(nn.LogSoftmax),
    torch.nn.Softmax2d: lambda module: nn.Softmax(-3),
    torch.nn.Dropout: _dropout,
    **dict.fromkeys(OTHER_DROPOUTS, _dropout),
    torch.nn.Identity: lambda module: nn.Identity(),
    torch.nn.Flatten: _flatten,
    torch.nn.PReLU: _prelu,
}
