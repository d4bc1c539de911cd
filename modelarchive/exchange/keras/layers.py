"""The table of Keras' layers: one row a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from modelarchive.exchange.keras import reading_attention as attention
from modelarchive.exchange.keras import reading_layers as plain
from modelarchive.exchange.keras import reading_merging as merging
from modelarchive.exchange.keras import reading_sequences as sequences
from modelarchive.exchange.keras import reading_windows as windows
from modelarchive.exchange.keras import weights as w
from modelarchive.exchange.keras.row import Row

_SAME: Final = "padding='same' with strides takes a known size"
_INFERENCE: Final = "does nothing in inference, and is left out"


def _noise(*theirs: str) -> tuple[Row, ...]:
    return tuple(Row(each, "Identity", plain.identity, losses=_INFERENCE) for each in theirs)


def _merged(theirs: str, ours: str) -> Row:
    return Row(theirs, ours, merging.merged(ours), losses="tensors of as many axes")


def _ranks(theirs: str, ours: str, read: Callable[[int], Any], *, upto: int = 3, losses: str = "",
           weights: tuple[w.Weight, ...] = (), masks: str = "drop") -> tuple[Row, ...]:  # fmt: skip
    return tuple(
        Row(theirs.format(rank), ours.format(rank), read(rank), weights, losses, masks) for rank in range(1, upto + 1)
    )


_ROWS: Final = (
    Row("Dense", "Dense", plain.dense, w.KERNEL_AND_BIAS),
    Row("EinsumDense", "einsum, add", plain.einsum_dense, w.EINSUM),
    Row("Embedding", "Embedding", plain.embedding, (w.same("embeddings", "weight"),),
        "mask_zero: its mask is refused where a layer takes it", "drop"),
    Row("ReversibleEmbedding", "Embedding", plain.embedding, (w.same("embeddings", "weight"),),
        "not in reverse", "drop"),
    *_ranks("Conv{}D", "Conv{}D", windows.convolution, losses=_SAME, weights=w.KERNEL_AND_BIAS),
    *_ranks("DepthwiseConv{}D", "Conv{}D", windows.depthwise, upto=2, losses=_SAME, weights=w.DEPTHWISE),
    *_ranks("SeparableConv{}D", "Conv{0}D, Conv{0}D", windows.separable, upto=2, losses=_SAME, weights=w.SEPARABLE),
    *_ranks("Conv{}DTranspose", "Conv{}DTranspose", windows.transposed, weights=w.KERNEL_AND_BIAS),
    *_ranks("MaxPooling{}D", "MaxPool{}D", lambda rank: windows.pooling("Max", rank), losses=_SAME),
    *_ranks("AveragePooling{}D", "AvgPool{}D", lambda rank: windows.pooling("Avg", rank),
            losses=f"{_SAME}; where it is uneven, as TensorFlow and JAX compute it, with a note"),
    *_ranks("GlobalMaxPooling{}D", "GlobalMaxPool{}D", lambda rank: windows.global_pooling("Max", rank)),
    Row("GlobalAveragePooling1D", "GlobalAvgPool1D", windows.global_pooling("Avg", 1), masks="use"),
    *_ranks("GlobalAveragePooling{}D", "GlobalAvgPool{}D", lambda rank: windows.global_pooling("Avg", rank))[1:],
    *_ranks("AdaptiveAveragePooling{}D", "AdaptiveAvgPool{}D", windows.adaptive, upto=2),
    *_ranks("ZeroPadding{}D", "Pad", windows.zero_padding),
    *_ranks("Cropping{}D", "slice", windows.cropping),
    *_ranks("UpSampling{}D", "Upsample", windows.upsampling, losses="interpolation nearest and bilinear"),
    Row("Resizing", "Upsample", windows.resizing, (), "bilinear, or nearest by whole multiples", "drop"),
    Row("CenterCrop", "slice", windows.center_crop, (), "of images that are at least as large", "drop"),
    Row("BatchNormalization", "BatchNorm", plain.batch_norm, (*w.NORMALISATION, *w.STATISTICS)),
    Row("LayerNormalization", "LayerNorm", plain.layer_norm, w.NORMALISATION),
    Row("GroupNormalization", "GroupNorm or InstanceNorm", plain.group_norm, w.NORMALISATION),
    Row("RMSNormalization", "RMSNorm", plain.rms_norm, (w.same("scale", "weight"),)),
    Row("UnitNormalization", "multiply, sum, rsqrt", plain.unit_norm),
    Row("Normalization", "subtract, divide", plain.normalization, w.MOMENTS, "what it was adapted on is not kept"),
    Row("Rescaling", "multiply, add", plain.rescaling),
    Row("LayerScale", "multiply", plain.layer_scale, (w.same("gamma", "gamma"),)),
    Row("CustomScaleLayer", "multiply, add", plain.scaled_sum),
    Row("Activation", "Activation, Softmax or ops", plain.activation),
    Row("ReLU", "Activation", plain.relu),
    Row("LeakyReLU", "Activation", plain.leaky_relu),
    Row("ELU", "Activation", plain.elu),
    Row("PReLU", "PReLU", plain.prelu, w.SLOPES),
    Row("Softmax", "Softmax", plain.softmax, masks="use"),
    Row("Dropout", "Dropout", plain.dropout),
    *(Row(name, "Dropout", plain.dropout, losses="a Dropout: the same in inference, another one in training")
      for name in ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout")),
    Row("Identity", "Identity", plain.identity),
    *_noise("GaussianNoise", "ActivityRegularization", "StochasticDepth"),
    *_noise("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"),
    Row("Masking", "multiply, equal, min", plain.masking, (), "its mask is refused where a layer takes it"),
    Row("Flatten", "Flatten", merging.flatten, masks="drop"),
    Row("Reshape", "Reshape", merging.reshape, masks="drop"),
    Row("Permute", "Permute", merging.permute, masks="drop"),
    Row("RepeatVector", "broadcast_to", merging.repeat, masks="drop"),
    _merged("Add", "add"),
    _merged("Subtract", "subtract"),
    _merged("Multiply", "multiply"),
    _merged("Maximum", "maximum"),
    _merged("Minimum", "minimum"),
    Row("Average", "add, multiply", merging.average, losses="tensors of as many axes"),
    Row("Concatenate", "concatenate", merging.concatenate),
    Row("Dot", "einsum", merging.dot, masks="drop"),
    Row("LSTM", "LSTM", sequences.recurrence, w.recurrent(w.LSTM_GATES),
        "activations tanh and sigmoid; not stateful", "use"),
    Row("GRU", "GRU", sequences.recurrence, w.recurrent(w.GRU_GATES),
        "activations tanh and sigmoid; not stateful", "use"),
    Row("SimpleRNN", "RNN", sequences.recurrence, w.recurrent(w.RNN_GATES),
        "activations tanh and relu; not stateful", "use"),
    Row("RNN", "LSTM, GRU or RNN", sequences.recurrence, (), "of one cell of Keras' own", "use"),
    Row("Bidirectional", "LSTM, GRU or RNN", sequences.bidirectional, (), "of two recurrences alike", "use"),
    Row("TimeDistributed", "the layer inside", sequences.time_distributed, (),
        "of a layer that looks at more than one axis: known sizes", "use"),
    Row("MultiHeadAttention", "MultiHeadAttention", attention.multi_head, w.ATTENTION,
        "value_dim as key_dim; its scores are not given", "use"),
    Row("GroupQueryAttention", "MultiHeadAttention", attention.grouped, w.GROUPED_ATTENTION,
        "its scores are not given", "use"),
    Row("Attention", "matmul, softmax", attention.dot, w.SCORES, "not causal, without masks", "use"),
    Row("AdditiveAttention", "add, sum, softmax", attention.additive, w.SCALE, "not causal, without masks", "use"),
)  # fmt: skip

#: Class -> row.
LAYERS: Final[dict[str, Row]] = {row.theirs: row for row in _ROWS}
LAYERS["GroupedQueryAttention"] = LAYERS["GroupQueryAttention"]
