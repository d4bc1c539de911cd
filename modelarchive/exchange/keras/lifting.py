"""The table of Keras' layers and of the classes behind ``keras.ops``: one row a class; a new one is a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from modelarchive.exchange.keras import lifting_attention as attention
from modelarchive.exchange.keras import lifting_colours as colours
from modelarchive.exchange.keras import lifting_fourier as fourier
from modelarchive.exchange.keras import lifting_functions as functions
from modelarchive.exchange.keras import lifting_images as images
from modelarchive.exchange.keras import lifting_layers as plain
from modelarchive.exchange.keras import lifting_linalg as linalg
from modelarchive.exchange.keras import lifting_local as local
from modelarchive.exchange.keras import lifting_losses as losses
from modelarchive.exchange.keras import lifting_math as math
from modelarchive.exchange.keras import lifting_members as members
from modelarchive.exchange.keras import lifting_merging as merging
from modelarchive.exchange.keras import lifting_ops as ops
from modelarchive.exchange.keras import lifting_ordering as ordering
from modelarchive.exchange.keras import lifting_parts as parts
from modelarchive.exchange.keras import lifting_preprocessing as preprocessing
from modelarchive.exchange.keras import lifting_rearranging as rearranging
from modelarchive.exchange.keras import lifting_recurrent as recurrent
from modelarchive.exchange.keras import lifting_segments as segments
from modelarchive.exchange.keras import lifting_steps as steps
from modelarchive.exchange.keras import lifting_truths as truths
from modelarchive.exchange.keras import lifting_windows as windows
from modelarchive.exchange.keras.lifting_distributed import time_distributed
from modelarchive.exchange.keras.lifting_softmax import softmax
from modelarchive.exchange.keras.lifting_spectrograms import SIGNALS, SPECTROGRAMS
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.keras.weights import WEIGHTS

_SAME: Final = "padding='same' with strides over a free size is padded by ops"
_GATED: Final = (
    "states are not kept from call to call; other activations than tanh and sigmoid, and the cell behind a mask, "
    "over at most 512 steps"
)
_PLAIN: Final = "states are not kept from call to call; other activations than tanh and relu over at most 512 steps"
_INFERENCE: Final = "does nothing in inference, and is left out"


def _noise(*theirs: str, masks: str = "pass") -> tuple[Lifting, ...]:
    return tuple(Lifting(each, "Identity", plain.identity, _INFERENCE, masks=masks) for each in theirs)


def _ranks(theirs: str, ours: str, lift: Callable[[int], Any], *, upto: int = 3, losses: str = "",
           masks: str = "drop") -> tuple[Lifting, ...]:  # fmt: skip
    return tuple(
        Lifting(theirs.format(rank), ours.format(rank), lift(rank), losses, masks=masks) for rank in range(1, upto + 1)
    )


_LAYERS: Final = (
    Lifting("Dense", "Dense", plain.dense),
    Lifting("EinsumDense", "einsum, add", plain.einsum_dense, masks="drop"),
    Lifting(
        "Embedding",
        "Embedding",
        plain.embedding,
        "mask_zero makes a mask, which is followed to where a layer takes it",
        masks="drop",
    ),
    Lifting(
        "ReversibleEmbedding",
        "Embedding",
        plain.embedding,
        "not both ways while quantised",
        masks="drop",
    ),
    *_ranks("Conv{}D", "Conv{}D", windows.convolution, losses=_SAME),
    *_ranks("DepthwiseConv{}D", "Conv{}D", windows.depthwise, upto=2, losses=_SAME),
    *_ranks("SeparableConv{}D", "Conv{0}D, Conv{0}D", windows.separable, upto=2, losses=_SAME),
    *_ranks("Conv{}DTranspose", "Conv{}DTranspose", windows.transposed),
    *_ranks("MaxPooling{}D", "MaxPool{}D", lambda rank: windows.pooling("Max", rank), losses=_SAME),
    *_ranks(
        "AveragePooling{}D",
        "AvgPool{}D",
        lambda rank: windows.pooling("Avg", rank),
        losses="padding='same' with strides takes a known size; where it is uneven, as TensorFlow and JAX compute it, "
        "with a note",
    ),
    *_ranks("GlobalMaxPooling{}D", "GlobalMaxPool{}D", lambda rank: windows.global_pooling("Max", rank)),
    Lifting("GlobalAveragePooling1D", "GlobalAvgPool1D", windows.global_pooling("Avg", 1), masks="use"),
    *_ranks("GlobalAveragePooling{}D", "GlobalAvgPool{}D", lambda rank: windows.global_pooling("Avg", rank))[1:],
    *_ranks("AdaptiveAveragePooling{}D", "AdaptiveAvgPool{}D", windows.adaptive, upto=2),
    *_ranks("ZeroPadding{}D", "Pad", windows.zero_padding),
    *_ranks("Cropping{}D", "slice", windows.cropping),
    *_ranks("UpSampling{}D", "Upsample", windows.upsampling, losses="interpolation nearest and bilinear"),
    Lifting("Resizing", "Upsample", windows.resizing, "bilinear, or nearest of known sizes", masks="drop"),
    Lifting("CenterCrop", "slice", windows.center_crop, "of images that are at least as large", masks="drop"),
    Lifting("BatchNormalization", "BatchNorm", plain.batch_norm),
    Lifting("LayerNormalization", "LayerNorm", plain.layer_norm),
    Lifting("GroupNormalization", "GroupNorm, InstanceNorm", plain.group_norm),
    Lifting("RMSNormalization", "RMSNorm", plain.rms_norm, masks="drop"),
    Lifting("UnitNormalization", "multiply, sum, rsqrt", plain.unit_norm),
    Lifting(
        "Normalization",
        "subtract, divide",
        plain.normalization,
        "what it was adapted on is not kept",
    ),
    Lifting("Rescaling", "multiply, add", plain.rescaling),
    Lifting("LayerScale", "multiply", plain.layer_scale),
    Lifting("CustomScaleLayer", "multiply, add", plain.scaled_sum),
    Lifting("Activation", "Activation, Softmax, ops", plain.activation),
    Lifting("ReLU", "Activation", plain.relu),
    Lifting("LeakyReLU", "Activation", plain.leaky_relu),
    Lifting("ThresholdedReLU", "where", plain.relu, "of Keras 2"),
    Lifting("ELU", "Activation", plain.elu),
    Lifting("PReLU", "PReLU", plain.prelu),
    Lifting("Softmax", "Softmax", softmax, masks="use"),
    Lifting("Dropout", "Dropout", plain.dropout),
    *(
        Lifting(name, "Dropout", plain.dropout, "a Dropout: the same in inference, another one in training")
        for name in ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout")
    ),
    Lifting("Identity", "Identity", plain.identity),
    *_noise("GaussianNoise", "ActivityRegularization", "StochasticDepth"),
    *_noise(*preprocessing.RANDOM, masks="drop"),
    *preprocessing.LAYERS,
    *steps.LAYERS,
    Lifting("Masking", "multiply, equal, min", plain.masking, "its mask is followed to where a layer takes it"),
    Lifting(
        "LSTM",
        "LSTM",
        recurrent.recurrence,
        _GATED,
        masks="use",
    ),
    Lifting(
        "GRU",
        "GRU",
        recurrent.recurrence,
        _GATED,
        masks="use",
    ),
    Lifting(
        "SimpleRNN",
        "RNN",
        recurrent.recurrence,
        _PLAIN,
        masks="use",
    ),
    Lifting("CuDNNLSTM", "LSTM", recurrent.recurrence, "of Keras 2", masks="use"),
    Lifting("CuDNNGRU", "GRU", recurrent.recurrence, "of Keras 2", masks="use"),
    Lifting("RNN", "LSTM, GRU, RNN", recurrent.recurrence, "of Keras' own cells", masks="use"),
    Lifting("Bidirectional", "LSTM, GRU, RNN", recurrent.bidirectional, "of two recurrences alike", masks="use"),
    Lifting(
        "TimeDistributed",
        "the layer inside",
        time_distributed,
        "of a layer that looks at more than one axis: known sizes but of batch and steps",
    ),
    *merging.ROWS,
    *attention.ROWS,
    *SPECTROGRAMS,
    *local.LAYERS,
)

#: Class -> row.
LAYERS: Final[Mapping[str, Lifting]] = {
    name: replace(row, weights=WEIGHTS.get(name, row.weights)) for row in _LAYERS for name in row.names
}


def _one(theirs: str, ours: str) -> Lifting:
    return operation(theirs, ours, ops.unary(ours))


def _two(theirs: str, ours: str) -> Lifting:
    return operation(theirs, ours, ops.binary(ours))


def _reduction(theirs: str, ours: str) -> Lifting:
    return operation(theirs, ours, ops.reduction(ours))


def _activation(theirs: str, ours: str, setting: str = "", default: float = 0.0) -> Lifting:
    return operation(theirs, f"Activation {ours}", ops.activated(ours, setting, default))


_OPERATIONS: Final = (
    _two("Add", "add"),
    _two("Subtract", "subtract"),
    _two("Multiply", "multiply"),
    operation("Divide", "divide", ops.binary("divide", least="float32")),
    operation("TrueDivide", "divide", ops.binary("divide", least="float32")),
    _two("Power", "power"),
    _two("Maximum", "maximum"),
    _two("Minimum", "minimum"),
    operation("Matmul", "matmul", ops.product),
    _two("Equal", "equal"),
    _two("Greater", "greater"),
    _two("Less", "less"),
    _one("Negative", "negative"),
    _one("Absolute", "abs"),
    _one("Abs", "abs"),
    operation("Exp", "exp", ops.unary("exp", in_floats=True)),
    operation("Log", "log", ops.unary("log", in_floats=True)),
    operation("Sqrt", "sqrt", ops.unary("sqrt", in_floats=True)),
    operation("Rsqrt", "rsqrt", ops.unary("rsqrt", in_floats=True)),
    operation("Erf", "erf", ops.unary("erf", in_floats=True)),
    operation("Sin", "sin", ops.unary("sin", in_floats=True)),
    operation("Cos", "cos", ops.unary("cos", in_floats=True)),
    operation("Arctan", "atan", ops.unary("atan", in_floats=True)),
    operation("Floor", "floor", ops.unary("floor", in_floats=True)),
    operation("Round", "round", ops.rounded, "to whole numbers only"),
    _two("FloorDivide", "floor_divide"),
    _two("Mod", "remainder"),
    _two("BitwiseAnd", "bitwise_and"),
    _two("BitwiseOr", "bitwise_or"),
    _two("BitwiseXor", "bitwise_xor"),
    _two("BitwiseLeftShift", "left_shift"),
    _two("BitwiseRightShift", "right_shift"),
    operation("Square", "multiply", ops.square),
    operation("Reciprocal", "divide", ops.reciprocal),
    _reduction("Sum", "sum"),
    _reduction("Mean", "mean"),
    _reduction("Max", "max"),
    _reduction("Min", "min"),
    _reduction("Amax", "max"),
    _reduction("Amin", "min"),
    _reduction("Var", "var"),
    operation("Std", "var, sqrt", ops.deviation),
    operation("Logsumexp", "max, exp, sum, log", ops.log_sum_exp),
    operation("Argmax", "argmax", ops.argmax),
    operation("Cumsum", "cumsum", ops.cumulated),
    operation("Concatenate", "concatenate", ops.joined("concatenate")),
    operation("Stack", "stack", ops.joined("stack")),
    operation("Split", "split", ops.split),
    operation("Unstack", "slice", ops.unstack, "of axes of a known size"),
    operation("Reshape", "reshape", ops.reshape),
    operation("Transpose", "transpose", ops.transpose),
    operation("Swapaxes", "transpose", ops.swapped),
    operation("Moveaxis", "transpose", ops.moved),
    operation("ExpandDims", "expand_dims", ops.expanded),
    operation("Squeeze", "squeeze", ops.squeezed),
    operation("GetItem", "slice", ops.picked, "ranges and numbers; computed indices are refused"),
    operation("Flip", "slice", ops.flipped),
    operation("Clip", "clip", ops.clip),
    operation("Take", "take", ops.taken),
    operation("TakeAlongAxis", "gather", ops.taken_along),
    operation("Repeat", "take", ops.repeated, "along axes of a known size"),
    operation("Tile", "concatenate", ops.tiled, "at most 64 copies along an axis"),
    operation("BroadcastTo", "broadcast_to", ops.stretched),
    operation("Einsum", "einsum", ops.einsum, "patterns that are written out, with ->"),
    operation("Dot", "matmul", ops.dotted, "of a second tensor of one or two axes"),
    operation("Tensordot", "matmul", ops.dotted, "over one axis"),
    operation("Cast", "cast", ops.cast),
    operation("StopGradient", "Identity", ops.untouched, "gradients pass"),
    operation("Copy", "Identity", ops.untouched),
    operation("ConvertToTensor", "Identity", ops.untouched),
    _activation("Relu", "relu"),
    _activation("Relu6", "relu6"),
    _activation("Sigmoid", "sigmoid"),
    _activation("Tanh", "tanh"),
    _activation("Softplus", "softplus"),
    _activation("Softsign", "softsign"),
    _activation("Silu", "silu"),
    _activation("LogSigmoid", "log_sigmoid"),
    _activation("LeakyRelu", "leaky_relu", "negative_slope", 0.2),
    _activation("HardSigmoid", "hard_sigmoid"),
    _activation("HardSilu", "hard_swish"),
    _activation("HardTanh", "hard_tanh"),
    _activation("Elu", "elu", "alpha", 1.0),
    _activation("Celu", "celu", "alpha", 1.0),
    _activation("Selu", "selu"),
    operation("Gelu", "Activation gelu or gelu_tanh", ops.gelu),
    operation("Glu", "split, multiply", ops.glu),
    operation("Softmax", "Softmax", ops.softmax("Softmax")),
    operation("LogSoftmax", "LogSoftmax", ops.softmax("LogSoftmax")),
    *truths.ROWS,
    *math.ROWS,
    *ordering.ROWS,
    *members.ROWS,
    *segments.ROWS,
    *linalg.ROWS,
    *SIGNALS,
    *losses.ROWS,
    *parts.ROWS,
    *rearranging.ROWS,
    *images.ROWS,
    *colours.ROWS,
    *fourier.ROWS,
    *functions.ROWS,
)

#: Class -> row.
OPERATIONS: Final[Mapping[str, Lifting]] = {row.theirs: row for row in _OPERATIONS}
