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


@pytest.fixture
def by_rate(tmp_path):
    """Two networks in one file: which one, a sampling rate says; the first fits windows of 200 to 299 only."""
    value = onnx.helper.make_tensor_value_info
    sides = []
    for kernel, name in ((200, "a"), (3, "b")):
        weight = onnx.numpy_helper.from_array(random(2, 1, kernel), "w" + name)
        nodes = [make("Conv", ["x", "w" + name], ["c" + name], strides=[100])]
        shape = onnx.numpy_helper.from_array(np.array([0, 2], np.int64), "s" + name)
        nodes += [make("Reshape", ["c" + name, "s" + name], ["y" + name])] if name == "a" else [
            make("ReduceMean", ["c" + name], ["y" + name], axes=[2], keepdims=0)]  # fmt: skip
        sides.append(onnx.helper.make_graph(nodes, name, [], [value("y" + name, 1, None)], [weight, shape]))
    nodes = [
        make("Equal", ["rate", "k"], ["is"]),
        make("If", ["is"], ["y"], then_branch=sides[0], else_branch=sides[1]),
    ]
    stored = [onnx.numpy_helper.from_array(np.array(16000, np.int64), "k")]
    inputs = [value("x", 1, ["n", 1, "t"]), value("rate", onnx.TensorProto.INT64, [])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [value("y", 1, None)], stored)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "rate.onnx")
    return tmp_path / "rate.onnx"


def test_a_value_of_an_input_decides(by_rate, tmp_path):
    x = random(3, 1, 250)
    for rate, shape in ((16000, [None, 1, 250]), (8000, [None, 1, None])):
        given = [{"name": "rate", "value": rate}, {"name": "x", "shape": shape}]
        bundle = read(by_rate, inputs=given)
        assert f"rate: is {rate} in all that is computed, and no input any more" in map(str, bundle.notes)
        (wanted,) = runtime.InferenceSession(by_rate).run(["y"], {"x": x, "rate": np.array(rate)})
        np.testing.assert_allclose(bundle.build()(x), wanted, rtol=0, atol=1e-4 * abs(wanted).max())
        ma.convert(by_rate, tmp_path / "net.h5", inputs=[f"rate={rate}", given[1]], durable=False)


def test_an_error_names_the_value_and_the_size_with_which_a_model_can_be_read(by_rate):
    with pytest.raises(ma.ConversionError) as caught:
        read(by_rate)
    start, given = caught.value.hint.split("inputs=")
    assert start == "it can be read with, for example, "
    given = eval(given)
    assert given[0] == {"name": "rate", "value": 16000}
    assert read(by_rate, inputs=given).architecture["inputs"] == [
        {"name": "x", "shape": ["n", 1, given[1]["shape"][2]], "dtype": "float32"}
    ]


def test_a_length_that_can_only_be_one_is_so(tmp_path):
    """As PyTorch's older exporter writes attention: the file lets the length be any, and reshapes to the example's."""
    nodes = [make("Transpose", ["x"], ["t"], perm=[1, 0, 2]), make("Shape", ["x"], ["s"]),
             make("Slice", ["s", "zero", "one"], ["b"]), make("Mul", ["b", "two"], ["h"]),
             make("Concat", ["six", "h", "four"], ["heads"], axis=0), make("Reshape", ["t", "heads"], ["r"]),
             make("Softmax", ["r"], ["p"], axis=0), make("Concat", ["six", "b", "eight"], ["rows"], axis=0),
             make("Reshape", ["p", "rows"], ["q"]), make("Add", ["q", "t"], ["y"])]  # fmt: skip
    numbers = {"zero": 0, "one": 1, "two": 2, "four": 4, "six": 6, "eight": 8}
    stored = {name: np.array([number], np.int64) for name, number in numbers.items()}
    path = saved(tmp_path / "six.onnx", nodes, {"x": ["batch", "length", 8]}, stored)
    bundle = read(path)
    assert shapes(bundle) == [["batch", 6, 8]]
    assert "x: its axis 1 is 6: the file lets it be of any size, and the model fits no other that was tried" in map(
        str, bundle.notes
    )
    same(path, bundle, random(3, 6, 8))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["rate=1.5"], "rate: is given the value 1.5, expected a whole number of int64"),
        (["rate=1e30"], "rate: is given the value 1e[+]30, expected a whole number of int64"),
        ([{"name": "rate", "value": 10**400}], "expected a whole number of int64"),
        (["x=1"], "x: is given the value 1, and is no single number in the model"),
        (["speed=1"], "speed: is declared, and is no input of the model"),
        (["speed:3"], "speed: is declared, and is no input of the model"),
        (["rate"], "rate: is declared without its shape or its value"),
        (["x:3,4"], r"x: has 3 axes, and is declared as \(3, 4\)"),
    ],
)
def test_what_is_declared_of_no_input_or_otherwise_is_refused(by_rate, tmp_path, given, found):
    with pytest.raises(ma.ConversionError, match=found) as caught:
        ma.convert(by_rate, tmp_path / "net.h5", inputs=given)
    assert "the model takes x, rate" in caught.value.hint


