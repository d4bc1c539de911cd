"""What MXNet's operators without parameters mean: operator -> ops and activations of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from modelarchive.exchange.mxnet.importing import Packed, Ref, Step, Zeros, dtype_name
from modelarchive.exchange.mxnet.layers import LAYERS, Operator
from modelarchive.exchange.mxnet.reshaping import RESHAPING
from modelarchive.exchange.mxnet.symbol import Refusal


def _binary(name: str) -> Operator:
    def convert(step: Step) -> Ref:
        return step.op(name, step.ref(0), step.ref(1))

    return convert


def _scalar(name: str, *, reverse: bool = False) -> Operator:
    def convert(step: Step) -> Ref:
        number = step.attributes.number("scalar")
        # Whether the number is a whole one only matters where integers are computed.
        step.attributes.text("is_int", "True")
        pair = (step.constant(number), step.ref(0))
        return step.op(name, *(pair if reverse else pair[::-1]))

    return convert


def _unary(name: str) -> Operator:
    return lambda step: step.op(name, step.ref(0))


def _function(name: str) -> Operator:
    return lambda step: step.activation(name, step.ref(0))


def _same(step: Step) -> Ref:
    """Operators that matter in training, or only for the order of execution."""
    step.attributes.used.update(step.attributes.texts)
    return step.ref(0)


def _activation(step: Step) -> Ref:
    name = step.attributes.text("act_type")
    if name not in ACTIVATIONS:
        raise Refusal(f"act_type = {name!r} has no counterpart")
    return step.activation(ACTIVATIONS[name], step.ref(0))


def _leaky(step: Step) -> Ref:
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


def _hard_sigmoid(step: Step) -> Ref:
    alpha, beta = step.attributes.number("alpha", 0.2), step.attributes.number("beta", 0.5)
    scaled = step.op("multiply", step.ref(0), step.constant(alpha))
    return step.op("clip", step.op("add", scaled, step.constant(beta)), low=0.0, high=1.0)


def _dropout(step: Step) -> Ref:
    if step.attributes.text("mode", "training") == "always":
        raise Refusal("dropout that also drops in inference has no counterpart")
    if step.attributes.sizes("axes", "()"):
        step.note("training drops single elements here, and whole axes in MXNet")
    return step.block({"kind": "Dropout", "rate": step.attributes.number("p", 0.5)}, step.ref(0))


def _softmax(kind: str) -> Operator:
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


def _softmax_output(step: Step) -> Ref:
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
    at.used.update(at.texts)
    if len(step) > 1:
        step.note("the loss is left out, and its labels are no input: a softmax in inference")
    return step.block({"kind": "Softmax", "axis": axis}, step.ref(0))


def _regression(step: Step) -> Ref:
    step.attributes.used.update(step.attributes.texts)
    step.note("the loss is left out, and its labels are no input")
    x = step.ref(0)
    return step.activation("sigmoid", x) if step.node.op == "LogisticRegressionOutput" else x


def _clip(step: Step) -> Ref:
    return step.op("clip", step.ref(0), low=step.attributes.number("a_min"), high=step.attributes.number("a_max"))


def _concat(step: Step) -> Any:
    at = step.attributes
    axis = at.integer("dim", at.integer("axis", 0 if step.node.op.startswith("_np") else 1))
    flat = [step.raw(index) for index in range(len(step))]
    if flat and all(isinstance(each, Packed) for each in flat):
        return Packed(tuple(part for each in flat for part in each.parts))
    return step.op("concatenate", *step.refs(), axis=axis)


def _sum_of_all(step: Step) -> Ref:
    total = step.ref(0)
    for ref in step.refs()[1:]:
        total = step.op("add", total, ref)
    return total


def _reduction(name: str) -> Operator:
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


def _matmul(step: Step) -> Ref:
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


def _take(step: Step) -> Ref:
    at = step.attributes
    axis = at.integer("axis", 0)
    if at.text("mode", "clip") != "raise":
        step.note("an index outside of the array is an error; MXNet takes another one")
    return step.op("take", step.ref(0), step.op("cast", step.ref(1), dtype="int64"), axis=axis)


def _cast(step: Step) -> Ref:
    return step.op("cast", step.ref(0), dtype=step.attributes.text("dtype"))


def _upsampling(step: Step) -> Ref:
    at = step.attributes
    scale = at.integer("scale")
    at.text("multi_input_mode", "concat")
    at.text("num_filter", "0")
    at.expect("sample_type", "nearest")
    if len(step) != 1:
        raise Refusal("upsampling several arrays at once has no counterpart")
    config = {"kind": "Upsample", "scale": [scale, scale], "mode": "nearest", "align_corners": False, "size": None}
    return step.block(config | {"layout": "NCHW"}, step.ref(0))


def _resize(step: Step) -> Ref:
    at = step.attributes
    size = [at.integer("height", 1), at.integer("width", 1)]
    corners = at.flag("align_corners", default=True)
    at.expect("mode", "size")
    for each in ("scale_height", "scale_width"):
        at.expect(each, "None")
    config = {"kind": "Upsample", "scale": None, "mode": "linear", "align_corners": corners, "size": size}
    return step.block(config | {"layout": "NCHW"}, step.ref(0))


def _adaptive(step: Step) -> Ref:
    found = step.attributes.sizes("output_size", "()") or (1,)
    size = list(found) * (2 // len(found))
    return step.block({"kind": "AdaptiveAvgPool2D", "output_size": size, "layout": "NCHW"}, step.ref(0))


def _pad(step: Step) -> Ref:
    at = step.attributes
    widths, mode, value = at.sizes("pad_width"), at.text("mode"), at.number("constant_value", 0.0)
    if mode not in ("constant", "edge", "reflect") or len(widths) % 2:
        raise Refusal(f"padding {mode!r} by {widths} has no counterpart")
    pairs = [list(pair) for pair in zip(widths[::2], widths[1::2], strict=True)]
    return step.op("pad", step.ref(0), padding=pairs, mode=mode, value=value)


def _comparison(name: str) -> Operator:
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


def _where(step: Step) -> Ref:
    if step.rank(0) != step.rank(1):
        raise Refusal("a condition with another number of axes, which chooses rows, has no counterpart")
    return step.op("where", *step.refs())


def _zeros(step: Step) -> Any:
    step.attributes.used.update(step.attributes.texts)
    return Zeros()


def _square(step: Step) -> Ref:
    x = step.ref(0)
    return step.op("multiply", x, x)


def _reciprocal(step: Step) -> Ref:
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

_BINARY: Final = {
    "add": ("elemwise_add", "broadcast_add", "broadcast_plus", "_plus", "_Plus", "_add", "_grad_add", "_npi_add"),
    "subtract": ("elemwise_sub", "broadcast_sub", "broadcast_minus", "_minus", "_Minus", "_sub", "_npi_subtract"),
    "multiply": ("elemwise_mul", "broadcast_mul", "_mul", "_Mul", "_npi_multiply"),
    "divide": ("elemwise_div", "broadcast_div", "_div", "_Div", "_npi_true_divide"),
    "power": ("_power", "_Power", "broadcast_power", "_npi_power"),
    "maximum": ("_maximum", "_Maximum", "broadcast_maximum", "_npi_maximum"),
    "minimum": ("_minimum", "_Minimum", "broadcast_minimum", "_npi_minimum"),
    "matmul": ("_np_matmul", "_npi_matmul"),
}
_SCALAR: Final = {
    "add": ("_plus_scalar", "_PlusScalar", "_npi_add_scalar"),
    "subtract": ("_minus_scalar", "_MinusScalar", "_npi_subtract_scalar"),
    "multiply": ("_mul_scalar", "_MulScalar", "_npi_multiply_scalar"),
    "divide": ("_div_scalar", "_DivScalar", "_npi_true_divide_scalar"),
    "power": ("_power_scalar", "_PowerScalar", "_npi_power_scalar"),
    "maximum": ("_maximum_scalar", "_MaximumScalar", "_npi_maximum_scalar"),
    "minimum": ("_minimum_scalar", "_MinimumScalar", "_npi_minimum_scalar"),
}
_REVERSE: Final = {
    "subtract": ("_rminus_scalar", "_RMinusScalar", "_npi_rsubtract_scalar"),
    "divide": ("_rdiv_scalar", "_RDivScalar", "_npi_rtrue_divide_scalar"),
    "power": ("_rpower_scalar", "_RPowerScalar", "_npi_rpower_scalar"),
}
_UNARY: Final = ("exp", "log", "sqrt", "abs", "negative", "sin", "cos")
_OWN: Final = ("rsqrt", "erf")
_COMPARISONS: Final = {"equal": "equal", "greater": "greater", "less": "lesser"}

#: Every operator that is understood -> what makes its counterpart. One row an operator.
OPERATORS: Final[dict[str, Callable[[Step], Any]]] = {
    **LAYERS,
    **RESHAPING,
    **{mxnet: _binary(name) for name, several in _BINARY.items() for mxnet in several},
    **{mxnet: _scalar(name) for name, several in _SCALAR.items() for mxnet in several},
    **{mxnet: _scalar(name, reverse=True) for name, several in _REVERSE.items() for mxnet in several},
    **{mxnet: _unary(name) for name in _UNARY for mxnet in (name, f"_npi_{name}", f"_np_{name}")},
    **{name: _unary(name) for name in _OWN},
    **{f"broadcast_{mxnet}": _comparison(name) for name, mxnet in _COMPARISONS.items()},
    **{f"_{mxnet}{tail}": _comparison(name) for name, mxnet in _COMPARISONS.items() for tail in ("", "_scalar")},
    **{f"_npi_{name}{tail}": _comparison(name) for name in _COMPARISONS for tail in ("", "_scalar")},
    **{name: _function(name) for name in ("relu", "sigmoid", "tanh", "softsign", "log_sigmoid", "mish")},
    "_npx_relu": _function("relu"),
    "_npx_sigmoid": _function("sigmoid"),
    "_npi_tanh": _function("tanh"),
    "Activation": _activation,
    "LeakyReLU": _leaky,
    "hard_sigmoid": _hard_sigmoid,
    "square": _square,
    "_npi_square": _square,
    "reciprocal": _reciprocal,
    "clip": _clip,
    "_npi_clip": _clip,
    "Dropout": _dropout,
    "_copy": _same,
    "identity": _same,
    "_np_copy": _same,
    "BlockGrad": _same,
    "stop_gradient": _same,
    "make_loss": _same,
    "MakeLoss": _same,
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "SoftmaxActivation": _softmax_output,
    "SoftmaxOutput": _softmax_output,
    "Softmax": _softmax_output,
    "LinearRegressionOutput": _regression,
    "MAERegressionOutput": _regression,
    "LogisticRegressionOutput": _regression,
    "Concat": _concat,
    "concat": _concat,
    "_npi_concatenate": _concat,
    "_rnn_param_concat": _concat,
    "add_n": _sum_of_all,
    "ElementWiseSum": _sum_of_all,
    **{name: _reduction(name) for name in ("mean", "sum", "max", "min")},
    **{f"_npi_{name}": _reduction(name) for name in ("mean", "sum", "max", "min")},
    **{f"_np_{name}": _reduction(name) for name in ("sum", "max", "min")},
    "sum_axis": _reduction("sum"),
    "max_axis": _reduction("max"),
    "min_axis": _reduction("min"),
    "dot": _matmul,
    "batch_dot": _matmul,
    "take": _take,
    "Cast": _cast,
    "cast": _cast,
    "where": _where,
    "UpSampling": _upsampling,
    "_contrib_BilinearResize2D": _resize,
    "_contrib_AdaptiveAvgPooling2D": _adaptive,
    "Pad": _pad,
    "pad": _pad,
    "_zeros": _zeros,
    "_npi_zeros": _zeros,
}
#: 2.x and NumPy mode call the same operators by other names.
OPERATORS.update(
    {
        new: OPERATORS[old]
        for new, old in {
            "_npx_convolution": "Convolution",
            "_npx_deconvolution": "Deconvolution",
            "_npx_fully_connected": "FullyConnected",
            "_npx_embedding": "Embedding",
            "_npx_pooling": "Pooling",
            "_npx_batch_norm": "BatchNorm",
            "_npx_layer_norm": "LayerNorm",
            "_npx_instance_norm": "InstanceNorm",
            "_npx_group_norm": "GroupNorm",
            "_npx_rnn": "RNN",
            "_npx_activation": "Activation",
            "_npx_leaky_relu": "LeakyReLU",
            "_npx_dropout": "Dropout",
            "_npx_softmax": "softmax",
            "_npx_log_softmax": "log_softmax",
            "_npx_cast": "Cast",
            "_npx_batch_dot": "batch_dot",
            "_npi_rnn_param_concat": "_rnn_param_concat",
        }.items()
    }
)
