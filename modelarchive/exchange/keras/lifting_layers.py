"""How Keras' layers are lifted that are one of ours, or do nothing in inference: dense, normalising, activating."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.config import numbers
from modelarchive.exchange.keras.drawing import Mask
from modelarchive.exchange.keras.lifting_activations import activation_of, added, behind
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_masks import unequal_to
from modelarchive.exchange.keras.lifting_quantized import given
from modelarchive.exchange.keras.quantized import Spread
from modelarchive.exchange.keras.weights import Fields, swapped
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

_Arrays = Mapping[str, Deferred]
#: More numbers are not made from what a config says.
_MANY: Final = 1 << 24


def dense(context: Context) -> Ref:
    """Dense: the last axis is mapped."""
    config = context.config
    activation = activation_of(context, config.value("activation", None))
    fields = {
        "units": config.integer("units"),
        "activation": activation.field,
        "use_bias": config.flag("use_bias", default=True),
        "flatten": False,
    }
    x = context.as_float(context.x)
    if context.quantized is not None:
        size = context.dims(x)[-1]
        if size is None:
            raise Refusal("is quantised, and the size of what it is called on is not known: pass inputs=")
        context.kernel = (size, config.integer("units"))
    x = given(context, x, [-1], fields)
    ref = context.block("Dense", fields, x, sizes=_in_units)[0]
    return behind(context, ref, activation)


def _in_units(arrays: _Arrays) -> Fields:
    return {"in_units": arrays["weight"].shape[1]}


def einsum_dense(context: Context) -> Ref:
    """EinsumDense: a product by letters with a parameter, and a bias that broadcasts."""
    config = context.config
    shape = config.value("output_shape", None)
    pattern = config.text("equation").replace(" ", "")
    if "..." in pattern:
        x, kernel, out = _letters(pattern)
        taken = set(x + kernel + out)
        free = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in taken]
        more = context.rank(context.x) - len(x.replace("...", ""))
        if not 0 <= more <= len(free):
            raise Refusal(f"the equation {short(pattern)} does not fit its input")
        pattern = pattern.replace("...", "".join(free[:more]))
    fields = {"use_bias": config.value("bias_axes", None) is not None}
    tensor = context.as_float(context.x)
    if context.quantized is not None:
        _know_kernel(context, pattern, tensor, shape)
    taken_letters, kernel_letters, _ = _letters(pattern)
    tensor = given(context, tensor, [at for at, letter in enumerate(taken_letters) if letter in kernel_letters], fields)
    ref = context.op("einsum", tensor, context.parameter("kernel", fields), pattern=pattern)
    if fields["use_bias"]:
        ref = context.op("add", ref, context.parameter("bias", fields), role="biased")
    return added(context, activation_of(context, config.value("activation", None)), ref)


def _know_kernel(context: Context, pattern: str, x: Ref, shape: Any) -> None:
    """The shape of a quantised kernel, and how its scales stand beside it: as its axes do in the result."""
    taken, kernel, out = _letters(pattern)
    sizes = dict(zip(taken, context.dims(x), strict=False))
    given_sizes = shape if isinstance(shape, list) else [shape]
    sizes |= {letter: size for letter, size in zip(out[::-1], given_sizes[::-1], strict=False) if size is not None}
    found = [sizes.get(letter) for letter in kernel]
    if any(type(size) is not int for size in found):
        raise Refusal("is quantised, and the sizes of its kernel are not known: pass inputs=")
    context.kernel = [size for size in found if size is not None]
    context.spread = Spread(0, [out.index(each) - len(out) if each in out and each not in taken else None
                                for each in kernel])  # fmt: skip


def _letters(pattern: str) -> tuple[str, str, str]:
    inputs, _, out = pattern.partition("->")
    x, _, kernel = inputs.partition(",")
    return x, kernel, out


def embedding(context: Context) -> Ref:
    """Embedding: the indices may come as floats."""
    config = context.config
    if context.quantized is None:
        config.value("quantization_config", None)  # of a model of which other layers are quantised
    else:
        context.kernel = (config.integer("input_dim"), config.integer("output_dim"))
        context.spread = Spread(-1, (-1, None))
        config.value("quantization_config", None)
        context.note(f"its {context.quantized.mode} rows are kept as the floats that they stand for")
    config.expect("reverse_dtype", None)
    tied, cap = config.value("tie_weights", None), config.optional("logit_soft_cap")
    x = context.x
    if context.argument("reverse", 1) not in (None, False):
        return _reversed(context, x, cap, is_tied=tied is not False)
    if tied is False and context.quantized is not None:
        raise Refusal("is quantised and has another matrix for the way back, which is not supported")
    if np.dtype(context.dtype(x)).kind not in "iu":
        x = context.op("cast", x, dtype="int32", role="cast")
    fields = {
        "input_dim": config.integer("input_dim"),
        "output_dim": config.integer("output_dim"),
        "padding_idx": None,
    }
    held = _matrices(context, is_tied=tied is not False)
    ref = context.block("Embedding", fields, x, held=None if held is None else {"weight": held["weight"]})[0]
    if config.flag("mask_zero", default=False):
        context.builder.set_mask(ref, Mask(context.layer.name, lambda: unequal_to(context, x, 0)))
    return ref


def _matrices(context: Context, *, is_tied: bool) -> dict[str, str] | None:
    """The keys of an embedding's rows and of the matrix of the way back; None: there is one for both."""
    if is_tied:
        return None
    return context.held({"is_apart": True}, (*context.weights, swapped("reverse_embeddings", "back")), context.layer)


