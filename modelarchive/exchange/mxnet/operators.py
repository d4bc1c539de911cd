"""What MXNet's operators without parameters mean: operator -> ops and activations of the vocabulary."""

from __future__ import annotations

from typing import Any, Final

from modelarchive.exchange.budget import spend
from modelarchive.exchange.mxnet.importing import Packed, Ref, Step, Zeros, dtype_name
from modelarchive.exchange.mxnet.layers import Operator
from modelarchive.exchange.refusal import Refusal


def binary(name: str) -> Operator:
    """Two arrays in, one out, as NumPy broadcasts."""

    def convert(step: Step) -> Ref:
        return step.op(name, step.ref(0), step.ref(1))

    return convert


def scalar(name: str, *, reverse: bool = False) -> Operator:
    """An array and a number that is written in the attributes."""

    def convert(step: Step) -> Ref:
        number = step.attributes.number("scalar")
        # Whether the number is a whole one only matters where integers are computed.
        step.attributes.text("is_int", "True")
        pair = (step.constant(number), step.ref(0))
        return step.op(name, *(pair if reverse else pair[::-1]))

    return convert


def unary(name: str) -> Operator:
    """One array in, one out, element by element."""
    return lambda step: step.op(name, step.ref(0))


def function(name: str) -> Operator:
    """One of the activations."""
    return lambda step: step.activation(name, step.ref(0))


def same(step: Step) -> Ref:
    """Operators that matter in training, or only for the order of execution."""
    step.attributes.aside("grad_scale", "valid_thresh", "normalization")
    return step.ref(0)


def activation(step: Step) -> Ref:
    """The activation that `act_type` names."""
    name = step.attributes.text("act_type")
    if name not in ACTIVATIONS:
        raise Refusal(f"act_type = {name!r} has no counterpart")
    return step.activation(ACTIVATIONS[name], step.ref(0))


def leaky(step: Step) -> Ref:
    """The family of leaky rectifiers, and what MXNet put beside them."""
    at = step.attributes
    name, slope = at.text("act_type", "leaky"), at.number("slope", 0.25)
    low, high = at.number("lower_bound", 0.125), at.number("upper_bound", 0.334)
    if name == "prelu":
        weight = step.parameter(1)
        config = {"kind": "PReLU", "in_channels": weight[1].shape[0] if weight[1].shape else 1, "axis": 1}
        return step.block(config, step.ref(0), weight=weight)
    if name in ("leaky", "rrelu"):
        return step.activation("leaky_relu", step.ref(0), (low + high) / 2 if name == "rrelu" else slope)
    if name in ("selu", "gelu"):
        return step.activation(name, step.ref(0))
    if name == "elu":
        return step.activation("elu", step.ref(0), slope)
    raise Refusal(f"act_type = {name!r} has no counterpart")


def hard_sigmoid(step: Step) -> Ref:
    """A line, clipped to 0 and 1."""
    alpha, beta = step.attributes.number("alpha", 0.2), step.attributes.number("beta", 0.5)
    scaled = step.op("multiply", step.ref(0), step.constant(alpha))
    return step.op("clip", step.op("add", scaled, step.constant(beta)), low=0.0, high=1.0)


def dropout(step: Step) -> Ref:
    """Dropout in training."""
    if step.attributes.text("mode", "training") == "always":
        raise Refusal("dropout that also drops in inference has no counterpart")
    if step.attributes.sizes("axes", "()"):
        step.note("training drops single elements here, and whole axes in MXNet")
    return step.block({"kind": "Dropout", "rate": step.attributes.number("p", 0.5)}, step.ref(0))


def softmax(kind: str) -> Operator:
    """Softmax or its logarithm, with a temperature."""

    def convert(step: Step) -> Ref:
        at = step.attributes
        axis, temperature = at.integer("axis", -1), at.text("temperature", "None")
        at.expect("use_length", "False", "0")
        at.expect("dtype", "None")
        x = step.ref(0)
        if temperature not in ("None", "1.0", "1"):
            x = step.op("divide", x, step.constant(at.number("temperature")))
        return step.block({"kind": kind, "axis": axis}, x)

    return convert


