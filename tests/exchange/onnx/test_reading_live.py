"""Models that live frameworks export, and arrays that the onnx package writes, read and compared with ONNX Runtime."""

import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from modelarchive.exchange.onnx.protobuf import varints
from tests.exchange.onnx.wire import varint

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
#: Networks of the onnx package that take a second; the others are read too (docs/exchange/onnx.md).
SMALL = ["light_squeezenet", "light_shufflenet"]


def session(path):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compared(path, *inputs, limit=1e-5, **options):
    """Read a model, and compare what it gives with what ONNX Runtime gives; the bundle."""
    bundle = exchange.read(path, **options)
    running = session(path)
    wanted = running.run(None, dict(zip([each.name for each in running.get_inputs()], inputs, strict=True)))
    found = bundle.build()(*inputs)
    for one, two in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(one, two, rtol=0, atol=limit * max(np.abs(two).max(initial=0), 1))
    return bundle


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("opset", [0, 13])
def test_networks_of_the_onnx_package(name, opset, tmp_path):
    """As they are, of opset 9, and made newer."""
    model = onnx.load(LIGHT / f"{name}.onnx")
    model = onnx.version_converter.convert_version(model, opset) if opset else model
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape" and node.attribute[0].t.data_type == onnx.TensorProto.FLOAT:
            # As large as they are, the logits come to 1e9, and the last bit of a sum decides what softmax gives.
            smaller = onnx.numpy_helper.to_array(node.attribute[0].t) * np.float32(0.25)
            node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(smaller))
    onnx.save(model, tmp_path / "m.onnx")
    size = next(value for value in model.graph.input if len(value.type.tensor_type.shape.dim) == 4)
    shape = [each.dim_value for each in size.type.tensor_type.shape.dim]
    compared(tmp_path / "m.onnx", np.random.default_rng(0).standard_normal(shape, np.float32))


def make(tmp_path, nodes, inputs, outputs, stored=(), *, opset=21, **options):
    """A model of nodes; inputs and outputs are name -> (shape, dtype)."""
    values = [
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, (shape, dtype) in each.items()
        ]
        for each in (inputs, outputs)
    ]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in dict(stored).items()]
    graph = onnx.helper.make_graph(nodes, "g", *values, tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10, **options)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


DTYPES = [*"?bhilBHILefd", "F", "D", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("raw", [True, False])
def test_arrays_of_every_dtype_and_encoding(dtype, raw, tmp_path):
    array = np.array([[0, 1, 2], [3, 100, 1]]).astype(dtype)
    if np.dtype(dtype).kind in "if":
        array = -array
    code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    if raw:
        tensor = onnx.numpy_helper.from_array(array, "w")
    else:
        narrow = np.dtype(dtype).itemsize < 4 and np.dtype(dtype).kind in "Vf"
        flat = array.astype(np.float32) if narrow else array
        tensor = onnx.helper.make_tensor("w", code, array.shape, flat.reshape(-1).tolist())
    path = make(tmp_path, [onnx.helper.make_node("Identity", ["x"], ["y"])], {"x": ([1], "f")}, {"y": ([1], "f")})
    model = onnx.load(path)
    model.graph.initializer.append(tensor)
    model.graph.node.append(onnx.helper.make_node("Identity", ["w"], ["z"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", code, array.shape))
    onnx.save(model, path)
    from modelarchive.exchange.onnx.model import read_model

    read = read_model(path)
    found = read.tensors.array(read.graph.stored["w"]).read()
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


def test_numbers_of_variable_length():
    rng = np.random.default_rng(0)
    numbers = [int(n) >> int(by) for n, by in zip(rng.integers(0, 2**63, 500), rng.integers(0, 63, 500), strict=True)]
    numbers += [0, 127, 128, 2**64 - 1, -1, -(2**63)]
    found = varints(np.frombuffer(b"".join(map(varint, numbers)), np.uint8))
    assert found.tolist() == [number & 2**64 - 1 for number in numbers]
    assert varints(np.frombuffer(b"\x80", np.uint8)) is None
    assert varints(np.frombuffer(b"\x80" * 10 + b"\x01", np.uint8)) is None


def test_everything_unsupported_is_told_at_once(tmp_path):
    nodes = [
        onnx.helper.make_node("Mod", ["x", "x"], ["a"], name="first"),
        onnx.helper.make_node("Unique", ["x", "k"], ["b", "c"], name="second"),
        onnx.helper.make_node("Softmax", ["x"], ["d"], name="third"),
        onnx.helper.make_node("NonZero", ["d"], ["e"], name="fourth", domain=""),
        onnx.helper.make_node("Mine", ["x"], ["f"], name="fifth", domain="my.own"),
        onnx.helper.make_node("Sum", ["a", "b", "e", "f"], ["y"], name="last"),
    ]
    path = make(tmp_path, nodes, {"x": ([2, 3, 4], "f")}, {"y": ([2, 3, 4], "f")}, {"k": np.array([1])})
    with pytest.raises(ma.ConversionError) as caught:
        exchange.read(path)
    told = dict(caught.value.unsupported)
    assert list(told) == ["first", "second", "fourth", "fifth"]
    assert "'Unique'" in told["second"]
    assert "'my.own::Mine'" in told["fifth"]


@pytest.mark.parametrize("taken", [True, False])
def test_a_branch_that_the_file_takes_is_put_in_its_place(taken, tmp_path):
    branches = {}
    for name, op in (("then_branch", "Neg"), ("else_branch", "Abs")):
        info = onnx.helper.make_tensor_value_info("z", 1, ["b", 3])
        branches[name] = onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], ["z"])], name, [], [info])
    nodes = [onnx.helper.make_node("If", ["condition"], ["y"], **branches)]
    stored = {"condition": np.array(taken)}
    path = make(tmp_path, nodes, {"x": (["b", 3], "f")}, {"y": (["b", 3], "f")}, stored)
    bundle = compared(path, np.array([[-1, 0, 2]], np.float32))
    assert [node["op"] for node in bundle.architecture["model"]["nodes"]] == ["negative" if taken else "abs"]


