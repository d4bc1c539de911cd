"""How MXNet's operators without parameters are lifted: to ops and activations of the vocabulary."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.mxnet.drawing import Truth
from modelarchive.exchange.mxnet.lifting_context import Context, Lift
from modelarchive.exchange.mxnet.lifting_dtypes import floating, is_whole, number, of_floats, promoted
from modelarchive.exchange.mxnet.lifting_truths import TRUTH, either, negation, reported
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting


def _binary(name: str) -> Lift:
    """Two arrays in, one out, as NumPy broadcasts."""

    def lift(context: Context) -> Ref:
        refs = [context.ref(0), context.ref(1)]
        if context.is_numpy:
            refs = promoted(context, refs)
        elif name == "power":
            refs = [floating(context, ref) for ref in refs]
        return context.op(name, *refs)

    return lift


def _scalar(name: str, *, reverse: bool = False) -> Lift:
    """An array and a number that is written in the attributes."""

    def lift(context: Context) -> Ref:
        x, value = context.ref(0), context.attributes.real("scalar")
        # Whether the number is a whole one only matters where integers are computed.
        whole = context.attributes.flag("is_int", default=value % 1 == 0)
        if name == "power" and (not context.is_numpy or context.dtype(x).kind == "b"):
            x = of_floats(context, x)
        pair = (number(context, value, x, whole=whole), x)
        return context.op(name, *(pair if reverse else pair[::-1]))

    return lift


def _unary(name: str) -> Lift:
    """One array in, one out, element by element."""
    return lambda context: context.op(name, context.ref(0))


def _real(name: str) -> Lift:
    """The same, and floats out."""
    return lambda context: context.op(name, floating(context, context.ref(0)))


def _function(name: str) -> Lift:
    """One of the activations."""

    def lift(context: Context) -> Ref:
        x = context.ref(0)
        if name != "relu":
            x = floating(context, x) if name == "tanh" else of_floats(context, x)
        return context.activation(name, x)

    return lift


def _square(context: Context) -> Ref:
    """The square."""
    x = context.ref(0)
    return context.op("multiply", x, x)


def _reciprocal(context: Context) -> Ref:
    """One by it."""
    return context.op("divide", context.constant(1.0), of_floats(context, context.ref(0)))


def _comparison(*names: str, other: bool = False) -> Lift:
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
    if context.dtype(x).kind == "b":
        return context.cast(x, np.int8), context.constant(int(value != 0), np.int8)
    return x, number(context, value, x, whole=True)


def _same(context: Context) -> Ref:
    """Operators that matter in training, or only for the order of execution."""
    context.attributes.aside("grad_scale", "valid_thresh", "normalization")
    return context.ref(0)


def _activation(context: Context) -> Ref:
    """The activation that `act_type` names."""
    name = context.attributes.text("act_type")
    if name not in ACTIVATIONS:
        raise Refusal(f"act_type = {name!r} is not supported")
    return context.activation(ACTIVATIONS[name], context.ref(0))


def _leaky(context: Context) -> Ref:
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


def _hard_sigmoid(context: Context) -> Ref:
    """A line, clipped to 0 and 1."""
    alpha, beta = context.attributes.number("alpha", 0.2), context.attributes.number("beta", 0.5)
    scaled = context.op("multiply", context.ref(0), context.constant(alpha))
    return context.op("clip", context.op("add", scaled, context.constant(beta)), low=0.0, high=1.0)


def _dropout(context: Context) -> Ref:
    """Dropout in training."""
    if context.attributes.text("mode", "training") == "always":
        raise Refusal("dropout that also drops in inference is not supported")
    if context.attributes.sizes("axes", "()"):
        context.note("training drops single elements here, and whole axes in MXNet")
    return context.block({"kind": "Dropout", "rate": context.attributes.number("p", 0.5)}, context.ref(0))


def _softmax_output(context: Context) -> Ref:
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


def _regression(context: Context) -> Ref:
    """A loss that old models end with."""
    context.attributes.aside("grad_scale")
    context.note("the loss is left out, and its labels are no input")
    x = context.ref(0)
    return context.activation("sigmoid", x) if context.node.op == "LogisticRegressionOutput" else x


def _clip(context: Context) -> Ref:
    """Between two numbers."""
    x = context.ref(0)
    found = [context.attributes.real(name) for name in ("a_min", "a_max")]
    bounds: list[float | None] = [bound if math.isfinite(bound) else None for bound in found]
    if is_whole(context.dtype(x)):
        if any(bound is not None and bound % 1 for bound in bounds):
            raise Refusal(f"integers between {found} are not supported")
        bounds = [None if bound is None else int(bound) for bound in bounds]
    return x if bounds == [None, None] else context.op("clip", x, low=bounds[0], high=bounds[1])


def _sum_of_all(context: Context) -> Ref:
    """Any number of arrays, added."""
    total = context.ref(0)
    for ref in context.refs()[1:]:
        total = context.op("add", total, ref)
    return total


def _cast(context: Context) -> Ref:
    """Another dtype; of what a comparison gave, truths are what they were."""
    dtype, given = context.attributes.text("dtype"), context.raw(0)
    return (
        given.ref if isinstance(given, Truth) and dtype == "bool" else context.op("cast", context.ref(0), dtype=dtype)
    )


def _upsampling(context: Context) -> Ref:
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


def _resize(context: Context) -> Ref:
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


def _adaptive(context: Context) -> Ref:
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


_LOSS: Final = "the loss is left out, and its labels are no input, with a note"

#: Functions of each element, of one array or of two.
ROWS: Final = (
    Lifting("_contrib_AdaptiveAvgPooling2D", "AdaptiveAvgPool2D", _adaptive),
    Lifting("Activation _npx_activation", "Activation", _activation),
    Lifting(
        "LeakyReLU _npx_leaky_relu",
        "Activation, PReLU",
        _leaky,
        "rrelu has the middle of its bounds for its slope, as in inference",
    ),
    *(
        Lifting(names, "Activation", _function(name))
        for name, names in {
            "relu": "relu _npx_relu",
            "sigmoid": "sigmoid _npx_sigmoid",
            "tanh": "tanh _npi_tanh",
            "softsign": "softsign _npx_softsign",
            "log_sigmoid": "log_sigmoid",
            "mish": "mish",
        }.items()
    ),
    Lifting("hard_sigmoid", "multiply, add, clip", _hard_sigmoid),
    Lifting("SoftmaxActivation SoftmaxOutput Softmax", "Softmax", _softmax_output, _LOSS),
    Lifting(
        "LinearRegressionOutput MAERegressionOutput LogisticRegressionOutput",
        "Activation",
        _regression,
        _LOSS,
    ),
    Lifting(
        "Dropout _npx_dropout",
        "Dropout",
        _dropout,
        "dropout of whole axes drops elements here, with a note; dropout in inference is refused",
    ),
    Lifting(
        "_copy identity _np_copy _npi_copy BlockGrad stop_gradient _npx_stop_gradient make_loss MakeLoss",
        "Identity",
        _same,
        "left out: it matters in training only",
    ),
    Lifting("UpSampling", "Upsample", _upsampling, "bilinear upsampling with weights is refused"),
    Lifting("_contrib_BilinearResize2D", "Upsample", _resize),
    *(
        Lifting(names, name, _binary(name))
        for name, names in {
            "add": "elemwise_add broadcast_add broadcast_plus _plus _Plus _add _grad_add _npi_add",
            "subtract": "elemwise_sub broadcast_sub broadcast_minus _minus _Minus _sub _npi_subtract",
            "multiply": "elemwise_mul broadcast_mul _mul _Mul _npi_multiply",
            "power": "_power _Power broadcast_power _npi_power",
            "maximum": "_maximum _Maximum broadcast_maximum _npi_maximum _npi_fmax",
            "minimum": "_minimum _Minimum broadcast_minimum _npi_minimum _npi_fmin",
            "matmul": "_np_matmul _npi_matmul",
        }.items()
    ),
    *(
        Lifting(names, name, _scalar(name))
        for name, names in {
            "add": "_plus_scalar _PlusScalar _npi_add_scalar",
            "subtract": "_minus_scalar _MinusScalar _npi_subtract_scalar",
            "multiply": "_mul_scalar _MulScalar _npi_multiply_scalar",
            "power": "_power_scalar _PowerScalar _npi_power_scalar",
            "maximum": "_maximum_scalar _MaximumScalar _npi_maximum_scalar _npi_fmax_scalar",
            "minimum": "_minimum_scalar _MinimumScalar _npi_minimum_scalar _npi_fmin_scalar",
        }.items()
    ),
    *(
        Lifting(names, name, _scalar(name, reverse=True))
        for name, names in {
            "subtract": "_rminus_scalar _RMinusScalar _npi_rsubtract_scalar",
            "power": "_rpower_scalar _RPowerScalar _npi_rpower_scalar",
        }.items()
    ),
    *(Lifting(f"{name} _npi_{name} _np_{name}", name, _real(name)) for name in ("exp", "log", "sqrt", "sin", "cos")),
    Lifting("abs _npi_abs _npi_absolute _np_abs", "abs", _unary("abs")),
    Lifting("negative _npi_negative _np_negative", "negative", _unary("negative")),
    Lifting("arctan _npi_arctan _np_arctan", "atan", _real("atan")),
    Lifting("rsqrt", "rsqrt", _real("rsqrt")),
    Lifting("erf _npx_erf", "erf", _real("erf")),
    Lifting("square _npi_square", "multiply", _square),
    Lifting("reciprocal _npi_reciprocal", "divide", _reciprocal),
    *(
        Lifting(
            f"broadcast_{theirs} _{theirs} _{theirs}_scalar _npi_{numpy} _npi_{numpy}_scalar",
            f"{', '.join(dict.fromkeys([*ours, 'equal']))}, cast",
            _comparison(*ours, other=theirs == "not_equal"),
            TRUTH,
        )
        for ours, theirs, numpy in (
            (("equal",), "equal", "equal"),
            (("greater",), "greater", "greater"),
            (("less",), "lesser", "less"),
            (("greater", "equal"), "greater_equal", "greater_equal"),
            (("less", "equal"), "lesser_equal", "less_equal"),
            (("equal",), "not_equal", "not_equal"),
        )
    ),
    Lifting("add_n ElementWiseSum _npx_add_n", "add", _sum_of_all),
    Lifting("shape_array _npx_shape_array", "shape_of", _unary("shape_of")),
    Lifting("Cast cast _npi_cast _npx_cast amp_cast _npi_amp_cast", "cast", _cast),
    Lifting("clip _npi_clip", "clip", _clip),
)
