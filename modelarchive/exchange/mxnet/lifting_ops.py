"""How MXNet's operators without parameters are lifted: to ops and activations of the vocabulary."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Truth
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.mxnet.lifting_dtypes import floating, is_whole, number, promoted
from modelarchive.exchange.mxnet.lifting_truths import either, negation, reported
from modelarchive.exchange.refusal import Refusal


def binary(name: str) -> Lift:
    """Two arrays in, one out, as NumPy broadcasts."""

    def lift(context: Context) -> Ref:
        refs = [context.ref(0), context.ref(1)]
        if context.is_numpy:
            refs = promoted(context, refs, floats=name == "divide")
        return context.op(name, *refs)

    return lift


def scalar(name: str, *, reverse: bool = False) -> Lift:
    """An array and a number that is written in the attributes."""

    def lift(context: Context) -> Ref:
        x, value = context.ref(0), context.attributes.real("scalar")
        # Whether the number is a whole one only matters where integers are computed.
        whole = context.attributes.flag("is_int", default=value % 1 == 0)
        if name == "divide" and context.is_numpy and is_whole(context.dtype(x)):
            x = context.cast(x, np.float32)
        pair = (number(context, value, x, whole=whole), x)
        return context.op(name, *(pair if reverse else pair[::-1]))

    return lift


def unary(name: str) -> Lift:
    """One array in, one out, element by element."""
    return lambda context: context.op(name, context.ref(0))


def real(name: str) -> Lift:
    """The same, and floats out."""
    return lambda context: context.op(name, floating(context, context.ref(0)) if context.is_numpy else context.ref(0))


def function(name: str) -> Lift:
    """One of the activations."""

    def lift(context: Context) -> Ref:
        x = context.ref(0)
        return context.activation(name, floating(context, x) if context.is_numpy and name == "tanh" else x)

    return lift


def square(context: Context) -> Ref:
    """The square."""
    x = context.ref(0)
    return context.op("multiply", x, x)


def reciprocal(context: Context) -> Ref:
    """One by it."""
    x = context.ref(0)
    if is_whole(context.dtype(x)):
        raise Refusal("the reciprocal of integers, which MXNet rounds, is not supported")
    return context.op("divide", context.constant(1.0), x)


def comparison(*names: str, other: bool = False) -> Lift:
    """One of several comparisons holds, or none of them; truths, or 0 and 1 in the dtype of the arrays.

    Args:
        names: The comparisons.
        other: Whether none of them shall hold.
    """

    def lift(context: Context) -> Ref | Truth:
        pair = _compared(context)
        if len(names) > 1 and not context.is_numpy:
            # 0 and 1, of which the larger holds: MXNet chooses between no truths.
            dtype = context.dtype(pair[0])
            return context.op("maximum", *(context.cast(context.op(each, *pair), dtype) for each in names))
        found = context.op(names[0], *pair)
        for name in names[1:]:
            found = either(context, found, context.op(name, *pair))
        return reported(context, negation(context, found) if other else found)

    return lift


def _compared(context: Context) -> tuple[Ref, Ref]:
    if len(context) == 2:
        return context.ref(0), context.ref(1)
    context.attributes.text("is_int", "True")
    x, value = context.ref(0), context.attributes.real("scalar")
    return x, number(context, value, x, whole=True)


def same(context: Context) -> Ref:
    """Operators that matter in training, or only for the order of execution."""
    context.attributes.aside("grad_scale", "valid_thresh", "normalization")
    return context.ref(0)


def activation(context: Context) -> Ref:
    """The activation that `act_type` names."""
    name = context.attributes.text("act_type")
    if name not in ACTIVATIONS:
        raise Refusal(f"act_type = {name!r} is not supported")
    return context.activation(ACTIVATIONS[name], context.ref(0))


def leaky(context: Context) -> Ref:
    """The family of leaky rectifiers, and what MXNet put beside them."""
    at = context.attributes
    name, slope = at.text("act_type", "leaky"), at.number("slope", 0.25)
    low, high = at.number("lower_bound", 0.125), at.number("upper_bound", 0.334)
    if name == "prelu":
        weight = context.parameter(1)
        config = {"kind": "PReLU", "in_channels": weight[1].shape[0] if weight[1].shape else 1, "axis": 1}
        return context.block(config, context.ref(0), weight=weight)
    if name in ("leaky", "rrelu"):
        return context.activation("leaky_relu", context.ref(0), (low + high) / 2 if name == "rrelu" else slope)
    if name in ("selu", "gelu"):
        return context.activation(name, context.ref(0))
    if name == "elu":
        return context.activation("elu", context.ref(0), slope)
    raise Refusal(f"act_type = {name!r} is not supported")


def hard_sigmoid(context: Context) -> Ref:
    """A line, clipped to 0 and 1."""
    alpha, beta = context.attributes.number("alpha", 0.2), context.attributes.number("beta", 0.5)
    scaled = context.op("multiply", context.ref(0), context.constant(alpha))
    return context.op("clip", context.op("add", scaled, context.constant(beta)), low=0.0, high=1.0)


def dropout(context: Context) -> Ref:
    """Dropout in training."""
    if context.attributes.text("mode", "training") == "always":
        raise Refusal("dropout that also drops in inference is not supported")
    if context.attributes.sizes("axes", "()"):
        context.note("training drops single elements here, and whole axes in MXNet")
    return context.block({"kind": "Dropout", "rate": context.attributes.number("p", 0.5)}, context.ref(0))


def softmax_output(context: Context) -> Ref:
    """The loss that old models end with: in inference a softmax, and the labels are not needed."""
    at = context.attributes
    if at.flag("multi_output", default=False) or at.text("mode", "instance") == "channel":
        axis = 1
    elif at.flag("preserve_shape", default=False):
        axis = -1
    elif context.rank(0) == 2:
        axis = 1
    else:
        raise Refusal("a softmax over several axes together is not supported")
    at.aside("grad_scale", "ignore_label", "use_ignore", "normalization", "out_grad", "smooth_alpha")
    at.aside("multi_output", "preserve_shape", "mode")
    if len(context) > 1:
        context.note("the loss is left out, and its labels are no input: a softmax in inference")
    return context.block({"kind": "Softmax", "axis": axis}, context.ref(0))


def regression(context: Context) -> Ref:
    """A loss that old models end with."""
    context.attributes.aside("grad_scale")
    context.note("the loss is left out, and its labels are no input")
    x = context.ref(0)
    return context.activation("sigmoid", x) if context.node.op == "LogisticRegressionOutput" else x


def clip(context: Context) -> Ref:
    """Between two numbers."""
    x = context.ref(0)
    found = [context.attributes.real(name) for name in ("a_min", "a_max")]
    bounds: list[float | None] = [bound if math.isfinite(bound) else None for bound in found]
    if is_whole(context.dtype(x)):
        if any(bound is not None and bound % 1 for bound in bounds):
            raise Refusal(f"integers between {found} are not supported")
        bounds = [None if bound is None else int(bound) for bound in bounds]
    return x if bounds == [None, None] else context.op("clip", x, low=bounds[0], high=bounds[1])


def sum_of_all(context: Context) -> Ref:
    """Any number of arrays, added."""
    total = context.ref(0)
    for ref in context.refs()[1:]:
        total = context.op("add", total, ref)
    return total


def cast(context: Context) -> Ref:
    """Another dtype; of what a comparison gave, truths are what they were."""
    dtype, given = context.attributes.text("dtype"), context.raw(0)
    return (
        given.ref if isinstance(given, Truth) and dtype == "bool" else context.op("cast", context.ref(0), dtype=dtype)
    )


def upsampling(context: Context) -> Ref:
    """Larger, by repetition."""
    at = context.attributes
    scale = at.integer("scale")
    at.text("multi_input_mode", "concat")
    at.text("num_filter", "0")
    at.expect("sample_type", "nearest")
    if len(context) != 1:
        raise Refusal("upsampling several arrays at once is not supported")
    config = {"kind": "Upsample", "scale": [scale, scale], "mode": "nearest", "align_corners": False, "size": None}
    return context.block(config | {"layout": "NCHW"}, context.ref(0))


def resize(context: Context) -> Ref:
    """Larger or smaller, linearly."""
    at = context.attributes
    corners = at.flag("align_corners", default=True)
    at.expect("mode", "size")
    size, scale = None, None
    if at.text("scale_height", "None") == at.text("scale_width", "None") == "None":
        size = [at.integer("height", 1), at.integer("width", 1)]
    else:
        factors = [at.number("scale_height"), at.number("scale_width")]
        if any(factor < 1 or factor % 1 for factor in factors):
            raise Refusal(f"scales of {factors} are not supported, only whole numbers")
        scale = [int(factor) for factor in factors]
    config = {"kind": "Upsample", "scale": scale, "mode": "linear", "align_corners": corners, "size": size}
    return context.block(config | {"layout": "NCHW"}, context.ref(0))


def adaptive(context: Context) -> Ref:
    """Averages over windows of any size."""
    found = context.attributes.sizes("output_size", "()") or (1,)
    size = list(found) * (2 // len(found))
    return context.block({"kind": "AdaptiveAvgPool2D", "output_size": size, "layout": "NCHW"}, context.ref(0))


#: act_type of MXNet -> activation of the vocabulary.
ACTIVATIONS: Final = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softrelu": "softplus",
    "softsign": "softsign",
    "log_sigmoid": "log_sigmoid",
    "mish": "mish",
}
