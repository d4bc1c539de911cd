"""How ONNX's normalisations are lifted: as layers where their parameters are stored, else spelled out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.values import Constant
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def _batch_norm(context: Context) -> Any:
    epsilon, momentum = context.node.number("epsilon", 1e-5), context.node.number("momentum", 0.9)
    if context.node.flag("training_mode", default=False):
        return _by_the_batch(context, epsilon, momentum)
    if not all(context.is_constant(index) for index in range(1, 5)):
        mean, variance = (_by_channel(context, context.ref(index)) for index in (3, 4))
        return _scaled(context, mean, variance, epsilon)
    names = ("weight", "bias", "running_mean", "running_var")
    found = {name: context.stored(index) for index, name in enumerate(names, start=1)}
    config = {
        "kind": "BatchNorm",
        "axis": 1,
        "momentum": momentum,
        "epsilon": epsilon,
        "center": True,
        "scale": True,
        "in_channels": found["weight"].array.size,
    }
    return context.block(config, context.ref(0), **found)


def _by_channel(context: Context, ref: Ref) -> Ref:
    """One number for each channel, beside the input."""
    return context.op("reshape", ref, shape=[-1] + [1] * (context.rank(0) - 2))


def _scaled(context: Context, mean: Ref, variance: Ref, epsilon: float) -> Ref:
    """Normalised by a mean and a variance, then scaled and shifted by channel."""
    dtype = context.dtype(0)
    root = context.op("rsqrt", context.op("add", variance, context.literal(epsilon, dtype)))
    normal = context.op("multiply", context.op("subtract", context.ref(0), mean), root)
    weight, bias = (_by_channel(context, context.ref(index)) for index in (1, 2))
    return context.op("add", context.op("multiply", normal, weight), bias)


def _by_the_batch(context: Context, epsilon: float, momentum: float) -> tuple[Ref, Ref, Ref]:
    """Normalised by the batch's own statistics; and the running ones that follow from them."""
    dtype = context.alike(0, 1, 2, 3, 4)
    axes = [axis for axis in range(context.rank(0)) if axis != 1]
    own = [
        context.op("mean", context.ref(0), axis=axes, keepdims=False),
        context.op("var", context.ref(0), axis=axes, keepdims=False, ddof=0),
    ]
    found = _scaled(context, _by_channel(context, own[0]), _by_channel(context, own[1]), epsilon)
    old, new = context.literal(momentum, dtype), context.literal(1 - momentum, dtype)
    running = [
        context.op("add", context.op("multiply", context.ref(index), old), context.op("multiply", each, new))
        for index, each in zip((3, 4), own, strict=True)
    ]
    return found, running[0], running[1]


def _layer_norm(context: Context) -> Any:
    if not context.used(1) and not context.used(2):
        return _normalised(context, "LayerNorm")
    axis, epsilon = context.axis(context.node.integer("axis", -1)), context.node.number("epsilon", 1e-5)
    axes = list(range(axis, context.rank(0)))
    x = context.as_dtype(context.ref(0), "float32") if context.dtype(0) in ("float16", "bfloat16") else context.ref(0)
    variance = context.op("var", x, axis=axes, keepdims=True, ddof=0)
    inverse = context.op(
        "rsqrt", context.op("add", variance, context.literal(epsilon, str(context.known_of(x).array_dtype)))
    )
    # Mean and deviation are float32 (stash_type), whatever the input is.
    mean = context.as_dtype(context.op("mean", x, axis=axes, keepdims=True), "float32")
    return _normalised(context, "LayerNorm"), mean, context.as_dtype(inverse, "float32")


def _rms_norm(context: Context) -> Ref:
    return _normalised(context, "RMSNorm")


def _normalised(context: Context, kind: str) -> Ref:
    axis, epsilon = context.axis(context.node.integer("axis", -1)), context.node.number("epsilon", 1e-5)
    context.node.expect("stash_type", "i", 1)
    return normalised(context, kind, context.ref(0), axis=axis, epsilon=epsilon)


