"""Layers: their arguments, what they learn from the first input, what they refuse."""

import numpy as np
import pytest

from modelarchive import nn


def zeros(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("layer", "shape", "learned"),
    [
        (lambda: nn.Dense(4), (2, 3, 5), {"weight": (4, 15), "bias": (4,)}),
        (lambda: nn.Dense(4, flatten=False), (2, 3, 5), {"weight": (4, 5), "bias": (4,)}),
        (lambda: nn.Conv1D(4, 3), (2, 6, 5), {"weight": (4, 6, 3), "bias": (4,)}),
        (lambda: nn.Conv2D(4, 3, groups=2, use_bias=False), (2, 6, 5, 5), {"weight": (4, 3, 3, 3)}),
        (lambda: nn.Conv2D(4, (3, 2), layout="NHWC"), (2, 5, 5, 6), {"weight": (4, 6, 3, 2), "bias": (4,)}),
        (lambda: nn.Conv1DTranspose(4, 3), (2, 6, 5), {"weight": (6, 4, 3), "bias": (4,)}),
        (
            lambda: nn.Conv2DTranspose(4, (3, 2), groups=2, layout="NHWC"),
            (2, 5, 5, 6),
            {"weight": (6, 2, 3, 2), "bias": (4,)},
        ),
        (lambda: nn.BatchNorm(scale=False), (2, 6, 5), dict.fromkeys(("bias", "running_mean", "running_var"), (6,))),
        (lambda: nn.LayerNorm(), (2, 6, 5), {"weight": (5,), "bias": (5,)}),
        (lambda: nn.LayerNorm(axis=1), (2, 6, 5), {"weight": (6,), "bias": (6,)}),
        (lambda: nn.RMSNorm(), (2, 6, 5), {"weight": (5,)}),
        (lambda: nn.LayerNorm(axis=(-2, -1), center=False), (2, 6, 5), {"weight": (6, 5)}),
        (lambda: nn.RMSNorm(axis=[-1, 1]), (2, 6, 5), {"weight": (5, 6)}),
        (lambda: nn.GroupNorm(3), (2, 6, 5), {"weight": (6,), "bias": (6,)}),
        (lambda: nn.InstanceNorm(axis=-1), (2, 6, 5), {"bias": (5,)}),
        (lambda: nn.PReLU(in_channels=0), (2, 6, 5), {"weight": (6,)}),
    ],
)
def test_shapes_are_learned_from_the_first_input(layer, shape, learned):
    layer = layer()
    layer.initialize(seed=0)
    layer(zeros(*shape))
    assert {name: parameter.shape for name, parameter in layer.parameters.items()} == learned
    field = {"Dense": "in_units"}.get(layer.kind, "in_channels")
    found = layer.config()[field]
    assert found == (list(learned["weight"]) if isinstance(found, list) else getattr(layer, field))
    assert np.min(found) > 0
    assert list(layer.parameters) == list(learned)


def test_running_statistics_are_not_trained():
    trainable = {name: each.trainable for name, each in nn.BatchNorm().parameters.items()}
    assert trainable == {"weight": True, "bias": True, "running_mean": False, "running_var": False}


def test_fields_are_normal_forms():
    assert nn.Conv2D(4, 3, padding=1).config() == {
        "channels": 4,
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": [[1, 1], [1, 1]],
        "dilation": [1, 1],
        "groups": 1,
        "layout": "NCHW",
        "activation": None,
        "use_bias": True,
        "in_channels": 0,
        "dtype": "float32",
    }
    assert nn.AvgPool2D((3, 2)).config() == {
        "pool_size": [3, 2],
        "strides": [3, 2],
        "padding": [[0, 0], [0, 0]],
        "layout": "NCHW",
        "ceil_mode": False,
        "count_include_pad": True,
    }
    assert nn.Activation("relu").config() == {"activation": "relu", "alpha": None}
    assert nn.Activation("leaky_relu").config() == {"activation": "leaky_relu", "alpha": 0.01}
    assert nn.Activation("elu", 2).config() == {"activation": "elu", "alpha": 2.0}
    assert nn.Embedding(5, 2, padding_idx=-1).padding_idx == 4
    assert nn.Dense(np.int64(3)).units == 3


def test_positional_arguments_are_gluon_s():
    conv = nn.Conv2D(16, (3, 3), (2, 2), (1, 1), (1, 1), 1, "NCHW", "relu", False)
    assert (conv.strides, conv.activation, conv.use_bias) == ((2, 2), "relu", False)
    dense = nn.Dense(16, "tanh", False, False, "float16")
    assert (dense.activation, dense.use_bias, dense.flatten, dense.dtype) == ("tanh", False, False, "float16")
    pool = nn.MaxPool2D((3, 3), (2, 2), (1, 1), "NCHW", True)
    assert (pool.padding, pool.ceil_mode) == (((1, 1), (1, 1)), True)