def softmax_output(step: Step) -> Ref:
    """The loss that old models end with: in inference a softmax, and the labels are not needed."""
    at = step.attributes
    if at.flag("multi_output", default=False) or at.text("mode", "instance") == "channel":
        axis = 1
    elif at.flag("preserve_shape", default=False):
        axis = -1
    elif step.rank(0) == 2:
        axis = 1
    else:
        raise Refusal("a softmax over several axes together has no counterpart")
    at.aside("grad_scale", "ignore_label", "use_ignore", "normalization", "out_grad", "smooth_alpha")
    at.aside("multi_output", "preserve_shape", "mode")
    if len(step) > 1:
        step.note("the loss is left out, and its labels are no input: a softmax in inference")
    return step.block({"kind": "Softmax", "axis": axis}, step.ref(0))


def regression(step: Step) -> Ref:
    """A loss that old models end with."""
    step.attributes.aside("grad_scale")
    step.note("the loss is left out, and its labels are no input")
    x = step.ref(0)
    return step.activation("sigmoid", x) if step.node.op == "LogisticRegressionOutput" else x


def clip(step: Step) -> Ref:
    """Between two numbers."""
    return step.op("clip", step.ref(0), low=step.attributes.number("a_min"), high=step.attributes.number("a_max"))


def concat(step: Step) -> Any:
    """Along an axis; or the parts of a packed parameter."""
    at = step.attributes
    axis = at.integer("dim", at.integer("axis", 0 if step.node.op.startswith("_np") else 1))
    flat = [step.raw(index) for index in range(len(step))]
    if flat and all(isinstance(each, Packed) for each in flat):
        # What is packed twice has twice as many parts.
        spend("packed parameters", steps=sum(len(each.parts) for each in flat))
        return Packed(tuple(part for each in flat for part in each.parts))
    return step.op("concatenate", *step.refs(), axis=axis)


def sum_of_all(step: Step) -> Ref:
    """Any number of arrays, added."""
    total = step.ref(0)
    for ref in step.refs()[1:]:
        total = step.op("add", total, ref)
    return total


def reduction(name: str) -> Operator:
    """Over axes, or over all of them."""

    def convert(step: Step) -> Ref:
        at = step.attributes
        axis, keepdims = at.axes(), at.flag("keepdims", default=False)
        at.expect("dtype", "None")
        at.expect("initial", "None")
        if at.flag("exclude", default=False):
            rank = step.rank(0)
            axis = [each for each in range(rank) if each not in [(one + rank) % rank for one in axis or range(rank)]]
        result = step.op(name, step.ref(0), axis=axis, keepdims=keepdims)
        # Without NumPy's shapes, what is reduced to nothing has one axis.
        numpy = step.node.op.startswith("_np")
        return result if numpy or axis is not None or keepdims else step.op("reshape", result, shape=[1])

    return convert


def matmul(step: Step) -> Ref:
    """Matrix products."""
    at = step.attributes
    flips = at.flag("transpose_a", default=False), at.flag("transpose_b", default=False)
    at.expect("forward_stype", "None")
    refs = []
    ranks = step.rank(0), step.rank(1)
    # MXNet's dot sums over the last axis of the first and the first axis of the second.
    if step.node.op == "dot" and (ranks[1] != 2 or ranks[0] < 2 or (flips[0] and ranks[0] != 2)):
        raise Refusal(f"a product of {ranks[0]} and {ranks[1]} axes has no counterpart, only one with a matrix")
    for index, (flip, rank) in enumerate(zip(flips, ranks, strict=True)):
        axes = [*range(rank - 2), rank - 1, rank - 2]
        refs.append(step.op("transpose", step.ref(index), axes=axes) if flip else step.ref(index))
    return step.op("matmul", *refs)


