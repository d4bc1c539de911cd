"""One model or more for each layer and operation that is read: name -> (function that makes it, weights besides)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tests.exchange.keras.further_cases import FURTHER
from tests.exchange.keras.making import Make, function, layer, sequential, several
from tests.exchange.keras.operation_cases import FORMULAS, IMAGES

IMAGE = (7, 8, 3)
TEXT = (5, 6)


def _windows() -> dict[str, Make]:
    found: dict[str, Make] = {}
    shapes = {1: (9, 4), 2: (7, 8, 4), 3: (5, 6, 4, 4)}
    for rank, shape in shapes.items():
        for padding in ("valid", "same"):
            for stride in (1, 2):
                where = f"{rank}D {padding} {stride}"
                settings: dict[str, Any] = {"padding": padding, "strides": stride}
                found[f"Conv{where}"] = layer(shape, f"Conv{rank}D", 6, 3, activation="relu", **settings)
                found[f"Conv{where} even"] = layer(shape, f"Conv{rank}D", 3, 2, use_bias=False, **settings)
                found[f"MaxPooling{where}"] = layer(shape, f"MaxPooling{rank}D", 3, **settings)
                found[f"AveragePooling{where}"] = layer(shape, f"AveragePooling{rank}D", 2, **settings)
                for size in (1, 2, 3, 4):
                    found[f"Conv{rank}DTranspose {padding} {stride} {size}"] = layer(
                        shape, f"Conv{rank}DTranspose", 3, size, **settings
                    )
                if rank < 3:
                    found[f"SeparableConv{where}"] = layer(
                        shape, f"SeparableConv{rank}D", 5, 3, depth_multiplier=2, activation="elu", **settings
                    )
                    found[f"DepthwiseConv{where}"] = layer(
                        shape, f"DepthwiseConv{rank}D", 3, depth_multiplier=2, activation="softmax", **settings
                    )
        found[f"Conv{rank}D groups"] = layer(shape, f"Conv{rank}D", 6, 3, groups=2)
        found[f"Conv{rank}D dilated"] = layer(shape, f"Conv{rank}D", 6, 2, dilation_rate=2, padding="same")
        for how in ("Max", "Average"):
            for keep in (False, True):
                found[f"Global{how}Pooling{rank}D {keep}"] = layer(shape, f"Global{how}Pooling{rank}D", keepdims=keep)
        pad = 2 if rank == 1 else tuple((1, 2) for _ in range(rank))
        found[f"ZeroPadding{rank}D"] = layer(shape, f"ZeroPadding{rank}D", pad)
        found[f"Cropping{rank}D"] = layer(shape, f"Cropping{rank}D", (1, 0) if rank == 1 else [(1, 0)] * rank)
        found[f"UpSampling{rank}D"] = layer(shape, f"UpSampling{rank}D", 2)
    found["Conv1D causal"] = layer((9, 4), "Conv1D", 3, 3, padding="causal", dilation_rate=2)
    found["UpSampling2D bilinear"] = layer(IMAGE, "UpSampling2D", (2, 3), interpolation="bilinear")
    found["Resizing"] = layer(IMAGE, "Resizing", 5, 11)
    found["CenterCrop"] = layer(IMAGE, "CenterCrop", 4, 5)
    found["AdaptiveAveragePooling1D"] = layer((9, 4), "AdaptiveAveragePooling1D", 4)
    found["AdaptiveAveragePooling2D"] = layer(IMAGE, "AdaptiveAveragePooling2D", (3, 4))
    return found


def _plain() -> dict[str, Make]:
    return {
        "Dense": layer((4,), "Dense", 3, activation="tanh"),
        "Dense of time": layer(TEXT, "Dense", 3, use_bias=False),
        "Dense softmax": sequential(TEXT, lambda: layers.Flatten(), lambda: layers.Dense(4, activation="softmax")),
        "EinsumDense": layer(TEXT, "EinsumDense", "abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de"),
        "EinsumDense dots": layer(TEXT, "EinsumDense", "...x,xy->...y", output_shape=4, activation="relu"),
        "Embedding": layer((5,), "Embedding", 7, 3, dtype="int32"),
        "Embedding of floats": layer((5,), "Embedding", 7, 3),
        "BatchNormalization": layer(IMAGE, "BatchNormalization"),
        "BatchNormalization plain": layer(IMAGE, "BatchNormalization", axis=1, center=False, scale=False),
        "LayerNormalization": layer(TEXT, "LayerNormalization"),
        "LayerNormalization axes": layer(IMAGE, "LayerNormalization", axis=[2, 3], center=False),
        "LayerNormalization bare": layer(TEXT, "LayerNormalization", center=False, scale=False),
        "GroupNormalization": layer((4, 5, 6), "GroupNormalization", groups=3),
        "GroupNormalization instance": layer((4, 5, 6), "GroupNormalization", groups=-1, scale=False),
        "RMSNormalization": layer(TEXT, "RMSNormalization"),
        "UnitNormalization": layer(TEXT, "UnitNormalization", axis=-1),
        "Normalization": _adapted,
        "Normalization given": layer(TEXT, "Normalization", mean=[1.0] * 6, variance=[2.0] * 6),
        "Normalization invert": layer(TEXT, "Normalization", mean=0.5, variance=2.0, invert=True),
        "Rescaling": layer(IMAGE, "Rescaling", 1 / 127.5, offset=-1.0),
        "Rescaling list": layer(IMAGE, "Rescaling", [0.1, 0.2, 0.3]),
        "Rescaling whole numbers": layer(IMAGE, "Rescaling", 0.5, dtype="uint8"),
        **{
            f"Activation {name}": layer((6,), "Activation", name)
            for name in (
                *("linear", "relu", "relu6", "sigmoid", "tanh", "elu", "selu", "celu", "gelu", "softplus"),
                *("softsign", "silu", "swish", "mish", "hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid"),
                *("leaky_relu", "softmax", "log_softmax", "exponential", "tanh_shrink", "squareplus"),
            )
        },
        **{f"Dense {name}": layer((6,), "Dense", 4, activation=name) for name in ("gelu", "leaky_relu", "exponential")},
        "Dense layer": sequential((6,), lambda: layers.Dense(4, activation=layers.LeakyReLU(0.3))),
        "ReLU": layer((6,), "ReLU"),
        "ReLU 6": layer((6,), "ReLU", max_value=6.0),
        "ReLU limit": layer((6,), "ReLU", max_value=0.5, negative_slope=0.1),
        "ReLU threshold": layer((6,), "ReLU", threshold=0.3, max_value=1.0),
        "LeakyReLU": layer((6,), "LeakyReLU"),
        "ELU": layer((6,), "ELU", alpha=0.7),
        "PReLU": layer((6,), "PReLU", alpha_initializer="uniform"),
        "PReLU shared": layer(IMAGE, "PReLU", shared_axes=[1, 2], alpha_initializer="uniform"),
        "PReLU whole": layer(IMAGE, "PReLU", alpha_initializer="uniform"),
        "Softmax": layer(TEXT, "Softmax", axis=1),
        "Softmax axes": layer(TEXT, "Softmax", axis=[1, 2]),
        "Masking": layer(TEXT, "Masking", mask_value=0.0),
        **{
            name: layer(IMAGE, name, 0.5)
            for name in ("Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout2D", "RandomRotation")
        },
        "SpatialDropout1D": layer(TEXT, "SpatialDropout1D", 0.5),
        "SpatialDropout3D": layer((3, 3, 3, 2), "SpatialDropout3D", 0.5),
        "AlphaDropout": layer((6,), "AlphaDropout", 0.5),
        "ActivityRegularization": layer((6,), "ActivityRegularization", l2=0.1),
        "Identity": layer((6,), "Identity"),
        "RandomFlip": layer(IMAGE, "RandomFlip"),
        "RandomZoom": layer(IMAGE, "RandomZoom", 0.2),
        "RandomContrast": layer(IMAGE, "RandomContrast", 0.2),
        "RandomBrightness": layer(IMAGE, "RandomBrightness", 0.2),
        "RandomTranslation": layer(IMAGE, "RandomTranslation", 0.2, 0.2),
        "Flatten": layer(IMAGE, "Flatten"),
        "Flatten first": layer(IMAGE, "Flatten", data_format="channels_first"),
        "Reshape": layer((6,), "Reshape", (-1, 3)),
        "Permute": layer(IMAGE, "Permute", (3, 1, 2)),
        "RepeatVector": layer((6,), "RepeatVector", 3),
    }


def _adapted() -> Any:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(1).normal(2, 3, (20, 6)).astype("float32"))
    return keras.Sequential([keras.Input((6,)), normalization])


def _merging() -> dict[str, Make]:
    names = ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average", "Concatenate")

    def merge(name: str) -> Callable[..., Any]:
        return lambda *xs: getattr(layers, name)()(list(xs[:2] if name == "Subtract" else xs))

    found = {name: several([TEXT, TEXT, TEXT], merge(name)) for name in names}
    found["Concatenate axis"] = several([(2, 3), (4, 3)], lambda x, y: layers.Concatenate(axis=1)([x, y]))
    found["Dot"] = several([TEXT, (4, 6)], lambda x, y: layers.Dot(axes=2)([x, y]))
    found["Dot axes"] = several([TEXT, (6, 4)], lambda x, y: layers.Dot(axes=(2, 1), normalize=True)([x, y]))
    found["Dot vectors"] = several([(6,), (6,)], lambda x, y: layers.Dot(axes=1)([x, y]))
    return found


def _sequences() -> dict[str, Make]:
    found: dict[str, Make] = {}
    for name in ("SimpleRNN", "LSTM", "GRU"):
        found[name] = layer(TEXT, name, 4)
        found[f"{name} sequences"] = layer((None, 6), name, 4, return_sequences=True, use_bias=False)
        found[f"{name} states"] = function(
            TEXT, lambda x, name=name: getattr(layers, name)(4, return_state=True, return_sequences=True)(x)
        )
        found[f"{name} backwards"] = layer(TEXT, name, 4, go_backwards=True, return_sequences=True)
        for merge in ("concat", "sum", "mul", "ave", None):
            for together in (False, True):
                found[f"Bidirectional {name} {merge} {together}"] = function(
                    TEXT,
                    lambda x, name=name, merge=merge, together=together: layers.Bidirectional(
                        getattr(layers, name)(3, return_sequences=together), merge_mode=merge
                    )(x),
                )
        found[f"Bidirectional {name} states"] = function(
            TEXT, lambda x, name=name: layers.Bidirectional(getattr(layers, name)(3, return_state=True))(x)
        )
        found[f"RNN {name}"] = function(
            TEXT, lambda x, name=name: layers.RNN(getattr(layers, f"{name}Cell")(3), return_sequences=True)(x)
        )
    found["GRU before"] = layer(TEXT, "GRU", 4, reset_after=False)
    found["SimpleRNN relu"] = layer(TEXT, "SimpleRNN", 4, activation="relu")
    found["LSTM of states"] = several([TEXT, (4,), (4,)], lambda x, h, c: layers.LSTM(4)(x, initial_state=[h, c]))
    found["Bidirectional of states"] = several(
        [TEXT, (4,), (4,)], lambda x, h, c: layers.Bidirectional(layers.GRU(4))(x, initial_state=[h, c])
    )
    found["Bidirectional own"] = function(
        TEXT, lambda x: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(3, go_backwards=True))(x)
    )
    found["TimeDistributed Dense"] = function((None, 6), lambda x: layers.TimeDistributed(layers.Dense(3))(x))
    found["TimeDistributed Conv2D"] = function(
        (4, 7, 8, 3), lambda x: layers.TimeDistributed(layers.Conv2D(2, 3, padding="same", strides=2))(x)
    )
    found["TimeDistributed model"] = function(
        (4, 7, 8, 3),
        lambda x: layers.TimeDistributed(
            keras.Sequential([keras.Input((7, 8, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)])
        )(x),
    )
    return found


def _attention() -> dict[str, Make]:
    return {
        "MultiHeadAttention": function(TEXT, lambda x: layers.MultiHeadAttention(2, 3)(x, x)),
        "MultiHeadAttention memory": several(
            [TEXT, (4, 8)], lambda x, y: layers.MultiHeadAttention(3, 2, use_bias=False)(x, y)
        ),
        "MultiHeadAttention key": several(
            [TEXT, (4, 8), (4, 7)], lambda x, y, z: layers.MultiHeadAttention(3, 2, output_shape=5)(x, y, z)
        ),
        "MultiHeadAttention causal": function(
            TEXT, lambda x: layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
        ),
        "GroupQueryAttention": function(TEXT, lambda x: layers.GroupQueryAttention(4, 4, 2)(x, x)),
        "Attention": several([TEXT, (4, 6)], lambda x, y: layers.Attention()([x, y])),
        "Attention scale": several([TEXT, (4, 6)], lambda x, y: layers.Attention(use_scale=True)([x, y])),
        "Attention concat": several(
            [TEXT, (4, 6)], lambda x, y: layers.Attention(use_scale=True, score_mode="concat")([x, y])
        ),
        "Attention key": several([TEXT, (4, 6), (4, 6)], lambda x, y, z: layers.Attention()([x, y, z])),
        "AdditiveAttention": several([TEXT, (4, 6)], lambda x, y: layers.AdditiveAttention()([x, y])),
        "AdditiveAttention bare": several(
            [TEXT, (4, 6)], lambda x, y: layers.AdditiveAttention(use_scale=False)([x, y])
        ),
    }


_OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "Add": lambda x: x + 2.0,
    "Subtract": lambda x: 1 - x,
    "Multiply": lambda x: x * np.arange(6, dtype="float32"),
    "Multiply large": lambda x: ops.concatenate([x] * 3, 2) * np.arange(90, dtype="float32").reshape(5, 18),
    "Divide": lambda x: ops.divide(x, 3.0),
    "TrueDivide": lambda x: 2 / (x * x + 1),
    "Power": lambda x: ops.power(x, 2),
    "Maximum": lambda x: ops.maximum(x, 0.0),
    "Minimum": lambda x: ops.minimum(x, 0.5),
    "Matmul": lambda x: x @ ops.transpose(x, (0, 2, 1)),
    "Equal": lambda x: ops.equal(x, x),
    "Greater": lambda x: x > 0,
    "Less": lambda x: x < 0,
    "NotEqual": lambda x: ops.not_equal(x, 0),
    "GreaterEqual": lambda x: ops.log(x) >= ops.round(ops.log(x)),  # of NaN, too
    "LessEqual": lambda x: ops.round(ops.log(x)) <= ops.log(x),
    "LogicalAnd": lambda x: ops.logical_and(x > 0, x < 1),
    "LogicalOr": lambda x: ops.logical_or(x > 1, x < 0),
    "LogicalNot": lambda x: ops.logical_not(x > 0),
    "Negative": lambda x: -x,
    "Absolute": lambda x: ops.absolute(x),
    "Abs": lambda x: abs(x),
    "Exp": ops.exp,
    "Log": lambda x: ops.log(x * x + 1.0),
    "Sqrt": lambda x: ops.sqrt(x * x),
    "Rsqrt": lambda x: ops.rsqrt(x * x + 1.0),
    "Erf": ops.erf,
    "Sin": ops.sin,
    "Cos": ops.cos,
    "Arctan": ops.arctan,
    "Floor": lambda x: ops.floor(x * 3.0),
    "Round": lambda x: ops.round(x * 3.0),
    "FloorDivide": lambda x: ops.floor_divide(x * 5.0, x * x + 1.0),
    "Mod": lambda x: ops.mod(x * 5.0, x * x + 1.0),
    "BitwiseAnd": lambda x: ops.bitwise_and(ops.cast(x * 9.0, "int32"), ops.cast(x * 5.0, "int32")),
    "BitwiseOr": lambda x: ops.bitwise_or(ops.cast(x * 9.0, "int32"), ops.cast(x * 5.0, "int32")),
    "BitwiseXor": lambda x: ops.bitwise_xor(ops.cast(x * 9.0, "int32"), ops.cast(x * 5.0, "int32")),
    "BitwiseLeftShift": lambda x: ops.bitwise_left_shift(ops.cast(x * 9.0, "int32"), ops.cast(x * x, "int32")),
    "BitwiseRightShift": lambda x: ops.bitwise_right_shift(ops.cast(x * 9.0, "int32"), ops.cast(x * x, "int32")),
    "Square": ops.square,
    "Reciprocal": lambda x: ops.reciprocal(x * x + 1.0),
    "Sum": lambda x: ops.sum(x, (1, 2)),
    "Mean": lambda x: ops.mean(x, axis=1, keepdims=True),
    "Max": lambda x: ops.max(x, -1),
    "Min": lambda x: ops.min(x, -1),
    "Amax": lambda x: ops.amax(x, 1),
    "Any": lambda x: ops.any(ops.greater(x, 0.5), axis=-1),
    "All": lambda x: ops.all(ops.greater(x, -0.5), axis=1, keepdims=True),
    "ZerosLike": lambda x: ops.add(ops.zeros_like(x), x),
    "OnesLike": lambda x: ops.multiply(ops.ones_like(x, dtype="int32"), 2),
    "Amin": lambda x: ops.amin(x, 1),
    "Var": lambda x: ops.var(x, 1),
    "Std": lambda x: ops.std(x, 1),
    "Logsumexp": lambda x: ops.logsumexp(x, 1),
    "Argmax": lambda x: ops.argmax(x, -1),
    "Cumsum": lambda x: ops.cumsum(x, 1),
    "Concatenate": lambda x: ops.concatenate([x, x], 1),
    "Stack": lambda x: ops.stack([x, x], 1),
    "Split": lambda x: ops.split(x, 2, axis=2),
    "Split at": lambda x: ops.split(x, [2, 3], axis=2),
    "Unstack": lambda x: ops.unstack(x, axis=1),
    "Reshape": lambda x: ops.reshape(x, (-1, 15, 2)),
    "Transpose": lambda x: ops.transpose(x, (0, 2, 1)),
    "Swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "Moveaxis": lambda x: ops.moveaxis(x, 1, 2),
    "ExpandDims": lambda x: ops.expand_dims(x, 1),
    "Squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
    "GetItem": lambda x: x[:, ::2, 1:],
    "GetItem more": lambda x: x[..., None, -1],
    "Flip": lambda x: ops.flip(x, 1),
    "Pad": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0))),
    "Clip": lambda x: ops.clip(x, -0.5, 0.5),
    "Where": lambda x: ops.where(x > 0, x, 0.1),
    "Take": lambda x: ops.take(x, np.array([0, 2]), axis=1),
    "TakeAlongAxis": lambda x: ops.take_along_axis(x, ops.argmax(x, -1, keepdims=True), -1),
    "Repeat": lambda x: ops.repeat(x, 2, 1),
    "Tile": lambda x: ops.tile(x, (1, 2, 1)),
    "BroadcastTo": lambda x: ops.broadcast_to(ops.mean(x, 0), (3, 5, 6)),
    "Einsum": lambda x: ops.einsum("abc,adc->abd", x, x),
    "Dot": lambda x: ops.dot(x, np.ones((6, 2), "float32")),
    "Tensordot": lambda x: ops.tensordot(x, np.ones((6, 2), "float32"), axes=1),
    "Cast": lambda x: ops.cast(x, "int32"),
    "StopGradient": ops.stop_gradient,
    "Copy": ops.copy,
    "ConvertToTensor": ops.convert_to_tensor,
    "Relu": ops.relu,
    "Relu6": ops.relu6,
    "Sigmoid": ops.sigmoid,
    "Tanh": ops.tanh,
    "Softplus": ops.softplus,
    "Softsign": ops.softsign,
    "Silu": ops.silu,
    "LogSigmoid": ops.log_sigmoid,
    "LeakyRelu": lambda x: ops.leaky_relu(x, 0.1),
    "HardSigmoid": ops.hard_sigmoid,
    "HardSilu": ops.hard_silu,
    "HardTanh": ops.hard_tanh,
    "Elu": ops.elu,
    "Celu": ops.celu,
    "Selu": ops.selu,
    "Gelu": ops.gelu,
    "Gelu exact": lambda x: ops.gelu(x, approximate=False),
    "Glu": lambda x: ops.glu(x),
    "Softmax": lambda x: ops.softmax(x, -1),
    "LogSoftmax": lambda x: ops.log_softmax(x),
}


def together(calls: list[Callable[[Any], Any]]) -> Any:
    """One model of many functions of one input."""
    x = keras.Input(TEXT)
    return keras.Model(x, [call(x) for call in calls])


OPERATIONS = {**_OPERATIONS, **FORMULAS}


def _operations() -> dict[str, Make]:
    found = {f"op {name}": function(TEXT, call) for name, call in OPERATIONS.items()}
    found |= {f"on images {name}": function((8, 8, 8), call) for name, call in IMAGES.items()}
    found["op Resize"] = function(IMAGE, lambda x: ops.image.resize(x, (9, 5)))
    return found


WINDOWS = _windows()
CASES: dict[str, Make] = {
    **WINDOWS,
    **_plain(),
    **_merging(),
    **_sequences(),
    **_attention(),
    **_operations(),
    **FURTHER,
}
