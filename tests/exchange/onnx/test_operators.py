"""Operators that become ops of the vocabulary: what ONNX Runtime gives, as read and as written once more."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx import nodes
from tests.exchange.onnx.test_attention import there_and_back
from tests.exchange.onnx.test_reading_live import make, onnx
from tests.exchange.onnx.there_and_back import run

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE = RNG.standard_normal((2, 4, 9, 8)).astype(np.float32)
ROWS = RNG.standard_normal((3, 5)).astype(np.float32)
WHOLE = RNG.integers(-20, 20, (3, 5)).astype(np.int32)
SMALL = RNG.uniform(-0.9, 0.9, (3, 5)).astype(np.float32)


def node(op, *inputs, outputs=("y",), **attributes):
    return onnx.helper.make_node(op, inputs, outputs, **attributes)


def of(op, *inputs, opset=21, stored=(), outputs=("y",), **attributes):
    """The inputs that are given when it runs, those that are stored, and the node."""
    names = [f"x{place}" for place in range(len(inputs))]
    kept = {f"x{place}": inputs[place] for place in stored}
    given = {name: each for name, each in zip(names, inputs, strict=True) if name not in kept}
    return opset, node(op, *names, outputs=outputs, **attributes), given, kept


CASES = {
    "convolution of computed weights": of("Conv", IMAGE, normal(6, 2, 3, 2), group=2, pads=[1, 0, 1, 1]),
    "transposed, of computed weights": of(
        "ConvTranspose", IMAGE, normal(4, 3, 3, 2), strides=[2, 1], group=2,
        output_padding=[1, 0], pads=[1, 0, 0, 1]),
    "transposed with gaps": of("ConvTranspose", IMAGE, normal(4, 3, 2, 2), dilations=[2, 3]),
    "windows that skip the last element": of(
        "AveragePool", IMAGE, kernel_shape=[1, 1], strides=[2, 2], auto_pad="SAME_UPPER"),
    "pooling with gaps": of("MaxPool", IMAGE, kernel_shape=[2, 3], dilations=[2, 2], pads=[1, 1, 1, 1], strides=[1, 2]),
    "mean with gaps": of("AveragePool", IMAGE, kernel_shape=[2, 3], dilations=[2, 2], pads=[1, 1, 0, 1],
                         count_include_pad=1, ceil_mode=1, strides=[2, 2]),
    "mean with gaps, of what is inside": of(
        "AveragePool", IMAGE, kernel_shape=[2, 2], dilations=[2, 3], pads=[1, 1, 1, 1]),
    "norm of windows": of("LpPool", IMAGE, kernel_shape=[2, 3], p=2, strides=[2, 1], opset=18),
    "third norm of all": of("GlobalLpPool", IMAGE, p=3),
    "product of axes": of("ReduceProd", SMALL, np.array([1]), stored=[1], keepdims=0),
    "product of all": of("ReduceProd", SMALL),
    "transform": of("DFT", normal(2, 9, 1), opset=17, axis=1, onesided=1),
    "transform of complex numbers": of("DFT", normal(2, 9, 2), opset=17, axis=1),
    "frames": of("STFT", normal(2, 40, 1), np.array(6), normal(12), opset=17, stored=[1, 2]),
    # 16 of them: ONNX Runtime's transforms of other numbers than powers of two are off by 1e-5 and more.
    "frames of complex numbers": of(
        "STFT", normal(2, 40, 2), np.array(7), normal(16), opset=17, stored=[1, 2], onesided=0),
    "blocks as channels": of("SpaceToDepth", normal(2, 3, 4, 6), blocksize=2),
    "largest": of("TopK", ROWS, np.array([3]), stored=[1], outputs=("y", "z"), axis=1),
    "smallest of few": of("TopK", ROWS, np.array([2]), stored=[1], outputs=("y", "z"), axis=0, largest=0),
    "written elements": of("ScatterElements", ROWS, np.array([[1, -1]]), np.array([[5, 6]], "f"), axis=1),
    "added elements": of("ScatterElements", ROWS, np.array([[1, 1]]), np.array([[5, 6]], "f"), axis=1, reduction="add"),
    "written rows": of("ScatterND", ROWS, np.array([[2], [0]]), normal(2, 5)),
    "added places": of("ScatterND", ROWS, np.array([[2, 1], [2, -1]]), np.array([1, 2], "f"), reduction="add"),
    "diagonal": of("Trilu", ROWS, np.array(1), upper=0),
    "diagonal of the upper part": of("Trilu", ROWS, np.array(-1)),
    "turned sequences": of("ReverseSequence", IMAGE[:, :, :, 0], np.array([3, 1]), time_axis=1, batch_axis=0),
    "quotient of integers": of("Div", WHOLE, np.full((3, 5), -3, np.int32)),
    "rest of integers": of("Mod", WHOLE, np.full((3, 5), 7, np.int32)),
    "rest with the sign of the dividend": of("Mod", ROWS, np.full((3, 5), -0.7, "f"), fmod=1),
    "bits": of("BitwiseXor", WHOLE, WHOLE[::-1].copy()),
    "no bits": of("BitwiseNot", WHOLE),
    "bits moved up": of("BitShift", WHOLE.astype(np.uint8), np.full((3, 5), 3, np.uint8), direction="LEFT"),
    "bits moved down": of("BitShift", WHOLE.astype(np.uint32), np.full((3, 5), 3, np.uint32), direction="RIGHT"),
    **{f"{op} of numbers": of(op, SMALL) for op in ("Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh")},
    "area cosine": of("Acosh", np.abs(ROWS) + 1),
    **{f"{op} of halves": of(op, np.round(ROWS * 4) / 2) for op in ("Floor", "Ceil", "Round")},
    "cross entropy": of("SoftmaxCrossEntropyLoss", ROWS, np.array([1, 4, 0]), outputs=("y", "z"), opset=13,
                        ignore_index=4),
    "likelihood": of(
        "NegativeLogLikelihoodLoss", ROWS, np.array([1, 4, 0]), np.abs(ROWS[0]), opset=13, reduction="sum"),
    **{
        f"the least of {info.dtype}": of("ArgMin", np.array([[5, info.min, info.max, 0]], info.dtype), axis=1)
        for info in map(np.iinfo, ("int8", "uint8", "int32", "int64"))
    },
    "computed scales of channels": of("BatchNormalization", IMAGE, *np.abs(normal(4, 4))),
    "computed scales of instances": of("InstanceNormalization", IMAGE, *normal(2, 4)),
    # What is cut off beyond a shape that is asked for is more before than behind, if it is odd.
    "transposed, to a shape": of("ConvTranspose", IMAGE, normal(4, 3, 3, 2), stored=[1], output_shape=[10, 6]),
    "transposed, to a shape, more behind": of(
        "ConvTranspose", IMAGE, normal(4, 3, 3, 2), stored=[1], output_shape=[10, 6], auto_pad="SAME_UPPER"),
    "convolution with a computed bias": of("Conv", IMAGE, normal(6, 4, 3, 2), normal(6), stored=[1]),
    "transposed with a computed bias": of("ConvTranspose", IMAGE, normal(4, 3, 3, 2), normal(3), stored=[1]),
    "padding with a computed number": of(
        "Pad", ROWS, np.array([1, -1, 0, 2]), np.array(2.5, "f"), stored=[1], mode="constant"),
    "rectified integers": of("Relu", WHOLE),
    "a part of an image": of(
        "Resize", IMAGE, np.array([0, 0, 0.1, -0.2, 1, 1, 0.8, 1.1], "f"), np.array([1, 1, 2.6, 1.5], "f"),
        stored=[1, 2], opset=13, mode="linear", coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_onnx_runtime_s(case, tmp_path):
    opset, one, given, kept = CASES[case]
    declared = {name: (each.shape, each.dtype.char) for name, each in given.items()}
    first = next(iter(given.values())).dtype.char
    places = {"TopK": "z", "ArgMin": "y"}.get(one.op_type)
    kinds = {} if places is None else {places: "q"}
    outputs = {name: (None, kinds.get(name, first)) for name in one.output}
    there_and_back(make(tmp_path, [one], declared, outputs, kept, opset=opset), *given.values())


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (node("TopK", "x", "k"), "is computed"),
        (node("ReduceProd", "x", axes=[0]), "not fixed"),
        (node("DFT", "x", inverse=1, axis=1), "inverse DFT"),
        (node("STFT", "x", "k"), "is computed"),
        (node("Mod", "x", "x"), "without fmod"),
        (node("BitShift", "x", "x", direction="LEFT"), "BitShift of float32"),
    ],
)
def test_what_is_not_known_is_refused_by_name(one, words, tmp_path):
    inputs = {"x": (["n", 4, 2], "f")} | ({"k": ([1], "q")} if "k" in one.input else {})
    with pytest.raises(ma.ConversionError, match=words):
        exchange.read(make(tmp_path, [one], inputs, {"y": (None, "f")}, opset=17))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (of("Squeeze", IMAGE[:, :1], np.array([], np.int64), stored=[1]), "a Squeeze of no axes"),
        (of("Pad", ROWS, np.array([-2, 0, -2, 0]), stored=[1]), "cuts -2 and -2 off an axis of 3"),
        (of("MaxPool", IMAGE, kernel_shape=[4, 4], dilations=[3, 2]), "windows of 10 over 9 elements"),
        (of("AveragePool", IMAGE, kernel_shape=[2, 9]), "windows of 9 over 8 elements"),
        (of("MaxPool", IMAGE, kernel_shape=[2, 2], dilations=[2, 1], auto_pad="SAME_UPPER"), "in two ways"),
        (of("LpPool", IMAGE, kernel_shape=[2, 2], dilations=[2, 1], auto_pad="SAME_LOWER"), "in two ways"),
        (of("AveragePool", IMAGE, kernel_shape=[1, 2], strides=[3, 1], auto_pad="SAME_UPPER"), "in two ways"),
        (of("LpPool", IMAGE, kernel_shape=[2, 2], strides=[1, 4], auto_pad="SAME_LOWER"), "over 8 elements"),
        (of("Conv", IMAGE, normal(2, 4, 1, 1), stored=[1], strides=[3, 1], auto_pad="SAME_UPPER"), "in two ways"),
        (of("AffineGrid", normal(2, 2, 3), np.array([2, 3, 1, 4]), stored=[1], align_corners=1), "in two places"),
        (of("Resize", IMAGE, np.zeros(0, "f"), np.array([1, 1, 2, 2], "f"), stored=[1, 2], exclude_outside=1),
         "exclude_outside"),
        (of("Resize", IMAGE, np.array([0, 0, 0.5, 0, 1, 1, 1, 1], "f"), np.array([1, 1, 1, 2], "f"), stored=[1, 2],
            mode="linear", coordinate_transformation_mode="tf_crop_and_resize"), "in two ways"),
    ],
)  # fmt: skip
def test_what_runtimes_take_in_two_ways_is_refused(case, words, tmp_path):
    opset, one, given, kept = case
    declared = {name: (each.shape, each.dtype.char) for name, each in given.items()}
    with pytest.raises(ma.ConversionError, match=words):
        exchange.read(make(tmp_path, [one], declared, {"y": (None, "f")}, kept, opset=opset))


@pytest.mark.parametrize("one", [node("Sign", "x"), node("Asinh", "x"), node("Acosh", "x"),
                                 node("IsInf", "x", detect_negative=0, detect_positive=0)])  # fmt: skip
def test_numbers_that_are_none_and_infinite_ones(one, tmp_path):
    path = make(tmp_path, [one], {"x": ([7], "f")}, {"y": (None, "?" if one.op_type == "IsInf" else "f")})
    signed = one.op_type != "Acosh"
    x = np.array([np.nan, np.inf, 1, 1e30, 3e4, -np.inf if signed else 2, -1e25 if signed else 9e3], np.float32)
    (wanted,) = run(path, {"x": x})
    found = exchange.read(path).build()(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.dtype == wanted.dtype


def test_mean_and_deviation_are_single_whatever_is_normalised(tmp_path):
    one = node("LayerNormalization", "x", "s", outputs=("y", "m", "d"), axis=1)
    outputs = {"y": (None, "d"), "m": (None, "f"), "d": (None, "f")}
    path = make(tmp_path, [one], {"x": ((3, 5), "d")}, outputs, {"s": np.arange(1.0, 6)}, opset=17)
    there_and_back(path, ROWS.astype(np.float64))


@pytest.mark.parametrize("name", ["cumprod", "stft", "irfft", "hannwindow", "blackman", "spacetodepth"])
def test_it_is_what_onnx_says(name):
    """Operators that ONNX Runtime does not have, or not in this way, by ONNX's own tests."""
    found = list(nodes.outcomes([case for case in nodes.cases() if name in case.name]))
    assert found
    assert [each for each in found if each.verdict in ("refused", "wrong")] == []


def test_frames_of_a_free_number(tmp_path):
    kept = {"step": np.array(4), "window": np.hanning(16).astype(np.float32)}
    one = node("STFT", "x", "step", "window")
    path = make(tmp_path, [one], {"x": (["batch", "length", 1], "f")}, {"y": (None, "f")}, kept, opset=17)
    network = exchange.read(path).build()
    for length in (16, 61, 200):
        x = normal(2, length, 1)
        wanted = np.stack([np.fft.rfft(x[:, at : at + 16, 0] * kept["window"]) for at in range(0, length - 15, 4)], 1)
        found = network(x)
        assert found.shape == (*wanted.shape, 2)
        np.testing.assert_allclose(found[..., 0] + 1j * found[..., 1], wanted, atol=1e-5)
