"""Resizing, transposed convolution and ops against ONNX Runtime, which says them in its own words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelarchive import nn, ops
from tests.cases.case import error
from tests.conformance.onnx_runtime import run
from tests.conformance.test_onnx import LIMIT, SOME, filled, floats


@pytest.fixture(scope="module")
def operator():
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    return lambda op, inputs, opset=17, **fields: run(onnx, runtime, op, inputs, opset, **fields)


@SOME
@given(data=st.data())
def test_upsample_is_resize(operator, data):
    x = floats(np.random.default_rng(0), 2, 3, data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)))
    corners = data.draw(st.booleans())
    mode = "linear" if corners else data.draw(st.sampled_from(["linear", "nearest"]))
    if mode == "nearest" or data.draw(st.booleans()):
        scale = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
        layer = nn.Upsample(scale, mode, corners)
        wanted = {"scales": np.array([1, 1, *scale], np.float32), "sizes": None}
    else:
        size = (data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
        layer = nn.Upsample(mode=mode, align_corners=corners, size=size)
        wanted = {"scales": None, "sizes": np.array([2, 3, *size], np.int64)}
    place = "align_corners" if corners else "half_pixel" if mode == "linear" else "asymmetric"
    expected = operator(
        "Resize",
        {"X": x, "roi": None, **wanted},
        mode=mode,
        coordinate_transformation_mode=place,
        nearest_mode="floor",
    )
    assert error(layer(x), expected) <= LIMIT
    last = nn.Upsample(**layer.config() | {"layout": "NHWC"})
    np.testing.assert_array_equal(np.moveaxis(last(np.moveaxis(x, 1, -1)), -1, 1), layer(x))


@SOME
@given(data=st.data())
def test_transposed_convolution_with_padding_on_one_side(operator, data):
    groups = data.draw(st.integers(1, 2))
    strides = [data.draw(st.integers(1, 3)) for _ in range(2)]
    padding = [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in range(2)]
    layer = nn.Conv2DTranspose(
        2 * groups, (3, 2), strides, padding, tuple(data.draw(st.integers(0, step - 1)) for step in strides), 1, groups
    )
    x = floats(np.random.default_rng(0), 2, 2 * groups, 5, 4)
    filled(layer, 1, x)
    expected = operator(
        "ConvTranspose",
        {"X": x, "W": layer.weight.data(), "B": layer.bias.data()},
        group=groups,
        strides=strides,
        pads=[side for pair in zip(*padding, strict=True) for side in pair],
        output_padding=list(layer.output_padding),
    )
    assert error(layer(x), expected) <= LIMIT


@SOME
@given(data=st.data())
def test_ops_are_onnx_s(operator, data):
    rng = np.random.default_rng(0)
    shape = [data.draw(st.integers(1, 4)) for _ in range(3)]
    x, axis = floats(rng, *shape), data.draw(st.integers(-3, 2))
    places = rng.integers(0, shape[axis], (2, 2))
    np.testing.assert_array_equal(ops.take(x, places, axis), operator("Gather", {"x": x, "i": places}, axis=axis))
    aligned = rng.integers(0, shape[axis], shape)
    expected = operator("GatherElements", {"x": x, "i": aligned}, axis=axis)
    np.testing.assert_array_equal(ops.gather(x, aligned, axis), expected)
    expected = operator("CumSum", {"x": x, "axis": np.array(axis)})
    np.testing.assert_allclose(ops.cumsum(x, axis), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ops.erf(x), operator("Erf", {"x": x}), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ops.sin(9 * x), operator("Sin", {"x": 9 * x}), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ops.cos(9 * x), operator("Cos", {"x": 9 * x}), rtol=1e-5, atol=1e-6)
    expected = operator("Einsum", {"x": x, "y": x}, equation="abc,abd->acd")
    np.testing.assert_allclose(ops.einsum([x, x], "abc,abd->acd"), expected, rtol=1e-5, atol=1e-5)
    pairs = [(data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))) for size in shape]
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge"]))
    sides = np.array([side for pair in zip(*pairs, strict=True) for side in pair], np.int64)
    inputs = {"x": x, "pads": sides, "value": np.array(1.5, np.float32) if mode == "constant" else None}
    np.testing.assert_array_equal(ops.pad(x, pairs, mode, 1.5), operator("Pad", inputs, mode=mode))
    expected = operator("Clip", {"x": x, "low": np.float32(-0.5).reshape(()), "high": np.float32(0.5).reshape(())})
    np.testing.assert_array_equal(ops.clip(x, -0.5, 0.5), expected)
    for kind in ("Softmax", "LogSoftmax"):
        assert error(getattr(nn, kind)(axis)(x), operator(kind, {"x": x}, axis=axis)) <= LIMIT
