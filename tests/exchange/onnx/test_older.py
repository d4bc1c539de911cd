"""Operators of older opsets: what ONNX Runtime makes of them, which still runs opset 7."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from modelarchive.exchange.onnx.older import _EARLY
from tests.exchange.onnx.test_reading_live import compared, make, onnx

X = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)


def node(op, inputs=("x",), **attributes):
    return onnx.helper.make_node(op, list(inputs), ["y"], **attributes)


#: Name -> opset, node, stored arrays.
OLD = {
    "softmax over all that follows": (11, node("Softmax", axis=1), {}),
    "softmax from the second axis on": (8, node("Softmax"), {}),
    "log softmax": (12, node("LogSoftmax", axis=2), {}),
    "hardmax": (11, node("Hardmax", axis=2), {}),
    "squeeze": (11, node("Squeeze", ["one"], axes=[0, 2]), {"one": np.ones((1, 3, 1), np.float32)}),
    "unsqueeze": (11, node("Unsqueeze", axes=[0, 3]), {}),
    "sum over axes": (11, node("ReduceSum", axes=[1, 3], keepdims=0), {}),
    "split": (11, onnx.helper.make_node("Split", ["x"], ["y", "z"], axis=2, split=[1, 3]), {}),
    "clip": (7, node("Clip", min=-0.5, max=0.25), {}),
    "clip on one side": (10, node("Clip", min=-0.5), {}),
    "pad": (7, node("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0], value=2.5), {}),
    "pad by mirroring": (10, node("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0], mode="reflect"), {}),
    "slice": (9, node("Slice", starts=[1, -3], ends=[9, -1], axes=[1, 3]), {}),
    "slice of the first axes": (7, node("Slice", starts=[0, 1], ends=[1, 3]), {}),
    "top k": (9, onnx.helper.make_node("TopK", ["x"], ["y", "z"], k=2, axis=3), {}),
    "upsample by attributes": (7, node("Upsample", scales=[1.0, 1.0, 2.0, 3.0]), {}),
    "upsample by an input": (9, node("Upsample", ["x", "s"]), {"s": np.array([1, 1, 2, 2], np.float32)}),
    "resize": (10, node("Resize", ["x", "s"]), {"s": np.array([1, 1, 2, 2], np.float32)}),
    "resize to fewer": (10, node("Resize", ["x", "s"]), {"s": np.array([1, 1, 0.6, 3], np.float32)}),
    "dropout": (7, node("Dropout", ratio=0.3), {}),
    "batch normalisation": (
        7, node("BatchNormalization", ["x", "s", "b", "m", "v"], epsilon=1e-3),
        {name: np.arange(1, 4, dtype=np.float32) for name in "sbmv"},
    ),
    "scatter": (
        9, node("Scatter", ["x", "at", "new"], axis=3),
        {"at": np.array([[[[0, 2]]]]), "new": np.array([[[[5, 7]]]], np.float32)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OLD)
def test_it_means_what_it_meant(case, tmp_path):
    opset, one, stored = OLD[case]
    inputs = {} if "one" in stored else {"x": ([2, 3, 4, 4], "f")}
    kind = {"z": "q" if case == "top k" else "f"}
    outputs = {name: (None, kind.get(name, "f")) for name in one.output}
    path = make(tmp_path, [one], inputs, outputs, stored, opset=opset)
    compared(path, *([X] if inputs else []))


def test_free_axes_in_a_softmax_that_flattens(tmp_path):
    path = make(tmp_path, [node("Softmax", axis=2)], {"x": (["n", 3, 4, 4], "f")}, {"y": (None, "f")}, opset=11)
    compared(path, X)


def test_before_opset_seven_operators_that_never_changed_are_read_and_others_refused_by_name(tmp_path):
    assert {"Relu", "Not", "Concat"} <= _EARLY
    nodes = [node("Concat", ["x", "x"])]
    bundle = exchange.read(make(tmp_path, nodes, {"x": ([1, 2], "f")}, {"y": (None, "f")}, opset=3))
    assert bundle.build()(np.ones((1, 2), np.float32)).shape == (1, 4)
    for one, words in (
        (node("Dropout"), "without is_test trains"),
        (node("Tile", ["x", "x"]), "only from opset 7 on"),
        (node("Add", ["x", "x"], broadcast=1, axis=0), "attributes that are not supported"),
    ):
        with pytest.raises(ma.ConversionError, match=words):
            exchange.read(make(tmp_path, [one], {"x": ([2], "f")}, {"y": (None, "f")}, opset=6))


def test_the_mask_of_an_old_dropout_is_refused(tmp_path):
    one = onnx.helper.make_node("Dropout", ["x"], ["y", "z"], ratio=0.3)
    with pytest.raises(ma.ConversionError, match="in two ways"):
        exchange.read(make(tmp_path, [one], {"x": ([2], "f")}, {"y": (None, "f"), "z": (None, "?")}, opset=10))


def test_statistics_for_each_element_are_refused(tmp_path):
    one = node("BatchNormalization", ["x", "s", "s", "s", "s"], spatial=0)
    stored = {"s": np.ones(3, np.float32)}
    with pytest.raises(ma.ConversionError, match="spatial = 0"):
        exchange.read(make(tmp_path, [one], {"x": ([2, 3, 4, 4], "f")}, {"y": (None, "f")}, stored, opset=7))
