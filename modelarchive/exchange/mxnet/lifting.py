"""The table of MXNet's operators: what reads each, what it becomes, and what is lost; a new one is a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from modelarchive.exchange.mxnet import lifting_layers as layers
from modelarchive.exchange.mxnet import lifting_ops as ops
from modelarchive.exchange.mxnet import lifting_shapes as shapes
from modelarchive.exchange.mxnet.lifting_layers import Operator
from modelarchive.exchange.mxnet.lowering import LOWERINGS
from modelarchive.exchange.rows import Support


@dataclass(frozen=True)
class Row:
    """Operators of MXNet that are read alike.

    Attributes:
        names: Their names, of 1.x, of NumPy mode and of 2.x, separated by spaces.
        read: What makes the counterpart.
        ours: The kinds and ops that it may become, separated by commas.
        losses: What is changed, lost or refused.
    """

    names: str
    read: Operator
    ours: str
    losses: str = ""


def _rank(kind: str) -> str:
    return ", ".join(kind.format(rank) for rank in (1, 2, 3))


_CONVOLUTION = _rank("Conv{}D")
_TRANSPOSED = _rank("Conv{}DTranspose")
_POOLING = ", ".join(_rank(f"{how}Pool{{}}D") for how in ("Max", "Avg", "GlobalMax", "GlobalAvg"))
_RANGE = "an index out of range is an error here, and the nearest row in MXNet: with a note"
_LOSS = "the loss is left out, and its labels are no input, with a note"
_NO_AXES = "without NumPy's shapes, what is reduced to nothing has one axis of size 1, also here"
_TRUTH = "gives 0 and 1 in the dtype of the arrays: with a cast"

ROWS: Final = (
    Row("FullyConnected _npx_fully_connected", layers.dense, "Dense"),
    Row("Embedding _npx_embedding", layers.embedding, "Embedding", _RANGE),
    Row("Convolution Convolution_v1 _npx_convolution", layers.convolution, _CONVOLUTION),
    Row("Deconvolution _npx_deconvolution", layers.deconvolution, _TRANSPOSED),
    Row(
        "Pooling Pooling_v1 _npx_pooling",
        layers.pooling,
        _POOLING,
        "`full` as ceil_mode, with a note where MXNet would count a window behind the input; lp pooling is refused",
    ),
    Row("_contrib_AdaptiveAvgPooling2D", ops.adaptive, "AdaptiveAvgPool2D"),
    Row(
        "BatchNorm BatchNorm_v1 CuDNNBatchNorm _contrib_SyncBatchNorm _npx_batch_norm",
        layers.batch_norm,
        "BatchNorm",
        "with fix_gamma read without weight, with a note: MXNet takes it as 1",
    ),
    Row("LayerNorm _npx_layer_norm", layers.layer_norm, "LayerNorm"),
    Row("InstanceNorm _npx_instance_norm", layers.instance_norm, "InstanceNorm"),
    Row(
        "GroupNorm _npx_group_norm",
        layers.group_norm,
        "GroupNorm",
        "the scale of a group, as in 1.9, is repeated for its channels, with a note; written times theirs",
    ),
    Row("RNN _npx_rnn", layers.recurrent, "RNN, LSTM, GRU", "packed parameters are cut into their parts, with a note"),
    Row("Activation _npx_activation", ops.activation, "Activation"),
    Row(
        "LeakyReLU _npx_leaky_relu",
        ops.leaky,
        "Activation, PReLU",
        "rrelu has the middle of its bounds for its slope, as in inference",
    ),
    *(
        Row(names, ops.function(name), "Activation")
        for name, names in {
            "relu": "relu _npx_relu",
            "sigmoid": "sigmoid _npx_sigmoid",
            "tanh": "tanh _npi_tanh",
            "softsign": "softsign",
            "log_sigmoid": "log_sigmoid",
            "mish": "mish",
        }.items()
    ),
    Row("hard_sigmoid", ops.hard_sigmoid, "multiply, add, clip"),
    Row("softmax _npx_softmax", ops.softmax("Softmax"), "Softmax", "use_length is refused"),
    Row("log_softmax _npx_log_softmax", ops.softmax("LogSoftmax"), "LogSoftmax"),
    Row("SoftmaxActivation SoftmaxOutput Softmax", ops.softmax_output, "Softmax", _LOSS),
    Row(
        "LinearRegressionOutput MAERegressionOutput LogisticRegressionOutput",
        ops.regression,
        "Activation",
        _LOSS,
    ),
    Row(
        "Dropout _npx_dropout",
        ops.dropout,
        "Dropout",
        "dropout of whole axes drops elements here, with a note; dropout in inference is refused",
    ),
    Row(
        "_copy identity _np_copy BlockGrad stop_gradient make_loss MakeLoss",
        ops.same,
        "Identity",
        "left out: it matters in training only",
    ),
    Row("Flatten flatten _npx_batch_flatten", shapes.flatten, "Flatten"),
    Row("Reshape reshape _np_reshape _npi_reshape _npx_reshape", shapes.reshape, "reshape"),
    Row("transpose _np_transpose _npi_transpose", shapes.transpose, "transpose"),
    Row("SwapAxis swapaxes _npi_swapaxes", shapes.swap, "transpose"),
    Row("squeeze _np_squeeze _npi_squeeze", shapes.squeeze, "squeeze"),
    Row("expand_dims _npi_expand_dims", shapes.expand_dims, "expand_dims"),
    Row("slice crop", shapes.slice_, "slice"),
    Row("slice_axis", shapes.slice_axis, "slice"),
    Row("SliceChannel split", shapes.split, "split, squeeze"),
    Row("stack _npi_stack", shapes.stack, "stack"),
    Row(
        "Concat concat _npi_concatenate _rnn_param_concat _npi_rnn_param_concat",
        ops.concat,
        "concatenate",
    ),
    Row("Pad pad", ops.padded, "pad"),
    Row("UpSampling", ops.upsampling, "Upsample", "bilinear upsampling with weights is refused"),
    Row("_contrib_BilinearResize2D", ops.resize, "Upsample"),
    *(
        Row(names, ops.binary(name), name)
        for name, names in {
            "add": "elemwise_add broadcast_add broadcast_plus _plus _Plus _add _grad_add _npi_add",
            "subtract": "elemwise_sub broadcast_sub broadcast_minus _minus _Minus _sub _npi_subtract",
            "multiply": "elemwise_mul broadcast_mul _mul _Mul _npi_multiply",
            "divide": "elemwise_div broadcast_div _div _Div _npi_true_divide",
            "power": "_power _Power broadcast_power _npi_power",
            "maximum": "_maximum _Maximum broadcast_maximum _npi_maximum",
            "minimum": "_minimum _Minimum broadcast_minimum _npi_minimum",
            "matmul": "_np_matmul _npi_matmul",
        }.items()
    ),
    *(
        Row(names, ops.scalar(name), name)
        for name, names in {
            "add": "_plus_scalar _PlusScalar _npi_add_scalar",
            "subtract": "_minus_scalar _MinusScalar _npi_subtract_scalar",
            "multiply": "_mul_scalar _MulScalar _npi_multiply_scalar",
            "divide": "_div_scalar _DivScalar _npi_true_divide_scalar",
            "power": "_power_scalar _PowerScalar _npi_power_scalar",
            "maximum": "_maximum_scalar _MaximumScalar _npi_maximum_scalar",
            "minimum": "_minimum_scalar _MinimumScalar _npi_minimum_scalar",
        }.items()
    ),
    *(
        Row(names, ops.scalar(name, reverse=True), name)
        for name, names in {
            "subtract": "_rminus_scalar _RMinusScalar _npi_rsubtract_scalar",
            "divide": "_rdiv_scalar _RDivScalar _npi_rtrue_divide_scalar",
            "power": "_rpower_scalar _RPowerScalar _npi_rpower_scalar",
        }.items()
    ),
    *(
        Row(f"{name} _npi_{name} _np_{name}", ops.unary(name), name)
        for name in ("exp", "log", "sqrt", "abs", "negative", "sin", "cos")
    ),
    Row("rsqrt", ops.unary("rsqrt"), "rsqrt"),
    Row("erf", ops.unary("erf"), "erf"),
    Row("square _npi_square", ops.square, "multiply"),
    Row("reciprocal", ops.reciprocal, "divide"),
    *(
        Row(
            f"broadcast_{theirs} _{theirs} _{theirs}_scalar _npi_{ours} _npi_{ours}_scalar",
            ops.comparison(ours),
            f"{ours}, cast",
            _TRUTH,
        )
        for ours, theirs in {"equal": "equal", "greater": "greater", "less": "lesser"}.items()
    ),
    *(
        Row(
            f"broadcast_{theirs} _{theirs} _{theirs}_scalar _npi_{numpy} _npi_{numpy}_scalar",
            ops.or_equal(ours),
            f"{ours}, equal, cast, maximum",
            _TRUTH,
        )
        for ours, theirs, numpy in (
            ("greater", "greater_equal", "greater_equal"),
            ("less", "lesser_equal", "less_equal"),
        )
    ),
    Row(
        "broadcast_not_equal _not_equal _not_equal_scalar _npi_not_equal _npi_not_equal_scalar",
        ops.unequal,
        "equal, cast, subtract",
        _TRUTH,
    ),
    *(
        Row(names, ops.reduction(name), name, _NO_AXES)
        for name, names in {
            "mean": "mean _npi_mean",
            "sum": "sum sum_axis _npi_sum _np_sum",
            "max": "max max_axis _npi_max _np_max",
            "min": "min min_axis _npi_min _np_min",
        }.items()
    ),
    Row("add_n ElementWiseSum", ops.sum_of_all, "add"),
    Row(
        "dot batch_dot _npx_batch_dot linalg_gemm2 _linalg_gemm2",
        ops.matmul,
        "matmul, transpose",
        "dot with a matrix only",
    ),
    Row("_contrib_arange_like _npx_arange_like", shapes.arange_like, "broadcast_to, cumsum", "along one axis only"),
    Row("broadcast_like", shapes.broadcast_like, "broadcast_to"),
    Row("broadcast_to", shapes.broadcast_to, "broadcast_to"),
    Row("cumsum _np_cumsum", shapes.cumsum, "cumsum"),
    Row("slice_like", shapes.slice_like, "slice, take"),
    Row("repeat", shapes.repeat, "stack, reshape", "along one axis only"),
    Row("take", ops.take, "take", _RANGE),
    Row("Cast cast _npx_cast", ops.cast, "cast"),
    Row("clip _npi_clip", ops.clip, "clip"),
    Row("where", ops.where, "where", "a condition that chooses rows is refused"),
    Row("_zeros _npi_zeros", ops.zeros, "", "only as the states that a recurrence begins with"),
)
#: Every operator that is understood -> what makes its counterpart.
OPERATORS: Final[dict[str, Operator]] = {name: row.read for row in ROWS for name in row.names.split()}


def support() -> list[Support]:
    """The table for people: rows in its order, then what is written with other operators than it is read from."""
    return list(_support())


def _support() -> Iterator[Support]:
    said = set(LOWERINGS)
    for row in ROWS:
        ours = {name for name in row.ours.split(", ") if name}
        said -= ours
        written = bool(ours) and ours <= set(LOWERINGS)
        yield Support(row.names.replace(" ", ", "), row.ours, read=True, written=written, losses=row.losses)
    for name in sorted(said):
        yield Support("", name, read=False, written=True, losses="with the operators above")
