"""Quantised operators: what ONNX Runtime gives, to the last integer, from weights that stay integers."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx.test_reading_live import compared, make, onnx, session

helper = onnx.helper
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 6, 8, 8)).astype(np.float32)


def bytes_of(*shape, dtype=np.uint8):
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


def exact(path, *inputs):
    """Every integer is ONNX Runtime's, and written once more it is so still."""
    bundle = compared(path, *inputs, limit=0)
    again = path.with_name("again.onnx")
    exchange.write(bundle, again)
    wanted = session(path).run(None, dict(zip([each.name for each in session(path).get_inputs()], inputs, strict=True)))
    found = session(again).run(
        None, dict(zip([each.name for each in session(again).get_inputs()], inputs, strict=True))
    )
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    return bundle


@pytest.mark.parametrize(
    ("group", "kernel", "strides"), [(1, [3, 3], [1, 2]), (2, [2, 3], [1, 1]), (6, [3, 3], [2, 1])]
)
def test_convolutions_of_integers(group, kernel, strides, tmp_path):
    x, weight = bytes_of(2, 6, 8, 8), bytes_of(6, 6 // group, *kernel)
    one = helper.make_node("ConvInteger", ["x", "w", "p", "q"], ["y"], group=group, strides=strides,
                           pads=[1, 0, 1, 1], kernel_shape=kernel)  # fmt: skip
    stored = {"w": weight, "p": np.uint8(131), "q": np.uint8(7)}
    bundle = exact(make(tmp_path, [one], {"x": ([2, 6, 8, 8], "B")}, {"y": (None, "i")}, stored), x)
    if group < 6:  # small ones stand in the architecture
        assert np.asarray(bundle.parameters["w"]).dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_products_of_integers(dtype, tmp_path):
    a, b = bytes_of(5, 7), bytes_of(7, 30, dtype=dtype)
    one = helper.make_node("MatMulInteger", ["a", "b", "p", "q"], ["y"])
    stored = {"b": b, "p": np.uint8(128), "q": np.zeros(30, dtype) + dtype(3)}
    exact(make(tmp_path, [one], {"a": (["n", 7], "B")}, {"y": (None, "i")}, stored), a)


def test_a_quantised_product(tmp_path):
    one = helper.make_node("QLinearMatMul", ["a", "s", "p", "b", "t", "q", "u", "r"], ["y"])
    stored = {
        "s": np.float32(0.02), "p": np.uint8(120), "b": bytes_of(7, 30), "t": np.float32(0.03), "q": np.uint8(99),
        "u": np.float32(0.5), "r": np.uint8(11),
    }  # fmt: skip
    exact(make(tmp_path, [one], {"a": ([5, 7], "B")}, {"y": (None, "B")}, stored), bytes_of(5, 7))


def test_a_quantised_convolution_with_a_scale_for_each_channel(tmp_path):
    one = helper.make_node("QLinearConv", ["x", "s", "p", "w", "t", "q", "u", "r", "b"], ["y"], pads=[1, 1, 1, 1])
    stored = {
        "s": np.float32(0.02), "p": np.uint8(120), "w": bytes_of(4, 6, 3, 3, dtype=np.int8),
        "t": np.array([0.01, 0.02, 0.03, 0.04], np.float32), "q": np.zeros(4, np.int8), "u": np.float32(0.7),
        "r": np.uint8(100), "b": np.array([100, -5, 0, 7], np.int32),
    }  # fmt: skip
    exact(make(tmp_path, [one], {"x": ([2, 6, 8, 8], "B")}, {"y": (None, "B")}, stored), bytes_of(2, 6, 8, 8))


def test_dynamic_quantisation(tmp_path):
    one = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    path = make(tmp_path, [one], {"x": (["n", 6, 8, 8], "f")}, {"y": (None, "B"), "s": (None, "f"), "z": (None, "B")})
    exact(path, X)
    exact(path, np.zeros((1, 6, 8, 8), np.float32))


def test_one_scale_in_a_list_for_a_vector(tmp_path):
    """As quantisers write the biases of 16-bit models: of the axis 1, that a vector does not have."""
    one = helper.make_node("DequantizeLinear", ["b", "s", "z"], ["d"])
    add = helper.make_node("Add", ["x", "d"], ["y"])
    stored = {"b": np.arange(8, dtype=np.int32) - 3, "s": np.float32([0.25]), "z": np.int32([0])}
    path = make(tmp_path, [one, add], {"x": (["n", 8], "f")}, {"y": (None, "f")}, stored)
    exact(path, RNG.standard_normal((3, 8)).astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_there_and_back_with_one_scale_and_with_several(axis, dtype, tmp_path):
    size = X.shape[axis]
    stored = {"s": np.linspace(0.01, 0.05, size, dtype=np.float32), "z": np.full(size, 5, dtype)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis)]  # fmt: skip
    outputs = {"q": (None, np.dtype(dtype).char), "y": (None, "f")}
    exact(make(tmp_path, nodes, {"x": (X.shape, "f")}, outputs, stored), X)


def test_weights_that_are_dequantised_stay_integers_in_the_archive(tmp_path):
    """What quantisation tools write: a convolution of weights that are computed from integers."""
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"], axis=0),
             helper.make_node("Conv", ["x", "v"], ["y"], pads=[1, 1, 1, 1])]  # fmt: skip
    stored = {"w": bytes_of(4, 6, 3, 3, dtype=np.int8), "s": np.full(4, 0.02, np.float32), "z": np.zeros(4, np.int8)}
    bundle = compared(make(tmp_path, nodes, {"x": (["n", 6, 8, 8], "f")}, {"y": (None, "f")}, stored), X)
    assert np.asarray(bundle.parameters["w"]).dtype == np.int8


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("with_zero", [False, True])
def test_matrices_of_four_and_eight_bits(bits, with_zero, tmp_path):
    columns, inner, block = 24, 64, 32
    blocks = inner // block
    stored = {
        "b": bytes_of(columns, blocks, block * bits // 8),
        "s": RNG.uniform(0.01, 0.1, columns * blocks).astype(np.float32),
    }
    if with_zero:
        stored["z"] = bytes_of(columns * -(-blocks * bits // 8))
    one = helper.make_node("MatMulNBits", ["x", *stored], ["y"], domain="com.microsoft", K=inner, N=columns, bits=bits,
                           block_size=block)  # fmt: skip
    path = make(tmp_path, [one], {"x": (["n", inner], "f")}, {"y": (None, "f")}, stored)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    x = RNG.standard_normal((3, inner)).astype(np.float32)
    bundle = compared(path, x, limit=1e-5)
    assert np.asarray(bundle.parameters["b"]).dtype == np.uint8
    model.graph.node[0].attribute.append(helper.make_attribute("accuracy_level", 4))
    onnx.save(model, path)
    assert any("accuracy_level = 4" in note.what for note in exchange.read(path).notes)


def packed(name, code, values, bits, *, raw=True):
    """A tensor of fewer than eight bits, several of which are in a byte."""
    each = 8 // bits
    flat = np.concatenate([values.reshape(-1), np.zeros(-values.size % each, values.dtype)]).astype(np.int64)
    content = sum((flat[at::each] & 2**bits - 1) << bits * at for at in range(each)).astype(np.uint8)
    tensor = onnx.TensorProto(name=name, data_type=code, dims=values.shape)
    if raw:
        tensor.raw_data = content.tobytes()
    else:
        tensor.int32_data.extend(content.tolist())
    return tensor


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(("code", "low"), [(21, 0), (22, -8)])
def test_weights_of_four_bits(code, low, raw, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    from onnx import numpy_helper

    rng = np.random.default_rng(0)
    weights = rng.integers(low, low + 16, (32, 5))
    zero = rng.integers(low, low + 16, (2, 5))
    scale = rng.uniform(0.1, 0.2, (2, 5)).astype(np.float32)
    stored = [packed("w", code, weights, 4, raw=raw), packed("z", code, zero, 4), numpy_helper.from_array(scale, "s")]
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["m"], axis=0, block_size=16),
        helper.make_node("MatMul", ["x", "m"], ["y"]),
    ]
    values = [helper.make_tensor_value_info("x", 1, ["n", 32])], [helper.make_tensor_value_info("y", 1, ["n", 5])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *values, stored), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    x = rng.standard_normal((3, 32)).astype(np.float32)
    bundle = exchange.read(path)
    assert f"w: its elements, {'uint4' if code == 21 else 'int4'}, are kept as {'uint8' if code == 21 else 'int8'}" in [
        str(note) for note in bundle.notes
    ]
    np.testing.assert_array_equal(bundle.parameters["w"], weights)
    again = tmp_path / "again.onnx"
    exchange.write(bundle, again, durable=False)
    # Optimised, ONNX Runtime rounds what such a matrix is multiplied with to eight bits.
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = runtime.InferenceSession(path, options).run(None, {"x": x})[0]
    np.testing.assert_allclose(bundle.build()(x), wanted, atol=1e-5)
    np.testing.assert_allclose(runtime.InferenceSession(again).run(None, {"x": x})[0], wanted, atol=1e-5)

    del model.graph.node[1:]
    model.graph.node[0].CopyFrom(helper.make_node("Transpose", ["w"], ["y"]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ma.ConversionError, match="Transpose of an element type of ONNX alone is not supported"):
        exchange.read(path)
    model.graph.initializer[0].CopyFrom(onnx.TensorProto(name="w", data_type=code, dims=[32, 5], raw_data=b"12"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ma.FormatError, match="has 2 bytes, expected 80"):
        exchange.read(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_what_is_no_number_is_the_lowest_integer(dtype, tmp_path):
    one = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    two = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
    stored = {"s": np.float32(0.5), "z": dtype(3)}
    x = np.array([np.nan, np.inf, -np.inf, -np.nan, 0.25, 0.75, -0.0, 1e30], np.float32)
    path = make(tmp_path, [one, two], {"x": ([8], "f")}, {"q": (None, np.dtype(dtype).char), "y": (None, "f")}, stored)
    exact(path, x)


def test_a_mask_of_infinities_that_was_calibrated(tmp_path):
    """A quantiser gives -inf an infinite scale: 0 / inf is 0, inf / inf is NaN, and a row of NaN is quantised again."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["m"]),
        helper.make_node("Softmax", ["m"], ["p"], axis=-1),
        helper.make_node("QuantizeLinear", ["p", "t", "z"], ["r"]),
    ]
    stored = {"s": np.float32(np.inf), "t": np.float32(1 / 255), "z": np.int8(127)}
    x = np.array([[0, -np.inf, 0], [-np.inf] * 3, [1, 2, 3]], np.float32)
    with np.errstate(invalid="ignore"):
        exact(make(tmp_path, nodes, {"x": ([3, 3], "f")}, {"q": (None, "b"), "r": (None, "b")}, stored), x)


def test_four_bits_cast_to_the_integers_that_hold_them(tmp_path):
    tensor = packed("w", onnx.TensorProto.INT4, np.arange(-8, 8), 4)
    nodes = [
        helper.make_node("Cast", ["w"], ["m"], to=onnx.TensorProto.INT8),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    values = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.INT8, shape)] for name, shape in (("x", [1]), ("y", None))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *values, [tensor]), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = exchange.read(tmp_path / "m.onnx").build()(np.ones(1, np.int8))
    np.testing.assert_array_equal(found, np.arange(-7, 9))


@pytest.mark.parametrize("name", ["FLOAT8E4M3FNUZ", "FLOAT8E5M2FNUZ", "FLOAT8E8M0", "FLOAT4E2M1"])
@pytest.mark.parametrize("op", ["Cast", "DequantizeLinear"])
def test_floats_of_element_types_that_are_onnx_s_alone(name, op, tmp_path):
    """All patterns of bits, beside the onnx package's own reading of them."""
    code = getattr(onnx.TensorProto, name)
    bits = 4 if name == "FLOAT4E2M1" else 8
    content = np.arange(256, dtype=np.uint8).tobytes()
    tensor = onnx.TensorProto(name="w", data_type=code, dims=[256 * 8 // bits], raw_data=content)
    wanted = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    scale = onnx.numpy_helper.from_array(np.float32(0.75), "s")
    node = (
        helper.make_node("Cast", ["w"], ["m"], to=1)
        if op == "Cast"
        else helper.make_node("DequantizeLinear", ["w", "s"], ["m"])
    )
    if name == "FLOAT8E8M0" and op == "DequantizeLinear":
        return  # a scale, and nothing that is scaled
    add = helper.make_node("Add", ["x", "m"], ["y"])
    values = [helper.make_tensor_value_info("x", 1, [1])], [helper.make_tensor_value_info("y", 1, None)]
    graph = helper.make_graph([node, add], "g", *values, [tensor, scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    bundle = exchange.read(tmp_path / "m.onnx")
    found = bundle.build()(np.zeros(1, np.float32))
    np.testing.assert_array_equal(found, wanted if op == "Cast" else wanted * np.float32(0.75))
    exchange.write(bundle, tmp_path / "again.onnx")
