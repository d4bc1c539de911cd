"""Regions, moved windows, places put back, sequences, and widths by sizes: what ONNX Runtime gives."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx import nodes
from tests.exchange.onnx.test_attention import there_and_back
from tests.exchange.onnx.test_operators import node, normal, of
from tests.exchange.onnx.test_reading_live import make, onnx

IMAGE = normal(2, 4, 9, 8)
ROIS = np.array([[0, 0, 7, 8], [1.5, 2, 4, 8.5], [-3, 5, 2, 12], [2, 2, 2.1, 2.2]], np.float32)
WHICH = np.array([0, 1, 1, 0])
SMALL = normal(2, 3, 4, 5)
PLACES = np.arange(120).reshape(2, 3, 4, 5) * 4

CASES = {
    "regions": of("RoiAlign", IMAGE, ROIS, WHICH, output_height=3, output_width=2, sampling_ratio=2,
                  spatial_scale=0.75, opset=16),
    "regions, not half an element off": of(
        "RoiAlign", IMAGE, ROIS, WHICH, output_height=2, output_width=2, sampling_ratio=1,
        coordinate_transformation_mode="output_half_pixel", opset=16),
    "regions of opset 10": of("RoiAlign", IMAGE, ROIS, WHICH, output_height=2, output_width=3, sampling_ratio=3,
                              opset=10),
    "grid": of("AffineGrid", normal(2, 2, 3), np.array([2, 3, 5, 4]), stored=[1], opset=20),
    "grid from corner to corner": of("AffineGrid", normal(2, 3, 4), np.array([2, 3, 5, 4, 3]), stored=[1], opset=20,
                                     align_corners=1),
    "places put back": of("MaxUnpool", SMALL, PLACES, kernel_shape=[2, 2], strides=[2, 2]),
    "windows put back": of("Col2Im", normal(2, 3 * 6, 16), np.array([5, 6]), np.array([2, 3]), stored=[1, 2],
                           strides=[1, 1], opset=18),
    "windows put back with gaps": of(
        "Col2Im", normal(2, 2 * 4, 20), np.array([9, 8]), np.array([2, 2]), stored=[1, 2], strides=[2, 2],
        dilations=[2, 1], pads=[0, 1, 1, 1], opset=18),
    "middle": of("CenterCropPad", IMAGE, np.array([5, 11]), stored=[1], axes=[-2, 3], opset=18),
    "elements of batches": of("GatherND", IMAGE, np.array([[[3], [-1]], [[0], [2]]]), batch_dims=1),
    "elements of batches of batches": of("GatherND", IMAGE, np.arange(2 * 4 * 3).reshape(2, 4, 3, 1) % 9, batch_dims=2),
    "chosen rows": of("Compress", IMAGE, np.array([True, False, True]), stored=[1], axis=2),
    "cut and held at the edge": of("Pad", IMAGE[0, 0], np.array([-1, 0, 0, 2]), stored=[1], mode="edge"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_onnx_runtime_s(case, tmp_path):
    opset, one, given, kept = CASES[case]
    declared = {name: (each.shape, each.dtype.char) for name, each in given.items()}
    there_and_back(make(tmp_path, [one], declared, {"y": (None, "f")}, kept, opset=opset), *given.values())


@pytest.mark.parametrize(("pads", "strides"), [([0, 0, 0, 0], [2, 2]), ([1, 0, 1, 1], [1, 2])])
def test_the_places_of_the_largest(pads, strides, tmp_path):
    one = node("MaxPool", "x", outputs=("y", "z"), kernel_shape=[2, 3], pads=pads, strides=strides)
    path = make(tmp_path, [one], {"x": (["n", 4, 9, 8], "f")}, {"y": (None, "f"), "z": (None, "q")})
    there_and_back(path, IMAGE)


@pytest.mark.parametrize(
    "name", ["deform_conv", "center_crop_pad", "col2im", "roialign_aligned", "argmax_2d_precomputed_pads"]
)
def test_it_is_what_onnx_says(name):
    found = list(nodes.outcomes([case for case in nodes.cases() if name in case.name and "strides" not in case.name]))
    assert found
    assert [each for each in found if each.verdict in ("refused", "wrong")] == []


def test_windows_moved_as_pytorch_moves_them(tmp_path):
    """DeformConv of groups, strides and gaps, against a sum over PyTorch's bilinear samples."""
    torch = pytest.importorskip("torch")
    x, offset, mask = normal(2, 4, 7, 6), normal(2, 2 * 2 * 3 * 2, 3, 5) * 2, np.abs(normal(2, 2 * 3 * 2, 3, 5))
    weight = normal(6, 2, 3, 2)
    one = node("DeformConv", "x", "w", "o", "", "m", group=2, offset_group=2, strides=[2, 1], pads=[1, 0, 0, 1],
               dilations=[1, 2])  # fmt: skip
    declared = {"x": (["n", *x.shape[1:]], "f"), "o": (["n", *offset.shape[1:]], "f"),
                "m": (["n", *mask.shape[1:]], "f")}  # fmt: skip
    path = make(tmp_path, [one], declared, {"y": (None, "f")}, {"w": weight}, opset=19)
    columns = np.zeros((2, 4, 3 * 2, 3, 5), np.float32)
    for tap in range(6):
        for group in range(2):
            at = offset.reshape(2, 2, 6, 2, 3, 5)[:, group, tap]
            rows = at[:, 0] + np.arange(3)[:, None] * 2 - 1 + tap // 2
            across = at[:, 1] + np.arange(5)[None] + (tap % 2) * 2
            grid = np.stack([(2 * across + 1) / 6 - 1, (2 * rows + 1) / 7 - 1], -1).astype(np.float32)
            part = torch.nn.functional.grid_sample(
                torch.from_numpy(x[:, 2 * group : 2 * group + 2].copy()), torch.from_numpy(grid), align_corners=False
            ).numpy()
            columns[:, 2 * group : 2 * group + 2, tap] = part * mask.reshape(2, 2, 6, 3, 5)[:, group, None, tap]
    sides = [np.einsum("nkthw,ckt->nchw", columns[:, 2 * g : 2 * g + 2], weight[3 * g : 3 * g + 3].reshape(3, 2, 6))
             for g in range(2)]  # fmt: skip
    found = exchange.read(path).build()(x, offset, mask)
    np.testing.assert_allclose(found, np.concatenate(sides, 1), rtol=0, atol=1e-4)


