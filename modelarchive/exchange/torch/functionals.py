"""The table of calls, second part: ``torch.nn.functional`` as layers and compositions of ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.torch.calls import CALLS, layer
from modelarchive.exchange.torch.promotion import floating
from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.exchange.torch.shaping import reshape, transpose
from modelarchive.ops.activation import ACTIVATIONS


def _activation(name: str) -> Callable[..., Any]:
    def call(x: Any, inplace: bool = False) -> Any:
        return ACTIVATIONS[name](floating(x) if name not in ("relu", "relu6") else x)

    return call


def _with_alpha(name: str, usual: float) -> Callable[..., Any]:
    def call(x: Any, alpha: float = usual, inplace: bool = False, negative_slope: Any = None) -> Any:
        return ACTIVATIONS[name](floating(x), alpha=alpha if negative_slope is None else negative_slope)

    return call


def _gelu(x: Any, *, approximate: str = "none") -> Any:
    return ACTIVATIONS["gelu_tanh" if approximate == "tanh" else "gelu"](x)


def _softplus(x: Any, beta: float = 1, threshold: float = 20) -> Any:
    if beta != 1:
        raise CannotError(f"softplus with beta {beta}")
    return ACTIVATIONS["softplus"](x)


def _hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    return ops.clip(x, low=min_val, high=max_val)


def _prelu(x: Any, weight: Any) -> Any:
    if math.prod(weight.shape) > 1:
        weight = ops.reshape(weight, shape=[-1, *[1] * (x.ndim - 2)])
    return ops.add(ops.maximum(x, 0.0), ops.multiply(weight, ops.minimum(x, 0.0)))


def _glu(x: Any, dim: int = -1) -> Any:
    one, two = ops.split(x, sizes=2, axis=dim)
    return ops.multiply(one, ACTIVATIONS["sigmoid"](two))


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    result = ops.matmul(x, ops.transpose(weight))
    return result if bias is None else ops.add(result, bias)


def _embedding(
    indices: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, *more: Any, **ignored: Any
) -> Any:
    if max_norm is not None:
        raise CannotError("an embedding with max_norm")
    return ops.take(weight, indices, axis=0)


def _one_hot(indices: Any, num_classes: int = -1) -> Any:
    if num_classes < 0:
        raise CannotError("one_hot without num_classes")
    return ops.take(np.eye(num_classes, dtype=np.int64), indices, axis=0)


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else ops.multiply(x, weight)
    return x if bias is None else ops.add(x, bias)


def _layer_norm(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *more: Any
) -> Any:
    axis = tuple(range(-len(normalized_shape), 0))
    centred = ops.subtract(x, ops.mean(x, axis=axis, keepdims=True))
    scale = ops.rsqrt(ops.add(ops.var(x, axis=axis, keepdims=True), eps))
    return _affine(ops.multiply(centred, scale), weight, bias)


def _rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Any:
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    square = ops.mean(ops.multiply(x, x), axis=tuple(range(-len(normalized_shape), 0)), keepdims=True)
    return _affine(ops.multiply(x, ops.rsqrt(ops.add(square, eps))), weight, None)


def _batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if training:
        raise CannotError("batch normalisation by the statistics of the batch itself")
    shape = [-1, *[1] * (x.ndim - 2)]
    mean, var = (ops.reshape(each, shape=shape) for each in (running_mean, running_var))
    weight, bias = (None if each is None else ops.reshape(each, shape=shape) for each in (weight, bias))
    return _affine(ops.multiply(ops.subtract(x, mean), ops.rsqrt(ops.add(var, eps))), weight, bias)


def _dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, train: Any = None) -> Any:
    if (training if train is None else train) and p:
        raise CannotError("dropout that drops in evaluation too (training=True)")
    return x


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Any:
    """Elements around; negative numbers cut off."""
    pairs = [(pad[at], pad[at + 1]) for at in range(0, len(pad), 2)][::-1]
    if not all(isinstance(size, int) for pair in pairs for size in pair):
        raise CannotError("padding by a size that is not fixed")
    words = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if any(size < 0 for pair in pairs for size in pair):
        cut = [slice(-min(one, 0), min(other, 0) or None) for one, other in pairs]
        x = x[(..., *cut)]
    whole = [(max(one, 0), max(other, 0)) for one, other in pairs]
    return ops.pad(x, padding=whole, mode=words[mode], value=value or 0)


def _pool(kind: str, rank: int) -> Callable[..., Any]:
    def max_pool(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        if return_indices or any(each != 1 for each in several(dilation, rank)):
            raise CannotError("max pooling with dilation or indices")
        return pooled(x, kernel_size, stride, padding, ceil_mode)

    def avg_pool(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: Any = None,
    ) -> Any:
        if divisor_override is not None:
            raise CannotError("average pooling with a divisor of its own")
        return pooled(x, kernel_size, stride, padding, ceil_mode, count_include_pad=count_include_pad)

    def pooled(x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, **more: Any) -> Any:
        size = several(kernel_size, rank)
        return layer(
            f"{kind}Pool{rank}D",
            x,
            pool_size=size,
            strides=several(stride, rank) if stride not in (None, [], ()) else size,
            padding=[(each, each) for each in several(padding, rank)],
            layout="NC" + "DHW"[3 - rank :],
            ceil_mode=ceil_mode,
            **more,
        )

    return max_pool if kind == "Max" else avg_pool


def several(value: Any, rank: int) -> list[int]:
    """One int for each spatial axis."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    return items * rank if len(items) == 1 else items