def test_functions_of_the_model_with_their_attributes(tmp_path):
    helper = onnx.helper
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    twice = helper.make_function(
        "mine", "twice", ["a"], ["c"], [leaky, helper.make_node("Add", ["b", "b"], ["c"])],
        [helper.make_opsetid("", 21)], attributes=["slope"],
    )  # fmt: skip
    nodes = [helper.make_node("twice", ["x"], ["y"], domain="mine", slope=0.25)]
    path = make(tmp_path, nodes, {"x": (["b", 3], "f")}, {"y": (["b", 3], "f")})
    model = onnx.load(path)
    model.functions.append(twice)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.save(model, path)
    compared(path, np.array([[-4, 0, 2]], np.float32))


def test_a_decision_by_a_free_size_is_refused_and_inputs_settle_it(tmp_path):
    helper = onnx.helper
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=0, end=1),
        helper.make_node("Equal", ["s", "one"], ["is_one"]),
        helper.make_node("Where", ["is_one", "one", "two"], ["times"]),
        helper.make_node("Cast", ["times"], ["t"], to=1),
        helper.make_node("Mul", ["x", "t"], ["y"]),
    ]
    stored = {"one": np.array([1]), "two": np.array([2])}
    path = make(tmp_path, nodes, {"x": (["b", 3], "f")}, {"y": (["b", 3], "f")}, stored)
    # Read as it is, the size is asked for when the network runs; never is one of the two taken for all.
    for batch in (1, 5):
        compared(path, np.ones((batch, 3), np.float32))
    assert compared(path, np.ones((5, 3), np.float32), inputs=[(5, 3)]).build()(np.ones((5, 3), "f"))[0, 0] == 2


def test_two_free_axes_are_not_taken_for_each_other(tmp_path):
    helper = onnx.helper
    nodes = [
        helper.make_node("Shape", ["z"], ["s"]),
        helper.make_node("Reshape", ["x", "s"], ["y"]),
    ]
    inputs = {"x": (["b", "p", "q"], "f"), "z": (["b", "q", "p"], "f")}
    path = make(tmp_path, nodes, inputs, {"y": (["b", "q", "p"], "f")})
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    # The elements stay in their order, whichever of the two is longer.
    for p, q in ((3, 4), (4, 3), (3, 3)):
        compared(path, np.arange(2 * p * q, dtype=np.float32).reshape(2, p, q), np.zeros((2, q, p), np.float32))
    compared(path, x, np.zeros((2, 4, 3), np.float32), inputs=[(None, 3, 4), (None, 4, 3)])


def test_exports_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up = torch.nn.ConvTranspose2d(3, 4, 2, stride=2)
            self.slope = torch.nn.PReLU(4)
            self.norm = torch.nn.LayerNorm(6)

        def forward(self, x):
            y = self.slope(self.up(x)).clamp(max=2.0)
            pooled = torch.nn.functional.avg_pool2d(y, 3, 2, padding=1)
            return self.norm(pooled).view(x.size(0), 2, -1).cumsum(-1), torch.einsum("bchw,bdhw->bcd", x, x)

    module, x = Net().eval(), torch.randn(2, 3, 6, 6)
    options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "b"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own: this way of exporting is its older one
        torch.onnx.export(module, (x,), tmp_path / "m.onnx", dynamo=False, opset_version=17, **options)
    bundle = compared(tmp_path / "m.onnx", x.numpy())
    for name, tensor in module.state_dict().items():
        if name != "slope.weight":
            assert bundle.parameters[name].tobytes() == tensor.numpy().tobytes()
    ma.save_model(tmp_path / "m.h5", bundle)
    again = ma.load_model(tmp_path / "m.h5", backend="torch")(x)
    for one, two in zip(again, module(x), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_operators_behind_one_that_is_unknown_are_told_too(tmp_path):
    names = ("Unique", "Relu", "NonZero", "Det")
    nodes = [onnx.helper.make_node(name, [f"x{at}"], [f"x{at + 1}"]) for at, name in enumerate(names)]
    path = make(tmp_path, nodes, {"x0": ((4,), "float32")}, {"x4": (None, "float32")})
    with pytest.raises(ma.ConversionError) as caught:
        exchange.read(path)
    assert [what.split("'")[1] for _, what in caught.value.unsupported] == ["Unique", "NonZero", "Det"]
