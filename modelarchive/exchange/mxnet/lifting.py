"""The table of MXNet's operators: what each is lifted to, how, and what is lost; a new one is a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelarchive.exchange.mxnet import lifting_layers as layers
from modelarchive.exchange.mxnet import lifting_ops as ops
from modelarchive.exchange.mxnet.lifting_boxes import BOXES
from modelarchive.exchange.mxnet.lifting_making import MAKING
from modelarchive.exchange.mxnet.lifting_math import MATH
from modelarchive.exchange.mxnet.lifting_pieces import PIECES
from modelarchive.exchange.mxnet.lifting_products import PRODUCTS
from modelarchive.exchange.mxnet.lifting_reductions import REDUCTIONS
from modelarchive.exchange.mxnet.lifting_reshape import RESHAPE
from modelarchive.exchange.mxnet.lifting_rounding import ROUNDING
from modelarchive.exchange.mxnet.lifting_scaling import SCALING
from modelarchive.exchange.mxnet.lifting_selection import SELECTION
from modelarchive.exchange.mxnet.lifting_sequences import SEQUENCES
from modelarchive.exchange.mxnet.lifting_shapes import SHAPES
from modelarchive.exchange.mxnet.lifting_truths import TRUTH, TRUTHS
from modelarchive.exchange.rows import Lifting


def _rank(kind: str) -> str:
    return ", ".join(kind.format(rank) for rank in (1, 2, 3))


_CONVOLUTION = _rank("Conv{}D")
_TRANSPOSED = _rank("Conv{}DTranspose")
_POOLING = ", ".join(_rank(f"{how}Pool{{}}D") for how in ("Max", "Avg", "GlobalMax", "GlobalAvg"))
_RANGE = "an index out of range is an error here, and the nearest row in MXNet: with a note"
_LOSS = "the loss is left out, and its labels are no input, with a note"
_NO_AXES = "without NumPy's shapes, what is reduced to nothing has one axis of size 1, also here"

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
            "softsign": "softsign _npx_softsign",
            "log_sigmoid": "log_sigmoid",
            "mish": "mish",
        }.items()
    ),
    Lifting("hard_sigmoid", "multiply, add, clip", ops.hard_sigmoid),
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
        "_copy identity _np_copy _npi_copy BlockGrad stop_gradient _npx_stop_gradient make_loss MakeLoss",
        "Identity",
        ops.same,
        "left out: it matters in training only",
    ),
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
            "maximum": "_maximum _Maximum broadcast_maximum _npi_maximum _npi_fmax",
            "minimum": "_minimum _Minimum broadcast_minimum _npi_minimum _npi_fmin",
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
            "maximum": "_maximum_scalar _MaximumScalar _npi_maximum_scalar _npi_fmax_scalar",
            "minimum": "_minimum_scalar _MinimumScalar _npi_minimum_scalar _npi_fmin_scalar",
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
    *(Lifting(f"{name} _npi_{name} _np_{name}", name, ops.real(name)) for name in ("exp", "log", "sqrt", "sin", "cos")),
    Lifting("abs _npi_abs _npi_absolute _np_abs", "abs", ops.unary("abs")),
    Lifting("negative _npi_negative _np_negative", "negative", ops.unary("negative")),
    Lifting("arctan _npi_arctan _np_arctan", "atan", ops.real("atan")),
    Lifting("rsqrt", "rsqrt", ops.unary("rsqrt")),
    Lifting("erf _npx_erf", "erf", ops.unary("erf")),
    Lifting("square _npi_square", "multiply", ops.square),
    Lifting("reciprocal _npi_reciprocal", "divide", ops.reciprocal),
    *ROUNDING,
    *MATH,
    *TRUTHS,
    *(
        Lifting(
            f"broadcast_{theirs} _{theirs} _{theirs}_scalar _npi_{numpy} _npi_{numpy}_scalar",
            f"{', '.join(dict.fromkeys([*ours, 'equal']))}, cast",
            ops.comparison(*ours, other=theirs == "not_equal"),
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
    Lifting("add_n ElementWiseSum _npx_add_n", "add", ops.sum_of_all),
    Lifting("shape_array _npx_shape_array", "shape_of", ops.unary("shape_of")),
    Lifting("Cast cast _npi_cast _npx_cast amp_cast _npi_amp_cast", "cast", ops.cast),
    Lifting("clip _npi_clip", "clip", ops.clip),
    *MAKING,
    *BOXES,
    *SCALING,
    *SELECTION,
    *SEQUENCES,
    *SHAPES,
    *PIECES,
    *PRODUCTS,
    *REDUCTIONS,
    *RESHAPE,
)
#: Name of an operator -> its row.
LIFTINGS: Final[Mapping[str, Lifting]] = {name: row for row in _ROWS for name in row.names}