def test_sequences_that_are_decided(tmp_path):
    """Split into parts, put together in another order, one taken out by its place, and joined."""
    nodes_ = [
        node("SplitToSequence", "x", outputs=("s",), axis=1, keepdims=0),
        node("SequenceEmpty", outputs=("e",)),
        node("SequenceAt", "s", "two", outputs=("a",)),
        node("SequenceInsert", "e", "a", outputs=("t",)),
        node("SequenceAt", "s", "last", outputs=("b",)),
        node("SequenceInsert", "t", "b", "zero", outputs=("u",)),
        node("SequenceLength", "u", outputs=("n",)),
        node("Cast", "n", outputs=("f",), to=1),
        node("ConcatFromSequence", "u", outputs=("c",), axis=0, new_axis=1),
        node("SequenceConstruct", "c", "c", outputs=("v",)),
        node("SequenceErase", "v", "zero", outputs=("w",)),
        node("ConcatFromSequence", "w", outputs=("d",), axis=1),
        node("Mul", "d", "f"),
    ]
    stored = {"zero": np.array(0), "two": np.array(2), "last": np.array(-1)}
    path = make(tmp_path, nodes_, {"x": (["n", 4, 3], "f")}, {"y": (None, "f")}, stored)
    there_and_back(path, normal(2, 4, 3))


def test_a_loop_that_fills_a_sequence(tmp_path):
    """As PyTorch's older exporter writes a list that grows."""
    helper = onnx.helper
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, None))
    body = helper.make_graph(
        [node("Cast", "i", outputs=("f",), to=1), node("Add", "x", "f", outputs=("z",)),
         node("SequenceInsert", "s", "z", outputs=("t",)), node("Identity", "go", outputs=("keep",))],
        "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("go", 9, []),
         helper.make_value_info("s", kind)],
        [helper.make_tensor_value_info("keep", 9, []), helper.make_value_info("t", kind)],
    )  # fmt: skip
    steps = [
        node("SequenceEmpty", outputs=("e",)),
        helper.make_node("Loop", ["n", "", "e"], ["all"], body=body),
        node("ConcatFromSequence", "all", axis=1, new_axis=0),
    ]
    there_and_back(make(tmp_path, steps, {"x": (["b", 3], "f")}, {"y": (None, "f")}, {"n": np.array(3)}), normal(2, 3))


def test_widths_that_depend_on_a_size(tmp_path):
    """Made as long as a window, as the input of a recogniser of speech is; cut off where it is longer."""
    steps = [
        node("Shape", "x", outputs=("s",), start=1, end=2),
        node("Sub", "window", "s", outputs=("d",)),
        node("Concat", "none", "none", "none", "d", outputs=("p",), axis=0),
        node("Pad", "x", "p", "value"),
    ]
    stored = {"window": np.array([40]), "none": np.array([0]), "value": np.float32(0.5)}
    path = make(tmp_path, steps, {"x": (["n", "t"], "f")}, {"y": (None, "f")}, stored)
    for length in (1, 39, 40, 77):
        there_and_back(path, normal(2, length))


@pytest.mark.parametrize(("start", "end", "by"), [(-2, -9, -1), (7, -(2**63), -2), (-1, 1, -1)])
def test_backwards_along_a_free_axis(start, end, by, tmp_path):
    stored = {name: np.array([value]) for name, value in (("s", start), ("e", end), ("a", 1), ("b", by))}
    path = make(
        tmp_path, [node("Slice", "x", "s", "e", "a", "b")], {"x": (["n", "t"], "f")}, {"y": (None, "f")}, stored
    )
    for length in (5, 12, 40):
        there_and_back(path, normal(2, length))


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (node("RoiAlign", "x", "r", "i", output_height=2, output_width=2), "depends on the regions"),
        (node("RoiAlign", "x", "r", "i", mode="max", sampling_ratio=2), "largest samples"),
        (node("Compress", "x", "c"), "depends on values"),
        (node("NonMaxSuppression", "r", "s"), "how many"),
        (node("SequenceAt", "x", "i"), "no sequence"),
        (node("SequenceConstruct", "x", "x"), "a sequence is not supported where an array"),
        (node("MaxUnpool", "x", "k", "o", kernel_shape=[2, 2], strides=[2, 2]), "in two ways"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(one, words, tmp_path):
    inputs = {"x": ([1, 4, 8, 8], "f"), "r": ([3, 4], "f"), "i": ([3], "q"), "c": ([3], "?"), "s": ([1, 1, 3], "f"),
              "k": ([1, 4, 8, 8], "q")}  # fmt: skip
    steps = [one] if one.op_type != "SequenceConstruct" else [one, node("Relu", "y", outputs=("z",))]
    outputs = {steps[-1].output[0]: (None, "f")}
    used = {name: each for name, each in inputs.items() if name in one.input}
    with pytest.raises(ma.ConversionError, match=words):
        exchange.read(make(tmp_path, steps, used, outputs, {"o": np.array([1, 4, 20, 20])}))