def _reversed(context: Context, x: Ref, cap: float | None, *, is_tied: bool) -> Ref:
    """A ReversibleEmbedding's way back: how much each row is like what it is called on."""
    if context.quantized is not None:
        raise Refusal("is called in reverse and quantised, which is not supported")
    fields: dict[str, Any] = {
        "units": context.config.integer("input_dim"),
        "in_units": context.config.integer("output_dim"),
    }
    fields |= {"activation": None, "use_bias": False, "flatten": False}
    context.config.flag("mask_zero", default=False)
    held = _matrices(context, is_tied=is_tied)
    ref = context.block("Dense", fields, x, held=None if held is None else {"weight": held["back"]})[0]
    if cap:
        bent = context.plain("Activation", context.op("divide", ref, context.constant(cap)), activation="tanh")
        ref = context.op("multiply", bent, context.constant(cap))
    return ref


def batch_norm(context: Context) -> Ref:
    """BatchNormalization in inference."""
    config = context.config
    config.expect("renorm", False)
    axes = config.axes("axis", -1)
    if axes is None or len(axes) != 1:
        raise Refusal(f"axis = {short(axes)} is not one axis")
    fields = {
        "axis": axes[0],
        "momentum": config.number("momentum", 0.99),
        "epsilon": config.number("epsilon", 1e-3),
        "center": config.flag("center", default=True),
        "scale": config.flag("scale", default=True),
    }
    context.argument("mask", 2)
    return context.block("BatchNorm", fields, context.x, sizes=lambda arrays: _channels(arrays, "running_mean"))[0]


def _channels(arrays: _Arrays, *own: str) -> Fields:
    found = next((arrays[name].shape for name in (*own, "weight", "bias") if name in arrays), (0,))
    return {"in_channels": found[0] if len(found) == 1 else list(found)}


def layer_norm(context: Context) -> Ref:
    """LayerNormalization."""
    config = context.config
    config.expect("rms_scaling", False)
    fields = {
        "epsilon": config.number("epsilon", 1e-3),
        "center": config.flag("center", default=True),
        "scale": config.flag("scale", default=True),
    }
    return context.block("LayerNorm", fields | _axes(context), context.x, sizes=lambda arrays: _sizes(context, arrays))[
        0
    ]


def rms_norm(context: Context) -> Ref:
    """RMSNormalization."""
    fields = {"epsilon": context.config.number("epsilon", 1e-6), "scale": True}
    return context.block("RMSNorm", fields | _axes(context), context.x, sizes=lambda arrays: _sizes(context, arrays))[0]


