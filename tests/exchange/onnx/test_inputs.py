"""Free axes of ONNX models: one name is one axis, and sizes are tried that fit; beside ONNX Runtime's outputs."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.onnx import read, write

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
make = onnx.helper.make_node
RNG = np.random.default_rng(0)


def saved(path, nodes, inputs, arrays=None):
    """A model with one output, ``y``, at a path; the size -1 is written as a number."""
    values = []
    for name, shape in inputs.items():
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if size == -1:
                dim.dim_value = -1
        values.append(value)
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in (arrays or {}).items()]
    graph = onnx.helper.make_graph(nodes, "g", values, [result], stored)
    path.write_bytes(
        onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )
    return path


def shapes(bundle):
    return [each["shape"] for each in bundle.architecture["inputs"]]


def same(path, bundle, *arrays):
    names = [each["name"] for each in bundle.architecture["inputs"]]
    (wanted,) = runtime.InferenceSession(path).run(["y"], dict(zip(names, arrays, strict=True)))
    np.testing.assert_allclose(bundle.build()(*arrays), wanted, rtol=0, atol=2e-5 * abs(wanted).max())


def random(*shape):
    return RNG.random(shape, np.float32)


@pytest.fixture
def streaming(tmp_path):
    arrays = {"W": random(1, 16, 3), "R": random(1, 16, 4), "B": random(1, 32)}
    node = make("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y"], hidden_size=4)
    inputs = {"x": ["T", "batch", 3], "h": [1, "batch", 4], "c": [1, "batch", 4]}
    return saved(tmp_path / "lstm.onnx", [node], inputs, arrays)


def test_names_of_axes_come_and_go(streaming, tmp_path):
    bundle = read(streaming)
    assert shapes(bundle) == [["T", "batch", 3], [1, "batch", 4], [1, "batch", 4]]
    same(streaming, bundle, random(5, 2, 3), random(1, 2, 4), random(1, 2, 4))
    with pytest.raises(ValueError, match="'batch' has one size in all inputs, found 2 in x"):
        bundle.build()(random(5, 2, 3), random(1, 1, 4), random(1, 2, 4))
    write(bundle, tmp_path / "again.onnx")
    assert shapes(read(tmp_path / "again.onnx")) == shapes(bundle)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"x": [None, None, 3]}, [["T", "batch", 3], [1, "batch", 4]]),
        ({"x": [7, None, 3]}, [[7, "batch", 3], [1, "batch", 4]]),
        ({"x": [7, 1, 3]}, [[7, 1, 3], [1, 1, 4]]),
        ({"x": [7, -1, 3], "h": [1, None, 4]}, [[7, "batch", 3], [1, "batch", 4]]),
        ({"x": ["time", "n", 3]}, [["time", "n", 3], [1, "n", 4]]),
    ],
)
def test_what_is_given_for_one_axis_is_so_for_all_of_its_name(streaming, given, found):
    assert shapes(read(streaming, inputs=given))[:2] == found


def test_one_axis_with_two_sizes_is_refused(streaming):
    with pytest.raises(
        ma.ConversionError, match="the axis 'batch' is one in all inputs, and is given as 2 and, in 'h', 3"
    ):
        read(streaming, inputs={"x": [None, 2, 3], "h": [1, 3, 4]})


@pytest.mark.parametrize("free", [("N", "M"), (-1, -1), (None, None), ("N", "N"), ("batch size", "?")])
def test_two_inputs_of_one_size_whatever_their_axes_are_called(tmp_path, free):
    path = saved(tmp_path / "add.onnx", [make("Add", ["a", "b"], ["y"])], {"a": [free[0], 3], "b": [free[1], 3]})
    bundle = read(path)
    same(path, bundle, random(4, 3), random(4, 3))
    sizes = {shape[0] for shape in shapes(bundle)}
    assert len(sizes) == 1
    assert sizes in ({None}, {"N"}, {"batch_size"})


def test_sizes_that_fit_a_pyramid_and_a_window(tmp_path):
    nodes, x = [], "x"
    for level in range(5):
        nodes.append(make("AveragePool", [x], [f"d{level}"], kernel_shape=[2, 2], strides=[2, 2]))
        x = f"d{level}"
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes += [make("Resize", ["d4", "", "s"], ["u"], **attributes), make("Add", ["u", "d3"], ["y"])]
    path = saved(tmp_path / "pyramid.onnx", nodes, {"x": ["N", 3, "H", "W"]}, {"s": np.array([1, 1, 2, 2], "f4")})
    bundle = read(path)
    assert shapes(bundle) == [["N", 3, "H", "W"]]
    same(path, bundle, random(2, 3, 32, 160))
    window = saved(
        tmp_path / "window.onnx", [make("Conv", ["x", "w"], ["y"])], {"x": ["N", 3, "T"]}, {"w": random(2, 3, 2001)}
    )
    same(window, read(window), random(1, 3, 2010))


def test_a_window_longer_than_all_sizes_is_refused_with_the_declaration(tmp_path):
    path = saved(
        tmp_path / "w.onnx", [make("Conv", ["x", "w"], ["y"])], {"x": ["N", 1, "T"]}, {"w": random(1, 1, 50_001)}
    )
    with pytest.raises(ma.ConversionError) as caught:
        read(path)
    assert "T with 64, 256" in caught.value.hint
    assert 'inputs={"name": "x", "shape": [None, 1, 128]}' in caught.value.hint
    same(path, read(path, inputs={"x": [None, 1, 50_100]}), random(1, 1, 50_100))