def test_sizes_of_upsampling_and_transposed_convolution():
    assert nn.Upsample(2).infer((1, 3, 4, 5)) == (1, 3, 8, 10)
    assert nn.Upsample((2, 3), layout="NHWC").infer((1, 4, 5, 3)) == (1, 8, 15, 3)
    assert nn.Upsample(size=7, mode="bilinear", layout="NCW").infer((1, 3, 4)) == (1, 3, 7)
    assert nn.Upsample(2, "trilinear", layout="NCDHW").config()["mode"] == "linear"
    assert nn.Conv2DTranspose(4, 3, 2, 1, 1).infer((1, 3, 4, 5)) == (1, 4, 8, 10)
    assert nn.Conv2DTranspose(4, 4, 2, 1).infer((1, 3, 4, 5)) == (1, 4, 8, 10)
    assert nn.Pad([(1, 2), (0, 3)]).infer((1, 3, 4, 5)) == (1, 3, 7, 8)
    assert nn.Pad([(1, 0)], value=-np.inf).config() == {"padding": [[1, 0]], "mode": "constant", "value": "-Infinity"}
    assert nn.Reshape((None, 2, -1)).infer((0, 6, 5)) == (0, 2, 15)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2DTranspose(4, 3, 2), (0, 6, 5, 5)),
        (nn.Upsample(2, "linear"), (0, 6, 5, 5)),
        (nn.Upsample(2), (0, 6, 5, 5)),
        (nn.AdaptiveAvgPool2D(3), (0, 6, 5, 5)),
        (nn.Reshape((None, 6, -1)), (0, 6, 5, 5)),
        (nn.Pad([(1, 1)], "reflect"), (0, 6, 5, 5)),
        (nn.LogSoftmax(), (0, 6)),
    ],
)
def test_an_empty_batch_has_a_result(layer, shape):
    layer.initialize(seed=0)
    x = zeros(*shape)
    assert layer(x).shape == layer.infer(shape)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_integers_keep_their_dtype_where_nothing_is_computed(dtype):
    x = np.arange(24).reshape(1, 2, 3, 4).astype(dtype)
    for layer in (nn.Upsample(2), nn.Pad([(1, 1)]), nn.Reshape((None, -1)), nn.Permute((0, 2, 3, 1))):
        assert layer(x).dtype == layer.result_dtype(x.dtype) == dtype
    for layer in (nn.Upsample(2, "bilinear"), nn.AdaptiveAvgPool2D(2)):
        assert layer(x).dtype == layer.result_dtype(x.dtype) == np.float32
    assert nn.Softmax()(x).dtype == nn.Softmax().result_dtype(x.dtype) == np.float64


def test_ceil_mode_adds_the_last_window_only_if_it_begins_inside():
    assert nn.MaxPool1D(2, 2, ceil_mode=True).infer((1, 1, 5)) == (1, 1, 3)
    assert nn.MaxPool1D(2, 2, ceil_mode=False).infer((1, 1, 5)) == (1, 1, 2)
    assert nn.MaxPool1D(2, 3, 1, ceil_mode=True).infer((1, 1, 3)) == (1, 1, 2)
    assert nn.MaxPool1D(1, 3, ceil_mode=True).infer((1, 1, 2)) == (1, 1, 1)
    assert nn.MaxPool1D(3, 2, ceil_mode=True).infer((1, 1, 2)) == (1, 1, 1)
    with pytest.raises(ValueError, match="at least 3 elements"):
        nn.MaxPool1D(3, 2, ceil_mode=True).infer((1, 1, 1))
    with pytest.raises(ValueError, match="at least 2 elements"):
        nn.MaxPool1D(2, 4, ceil_mode=True).infer((1, 1, 0))


