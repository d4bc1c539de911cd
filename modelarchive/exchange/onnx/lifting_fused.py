"""How the operators are lifted that ONNX Runtime's optimiser makes of several: biases, products, sums normalised."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_layers import dense, gemm
from modelarchive.exchange.onnx.lifting_normalisation import normalised
from modelarchive.exchange.onnx.lifting_sizes import along
from modelarchive.exchange.onnx.lifting_windows import convolution
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

#: Activations that are fused with what is before them, as the vocabulary calls them.
_FUSED: Final = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "HardSwish": "hard_swish",
}


def activated(context: Context, ref: Ref, name: str, numbers: list[float]) -> Ref:
    """A fused activation with its parameters."""
    if name in ("", "Identity"):
        return ref
    dtype = str(context.known_of(ref).array_dtype)
    if name == "Clip" and len(numbers) == 2:
        return context.op("clip", ref, low=numbers[0], high=numbers[1])
    if name == "HardSigmoid" and len(numbers) in (0, 2):
        alpha, beta = numbers or (0.2, 0.5)
        scaled = context.op("multiply", ref, context.literal(alpha, dtype))
        return context.op("clip", context.op("add", scaled, context.literal(beta, dtype)), low=0.0, high=1.0)
    own = _FUSED.get(name)
    if own is None or len(numbers) > (own in ("leaky_relu", "elu")):
        raise Refusal(f"{context.node.op} with the activation {name!r} of {len(numbers)} numbers is not supported")
    default = {"leaky_relu": 0.01, "elu": 1.0}.get(own)
    return context.activation(own, ref, numbers[0] if numbers else default)


def _biased(kind: str) -> Any:
    """An activation of the sum of an input and a bias, which may be left out."""

    def lift(context: Context) -> Ref:
        x = context.op("add", context.ref(0), context.ref(1)) if context.has(1) else context.ref(0)
        return context.activation(kind, x)

    return lift


def _quick_gelu(context: Context) -> Ref:
    alpha, x = context.node.number("alpha", 1.702), context.ref(0)
    scaled = context.op("multiply", x, context.literal(alpha, context.dtype(0)))
    return context.op("multiply", x, context.activation("sigmoid", scaled))


def _split_gelu(context: Context) -> Ref:
    """One half of the channels, times the GELU of the other one."""
    x = context.op("add", context.ref(0), context.ref(1))
    one, gate = context.op("split", x, sizes=2, axis=-1).parts(2)
    return context.op("multiply", one, context.activation("gelu", gate))


def _bias_add(context: Context) -> Ref:
    return context.op("add", context.op("add", context.ref(0), context.ref(1)), context.ref(2))


def _turned(context: Context, index: int, *, last: bool, batch: bool) -> Ref:
    """A factor with its last two axes exchanged, or its first one moved to the place before the last."""
    ref, rank = context.ref(index), context.rank(index)
    axes = list(range(rank))
    if batch and rank > 2:
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if last and rank > 1:
        axes[-2:] = axes[:-3:-1]
    return ref if axes == sorted(axes) else context.op("transpose", ref, axes=axes)


def _fused_matmul(context: Context) -> Ref:
    node, dtype = context.node, context.alike(0, 1)
    alpha = node.number("alpha", 1.0)
    last = [node.flag(f"trans{side}", default=False) for side in "AB"]
    batch = [node.flag(f"transBatch{side}", default=False) for side in "AB"]
    a = _turned(context, 0, last=last[0], batch=batch[0])
    if context.is_matrix(1) and not context.is_constant(0) and not any(batch):
        weight = context.stored(1)
        found = dense(context, a, weight if last[1] else weight.transposed((1, 0)), None)
    else:
        b = _turned(context, 1, last=last[1], batch=batch[1])
        found = context.as_dtype(context.op("matmul", a, b), dtype)
    found = found if alpha == 1 else context.op("multiply", found, context.literal(alpha, dtype))
    name = node.text("activation", "")
    return activated(context, found, name, _numbers(context, "activation_alpha", "activation_beta"))


def _numbers(context: Context, *names: str) -> list[float]:
    """Numbers of an activation, each in an attribute of its own."""
    found = [context.node.number(name, None) for name in names]
    return [each for each in found if each is not None]


def _fused_gemm(context: Context) -> Ref:
    name = context.node.text("activation", "")
    numbers = _numbers(context, "activation_alpha", "activation_beta", "activation_gamma")
    return activated(context, gemm(context), name, numbers)


def _fused_conv(context: Context) -> Ref:
    """A convolution, with what is added to its result, and an activation of that."""
    found = convolution(context)
    if context.has(3):
        found = context.op("add", found, context.ref(3))
    name, numbers = context.node.text("activation", ""), list(context.node.numbers("activation_params", []))
    return activated(context, found, name, numbers)


def _skip(kind: str, bias: int, weights: tuple[int, int | None]) -> Any:
    """A normalisation of the sum of two inputs and a bias; the sum too."""

    def lift(context: Context) -> tuple[Any, ...]:
        x = context.op("add", context.ref(0), context.ref(1))
        x = context.op("add", x, context.ref(bias)) if context.has(bias) else x
        axis, epsilon = context.rank(0) - 1, context.node.number("epsilon", 1e-12)
        scale, shift = weights
        found = normalised(context, kind, x, axis=axis, epsilon=epsilon, weight=scale, bias=shift)
        return found, None, None, x

    return lift


def _embed(context: Context) -> tuple[Any, ...]:
    """The sum of the embeddings of words, places and segments, normalised; how many words are no padding; the sum."""
    node = context.node
    epsilon, counts = node.number("epsilon", 1e-12), node.integer("mask_index_type", 1)
    words = context.op("take", context.ref(2), context.ref(0), axis=0)
    places = context.ref(8) if context.has(8) else along(context, context.ref(0), 1)
    total = context.op("add", words, context.op("take", context.ref(3), places, axis=0))
    if context.has(4):
        total = context.op("add", total, context.op("take", context.ref(4), context.ref(1), axis=0))
    elif context.has(1):
        raise Refusal("EmbedLayerNormalization with segments and without their embedding is not supported")
    weight, bias = context.ref(5), context.ref(6)
    shape = context.shape(5)
    config: dict[str, Any] = {"kind": "LayerNorm", "axis": -1, "epsilon": epsilon}
    if context.is_constant(5) and context.is_constant(6):
        config |= {"center": True, "scale": True, "in_channels": shape[0]}
        found = context.block(config, total, weight=context.stored(5), bias=context.stored(6))
    else:
        config |= {"center": False, "scale": False, "in_channels": shape[0], "dtype": context.dtype(5)}
        found = context.op("add", context.op("multiply", context.block(config, total), weight), bias)
    mask = None
    if context.has(7) and counts:
        mask = context.as_dtype(context.op("sum", context.ref(7), axis=[1], keepdims=False), "int32")
    return found, mask, total


def _channels_last_group_norm(context: Context) -> Any:
    """GroupNorm of (batch, height, width, channels), with what is added before, and a SiLU behind."""
    node = context.node
    groups, epsilon = node.integer("groups"), node.number("epsilon", 1e-5)
    silu, last = node.integer("activation", 0), node.flag("channels_last", default=True)
    skips = context.node.op.endswith("SkipGroupNorm")
    total = context.ref(0)
    if skips:
        skip, rank = context.ref(3), context.rank(0)
        if context.rank(3) == 2:
            skip = context.op("reshape", skip, shape=[None, *([1] * (rank - 2)), -1])
        total = context.op("add", total, skip)
        total = context.op("add", total, context.ref(4)) if context.has(4) else total
    channels = context.shape(1)[0]
    if channels is None or groups < 1 or channels % groups:
        raise Refusal(f"{node.op} of {channels} channels in {groups} groups is not supported")
    config = {"kind": "GroupNorm", "num_groups": groups, "epsilon": epsilon, "axis": -1 if last else 1,
              "center": True, "scale": True, "in_channels": channels}  # fmt: skip
    found = context.block(config, total, weight=context.stored(1), bias=context.stored(2))
    found = context.activation("silu", found) if silu else found
    return (found, total) if skips else found


_MS: Final = "com.microsoft::"

ROWS: Final[list[Lifting]] = [
    Lifting(f"{_MS}Gelu", "Activation", _biased("gelu")),
    Lifting(f"{_MS}BiasGelu", "add, Activation", _biased("gelu")),
    Lifting(f"{_MS}FastGelu", "add, Activation", _biased("gelu_tanh")),
    Lifting(f"{_MS}QuickGelu", "multiply, Activation", _quick_gelu),
    Lifting(f"{_MS}BiasSplitGelu", "add, split, Activation, multiply", _split_gelu),
    Lifting(f"{_MS}BiasAdd", "add", _bias_add),
    Lifting(f"{_MS}FusedMatMul", "Dense, transpose, matmul, multiply", _fused_matmul),
    Lifting(f"{_MS}TransposeMatMul", "Dense, transpose, matmul, multiply", _fused_matmul),
    Lifting(f"{_MS}FusedMatMulActivation", "Dense, transpose, matmul, multiply, Activation", _fused_matmul),
    Lifting(f"{_MS}FusedGemm", "Dense, matmul, Activation", _fused_gemm, "the activations that ONNX Runtime fuses"),
    Lifting(
        f"{_MS}FusedConv",
        "Conv1D, Conv2D, Conv3D, conv, add, Activation",
        _fused_conv,
        "the activations that ONNX Runtime fuses",
    ),
    Lifting(
        f"{_MS}SkipLayerNormalization",
        "add, LayerNorm",
        _skip("LayerNorm", 4, (2, 3)),
        "not the mean and the deviation as results",
    ),
    Lifting(
        f"{_MS}SkipSimplifiedLayerNormalization",
        "add, RMSNorm",
        _skip("RMSNorm", 3, (2, None)),
        "not the mean and the deviation as results",
    ),
    Lifting(f"{_MS}EmbedLayerNormalization", "take, add, LayerNorm, sum", _embed),
    Lifting(f"{_MS}GroupNorm", "GroupNorm, Activation", _channels_last_group_norm, "scale and bias stored"),
    Lifting(f"{_MS}SkipGroupNorm", "add, GroupNorm, Activation", _channels_last_group_norm, "scale and bias stored"),
]
