"""Ops with many ways to be called, against PyTorch and ONNX Runtime, over more than a hundred ways each."""

import itertools

import numpy as np
import pytest

from modelarchive import ops
from tests.cases.case import error
from tests.conformance.onnx_runtime import run
from tests.conformance.test_onnx import LIMIT, floats

WORDS = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}
SHAPES = [(2, 3, 4, 5), (1, 2, 1, 6), (2, 1, 7, 1)]
SAMPLINGS = list(itertools.product(WORDS, ("zeros", "border", "reflection"), (False, True), SHAPES))
#: Axes of space, groups, strides, padding, dilation.
CONVOLUTIONS = list(itertools.product((1, 2, 3), (1, 2, 3), (1, 2), ((0, 0), (1, 1), (2, 0)), (1, 2)))


@pytest.fixture(scope="module")
def operator():
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    return lambda op, inputs, opset=20, **fields: run(onnx, runtime, op, inputs, opset, **fields)


@pytest.mark.parametrize(("mode", "padding", "corners", "shape"), SAMPLINGS)
def test_grid_sample(torch, operator, mode, padding, corners, shape):
    rng = np.random.default_rng(len(mode) + sum(shape))
    x = floats(rng, *shape)
    # Beyond the image on all sides, and on the elements themselves.
    grid = (floats(rng, shape[0], 3, 4, 2) * 1.5).astype(np.float32)
    grid[:, 0, 0] = -1
    for array, places, limit in ((x, grid, LIMIT), (x.astype(np.float64), grid.astype(np.float64), 1e-12)):
        found = ops.grid_sample(array, places, mode, padding, corners)
        tensors = torch.from_numpy(array), torch.from_numpy(places)
        wanted = torch.nn.functional.grid_sample(*tensors, WORDS[mode], padding, corners).numpy()
        assert found.dtype == wanted.dtype
        assert error(found, wanted) <= limit
    if 1 not in shape[2:] or padding != "reflection":  # of one element there, ONNX Runtime divides by 0
        expected = operator(
            "GridSample", {"X": x, "grid": grid}, mode=mode, padding_mode=padding, align_corners=int(corners)
        )
        assert error(ops.grid_sample(x, grid, mode, padding, corners), expected) <= LIMIT


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grid_sample_of_volumes(torch, mode, padding, corners):
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((2, 2, 3, 4, 5)), rng.standard_normal((2, 2, 3, 2, 3)) * 1.5
    wanted = torch.nn.functional.grid_sample(torch.from_numpy(x), torch.from_numpy(grid), WORDS[mode], padding, corners)
    assert error(ops.grid_sample(x, grid, mode, padding, corners), wanted.numpy()) <= 1e-12


@pytest.mark.parametrize(("rank", "groups", "stride", "padding", "dilation"), CONVOLUTIONS)
def test_conv(torch, operator, rank, groups, stride, padding, dilation):
    rng = np.random.default_rng(rank)
    x, weight = floats(rng, 2, 2 * groups, *[7, 6, 8][:rank]), floats(rng, 3 * groups, 2, *[3, 2, 1][:rank])
    given = {"strides": [stride] * rank, "padding": [padding] * rank, "dilation": [dilation] * rank}
    found = ops.conv(x, weight, **given)
    expected = operator(
        "Conv",
        {"X": x, "W": weight},
        strides=given["strides"],
        pads=[padding[0]] * rank + [padding[1]] * rank,
        dilations=given["dilation"],
        group=groups,
    )
    assert error(found, expected) <= LIMIT
    around = torch.nn.functional.pad(torch.from_numpy(x).double(), padding * rank)
    function = getattr(torch.nn.functional, f"conv{rank}d")
    wanted = function(around, torch.from_numpy(weight).double(), None, stride, 0, dilation, groups)
    assert error(ops.conv(x.astype(np.float64), weight.astype(np.float64), **given), wanted.numpy()) <= 1e-12


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(1, 4, 5), (2, 3, 2)], "divide 4 channels into groups"),
        ([(1, 4, 5), (3, 2, 2)], "divide 4 channels into groups"),
        ([(1, 4, 5, 5), (2, 2, 2)], "one to three axes of space"),
    ],
)
def test_weights_that_do_not_fit(shapes, words):
    given = [np.ones(shape, np.float32) for shape in shapes]
    with pytest.raises(ValueError, match=words):
        ops.conv(*given, strides=[1], padding=[(0, 0)], dilation=[1])


def test_grids_that_do_not_fit():
    x = np.ones((1, 2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="expected an array"):
        ops.grid_sample(x, np.ones((1, 2, 2, 3), np.float32))
    with pytest.raises(ValueError, match="padding_mode"):
        ops.grid_sample(x, np.ones((1, 2, 2, 2), np.float32), padding_mode="wrap")
    with pytest.raises(ValueError, match="cubic for two axes only"):
        ops.grid_sample(np.ones((1, 1, 2, 2, 2)), np.ones((1, 1, 1, 1, 3)), "cubic")


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_a_place_that_is_no_number_gives_what_pytorch_gives(mode, padding_mode):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 5)).astype(np.float32)
    grid = np.zeros((1, 2, 3, 2), np.float32)
    grid[0, 0, :, 1] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        found = ops.grid_sample(x, grid, mode=mode, padding_mode=padding_mode, align_corners=True)
    word = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    given = torch.from_numpy(x), torch.from_numpy(grid)
    wanted = torch.nn.functional.grid_sample(*given, word, padding_mode, align_corners=True)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)