def _axes(context: Context) -> dict[str, Any]:
    axes = context.config.axes("axis", -1)
    if not axes:
        raise Refusal(f"axis = {short(axes)} names no axis")
    return {"axis": axes[0] if len(axes) == 1 else axes}


def _sizes(context: Context, arrays: _Arrays) -> Fields:
    if arrays:
        return _channels(arrays)
    # Without parameters the sizes are those of the input.
    axes = context.config.axes("axis", -1) or []
    sizes = [context.dims(context.x)[context.axis(context.x, axis)] or 0 for axis in axes]
    return {"in_channels": sizes[0] if len(sizes) == 1 else sizes}


def group_norm(context: Context) -> Ref:
    """GroupNormalization; with as many groups as channels, InstanceNorm."""
    config = context.config
    groups = config.integer("groups", 32)
    fields: dict[str, Any] = {
        "epsilon": config.number("epsilon", 1e-3),
        "center": config.flag("center", default=True),
        "scale": config.flag("scale", default=True),
        "axis": config.integer("axis", -1),
    }
    channels = context.dims(context.x)[context.axis(context.x, fields["axis"])]
    if channels is None:
        raise Refusal("the number of channels that it normalises is not known: pass inputs=")
    known = {"in_channels": channels}
    if groups == -1:
        return context.block("InstanceNorm", fields | known, context.x)[0]
    return context.block("GroupNorm", {"num_groups": groups} | fields | known, context.x)[0]


def unit_norm(context: Context) -> Ref:
    """UnitNormalization: divided by the length of the vector."""
    axes = context.config.axes("axis", -1)
    return _normalised(context, context.x, axes or [])


def _normalised(context: Context, x: Ref, axes: list[int]) -> Ref:
    squares = context.op("sum", context.op("multiply", x, x), axis=axes, keepdims=True)
    return context.op("multiply", x, context.op("rsqrt", context.op("maximum", squares, context.constant(1e-12))))


def normalization(context: Context) -> Ref:
    """Normalization: by mean and variance of the data, that are stored or written in the config."""
    config = context.config
    axes = config.axes("axis", -1) or []
    x = context.as_float(context.x)
    rank = context.rank(x)
    kept = sorted(context.axis(x, axis) for axis in axes)
    shape = [1] * rank
    for axis in kept:
        size = context.dims(x)[axis]
        if size is None:
            raise Refusal("the sizes of the axes that it keeps are not known: pass inputs=")
        shape[axis] = size
    if math.prod(shape) > _MANY:
        raise Refusal(f"keeps {math.prod(shape):,} means and variances, which is beyond all reason")
    found = []
    given = [config.value("mean", None), config.value("variance", None)]
    for name, value in zip(("mean", "variance"), given, strict=True):
        if value is None:
            ref = context.parameter(name, is_trained=False)
        else:
            flat = numbers(value, "float32").reshape(-1)
            ref = context.constant(np.broadcast_to(flat, [max(math.prod(shape), 1)]) if flat.size == 1 else flat)
        found.append(context.op("reshape", ref, shape=shape))
    deviation = context.op("maximum", context.op("sqrt", found[1]), context.constant(1e-7))
    if config.flag("invert", default=False):
        return context.op("add", found[0], context.op("multiply", x, deviation))
    return context.op("divide", context.op("subtract", x, found[0]), deviation)


def activation(context: Context) -> Ref:
    """Activation."""
    found = activation_of(context, context.config.value("activation"))
    if found.add is None:
        return context.plain("Identity", context.x)
    return added(context, found, context.x, role="")


def relu(context: Context) -> Ref:
    """ReLU with a slope, a limit, a threshold; ThresholdedReLU, which calls that theta."""
    config = context.config
    limit, slope = config.optional("max_value"), config.optional("negative_slope") or 0.0
    threshold = config.optional("threshold") or config.optional("theta") or 0.0
    if threshold:
        x = context.x
        below = context.constant(0.0)
        if slope:
            apart = context.op("subtract", x, context.constant(threshold), role="apart")
            below = context.op("multiply", apart, context.constant(slope), role="below")
        ref = context.op("where", context.op("greater", x, context.constant(threshold)), x, below)
    elif slope:
        ref = context.plain("Activation", context.x, activation="leaky_relu", alpha=slope)
    elif limit == 6:
        return context.plain("Activation", context.x, activation="relu6")
    else:
        ref = context.plain("Activation", context.x, activation="relu")
    return ref if limit is None else context.op("minimum", ref, context.constant(limit), role="limit")