def normalised(
    context: Context, kind: str, x: Ref, *, axis: int, epsilon: float, weight: int = 1, bias: int | None = 2
) -> Ref:
    """LayerNorm or RMSNorm of a result of the first input's shape.

    Args:
        context: The operator.
        kind: Which of the two.
        x: What is normalised.
        axis: From which axis on, counted from the front.
        epsilon: What is added to the variance.
        weight: Which input scales.
        bias: Which input is added, where it is given; None: there is none.
    """
    rank = context.rank(0)
    axes = [place - rank for place in range(axis, rank)]
    sizes = [size or 0 for size in context.shape(0)[axis:]]
    known = [index for index in (weight, bias) if index is not None and context.has(index)]
    shift = known[1] if len(known) > 1 else None
    dtype = context.alike(0, *known)
    plain = all(context.is_constant(index) and list(context.known(index).shapes[0]) == sizes for index in known)
    config: dict[str, Any] = {"kind": kind, "axis": axes[0] if len(axes) == 1 else axes, "epsilon": epsilon}
    if kind == "LayerNorm":
        config["center"] = plain and shift is not None
    config |= {"scale": plain, "in_channels": sizes[0] if len(sizes) == 1 else sizes}
    if plain:
        added = {} if shift is None else {"bias": context.stored(shift)}
        return context.block(config, x, weight=context.stored(weight), **added)
    # Scales of another shape broadcast, or are computed: spelled out.
    config["dtype"] = dtype
    result = context.op("multiply", context.block(config, x), context.ref(weight))
    return result if shift is None else context.op("add", result, context.ref(shift))


def _instance_norm(context: Context) -> Ref:
    return _affine(context, {"kind": "InstanceNorm", "axis": 1, "epsilon": context.node.number("epsilon", 1e-5)})


def _group_norm(context: Context) -> Ref:
    groups, epsilon = context.node.integer("num_groups"), context.node.number("epsilon", 1e-5)
    context.node.expect("stash_type", "i", 1)
    channels = context.shape(0)[1] if context.rank(0) > 1 else None
    if channels is None or groups < 1 or channels % groups:
        raise Refusal(f"GroupNormalization of {channels} channels in {groups} groups is not supported")
    config = {"kind": "GroupNorm", "num_groups": groups, "epsilon": epsilon, "axis": 1}
    if context.opset >= 21 or channels == groups:
        return _affine(context, config)
    # Until opset 20 the scale is that of a group.
    times = channels // groups
    context.note(f"the scale and bias of each group are repeated for each of its {times} channels")
    return _affine(context, config, repeats=times)


def _affine(context: Context, config: dict[str, Any], *, repeats: int = 1) -> Ref:
    if not (context.is_constant(1) and context.is_constant(2)):
        return _affine_apart(context, config, repeats=repeats)
    found = {}
    for name, index in (("weight", 1), ("bias", 2)):
        each = context.stored(index)
        if repeats > 1:
            size = each.array.size * repeats
            context.make(size)
            array = each.array.changed(lambda x: np.repeat(x.reshape(-1), repeats), (size,))
            each = Constant(array, each.stored, each.then(f"repeated {repeats}"))
        found[name] = each
    config |= {"center": True, "scale": True, "in_channels": found["weight"].array.size}
    return context.block(config, context.ref(0), **found)


