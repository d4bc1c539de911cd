"""Layers with one counterpart, and those that do nothing in inference: dense, normalising, activating, shaping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.exchange.keras.config import numbers
from modelarchive.exchange.keras.scope import At
from modelarchive.exchange.keras.step import Step
from modelarchive.exchange.keras.weights import Fields
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

Arrays = Mapping[str, Deferred]
#: More numbers are not made from what a config says.
_MANY: Final = 1 << 24


def dense(step: Step) -> At:
    """Dense: the last axis is mapped."""
    config = step.config
    config.expect("quantization_config", None)
    activation = step.activation_of(config.value("activation", None))
    fields = {
        "units": config.integer("units"),
        "activation": activation.field,
        "use_bias": config.flag("use_bias", default=True),
        "flatten": False,
    }
    at = step.block("Dense", fields, step.as_float(step.x), sizes=_in_units)[0]
    return at if activation.field else step.activation(activation, at)


def _in_units(arrays: Arrays) -> Fields:
    return {"in_units": arrays["weight"].shape[1]}


def einsum_dense(step: Step) -> At:
    """EinsumDense: a product by letters with a parameter, and a bias that broadcasts."""
    config = step.config
    config.expect("quantization_config", None)
    config.value("output_shape", None)
    pattern = config.text("equation").replace(" ", "")
    if "..." in pattern:
        x, kernel, out = _letters(pattern)
        taken = set(x + kernel + out)
        free = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in taken]
        more = step.rank(step.x) - len(x.replace("...", ""))
        if not 0 <= more <= len(free):
            raise Refusal(f"the equation {short(pattern)} does not fit its input")
        pattern = pattern.replace("...", "".join(free[:more]))
    fields = {"use_bias": config.value("bias_axes", None) is not None}
    at = step.op("einsum", step.as_float(step.x), step.parameter("kernel", fields), pattern=pattern)
    if fields["use_bias"]:
        at = step.op("add", at, step.parameter("bias", fields), wish=f"{step.layer.name}_biased")
    return step.activation(step.activation_of(config.value("activation", None)), at)


def _letters(pattern: str) -> tuple[str, str, str]:
    inputs, _, out = pattern.partition("->")
    x, _, kernel = inputs.partition(",")
    return x, kernel, out


def embedding(step: Step) -> At:
    """Embedding: the indices may come as floats."""
    config = step.config
    config.expect("quantization_config", None)
    config.expect("reverse_dtype", None)
    config.value("tie_weights", None)
    config.value("logit_soft_cap", None)
    if step.argument("reverse", 1) not in (None, False):
        raise Refusal("is called in reverse, which has no counterpart")
    x = step.x
    if np.dtype(step.dtype(x)).kind not in "iu":
        x = step.op("cast", x, dtype="int32", wish=f"{step.layer.name}_cast")
    fields = {
        "input_dim": config.integer("input_dim"),
        "output_dim": config.integer("output_dim"),
        "padding_idx": None,
    }
    at = step.block("Embedding", fields, x)[0]
    if config.flag("mask_zero", default=False):
        step.scope.set_mask(at, step.layer.name)
        step.note("mask_zero makes a mask, which changes nothing where no layer takes it, and is left out")
    return at


def batch_norm(step: Step) -> At:
    """BatchNormalization in inference."""
    config = step.config
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
    step.argument("mask", 2)
    return step.block("BatchNorm", fields, step.x, sizes=lambda arrays: _channels(arrays, "running_mean"))[0]


def _channels(arrays: Arrays, *own: str) -> Fields:
    found = next((arrays[name].shape for name in (*own, "weight", "bias") if name in arrays), (0,))
    return {"in_channels": found[0] if len(found) == 1 else list(found)}


def layer_norm(step: Step) -> At:
    """LayerNormalization."""
    config = step.config
    config.expect("rms_scaling", False)
    fields = {
        "epsilon": config.number("epsilon", 1e-3),
        "center": config.flag("center", default=True),
        "scale": config.flag("scale", default=True),
    }
    return step.block("LayerNorm", fields | _axes(step), step.x, sizes=lambda arrays: _sizes(step, arrays))[0]


def rms_norm(step: Step) -> At:
    """RMSNormalization."""
    fields = {"epsilon": step.config.number("epsilon", 1e-6), "scale": True}
    return step.block("RMSNorm", fields | _axes(step), step.x, sizes=lambda arrays: _sizes(step, arrays))[0]


def _axes(step: Step) -> dict[str, Any]:
    axes = step.config.axes("axis", -1)
    if not axes:
        raise Refusal(f"axis = {short(axes)} names no axis")
    return {"axis": axes[0] if len(axes) == 1 else axes}


def _sizes(step: Step, arrays: Arrays) -> Fields:
    if arrays:
        return _channels(arrays)
    # Without parameters the sizes are those of the input.
    axes = step.config.axes("axis", -1) or []
    sizes = [step.dims(step.x)[step.axis(step.x, axis)] or 0 for axis in axes]
    return {"in_channels": sizes[0] if len(sizes) == 1 else sizes}


def group_norm(step: Step) -> At:
    """GroupNormalization; with as many groups as channels, InstanceNorm."""
    config = step.config
    groups = config.integer("groups", 32)
    fields: dict[str, Any] = {
        "epsilon": config.number("epsilon", 1e-3),
        "center": config.flag("center", default=True),
        "scale": config.flag("scale", default=True),
        "axis": config.integer("axis", -1),
    }
    channels = step.dims(step.x)[step.axis(step.x, fields["axis"])]
    if channels is None:
        raise Refusal("the number of channels that it normalises is not known: pass inputs=")
    known = {"in_channels": channels}
    if groups == -1:
        return step.block("InstanceNorm", fields | known, step.x)[0]
    return step.block("GroupNorm", {"num_groups": groups} | fields | known, step.x)[0]


def unit_norm(step: Step) -> At:
    """UnitNormalization: divided by the length of the vector."""
    axes = step.config.axes("axis", -1)
    return _normalised(step, step.x, axes or [])


def _normalised(step: Step, x: At, axes: list[int]) -> At:
    squares = step.op("sum", step.op("multiply", x, x), axis=axes, keepdims=True)
    return step.op("multiply", x, step.op("rsqrt", step.op("maximum", squares, step.constant(1e-12))))


def normalization(step: Step) -> At:
    """Normalization: by mean and variance of the data, that are stored or written in the config."""
    config = step.config
    axes = config.axes("axis", -1) or []
    x = step.as_float(step.x)
    rank = step.rank(x)
    kept = sorted(step.axis(x, axis) for axis in axes)
    shape = [1] * rank
    for axis in kept:
        size = step.dims(x)[axis]
        if size is None:
            raise Refusal("the sizes of the axes that it keeps are not known: pass inputs=")
        shape[axis] = size
    if math.prod(shape) > _MANY:
        raise Refusal(f"keeps {math.prod(shape):,} means and variances, which is beyond all reason")
    found = []
    given = [config.value("mean", None), config.value("variance", None)]
    for name, value in zip(("mean", "variance"), given, strict=True):
        if value is None:
            at = step.parameter(name, is_trained=False)
        else:
            flat = numbers(value, "float32").reshape(-1)
            at = step.constant(np.broadcast_to(flat, [max(math.prod(shape), 1)]) if flat.size == 1 else flat)
        found.append(step.op("reshape", at, shape=shape))
    deviation = step.op("maximum", step.op("sqrt", found[1]), step.constant(1e-7))
    if config.flag("invert", default=False):
        return step.op("add", found[0], step.op("multiply", x, deviation))
    return step.op("divide", step.op("subtract", x, found[0]), deviation)


def activation(step: Step) -> At:
    """Activation."""
    found = step.activation_of(step.config.value("activation"))
    if found.add is None:
        return step.plain("Identity", step.x)
    return step.activation(found, step.x, step.layer.name)


def relu(step: Step) -> At:
    """ReLU with a slope, a limit, a threshold."""
    config = step.config
    limit, slope = config.optional("max_value"), config.optional("negative_slope") or 0.0
    threshold = config.optional("threshold") or 0.0
    if threshold:
        if slope:
            raise Refusal("a threshold with a slope below it has no counterpart")
        x = step.x
        at = step.op("where", step.op("greater", x, step.constant(threshold)), x, step.constant(0.0))
    elif slope:
        at = step.plain("Activation", step.x, activation="leaky_relu", alpha=slope)
    elif limit == 6:
        return step.plain("Activation", step.x, activation="relu6")
    else:
        at = step.plain("Activation", step.x, activation="relu")
    return at if limit is None else step.op("minimum", at, step.constant(limit), wish=f"{step.layer.name}_limit")


def leaky_relu(step: Step) -> At:
    """LeakyReLU."""
    slope = step.config.optional("negative_slope")
    old = step.config.optional("alpha")
    alpha = slope if slope is not None else 0.3 if old is None else old
    return step.plain("Activation", step.x, activation="leaky_relu", alpha=alpha)


def elu(step: Step) -> At:
    """ELU."""
    return step.plain("Activation", step.x, activation="elu", alpha=step.config.number("alpha", 1.0))


def prelu(step: Step) -> At:
    """PReLU: slopes of one axis; others are steps of their own."""
    shared = step.config.axes("shared_axes", None) or []
    x = step.x
    rank = step.rank(x)
    own = [axis for axis in range(1, rank) if axis not in [step.axis(x, each) for each in shared]]
    if len(own) <= 1:
        axis = own[0] if own else -1
        return step.block("PReLU", {"axis": axis}, x, sizes=_slopes)[0]
    slopes = step.parameter("weight", {"whole": True})
    below = step.op("minimum", x, step.constant(0.0))
    return step.op("add", step.op("maximum", x, step.constant(0.0)), step.op("multiply", slopes, below))


def _slopes(arrays: Arrays) -> Fields:
    return {"in_channels": arrays["weight"].shape[0]}


def softmax(step: Step) -> At:
    """Softmax along an axis, or along several together."""
    axes = step.config.axes("axis", -1) or []
    if step.argument("mask", 1) is not None:
        raise Refusal("takes a mask, which has no counterpart")
    x = step.x
    if len(axes) == 1:
        return step.plain("Softmax", x, axis=axes[0])
    high = step.op("max", x, axis=axes, keepdims=True)
    powers = step.op("exp", step.op("subtract", x, high))
    return step.op("divide", powers, step.op("sum", powers, axis=axes, keepdims=True))


def dropout(step: Step) -> At:
    """Dropout and its relatives, which are the identity in inference."""
    if step.layer.kind != "Dropout":
        step.note(f"{step.layer.kind} is a Dropout here: the same in inference, another one in training")
    step.config.value("data_format", None)
    return step.plain("Dropout", step.x, rate=step.config.number("rate", 0.0))


def identity(step: Step) -> At:
    """What changes nothing in inference."""
    if step.layer.kind != "Identity":
        step.note(f"{step.layer.kind} does nothing in inference, and is left out")
    step.config.used.update(step.config.values)
    return step.plain("Identity", step.x)


def masking(step: Step) -> At:
    """Masking: steps that hold nothing but the value become zeros."""
    x = step.x
    same_ = step.op("cast", step.op("equal", x, step.constant(step.config.number("mask_value", 0.0))), dtype="float32")
    all_ = step.op("min", same_, axis=[-1], keepdims=True)
    at = step.op("multiply", x, step.op("subtract", step.constant(1.0), all_))
    step.scope.set_mask(at, step.layer.name)
    return at


def layer_scale(step: Step) -> At:
    """LayerScale of ConvNeXt: each channel times a parameter."""
    step.config.value("init_values", None)
    step.config.value("projection_dim", None)
    return step.op("multiply", step.x, step.parameter("gamma"))


def scaled_sum(step: Step) -> At:
    """CustomScaleLayer of InceptionResNetV2: one tensor, and another one times a number."""
    several = step.xs
    if len(several) != 2:
        raise Refusal(f"is called on {len(several)} tensors, expected 2")
    scale = step.constant(step.config.number("scale"))
    return step.op("add", several[0], step.op("multiply", several[1], scale, wish=f"{step.layer.name}_scaled"))


def rescaling(step: Step) -> At:
    """Rescaling: times a scale, plus an offset."""
    x = step.as_float(step.x)
    at = step.op("multiply", x, step.tensor_of(_plain(step.config.value("scale"))))
    offset = _plain(step.config.value("offset", 0.0))
    if offset in (0, 0.0):
        return at
    return step.op("add", at, step.tensor_of(offset), wish=f"{step.layer.name}_offset")


def _plain(value: Any) -> Any:
    """A number or list, also where it is written as a serialized array."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        return value["config"].get("value")
    return value