def test_values_are_for_files_that_are_computed_with(tmp_path):
    from modelarchive import nn

    network = nn.Dense(2, in_units=3)
    network.initialize(seed=0)
    ma.save_model(tmp_path / "net.h5", network, inputs=random(1, 3))
    with pytest.raises(ma.ConversionError, match="x: is given the value 3, and that is for an ONNX model only"):
        ma.convert(tmp_path / "net.h5", tmp_path / "net.onnx", inputs=["x=3"])


def test_a_window_longer_than_all_sizes_is_refused_with_the_declaration(tmp_path):
    path = saved(
        tmp_path / "w.onnx", [make("Conv", ["x", "w"], ["y"])], {"x": ["N", 1, "T"]}, {"w": random(1, 1, 50_001)}
    )
    with pytest.raises(ma.ConversionError) as caught:
        read(path)
    assert "T with 64, 256" in caught.value.hint
    assert 'inputs={"name": "x", "shape": [None, 1, 128]}' in caught.value.hint
    same(path, read(path, inputs={"x": [None, 1, 50_100]}), random(1, 1, 50_100))


@pytest.mark.parametrize(
    ("dtype", "number"), [("FLOAT", 10**400), ("FLOAT16", 1e6), ("BOOL", 5), ("BOOL", float("nan"))]
)
def test_a_value_that_a_dtype_has_not_is_refused(tmp_path, dtype, number):
    kind = getattr(onnx.TensorProto, dtype)
    value = onnx.helper.make_tensor_value_info
    node = make("Cast", ["r"], ["y"], to=onnx.TensorProto.FLOAT)
    graph = onnx.helper.make_graph([node], "g", [value("r", kind, [])], [value("y", 1, [])])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), tmp_path / "r.onnx")
    with pytest.raises(ma.ConversionError, match=r"r: is given the value .*, expected a number of"):
        read(tmp_path / "r.onnx", inputs={"name": "r", "value": number})
    assert read(tmp_path / "r.onnx", inputs={"name": "r", "value": 1}).build()() == 1


def test_what_decides_is_looked_for_in_any_graph(tmp_path, monkeypatch):
    """A node without results, and more inputs that may decide than are worth the work."""
    from modelarchive.exchange.onnx import reading

    value = onnx.helper.make_tensor_value_info
    nodes = [make("Equal", [f"r{at}", "one"], [f"e{at}"]) for at in range(50)]
    nodes += [make("Cast", ["r0"], [], to=1), make("NonMaxSuppression", ["x", "x"], ["y"])]
    inputs = [value("x", 1, ["n"]), *(value(f"r{at}", onnx.TensorProto.INT64, []) for at in range(50))]
    stored = [onnx.numpy_helper.from_array(np.array(1, np.int64), "one")]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [value("y", 1, None)], stored)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), tmp_path / "x.onnx")
    tried = []
    fitted = reading._fitted
    monkeypatch.setattr(reading, "_fitted", lambda *given: tried.append(given) or fitted(*given))
    with pytest.raises(ma.ConversionError, match="NonMaxSuppression"):
        read(tmp_path / "x.onnx")
    assert 1 < len(tried) < 10