def take(step: Step) -> Ref:
    """Rows by their numbers."""
    at = step.attributes
    axis = at.integer("axis", 0)
    if at.text("mode", "clip") != "raise":
        step.note("an index outside of the array is an error; MXNet takes another one")
    return step.op("take", step.ref(0), step.op("cast", step.ref(1), dtype="int64"), axis=axis)


def cast(step: Step) -> Ref:
    """Another dtype."""
    return step.op("cast", step.ref(0), dtype=step.attributes.text("dtype"))


def upsampling(step: Step) -> Ref:
    """Larger, by repetition."""
    at = step.attributes
    scale = at.integer("scale")
    at.text("multi_input_mode", "concat")
    at.text("num_filter", "0")
    at.expect("sample_type", "nearest")
    if len(step) != 1:
        raise Refusal("upsampling several arrays at once has no counterpart")
    config = {"kind": "Upsample", "scale": [scale, scale], "mode": "nearest", "align_corners": False, "size": None}
    return step.block(config | {"layout": "NCHW"}, step.ref(0))


def resize(step: Step) -> Ref:
    """Larger or smaller, linearly."""
    at = step.attributes
    corners = at.flag("align_corners", default=True)
    at.expect("mode", "size")
    size, scale = None, None
    if at.text("scale_height", "None") == at.text("scale_width", "None") == "None":
        size = [at.integer("height", 1), at.integer("width", 1)]
    else:
        factors = [at.number("scale_height"), at.number("scale_width")]
        if any(factor < 1 or factor % 1 for factor in factors):
            raise Refusal(f"scales of {factors} have no counterpart, only whole numbers")
        scale = [int(factor) for factor in factors]
    config = {"kind": "Upsample", "scale": scale, "mode": "linear", "align_corners": corners, "size": size}
    return step.block(config | {"layout": "NCHW"}, step.ref(0))


def adaptive(step: Step) -> Ref:
    """Averages over windows of any size."""
    found = step.attributes.sizes("output_size", "()") or (1,)
    size = list(found) * (2 // len(found))
    return step.block({"kind": "AdaptiveAvgPool2D", "output_size": size, "layout": "NCHW"}, step.ref(0))


def padded(step: Step) -> Ref:
    """Wider at the edges."""
    at = step.attributes
    widths, mode, value = at.sizes("pad_width"), at.text("mode"), at.number("constant_value", 0.0)
    if mode not in ("constant", "edge", "reflect") or len(widths) % 2:
        raise Refusal(f"padding {mode!r} by {widths} has no counterpart")
    pairs = [list(pair) for pair in zip(widths[::2], widths[1::2], strict=True)]
    return step.op("pad", step.ref(0), padding=pairs, mode=mode, value=value)


def comparison(name: str) -> Operator:
    """MXNet's comparisons give 0 and 1 in the dtype of the arrays, NumPy's give truths."""

    def convert(step: Step) -> Ref:
        if len(step) == 2:
            truth = step.op(name, step.ref(0), step.ref(1))
        else:
            truth = step.op(name, step.ref(0), step.constant(step.attributes.number("scalar")))
            step.attributes.text("is_int", "True")
        if step.node.op.startswith("_np"):
            return truth
        value = step.importer.value(step.ref(0))
        return step.op("cast", truth, dtype="float32" if value is None else dtype_name(value.array_dtype))

    return convert


def where(step: Step) -> Ref:
    """One of two arrays, by a condition."""
    if step.rank(0) != step.rank(1):
        raise Refusal("a condition with another number of axes, which chooses rows, has no counterpart")
    return step.op("where", *step.refs())


def zeros(step: Step) -> Any:
    """A state that begins at zero."""
    step.attributes.aside("shape", "dtype", "value", "order")
    return Zeros()


def square(step: Step) -> Ref:
    """The square."""
    x = step.ref(0)
    return step.op("multiply", x, x)


def reciprocal(step: Step) -> Ref:
    """One by it."""
    return step.op("divide", step.constant(1.0), step.ref(0))


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
