"""Layers that are read as others or step by step: preprocessing, recurrences of any cell, attention of any shape."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tests.exchange.keras.making import Make, function, layer, sequential, several

TEXT = (5, 6)
IMAGE = (7, 8, 3)
_BOUNDS = [-1.0, 0.0, 1.0]


def _random() -> Any:
    """Every layer of random images, one behind the other: none does anything in inference."""
    made = [
        layers.AugMix((0, 255)), layers.CutMix(), layers.MixUp(), layers.RandAugment((0, 255)),
        layers.RandomColorDegeneration(0.2), layers.RandomColorJitter(), layers.RandomElasticTransform(),
        layers.RandomErasing(), layers.RandomGaussianBlur(), layers.RandomGrayscale(), layers.RandomHue(0.1),
        layers.RandomInvert(), layers.RandomPerspective(), layers.RandomPosterization(2), layers.RandomSaturation(0.2),
        layers.RandomSharpness(0.2), layers.RandomShear(0.1, 0.1), layers.Solarization(),
    ]  # fmt: skip
    return keras.Sequential([keras.Input((8, 8, 3)), *made])


def _heads(shape: tuple[int, ...], *, scores: bool = False, **config: Any) -> Make:
    return function(shape, lambda x: layers.MultiHeadAttention(2, 4, **config)(x, x, return_attention_scores=scores))


def _grouped(x: Any) -> Any:
    return layers.GroupQueryAttention(4, 4, 2)(x, x, return_attention_scores=True, use_causal_mask=True)


def _there_and_back(x: Any) -> Any:
    rows = layers.ReversibleEmbedding(9, 6, tie_weights=False, logit_soft_cap=5.0)
    return rows(layers.Dense(6)(rows(x)), reverse=True)


def _reversible(x: Any) -> Any:
    rows = layers.ReversibleEmbedding(9, 6)
    return rows(layers.Dense(6)(rows(x)), reverse=True)


#: Name -> model.
FURTHER: dict[str, Make] = {
    "AugMix and more random images": _random,
    "RandomCrop": layer((8, 8, 3), "RandomCrop", 4, 4),
    **{
        f"STFTSpectrogram {mode}": layer((40, 2), "STFTSpectrogram", mode, frame_length=8, frame_step=3)
        for mode in ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
    },
    "STFTSpectrogram channels": layer(
        (2, 40), "STFTSpectrogram", frame_length=8, fft_length=16, expand_dims=True, data_format="channels_first"
    ),
    "STFTSpectrogram same": layer((40, 1), "STFTSpectrogram", frame_length=7, frame_step=3, padding="same"),
    "Discretization": layer((4,), "Discretization", bin_boundaries=_BOUNDS),
    "Discretization one": layer((1,), "Discretization", bin_boundaries=_BOUNDS, output_mode="one_hot"),
    "Discretization counted": layer((4,), "Discretization", bin_boundaries=_BOUNDS, output_mode="count"),
    "CategoryEncoding": layer((3,), "CategoryEncoding", num_tokens=5, dtype="int32"),
    "CategoryEncoding one": layer((1,), "CategoryEncoding", num_tokens=5, output_mode="one_hot", dtype="int32"),
    "CategoryEncoding counted": layer((3,), "CategoryEncoding", num_tokens=5, output_mode="count", dtype="int32"),
    "CategoryEncoding weighed": several(
        [(3,), (3,)],
        lambda x, y: layers.CategoryEncoding(5, output_mode="count")(x, count_weights=y),
        ["int32", "float32"],
    ),
    "AutoContrast": layer(IMAGE, "AutoContrast", (0, 255)),
    "AutoContrast narrow": layer(IMAGE, "AutoContrast", (-1, 1)),
    "Pipeline in a functional model": function(
        IMAGE, lambda x: layers.AutoContrast()(layers.Pipeline([layers.Rescaling(0.5), layers.Resizing(5, 5)])(x))
    ),
    "Pipeline of two": sequential(IMAGE, lambda: layers.Pipeline([layers.Rescaling(0.5), layers.RandomFlip()])),
    "Resizing cropped": layer(IMAGE, "Resizing", 4, 10, crop_to_aspect_ratio=True),
    "SpectralNormalization": sequential(
        TEXT, *(lambda: layers.SpectralNormalization(layers.Dense(4)) for _ in range(2))
    ),
    "SpectralNormalization Conv2D": sequential(IMAGE, lambda: layers.SpectralNormalization(layers.Conv2D(4, 3))),
    "ReLU threshold and slope": layer((6,), "ReLU", threshold=0.3, max_value=1.0, negative_slope=0.1),
    "AdaptiveMaxPooling1D": layer((9, 4), "AdaptiveMaxPooling1D", 4),
    "AdaptiveMaxPooling2D": layer(IMAGE, "AdaptiveMaxPooling2D", (3, 4)),
    "AdaptiveMaxPooling3D": layer((4, 5, 6, 2), "AdaptiveMaxPooling3D", (2, 3, 4)),
    "AdaptiveAveragePooling3D": layer((4, 5, 6, 2), "AdaptiveAveragePooling3D", (2, 3, 4)),
    "ReversibleEmbedding": function((5,), _reversible, "int32"),
    "ConvLSTM1D": layer((4, 8, 3), "ConvLSTM1D", 5, 3, padding="same", return_sequences=True),
    "ConvLSTM2D": layer((3, 9, 8, 2), "ConvLSTM2D", 3, (3, 2), strides=2, go_backwards=True, return_state=True),
    "ConvLSTM2D activations": layer(
        (3, 6, 6, 2), "ConvLSTM2D", 3, 3, activation="relu", recurrent_activation="hard_sigmoid", use_bias=False
    ),
    "ConvLSTM3D": layer((2, 4, 4, 4, 2), "ConvLSTM3D", 3, 2, padding="same"),
    "RNN of cells": sequential(
        TEXT, lambda: layers.RNN([layers.LSTMCell(4), layers.LSTMCell(3)], return_sequences=True, return_state=True)
    ),
    "RNN of other cells": sequential(
        TEXT,
        lambda: layers.RNN([layers.GRUCell(4, reset_after=False), layers.SimpleRNNCell(3), layers.GRUCell(2)]),
    ),
    "LSTM activations": layer(TEXT, "LSTM", 4, activation="relu", recurrent_activation="hard_sigmoid"),
    "GRU activations": layer(TEXT, "GRU", 4, activation="softsign", return_sequences=True),
    "GRU before, activations": layer(TEXT, "GRU", 4, activation="elu", reset_after=False, go_backwards=True),
    "SimpleRNN activations": layer(TEXT, "SimpleRNN", 4, activation="sigmoid", use_bias=False),
    "LSTM activations of states": several(
        [TEXT, (4,), (4,)], lambda x, h, c: layers.LSTM(4, activation="softsign")(x, initial_state=[h, c])
    ),
    "Bidirectional of two kinds": sequential(
        TEXT, lambda: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.GRU(3, go_backwards=True))
    ),
    "Bidirectional activations": sequential(
        TEXT, lambda: layers.Bidirectional(layers.GRU(3, activation="relu", return_sequences=True), merge_mode="ave")
    ),
    "MultiHeadAttention scores": _heads(TEXT, scores=True),
    "MultiHeadAttention values": _heads(TEXT, value_dim=5),
    "MultiHeadAttention values, no bias": _heads(TEXT, value_dim=5, use_bias=False, dropout=0.1),
    "MultiHeadAttention axes": _heads((3, 5, 6), attention_axes=(2,)),
    "MultiHeadAttention all axes": _heads((3, 5, 6), scores=True),
    "GroupQueryAttention scores": function(TEXT, _grouped),
    "ReversibleEmbedding of two matrices": function((5,), _there_and_back, "int32"),
    "Resizing nearest": layer(IMAGE, "Resizing", 5, 11, interpolation="nearest"),
    "Resizing nearest, smaller": layer((8, 9, 2), "Resizing", 4, 3, interpolation="nearest"),
    **{
        f"Activation {name}": layer((6,), "Activation", name)
        for name in ("glu", "hard_shrink", "soft_shrink", "sparse_plus", "sparse_sigmoid", "sparsemax")
    },
    "Add of several dtypes": several(
        [(4,), (4,)], lambda x, y: [layers.Add()([x, y]), layers.Maximum()([y, x])], ["int32", "float32"]
    ),
    "Bidirectional ConvLSTM2D": sequential(
        (3, 5, 5, 2), lambda: layers.Bidirectional(layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True))
    ),
    "Bidirectional ConvLSTM1D, the last": sequential(
        (3, 8, 2), lambda: layers.Bidirectional(layers.ConvLSTM1D(2, 3), merge_mode="ave")
    ),
    "MelSpectrogram": layer((400,), "MelSpectrogram", 128, 50, num_mel_bins=8, sampling_rate=8000),
    "MelSpectrogram, no decibels": layer(
        (300,), "MelSpectrogram", 64, 16, 50, "hamming", num_mel_bins=6, mag_exp=1.0, power_to_db=False
    ),
    "MelSpectrogram, no window": layer((200,), "MelSpectrogram", 64, 32, window=None, num_mel_bins=4, top_db=10.0),
    "TimeDistributed over any number of steps": function(
        (None, 7, 8, 3),
        lambda x: layers.TimeDistributed(
            keras.Sequential([keras.Input((7, 8, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)])
        )(x),
    ),
    "stateful": lambda: keras.Sequential(
        [
            keras.Input(batch_shape=(2, *TEXT)),
            layers.LSTM(4, stateful=True),
            layers.RepeatVector(3),
            layers.GRU(3, "relu", stateful=True),
        ]
    ),
}