def test_dropout_and_identity_return_what_they_get():
    x = zeros(2, 3)
    assert nn.Dropout(0.5)(x) is x
    assert nn.Identity()(x) is x


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nn.Dense(4, in_units=20), (2, 21), r"Dense: expected 20 input features, found 21 in shape \(2, 21\)"),
        (nn.Dense(4), (), "Dense: expected an input of at least 1 dimension"),
        (nn.Dense(4), (2, 0), "Dense: input features: expected an int of at least 1, found 0"),
        (nn.Conv2D(4, 3, in_channels=3), (1, 4, 8, 8), r"Conv2D: expected 3 input channels, found 4 in shape"),
        (nn.Conv2D(4, 3), (4, 8, 8), r"Conv2D: .*\(batch, channels, height, width\), found \(4, 8, 8\)"),
        (nn.Conv1D(4, 3, layout="NWC"), (4, 8), r"Conv1D: .*\(batch, width, channels\), found \(4, 8\)"),
        (nn.Conv2D(4, 3, groups=2), (1, 3, 8, 8), "Conv2D: expected input channels that 2 groups divide, found 3"),
        (nn.Conv2D(4, 3), (1, 3, 8, 2), "Conv2D: expected at least 3 elements along spatial axis 1 .* found 2"),
        (nn.MaxPool2D(3), (1, 3, 2, 8), "MaxPool2D: expected at least 3 elements"),
        (nn.GlobalAvgPool2D(), (1, 3, 0, 8), "GlobalAvgPool2D: expected at least one element"),
        (nn.GlobalAvgPool2D(), (1, 3), "GlobalAvgPool2D: expected an input of shape"),
        (nn.BatchNorm(in_channels=3), (2, 4), r"BatchNorm: expected size 3 at axis 1, found 4 in shape \(2, 4\)"),
        (nn.BatchNorm(), (2,), "BatchNorm: expected an axis of an array of 1 dimensions, found axis 1"),
        (nn.LayerNorm(in_channels=3), (2, 4), "LayerNorm: expected size 3 at axis -1, found 4"),
        (nn.Flatten(), (), "Flatten: expected an input of at least 1 dimension"),
        (nn.Conv2DTranspose(4, 3, in_channels=3), (1, 4, 8, 8), "Conv2DTranspose: expected 3 input channels, found 4"),
        (
            nn.Conv2DTranspose(4, 3, padding=3),
            (1, 4, 1, 8),
            "expected a size of at least 1 along spatial axis 0, found -3",
        ),
        (nn.Conv2DTranspose(4, 3, groups=2), (1, 3, 8, 8), "expected input channels that 2 groups divide, found 3"),
        (nn.Upsample(2), (1, 3, 0, 4), "Upsample: expected at least one element along each spatial axis"),
        (nn.AdaptiveAvgPool1D(2), (1, 3, 0), "AdaptiveAvgPool1D: expected at least one element to pool"),
        (nn.Pad([(1, 1)], "reflect"), (2, 1), "Pad: padding: expected at most 0 in mode 'reflect'"),
        (nn.Reshape((None, 4)), (2, 3), "Reshape: expected a shape of 3 elements"),
        (nn.Permute((0, 2, 1)), (2, 3), "Permute: expected an axis|Permute: expected an order of 2 axes"),
        (nn.Softmax(2), (2, 3), "Softmax: expected an axis of an array of 2 dimensions"),
        (
            nn.LayerNorm((1, 2), in_channels=(4, 5)),
            (2, 4, 6),
            r"expected sizes \(4, 5\) at axes \(1, 2\), found \(4, 6\)",
        ),
        (nn.LayerNorm((1, -1)), (2, 4), r"LayerNorm: expected each axis once, found \(1, -1\)"),
        (nn.RMSNorm(in_channels=3), (2, 4), "RMSNorm: expected size 3 at axis -1, found 4"),
        (nn.GroupNorm(4), (2, 6, 5), "GroupNorm: expected channels that 4 groups divide, found 6"),
        (nn.GroupNorm(axis=0), (2, 6, 5), "GroupNorm: expected the channels behind the batch, found axis 0"),
        (nn.InstanceNorm(axis=-2), (2, 6), "InstanceNorm: expected the channels behind the batch, found axis -2"),
        (nn.InstanceNorm(in_channels=3), (2, 4, 5), "InstanceNorm: expected size 3 at axis 1, found 4"),
        (nn.PReLU(in_channels=3), (2, 4), r"PReLU: expected 3 channels at axis 1, found 4 in \(2, 4\)"),
        (nn.PReLU(in_channels=3), (2,), "PReLU: expected an axis of an array of 1 dimensions, found axis 1"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(layer, shape, words):
    with pytest.raises(ValueError, match=words):
        layer.infer(shape)
    layer.initialize(seed=0)
    with pytest.raises(ValueError, match=words):
        layer(zeros(*shape))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Dense(0), "units: expected an int of at least 1, found 0"),
        (lambda: nn.Dense(2.5), "units: .* found 2.5"),
        (lambda: nn.Dense(True), "units: .* found True"),
        (lambda: nn.Dense(4, "rleu"), "found 'rleu'"),
        (lambda: nn.Dense(4, use_bias=1), "use_bias: expected True or False, found 1"),
        (lambda: nn.Dense(4, in_units=-1), "in_units"),
        (lambda: nn.Dense(4, dtype="int8"), "dtype: expected a float dtype"),
        (lambda: nn.Dense(4, dtype="float99"), "dtype: expected a float dtype"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx: expected less than 3, found 3"),
        (lambda: nn.Embedding(3, 2, padding_idx=-4), "padding_idx"),
        (lambda: nn.Conv2D(4, (3, 3, 3)), "kernel_size: .* or 2 of them"),
        (lambda: nn.Conv2D(4, 3, strides=0), "strides"),
        (lambda: nn.Conv2D(4, 3, padding=-1), "padding"),
        (lambda: nn.Conv2D(4, 3, layout="CHW"), "layout: expected 'NCHW' or 'NHWC', found 'CHW'"),
        (lambda: nn.Conv2D(5, 3, groups=2), "that 2 groups divide, found 5 and 0"),
        (lambda: nn.MaxPool2D(2, padding=2), r"padding: expected less than pool_size \(2, 2\)"),
        (lambda: nn.MaxPool2D(2, ceil_mode=None), "ceil_mode"),
        (lambda: nn.BatchNorm(epsilon=-1), "epsilon: expected a number from 0 to inf, found -1"),
        (lambda: nn.BatchNorm(momentum=1.5), "momentum: .* from 0 to 1"),
        (lambda: nn.BatchNorm(axis="1"), "axis"),
        (lambda: nn.LayerNorm(epsilon=float("nan")), "epsilon"),
        (lambda: nn.LayerNorm(()), "axis: expected at least one axis, each once"),
        (lambda: nn.LayerNorm((1, 1)), "axis: expected at least one axis, each once"),
        (lambda: nn.RMSNorm((1, 2), in_channels=4), "in_channels: expected 0 or the sizes of 2 axes, found 4"),
        (lambda: nn.RMSNorm((1, 2), in_channels=(4,)), r"in_channels: .* found \(4,\)"),
        (lambda: nn.Activation(None), "expected a name"),
        (lambda: nn.Activation("relu", 0.1), "alpha: expected None, for relu has no parameter, found 0.1"),
        (lambda: nn.Activation("elu", float("nan")), "alpha: expected a number from -1e.30 to 1e.30, found nan"),
        (lambda: nn.Activation("celu", 0), "alpha: expected a number from 1e-30"),
        (lambda: nn.Activation("leaky_relu", True), "alpha: .* found True"),
        (lambda: nn.Dropout(2), "rate"),
        (lambda: nn.Conv2DTranspose(4, 3, 2, output_padding=2), "output_padding: expected less than strides"),
        (lambda: nn.Conv1DTranspose(3, 3, groups=2), "that 2 groups divide, found 3 and 0"),
        (lambda: nn.Upsample(), "either scale or size, found None and None"),
        (lambda: nn.Upsample(2, size=4), "either scale or size, found 2 and 4"),
        (lambda: nn.Upsample(2, "cubic"), "mode: expected 'nearest' or 'linear', found 'cubic'"),
        (lambda: nn.Upsample(2, align_corners=True), "align_corners: expected False in mode 'nearest'"),
        (lambda: nn.Upsample(2, layout="HW"), "layout"),
        (lambda: nn.AdaptiveAvgPool2D(0), "output_size"),
        (lambda: nn.Pad(1), "padding: expected a pair for each of the last axes, found 1"),
        (lambda: nn.Pad([1, 1]), "padding: expected pairs"),
        (lambda: nn.Pad([(1, 1)], "mirror"), "mode: expected one of constant"),
        (lambda: nn.Pad([(1, 1)], value="x"), "value: expected a number"),
        (lambda: nn.Reshape((-1, -1)), "at most one -1"),
        (lambda: nn.Reshape(3), "shape: expected a list of sizes"),
        (lambda: nn.Permute((0, 2)), "axes: expected each of 0 to 1 once"),
        (lambda: nn.Softmax(None), "axis"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_defaults_are_gluon_s():
    group, instance, prelu = nn.GroupNorm(), nn.InstanceNorm(), nn.PReLU()
    assert (group.num_groups, group.center, group.scale, group.epsilon) == (1, True, True, 1e-5)
    assert (instance.axis, instance.center, instance.scale, instance.epsilon) == (1, True, False, 1e-5)
    prelu.initialize(seed=0)
    np.testing.assert_array_equal(prelu(np.array([-2.0, 4.0], np.float32)), [-0.5, 4])


def test_normalisations_of_nothing_are_nothing():
    for layer in (nn.GroupNorm(2), nn.InstanceNorm()):
        layer.initialize(seed=0)
        assert layer(zeros(2, 4, 0)).shape == (2, 4, 0)
        assert layer(zeros(0, 4, 3)).shape == (0, 4, 3)
    for layer in (nn.LayerNorm(center=False, scale=False), nn.RMSNorm(scale=False)):
        assert layer(zeros(2, 0)).shape == (2, 0)


def test_an_embedding_takes_integers_only():
    layer = nn.Embedding(3, 2)
    layer.initialize(seed=0)
    assert layer(np.array([[0, 2]], np.uint8)).shape == (1, 2, 2)
    with pytest.raises(TypeError, match="integer indices, found float32"):
        layer(zeros(2))
    with pytest.raises(ValueError, match="from 0 to 2, found -1 to -1"):
        layer(np.array([-1]))