def adaptive(how: str, rank: int, output_size: Any) -> tuple[str, dict[str, Any]]:
    """The kind and fields of adaptive pooling.

    Raises:
        CannotError: The vocabulary has none for this size.
    """
    sizes = several(output_size, rank)
    layout = "NC" + "DHW"[3 - rank :]
    if all(size == 1 for size in sizes):
        return f"Global{how}Pool{rank}D", {"layout": layout}
    if how == "Max" or rank == 3 or None in sizes:
        raise CannotError(f"adaptive {how.lower()} pooling of {rank} axes to {output_size}")
    return f"AdaptiveAvgPool{rank}D", {"output_size": sizes, "layout": layout}


def _adaptive(how: str, rank: int) -> Callable[..., Any]:
    def call(x: Any, output_size: Any, return_indices: bool = False) -> Any:
        if return_indices:
            raise CannotError("pooling that returns indices")
        kind, fields = adaptive(how, rank, output_size)
        return layer(kind, x, **fields)

    return call


def _interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> Any:
    rank = x.ndim - 2
    if mode not in ("nearest", "linear", "bilinear", "trilinear") or antialias:
        raise CannotError(f"interpolation of mode {mode!r}" + (" with antialias" if antialias else ""))
    scale = None
    if size is None:
        scale = [int(each) if float(each).is_integer() else each for each in several(scale_factor, rank)]
        if not all(isinstance(each, int) for each in scale):
            raise CannotError(f"interpolation by a factor of {scale_factor}")
    else:
        size = several(size, rank)
        if not all(isinstance(each, int) for each in size):
            raise CannotError("interpolation to a size that is not fixed")
    layout = "NC" + "DHW"[3 - rank :]
    mode = "nearest" if mode == "nearest" else "linear"
    return layer("Upsample", x, scale=scale, mode=mode, align_corners=bool(align_corners), layout=layout, size=size)


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    if dropout_p:
        raise CannotError("attention with dropout in evaluation")
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        several_queries = np.repeat(np.arange(key.shape[-3]), query.shape[-3] // key.shape[-3])
        key, value = (ops.take(each, several_queries, axis=each.ndim - 3) for each in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = ops.multiply(ops.matmul(query, transpose(key, -2, -1)), scale)
    if is_causal:
        sizes = (query.shape[-2], key.shape[-2])
        if not all(isinstance(size, int) for size in sizes):
            raise CannotError("causal attention over a length that is not fixed; declare the input with a fixed length")
        attn_mask = np.tril(np.ones(sizes, bool))
    if attn_mask is not None and attn_mask.dtype == np.bool_:
        scores = ops.where(attn_mask, scores, np.asarray(-np.inf, scores.dtype))
    elif attn_mask is not None:
        scores = ops.add(scores, attn_mask)
    return ops.matmul(ops.softmax(scores, axis=-1), value)


def _pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    factor = upscale_factor
    channels, height, width = x.shape[-3:]
    lead = list(x.shape[:-3])
    if not isinstance(height, int) or not isinstance(width, int):
        raise CannotError("pixel_shuffle of an image whose size is not fixed")
    x = reshape(x, [*lead, channels // factor**2, factor, factor, height, width])
    place = len(lead)
    x = ops.transpose(x, axes=[*range(place), place, place + 3, place + 1, place + 4, place + 2])
    return reshape(x, [*lead, channels // factor**2, height * factor, width * factor])


def _pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    factor = downscale_factor
    channels, height, width = x.shape[-3:]
    lead = list(x.shape[:-3])
    if not isinstance(height, int) or not isinstance(width, int):
        raise CannotError("pixel_unshuffle of an image whose size is not fixed")
    x = reshape(x, [*lead, channels, height // factor, factor, width // factor, factor])
    place = len(lead)
    x = ops.transpose(x, axes=[*range(place), *(place + axis for axis in (0, 2, 4, 1, 3))])
    return reshape(x, [*lead, channels * factor**2, height // factor, width // factor])


def _threshold(x: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    return ops.where(ops.greater(x, threshold), x, np.asarray(value, x.dtype))


#: Name of a function -> what it means; with the first part, all that can be read.
FUNCTIONALS: Final[dict[str, Callable[..., Any]]] = {
    **CALLS,
    **{name: _activation(name) for name in ("relu", "relu6", "selu", "sigmoid", "silu", "mish", "softsign", "tanh")},
    "logsigmoid": _activation("log_sigmoid"), "hardsigmoid": _activation("hard_sigmoid"), "gelu": _gelu,
    "hardswish": _activation("hard_swish"), "hardtanh": _hardtanh, "leaky_relu": _with_alpha("leaky_relu", 0.01),
    "elu": _with_alpha("elu", 1.0), "celu": _with_alpha("celu", 1.0), "softplus": _softplus, "prelu": _prelu,
    "glu": _glu, "expit": _activation("sigmoid"),
    "linear": _linear, "embedding": _embedding, "one_hot": _one_hot, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
    "batch_norm": _batch_norm, "dropout": _dropout, "feature_dropout": _dropout, "alpha_dropout": _dropout,
    "dropout1d": _dropout, "dropout2d": _dropout, "dropout3d": _dropout, "pad": pad, "interpolate": _interpolate,
    "upsample": _interpolate, "scaled_dot_product_attention": _attention, "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle, "threshold": _threshold,
    **{f"max_pool{rank}d": _pool("Max", rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": _pool("Avg", rank) for rank in (1, 2, 3)},
    **{f"adaptive_avg_pool{rank}d": _adaptive("Avg", rank) for rank in (1, 2, 3)},
    **{f"adaptive_max_pool{rank}d": _adaptive("Max", rank) for rank in (1, 2, 3)},
}  # fmt: skip