def leaky_relu(context: Context) -> Ref:
    """LeakyReLU."""
    slope = context.config.optional("negative_slope")
    old = context.config.optional("alpha")
    alpha = slope if slope is not None else 0.3 if old is None else old
    return context.plain("Activation", context.x, activation="leaky_relu", alpha=alpha)


def elu(context: Context) -> Ref:
    """ELU."""
    return context.plain("Activation", context.x, activation="elu", alpha=context.config.number("alpha", 1.0))


def prelu(context: Context) -> Ref:
    """PReLU: slopes of one axis; others are steps of their own."""
    shared = context.config.axes("shared_axes", None) or []
    x = context.x
    rank = context.rank(x)
    own = [axis for axis in range(1, rank) if axis not in [context.axis(x, each) for each in shared]]
    if len(own) <= 1:
        axis = own[0] if own else -1
        return context.block("PReLU", {"axis": axis}, x, sizes=_slopes)[0]
    slopes = context.parameter("weight", {"whole": True})
    below = context.op("minimum", x, context.constant(0.0))
    return context.op("add", context.op("maximum", x, context.constant(0.0)), context.op("multiply", slopes, below))


def _slopes(arrays: _Arrays) -> Fields:
    return {"in_channels": arrays["weight"].shape[0]}


def dropout(context: Context) -> Ref:
    """Dropout and its relatives, which are the identity in inference."""
    if context.layer.kind != "Dropout":
        context.note(f"{context.layer.kind} is a Dropout here: the same in inference, another one in training")
    context.config.value("data_format", None)
    return context.plain("Dropout", context.x, rate=context.config.number("rate", 0.0))


def identity(context: Context) -> Ref:
    """What changes nothing in inference."""
    if context.layer.kind != "Identity":
        context.note(f"{context.layer.kind} does nothing in inference, and is left out")
    context.config.used.update(context.config.values)
    return context.plain("Identity", context.x)


def masking(context: Context) -> Ref:
    """Masking: steps that hold nothing but the value become zeros."""
    x, value = context.x, _plain(context.config.value("mask_value", 0.0))
    if not isinstance(value, int | float):
        raise Refusal(f"mask_value = {short(value)} is not supported, only a number")
    same_ = context.op("cast", context.op("equal", x, context.constant(value)), dtype="float32")
    all_ = context.op("min", same_, axis=[-1], keepdims=True)
    ref = context.op("multiply", x, context.op("subtract", context.constant(1.0), all_))
    context.builder.set_mask(ref, Mask(context.layer.name, lambda: unequal_to(context, x, value, over=-1)))
    return ref


def layer_scale(context: Context) -> Ref:
    """LayerScale of ConvNeXt: each channel times a parameter."""
    context.config.value("init_values", None)
    context.config.value("projection_dim", None)
    return context.op("multiply", context.x, context.parameter("gamma"))


def scaled_sum(context: Context) -> Ref:
    """CustomScaleLayer of InceptionResNetV2: one tensor, and another one times a number."""
    several = context.xs
    if len(several) != 2:
        raise Refusal(f"is called on {len(several)} tensors, expected 2")
    scale = context.constant(context.config.number("scale"))
    return context.op("add", several[0], context.op("multiply", several[1], scale, role="scaled"))


def rescaling(context: Context) -> Ref:
    """Rescaling: times a scale, plus an offset."""
    x = context.as_float(context.x)
    ref = context.op("multiply", x, context.tensor_of(_plain(context.config.value("scale"))))
    offset = _plain(context.config.value("offset", 0.0))
    if offset in (0, 0.0):
        return ref
    return context.op("add", ref, context.tensor_of(offset), role="offset")


def _plain(value: Any) -> Any:
    """A number or list, also where it is written as a serialized array."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        return value["config"].get("value")
    return value
