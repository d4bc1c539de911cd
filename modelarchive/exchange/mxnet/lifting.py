"""The table of MXNet's operators: what each is lifted to, how, and what is lost; a new one is a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelarchive.exchange.mxnet import lifting_layers as layers
from modelarchive.exchange.mxnet import lifting_ops as ops
from modelarchive.exchange.mxnet import lifting_shapes as shapes
from modelarchive.exchange.rows import Lifting


def _rank(kind: str) -> str:
    return ", ".join(kind.format(rank) for rank in (1, 2, 3))


_CONVOLUTION = _rank("Conv{}D")
_TRANSPOSED = _rank("Conv{}DTranspose")
_POOLING = ", ".join(_rank(f"{how}Pool{{}}D") for how in ("Max", "Avg", "GlobalMax", "GlobalAvg"))
_RANGE = "an index out of range is an error here, and the nearest row in MXNet: with a note"
_LOSS = "the loss is left out, and its labels are no input, with a note"
_NO_AXES = "without NumPy's shapes, what is reduced to nothing has one axis of size 1, also here"
_TRUTH = "gives 0 and 1 in the dtype of the arrays: with a cast"

_ROWS: Final = (
    Lifting("FullyConnected _npx_fully_connected", "Dense", layers.dense),
    Lifting("Embedding _npx_embedding", "Embedding", layers.embedding, _RANGE),
    Lifting("Convolution Convolution_v1 _npx_convolution", _CONVOLUTION, layers.convolution),
    Lifting("Deconvolution _npx_deconvolution", _TRANSPOSED, layers.deconvolution),
    Lifting(
        "Pooling Pooling_v1 _npx_pooling",
        _POOLING,
        layers.pooling,
        "`full` as ceil_mode, with a note where MXNet would count a window behind the input; lp pooling is refused",
    ),
    Lifting("_contrib_AdaptiveAvgPooling2D", "AdaptiveAvgPool2D", ops.adaptive),
    Lifting(
        "BatchNorm BatchNorm_v1 CuDNNBatchNorm _contrib_SyncBatchNorm _npx_batch_norm",
        "BatchNorm",
        layers.batch_norm,
        "with fix_gamma read without weight, with a note: MXNet takes it as 1",
    ),
    Lifting("LayerNorm _npx_layer_norm", "LayerNorm", layers.layer_norm),
    Lifting("InstanceNorm _npx_instance_norm", "InstanceNorm", layers.instance_norm),
    Lifting(
        "GroupNorm _npx_group_norm",
        "GroupNorm",
        layers.group_norm,
        "the scale of a group, as in 1.9, is repeated for its channels, with a note; written times theirs",
    ),
    Lifting(
        "RNN _npx_rnn", "RNN, LSTM, GRU", layers.recurrent, "packed parameters are cut into their parts, with a note"
    ),
    Lifting("Activation _npx_activation", "Activation", ops.activation),
    Lifting(
        "LeakyReLU _npx_leaky_relu",
        "Activation, PReLU",
        ops.leaky,
        "rrelu has the middle of its bounds for its slope, as in inference",
    ),
    *(
        Lifting(names, "Activation", ops.function(name))
        for name, names in {
            "relu": "relu _npx_relu",
            "sigmoid": "sigmoid _npx_sigmoid",
            "tanh": "tanh _npi_tanh",
            "softsign": "softsign",
            "log_sigmoid": "log_sigmoid",
            "mish": "mish",
        }.items()
    ),
    Lifting("hard_sigmoid", "multiply, add, clip", ops.hard_sigmoid),
    Lifting("softmax _npx_softmax", "Softmax", ops.softmax("Softmax"), "use_length is refused"),
    Lifting("log_softmax _npx_log_softmax", "LogSoftmax", ops.softmax("LogSoftmax")),
    Lifting("SoftmaxActivation SoftmaxOutput Softmax", "Softmax", ops.softmax_output, _LOSS),
    Lifting(
        "LinearRegressionOutput MAERegressionOutput LogisticRegressionOutput",
        "Activation",
        ops.regression,
        _LOSS,
    ),
    Lifting(
        "Dropout _npx_dropout",
        "Dropout",
        ops.dropout,
        "dropout of whole axes drops elements here, with a note; dropout in inference is refused",
    ),
    Lifting(
        "_copy identity _np_copy BlockGrad stop_gradient make_loss MakeLoss",
        "Identity",
        ops.same,
        "left out: it matters in training only",
    ),
    Lifting("Flatten flatten _npx_batch_flatten", "Flatten", shapes.flatten),
    Lifting("Reshape reshape _np_reshape _npi_reshape _npx_reshape", "reshape", shapes.reshape),
    Lifting("transpose _np_transpose _npi_transpose", "transpose", shapes.transpose),
    Lifting("SwapAxis swapaxes _npi_swapaxes", "transpose", shapes.swap),
    Lifting("squeeze _np_squeeze _npi_squeeze", "squeeze", shapes.squeeze),
    Lifting("expand_dims _npi_expand_dims", "expand_dims", shapes.expand_dims),
    Lifting("slice crop", "slice", shapes.slice_),
    Lifting("slice_axis", "slice", shapes.slice_axis),
    Lifting("SliceChannel split", "split, squeeze", shapes.split),
    Lifting("stack _npi_stack", "stack", shapes.stack),
    Lifting(
        "Concat concat _npi_concatenate _rnn_param_concat _npi_rnn_param_concat",
        "concatenate",
        ops.concat,
    ),
    Lifting("Pad pad", "pad", ops.padded),
    Lifting("UpSampling", "Upsample", ops.upsampling, "bilinear upsampling with weights is refused"),
    Lifting("_contrib_BilinearResize2D", "Upsample", ops.resize),
    *(
        Lifting(names, name, ops.binary(name))
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
        Lifting(names, name, ops.scalar(name))
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
        Lifting(names, name, ops.scalar(name, reverse=True))
        for name, names in {
            "subtract": "_rminus_scalar _RMinusScalar _npi_rsubtract_scalar",
            "divide": "_rdiv_scalar _RDivScalar _npi_rtrue_divide_scalar",
            "power": "_rpower_scalar _RPowerScalar _npi_rpower_scalar",
        }.items()
    ),
    *(
        Lifting(f"{name} _npi_{name} _np_{name}", name, ops.unary(name))
        for name in ("exp", "log", "sqrt", "abs", "negative", "sin", "cos", "floor")
    ),
    Lifting("arctan _npi_arctan", "atan", ops.unary("atan")),
    Lifting("rsqrt", "rsqrt", ops.unary("rsqrt")),
    Lifting("erf", "erf", ops.unary("erf")),
    Lifting("square _npi_square", "multiply", ops.square),
    Lifting("reciprocal", "divide", ops.reciprocal),
    *(
        Lifting(
            f"broadcast_{theirs} _{theirs} _{theirs}_scalar _npi_{ours} _npi_{ours}_scalar",
            f"{ours}, cast",
            ops.comparison(ours),
            _TRUTH,
        )
        for ours, theirs in {"equal": "equal", "greater": "greater", "less": "lesser"}.items()
    ),
    *(
        Lifting(
            f"broadcast_{theirs} _{theirs} _{theirs}_scalar _npi_{numpy} _npi_{numpy}_scalar",
            f"{ours}, equal, cast, maximum",
            ops.or_equal(ours),
            _TRUTH,
        )
        for ours, theirs, numpy in (
            ("greater", "greater_equal", "greater_equal"),
            ("less", "lesser_equal", "less_equal"),
        )
    ),
    Lifting(
        "broadcast_not_equal _not_equal _not_equal_scalar _npi_not_equal _npi_not_equal_scalar",
        "equal, cast, subtract",
        ops.unequal,
        _TRUTH,
    ),
    *(
        Lifting(names, name, ops.reduction(name), _NO_AXES)
        for name, names in {
            "mean": "mean _npi_mean",
            "sum": "sum sum_axis _npi_sum _np_sum",
            "max": "max max_axis _npi_max _np_max",
            "min": "min min_axis _npi_min _np_min",
        }.items()
    ),
    Lifting("add_n ElementWiseSum", "add", ops.sum_of_all),
    Lifting("dot batch_dot _npx_batch_dot", "matmul, transpose", ops.matmul, "dot with a matrix only"),
    Lifting("_linalg_gemm2 linalg_gemm2", "matmul, transpose, multiply", ops.gemm2),
    Lifting("_contrib_arange_like _npx_arange_like", "broadcast_to, cumsum", shapes.arange_like, "along one axis only"),
    Lifting("broadcast_like", "broadcast_to", shapes.broadcast_like),
    Lifting("broadcast_to", "broadcast_to", shapes.broadcast_to),
    Lifting("cumsum _np_cumsum", "cumsum", shapes.cumsum),
    Lifting("slice_like", "slice, take", shapes.slice_like),
    Lifting("repeat", "stack, reshape", shapes.repeat, "along one axis only"),
    Lifting("take", "take", ops.take, _RANGE),
    Lifting("Cast cast _npx_cast", "cast", ops.cast),
    Lifting("clip _npi_clip", "clip", ops.clip),
    Lifting("where", "where", ops.where, "a condition that chooses rows is refused"),
    Lifting("_zeros _npi_zeros", "", ops.zeros, "only as the states that a recurrence begins with"),
)
#: Name of an operator -> its row.
LIFTINGS: Final[Mapping[str, Lifting]] = {name: row for row in _ROWS for name in row.names}