def _affine_apart(context: Context, config: dict[str, Any], *, repeats: int) -> Ref:
    """A scale and a shift that are computed, behind the layer."""
    channels = context.shape(0)[1]
    if channels is None:
        raise Refusal(f"{context.node.op} of channels that are not fixed is not supported: pass inputs=")
    config |= {"center": False, "scale": False, "in_channels": channels, "dtype": context.dtype(0)}
    sides = [context.ref(index) for index in (1, 2)]
    if repeats > 1:
        each = np.repeat(context.counting(channels // repeats), repeats)
        sides = [context.op("take", side, context.fixed(each), axis=0) for side in sides]
    weight, bias = (_by_channel(context, side) for side in sides)
    return context.op("add", context.op("multiply", context.block(config, context.ref(0)), weight), bias)


def _lp_norm(context: Context) -> Ref:
    axis, p = context.axis(context.node.integer("axis", -1)), context.node.integer("p", 2)
    if p not in (1, 2):
        raise Refusal(f"p = {p} is not supported")
    x = context.ref(0)
    inner = context.op("abs", x) if p == 1 else context.op("multiply", x, x)
    norm = context.op("sum", inner, axis=[axis], keepdims=True)
    norm = norm if p == 1 else context.op("sqrt", norm)
    zero = context.literal(0, context.dtype(0))
    # Where all is 0 the result is 0, and no quotient of zeros.
    safe = context.op("where", context.op("equal", norm, zero), context.literal(1, context.dtype(0)), norm)
    return context.op("divide", x, safe)


def _variance_norm(context: Context) -> Ref:
    axes = [context.axis(axis) for axis in context.node.integers("axes", [0, 2, 3])]
    x, dtype = context.ref(0), context.dtype(0)
    mean = context.op("mean", x, axis=axes, keepdims=True)
    variance = context.op("var", x, axis=axes, keepdims=True, ddof=0)
    deviation = context.op("add", context.op("sqrt", variance), context.literal(1e-9, dtype))
    return context.op("divide", context.op("subtract", x, mean), deviation)


def _local_norm(context: Context) -> Ref:
    """LRN: each channel by the squares of its neighbours."""
    alpha, beta = context.node.number("alpha", 1e-4), context.node.number("beta", 0.75)
    bias, size, dtype = context.node.number("bias", 1.0), context.node.integer("size"), context.dtype(0)
    if not 1 <= size <= 64 or context.rank(0) < 2:
        raise Refusal(f"LRN over {size} channels is not supported")
    x, rank = context.ref(0), context.rank(0)
    channels = context.shape(0)[1]
    if channels is None:
        raise Refusal("LRN of channels that are not fixed is not supported: pass inputs=")
    pairs = [[0, 0] for _ in range(rank)]
    pairs[1] = [(size - 1) // 2, size // 2]
    squares = context.op("pad", context.op("multiply", x, x), padding=pairs, mode="constant", value=0)
    whole: list[Any] = [None, None, None]
    total = context.op("slice", squares, index=[whole, [0, channels, None]])
    for place in range(1, size):
        total = context.op("add", total, context.op("slice", squares, index=[whole, [place, place + channels, None]]))
    scaled = context.op("multiply", total, context.literal(alpha / size, dtype))
    power = context.op("power", context.op("add", scaled, context.literal(bias, dtype)), context.literal(beta, dtype))
    return context.op("divide", x, power)


ROWS: Final[list[Lifting]] = [
    Lifting("BatchNormalization", "BatchNorm, mean, var, rsqrt, multiply, add", _batch_norm),
    Lifting("LayerNormalization", "LayerNorm, multiply, add, mean, var, rsqrt", _layer_norm),
    Lifting("RMSNormalization", "RMSNorm, multiply", _rms_norm),
    Lifting("SimplifiedLayerNormalization", "RMSNorm, multiply", _rms_norm, "ONNX Runtime's name for it"),
    Lifting("InstanceNormalization", "InstanceNorm, multiply, add", _instance_norm),
    Lifting("GroupNormalization", "GroupNorm, multiply, add", _group_norm),
    Lifting("LpNormalization", "abs, multiply, sum, sqrt, divide", _lp_norm),
    Lifting("MeanVarianceNormalization", "mean, var, sqrt, divide", _variance_norm),
    Lifting("LRN", "multiply, pad, slice, add, power, divide", _local_norm, "channels known"),
]
