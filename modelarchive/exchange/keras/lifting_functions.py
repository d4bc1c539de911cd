"""How the operations are lifted that layers are made of: windows, normalisation and attention as functions."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import Config
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_masks import causal, large_negative
from modelarchive.exchange.keras.lifting_ops import one
from modelarchive.exchange.keras.lifting_padding import ORDERS, padded, padding
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: What Keras adds where nobody says, ``keras.config.epsilon()``.
_EPSILON: Final = 1e-7


def _spaced(context: Context, x: Ref) -> tuple[int, str]:
    """How many axes of space images have, and the order of all axes."""
    rank = context.rank(x) - 2
    if not 1 <= rank <= 3:
        raise Refusal(f"{context.layer.kind} of a tensor of {context.rank(x)} axes")
    return rank, ORDERS[rank][0 if context.config.value("data_format", None) == "channels_first" else 1]


def _sizes(config: Config, name: str, rank: int) -> list[int]:
    return [1] * rank if config.value(name, 1) is None else config.sizes(name, rank, 1)


def _convolved(context: Context, x: Ref, kernel: Ref, strides: list[int], dilation: list[int]) -> Ref:
    """A convolution with a computed kernel, ``(*window, in, out)``; the channels go where the vocabulary has them."""
    rank, order = _spaced(context, x)
    window = context.dims(kernel)[:rank]
    if any(size is None for size in window):
        raise Refusal("the size of its kernel is not known")
    wide = [(size - 1) * each + 1 for size, each in zip(window, dilation, strict=True) if size is not None]
    x, pairs = padded(context, x, order, wide, strides)
    if order[-1] == "C":
        x = context.op("transpose", x, axes=[0, rank + 1, *range(1, rank + 1)])
    weight = context.op("transpose", kernel, axes=[rank + 1, rank, *range(rank)])
    found = context.op("conv", x, weight, strides=strides, padding=pairs, dilation=dilation)
    return context.op("transpose", found, axes=[0, *range(2, rank + 2), 1]) if order[-1] == "C" else found


def _convolution(context: Context) -> Ref:
    """Conv: how many groups there are follows from the kernel."""
    x, kernel = one(context, 0, "inputs"), one(context, 1, "kernel")
    rank, _ = _spaced(context, x)
    return _convolved(
        context, x, kernel, *(_sizes(context.config, name, rank) for name in ("strides", "dilation_rate"))
    )


def _by_channel(context: Context, x: Ref, kernel: Ref) -> Ref:
    """``(*window, channels, times)`` as a kernel of as many groups as channels."""
    rank = context.rank(kernel) - 2
    sizes = context.dims(kernel)
    if any(size is None for size in sizes):
        raise Refusal("the size of its kernel is not known")
    channels, times = sizes[-2:]
    return context.op("reshape", kernel, shape=[*sizes[:rank], 1, channels * times])  # type: ignore[operator]


def _depthwise(context: Context) -> Ref:
    x, kernel = one(context, 0, "inputs"), one(context, 1, "kernel")
    rank, _ = _spaced(context, x)
    sizes = [_sizes(context.config, name, rank) for name in ("strides", "dilation_rate")]
    return _convolved(context, x, _by_channel(context, x, kernel), *sizes)


def _separable(context: Context) -> Ref:
    x = one(context, 0, "inputs")
    kernels = one(context, 1, "depthwise_kernel"), one(context, 2, "pointwise_kernel")
    rank, _ = _spaced(context, x)
    sizes = [_sizes(context.config, name, rank) for name in ("strides", "dilation_rate")]
    x = _convolved(context, x, _by_channel(context, x, kernels[0]), *sizes)
    return _convolved(context, x, kernels[1], [1] * rank, [1] * rank)


def _pooled(style: str) -> Any:
    """MaxPool, AveragePool."""

    def lift(context: Context) -> Ref:
        x, config = one(context, 0, "inputs"), context.config
        rank, order = _spaced(context, x)
        window = config.sizes("pool_size", rank)
        strides = window if config.value("strides", None) is None else config.sizes("strides", rank)
        if style == "Max":
            x, pairs = padded(context, x, order, window, strides, "edge")
        else:
            pairs = padding(context, x, order, window, strides)
        fields: dict[str, Any] = {"pool_size": window, "strides": strides, "padding": pairs, "layout": order}
        if style == "Avg" and any(sum(pair) for pair in pairs):
            fields["count_include_pad"] = False
        elif style == "Avg":
            fields["count_include_pad"] = True
        return context.plain(f"{style}Pool{rank}D", x, ceil_mode=False, **fields)

    return lift


def _adaptive(context: Context) -> Ref:
    x = one(context, 0, "inputs")
    rank, order = _spaced(context, x)
    if rank > 2:
        raise Refusal("AdaptiveAveragePool of three axes of space is not supported")
    sizes = context.config.sizes("output_size", rank)
    return context.plain(f"AdaptiveAvgPool{rank}D", x, output_size=sizes, layout=order)


def _along(context: Context, x: Ref, ref: Ref, axes: list[int]) -> Ref:
    """An array of one axis, or of as many as are normalised, beside the axes of a tensor."""
    places = sorted(context.axis(x, axis) for axis in axes)
    if context.rank(ref) not in (1, len(places)):
        raise Refusal(f"an array of {context.rank(ref)} axes beside axes {short(axes)}")
    for _ in range(context.rank(x) - 1 - places[-1]):
        ref = context.op("expand_dims", ref, axis=-1)
    return ref


def _axes(context: Context) -> list[int]:
    axes = context.config.axes("axis", -1) or []
    if not axes:
        raise Refusal("axis names no axis")
    return axes


def _layer_norm(context: Context) -> Ref:
    x, axes = Term(context, context.as_float(one(context))), _axes(context)
    config, how = context.config, {"axis": axes, "keepdims": True}
    epsilon = config.optional("epsilon")
    epsilon = _EPSILON if epsilon is None else epsilon
    gamma, beta = context.argument("gamma", 1), context.argument("beta", 2)
    if config.flag("rms_scaling", default=False):
        found = x * (x.op("var", **how, ddof=0) + epsilon).op("rsqrt")
        beta = None
    else:
        found = (x - x.op("mean", **how)) * (x.op("var", **how, ddof=0) + epsilon).op("rsqrt")
    return _scaled(context, found, axes, gamma, beta)


def _scaled(context: Context, found: Term, axes: list[int], scale: Any, offset: Any) -> Ref:
    if scale is not None:
        found = found * Term(context, _along(context, found.ref, context.tensor_of(scale), axes))
    if offset is not None:
        found = found + Term(context, _along(context, found.ref, context.tensor_of(offset), axes))
    return found.ref


def _rms_norm(context: Context) -> Ref:
    x, axes = Term(context, context.as_float(one(context))), _axes(context)
    epsilon = context.config.optional("epsilon")
    square = (x * x).op("mean", axis=axes, keepdims=True) + (_EPSILON if epsilon is None else epsilon)
    return _scaled(context, x * square.op("rsqrt"), axes, context.argument("scale", 1), None)


def _batch_norm(context: Context) -> Ref:
    x, axes = Term(context, context.as_float(one(context))), _axes(context)
    mean, variance = (
        Term(context, _along(context, x.ref, one(context, at, name), axes))
        for at, name in ((1, "mean"), (2, "variance"))
    )
    found = (x - mean) * (variance + context.config.number("epsilon", 1e-3)).op("rsqrt")
    return _scaled(context, found, axes, context.argument("scale", 4), context.argument("offset", 3))


def _normalized(context: Context) -> Ref:
    """Normalize: by the length of each vector, or another norm."""
    x, axes = Term(context, context.as_float(one(context))), _axes(context)
    order, epsilon = context.config.number("order", 2), context.config.optional("epsilon")
    least = _EPSILON if epsilon is None else epsilon
    how: dict[str, Any] = {"axis": axes, "keepdims": True}
    if order == 2:
        squares = (x * x).op("sum", **how)
        return (x * squares.op("maximum", least**2).op("rsqrt")).ref
    if order < 1:
        raise Refusal(f"order = {order:g} is not supported")
    length = abs(x).op("sum", **how) if order == 1 else (abs(x) ** order).op("sum", **how) ** (1 / order)
    return (x / length.op("maximum", least)).ref


def _attention(context: Context) -> Ref:
    """DotProductAttention of ``(batch, length, heads, size)``."""
    config = context.config
    config.value("flash_attention", None)
    query, key, value = (context.as_float(one(context, at, name)) for at, name in enumerate(("query", "key", "value")))
    bias, mask, scale = (context.argument(name, at) for at, name in ((3, "bias"), (4, "mask"), (5, "scale")))
    context.argument("is_causal", 6)
    sizes = [context.dims(each) for each in (query, key)]
    if len(sizes[0]) != 4 or None in (sizes[0][-1], sizes[0][2], sizes[1][2]):
        raise Refusal("DotProductAttention needs four axes, with known heads and sizes")
    heads, groups, size = sizes[0][2] or 0, sizes[1][2] or 0, sizes[0][3] or 0
    if groups != heads:
        if not groups or heads % groups:
            raise Refusal(f"{heads} heads of queries and {groups} of keys")
        places = context.constant([at * groups // heads for at in range(heads)], "int64")
        key, value = (context.op("take", each, places, axis=2) for each in (key, value))
    if scale is not None and type(scale) not in (int, float):
        raise Refusal(f"scale = {short(scale)}, expected a number")
    scores = Term(context, context.op("einsum", query, key, pattern="bqhd,bkhd->bhqk"))
    scores = scores * (size**-0.5 if scale is None else float(scale))
    soft = config.optional("attn_logits_soft_cap")
    if soft:
        scores = (scores / soft).activated("tanh") * soft
    if bias is not None:
        scores = scores + Term(context, context.tensor_of(bias))
    low = large_negative(context.dtype(scores.ref))
    if mask is not None:
        kept = Term(context, context.tensor_of(mask))
        kept = kept if context.dtype(kept.ref).kind == "b" else kept.cast("bool")
        scores = kept.where(scores, low)
    if config.flag("is_causal", default=False):
        flat = [context.op("reshape", each, shape=[None, None, -1]) for each in (query, key)]
        before = context.op("expand_dims", causal(context, *flat), axis=1)
        scores = Term(context, before).where(scores, low)
    shares = context.op("softmax", scores.ref, axis=-1)
    return context.op("einsum", shares, value, pattern="bhqk,bkhd->bqhd")


#: Operations that layers are made of.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("Conv", "conv", _convolution),
    operation("DepthwiseConv", "conv", _depthwise),
    operation("SeparableConv", "conv", _separable),
    operation("MaxPool", "MaxPool1D, MaxPool2D, MaxPool3D", _pooled("Max")),
    operation("AveragePool", "AvgPool1D, AvgPool2D, AvgPool3D", _pooled("Avg")),
    operation("AdaptiveAveragePool", "AdaptiveAvgPool1D, AdaptiveAvgPool2D", _adaptive, "of one or two axes of space"),
    operation("LayerNorm", "mean, var, rsqrt", _layer_norm),
    operation("RMSNorm", "mean, rsqrt", _rms_norm),
    operation("BatchNorm", "subtract, rsqrt", _batch_norm),
    operation("Normalize", "sum, rsqrt", _normalized),
    operation("DotProductAttention", "einsum, softmax", _attention),
)
