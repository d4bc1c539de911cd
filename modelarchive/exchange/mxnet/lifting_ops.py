"""How MXNet's operators without parameters are lifted: to ops and activations of the vocabulary."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Packed, Truth, Zeros
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import dtype_name


def binary(name: str) -> Lift:
    """Two arrays in, one out, as NumPy broadcasts."""

    def lift(context: Context) -> Ref:
        return context.op(name, context.ref(0), context.ref(1))

    return lift


def scalar(name: str, *, reverse: bool = False) -> Lift:
    """An array and a number that is written in the attributes."""

    def lift(context: Context) -> Ref:
        number = context.attributes.number("scalar")
        # Whether the number is a whole one only matters where integers are computed.
        context.attributes.text("is_int", "True")
        pair = (context.constant(number), context.ref(0))
        return context.op(name, *(pair if reverse else pair[::-1]))

    return lift


def unary(name: str) -> Lift:
    """One array in, one out, element by element."""
    return lambda context: context.op(name, context.ref(0))


def function(name: str) -> Lift:
    """One of the activations."""
    return lambda context: context.activation(name, context.ref(0))


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


def softmax(kind: str) -> Lift:
    """Softmax or its logarithm, with a temperature."""

    def lift(context: Context) -> Ref:
        at = context.attributes
        axis, temperature = at.integer("axis", -1), at.text("temperature", "None")
        at.expect("use_length", "False", "0")
        at.expect("dtype", "None")
        x = context.ref(0)
        if temperature not in ("None", "1.0", "1"):
            x = context.op("divide", x, context.constant(at.number("temperature")))
        return context.block({"kind": kind, "axis": axis}, x)

    return lift


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
    return context.op(
        "clip", context.ref(0), low=context.attributes.number("a_min"), high=context.attributes.number("a_max")
    )


def concat(context: Context) -> Any:
    """Along an axis; or the parts of a packed parameter."""
    at = context.attributes
    axis = at.integer("dim", at.integer("axis", 0 if context.node.op.startswith("_np") else 1))
    flat = [context.raw(index) for index in range(len(context))]
    if flat and all(isinstance(each, Packed) for each in flat):
        # What is packed twice has twice as many parts.
        spend("packed parameters", steps=sum(len(each.parts) for each in flat))
        return Packed(tuple(part for each in flat for part in each.parts))
    return context.op("concatenate", *context.refs(), axis=axis)


def sum_of_all(context: Context) -> Ref:
    """Any number of arrays, added."""
    total = context.ref(0)
    for ref in context.refs()[1:]:
        total = context.op("add", total, ref)
    return total


def reduction(name: str) -> Lift:
    """Over axes, or over all of them."""

    def lift(context: Context) -> Ref:
        at = context.attributes
        axis, keepdims = at.axes(), at.flag("keepdims", default=False)
        at.expect("dtype", "None")
        at.expect("initial", "None")
        if at.flag("exclude", default=False):
            rank = context.rank(0)
            axis = [each for each in range(rank) if each not in [(one + rank) % rank for one in axis or range(rank)]]
        result = context.op(name, context.ref(0), axis=axis, keepdims=keepdims)
        # Without NumPy's shapes, what is reduced to nothing has one axis.
        numpy = context.node.op.startswith("_np")
        return result if numpy or axis is not None or keepdims else context.op("reshape", result, shape=[1])

    return lift


def matmul(context: Context) -> Ref:
    """Matrix products."""
    at = context.attributes
    flips = at.flag("transpose_a", default=False), at.flag("transpose_b", default=False)
    at.expect("forward_stype", "None")
    refs = []
    if context.node.op == "_linalg_gemm2" and not any(flips):
        return context.op("matmul", context.ref(0), context.ref(1))
    ranks = context.rank(0), context.rank(1)
    # MXNet's dot sums over the last axis of the first and the first axis of the second.
    if context.node.op == "dot" and (ranks[1] != 2 or ranks[0] < 2 or (flips[0] and ranks[0] != 2)):
        raise Refusal(f"a product of {ranks[0]} and {ranks[1]} axes is not supported, only one with a matrix")
    for index, (flip, rank) in enumerate(zip(flips, ranks, strict=True)):
        axes = [*range(rank - 2), rank - 1, rank - 2]
        refs.append(context.op("transpose", context.ref(index), axes=axes) if flip else context.ref(index))
    return context.op("matmul", *refs)


def gemm2(context: Context) -> Ref:
    """A product of as many matrices as the first axes hold."""
    context.attributes.expect("axis", "-2")
    factor = context.attributes.number("alpha", 1.0)
    return matmul(context) if factor == 1 else context.op("multiply", matmul(context), context.constant(factor))


def take(context: Context) -> Ref:
    """Rows by their numbers."""
    at = context.attributes
    axis = at.integer("axis", 0)
    if at.text("mode", "clip") != "raise":
        context.note("an index outside of the array is an error; MXNet takes another one")
    return context.op("take", context.ref(0), context.whole(1), axis=axis)


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


def padded(context: Context) -> Ref:
    """Wider at the edges."""
    at = context.attributes
    widths, mode, value = at.sizes("pad_width"), at.text("mode"), at.number("constant_value", 0.0)
    if mode not in ("constant", "edge", "reflect") or len(widths) % 2:
        raise Refusal(f"padding {mode!r} by {widths} is not supported")
    pairs = [list(pair) for pair in zip(widths[::2], widths[1::2], strict=True)]
    return context.op("pad", context.ref(0), padding=pairs, mode=mode, value=value)


def comparison(name: str) -> Lift:
    """MXNet's comparisons give 0 and 1 in the dtype of the arrays, NumPy's give truths."""

    def lift(context: Context) -> Ref | Truth:
        truth = context.op(name, *_compared(context))
        return truth if context.node.op.startswith("_np") else Truth(truth, context.node.name, _dtype(context))

    return lift


def or_equal(name: str) -> Lift:
    """A comparison that holds for equals, too: either of two."""

    def lift(context: Context) -> Ref:
        pair = _compared(context)
        return context.op("maximum", *(_number(context, context.op(each, *pair)) for each in (name, "equal")))

    return lift


def unequal(context: Context) -> Ref:
    """What is not equal."""
    equal = _number(context, context.op("equal", *_compared(context)))
    return context.op("subtract", context.constant(1.0), equal)


def _compared(context: Context) -> tuple[Ref, Ref]:
    if len(context) == 2:
        return context.ref(0), context.ref(1)
    context.attributes.text("is_int", "True")
    return context.ref(0), context.constant(context.attributes.number("scalar"))


def _number(context: Context, truth: Ref) -> Ref:
    return context.op("cast", truth, dtype=_dtype(context))


def _dtype(context: Context) -> str:
    value = context.builder.value(context.ref(0))
    return dtype_name(value.array_dtype) if isinstance(value, Abstract) else "float32"


def where(context: Context) -> Ref:
    """One of two arrays, by a condition."""
    if context.rank(0) != context.rank(1):
        raise Refusal("a condition with another number of axes, which chooses rows, is not supported")
    return context.op("where", *context.refs())


def zeros(context: Context) -> Any:
    """A state that begins at zero."""
    context.attributes.aside("shape", "dtype", "value", "order")
    return Zeros()


def square(context: Context) -> Ref:
    """The square."""
    x = context.ref(0)
    return context.op("multiply", x, x)


def reciprocal(context: Context) -> Ref:
    """One by it."""
    return context.op("divide", context.constant(1.0), context.ref(0))


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
