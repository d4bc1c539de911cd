"""Scan and Loop of as many rounds as an axis has elements become a Scan, which gives what ONNX Runtime does."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.archive.saving import kinds_of
from modelarchive.exchange import onnx as exchange
from tests.cases.case import several
from tests.exchange.onnx.live import assert_close, run
from tests.exchange.onnx.test_control import info
from tests.exchange.onnx.test_reading_live import make, onnx, session

helper = onnx.helper
WIDTH, STATE = 3, 4
#: ONNX Runtime refuses a Scan of no steps, which is left where the first stands before the loop.
LENGTHS = ((2, 6), (1, 2), (3, 3), (3, 17), (1, 70))
WEIGHTS = {
    "cell.weight": np.random.default_rng(0).standard_normal((STATE, WIDTH)).astype("f"),
    "cell.bias": np.linspace(-1, 1, STATE, dtype="f"),
}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f")


def agree(path, shapes, folder, *, scans=1):
    """What is read gives what ONNX Runtime does, and what is written of it is read as a Scan again."""
    bundle = exchange.read(path)
    assert list(kinds_of(bundle.architecture).values()).count("Scan") == scans
    ma.save_model(folder / "net.h5", bundle)
    ma.convert(folder / "net.h5", folder / "again.onnx")
    again = exchange.read(folder / "again.onnx")
    assert list(kinds_of(again.architecture).values()).count("Scan") == scans
    ma.save_model(folder / "again.h5", again)
    networks = [ma.load_model(folder / name) for name in ("net.h5", "again.h5")]
    for batch, length in LENGTHS:
        sizes = {"batch": batch, "length": length}
        given = [numbers(*(sizes.get(each, each) for each in shape), seed=at) for at, shape in enumerate(shapes)]
        running = session(path)
        wanted = running.run(None, dict(zip([each.name for each in running.get_inputs()], given, strict=True)))
        for found in (*(several(net(*given)) for net in networks), run(folder / "again.onnx", *given)):
            for one, other in zip(found, wanted, strict=True):
                assert one.shape == other.shape
                assert one.dtype == other.dtype
                assert_close(np.asarray(one), other)
    return bundle


# ------------------------------------------------------------------ Scan


def scanned(**options):
    """Two sequences, a state that they are added to, what stands around it, and two outputs."""
    nodes = [
        helper.make_node("Gemm", ["x_t", "cell.weight", "cell.bias"], ["inner"], transB=1),
        helper.make_node("Add", ["inner", "h"], ["sum"]),
        helper.make_node("Mul", ["sum", "gate"], ["gated"]),
        helper.make_node("Sub", ["gated", "y_t"], ["next"]),
        helper.make_node("Tanh", ["next"], ["tanh"]),
    ]
    taken = [info("h", None), info("x_t", None), info("y_t", None)]
    body = helper.make_graph(nodes, "body", taken, [info("next", None), info("tanh", None), info("gated", None)])
    return helper.make_node(
        "Scan", ["start", "x", "y"], ["last", "all", "other"], name="steps", body=body, num_scan_inputs=2, **options
    )


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({}, (["length", "batch", WIDTH], ["length", "batch", STATE])),
        ({"scan_input_axes": [1, -1], "scan_output_axes": [1, -1]},
         (["batch", "length", WIDTH], ["batch", STATE, "length"])),
        ({"scan_input_directions": [1, 0], "scan_output_directions": [0, 1]},
         (["length", "batch", WIDTH], ["length", "batch", STATE])),
        ({"scan_input_axes": [1, 1], "scan_input_directions": [1, 1], "scan_output_axes": [1, 2],
          "scan_output_directions": [1, 1]}, (["batch", "length", WIDTH], ["batch", "length", STATE])),
    ],
)  # fmt: skip
def test_scan(options, shapes, tmp_path):
    nodes = [helper.make_node("Sigmoid", ["g"], ["gate"]), scanned(**options)]
    inputs = {"start": (["batch", STATE], "f"), "x": (shapes[0], "f"), "y": (shapes[1], "f"), "g": ([STATE], "f")}
    outputs = {"last": (None, "f"), "all": (None, "f"), "other": (None, "f")}
    path = make(tmp_path, nodes, inputs, outputs, WEIGHTS)
    bundle = agree(path, [["batch", STATE], *shapes, [STATE]], tmp_path)
    assert bundle.parameters.keys() >= WEIGHTS.keys()


def test_scan_without_a_state(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Neg", ["part"], ["row"])], "b", [info("part", None)], [info("row", None)]
    )
    one = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    agree(make(tmp_path, [one], {"x": (["length", 2], "f")}, {"y": (None, "f")}), [["length", 2]], tmp_path)


def test_a_state_that_changes_its_shape_is_refused(tmp_path):
    nodes = [helper.make_node("Concat", ["h", "x_t"], ["next"], axis=0)]
    body = helper.make_graph(nodes, "b", [info("h", None), info("x_t", None)], [info("next", None)])
    one = helper.make_node("Scan", ["start", "x"], ["y"], body=body, num_scan_inputs=1)
    path = make(tmp_path, [one], {"start": ([1], "f"), "x": (["length", 1], "f")}, {"y": (None, "f")})
    with pytest.raises(ma.ConversionError, match="supported where its shape and dtype stay"):
        exchange.read(path)


# ------------------------------------------------------------------ Loop


def constant(name, value, dtype=np.int64):
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(value, dtype)))


def looped(nodes, carried, outputs, inside, *, count="count"):
    """A Loop along the second axis of x, whose condition stays true."""
    around = [
        helper.make_node("Shape", ["x"], ["shape"]), constant("one", 1),
        helper.make_node("Gather", ["shape", "one"], ["count"]),
        helper.make_node("Sub", ["count", "one"], ["fewer"]),
        # As PyTorch counts the steps of a range that goes backwards.
        constant("minus", -1), helper.make_node("Sub", ["minus", "fewer"], ["to"]),
        helper.make_node("Cast", ["to"], ["float"], to=1), constant("minus_one", -1, np.float32),
        helper.make_node("Div", ["float", "minus_one"], ["quotient"]),
        helper.make_node("Ceil", ["quotient"], ["ceil"]), helper.make_node("Cast", ["ceil"], ["backwards"], to=7),
    ]  # fmt: skip
    taken = [info("i", [], "q"), info("go", [], "?"), *inside]
    given = [helper.make_node("Identity", ["go"], ["on"]), *nodes]
    body = helper.make_graph(given, "body", taken, [info("on", [], "?"), *outputs])
    return [*around, helper.make_node("Loop", [count, "", *carried], ["last", "all"], body=body, name="rounds")]


START = [helper.make_node("Mul", ["s", "s"], ["start"])]
GIVEN = {"x": (["batch", "length", WIDTH], "f"), "s": (["batch", STATE], "f")}
SHAPES = [["batch", "length", WIDTH], ["batch", STATE]]
FOUND = {"last": (None, "f"), "all": (None, "f")}
CELL = [
    helper.make_node("Gemm", ["x_t", "cell.weight", "cell.bias"], ["inner"], transB=1),
    helper.make_node("Add", ["inner", "h"], ["sum"]),
    helper.make_node("Tanh", ["sum"], ["next"]),
]


@pytest.mark.parametrize(
    ("places", "count"),
    [
        ([helper.make_node("Identity", ["i"], ["at"])], "count"),
        ([helper.make_node("Sub", ["fewer", "i"], ["at"])], "backwards"),
        ([helper.make_node("Add", ["i", "one"], ["at"])], "fewer"),
        ([helper.make_node("Identity", ["i"], ["at"])], "fewer"),
        ([constant("two", 2), helper.make_node("Div", ["i", "two"], ["at"])], "count"),
    ],
)
def test_loop_along_an_axis(places, count, tmp_path):
    nodes = [*places, helper.make_node("Gather", ["x", "at"], ["x_t"], axis=1), *CELL]
    body = [*nodes, helper.make_node("Neg", ["next"], ["row"])]
    loop = looped(body, ["start"], [info("next", None), info("row", None)], [info("h", None)], count=count)
    path = make(tmp_path, [*START, *loop], GIVEN, FOUND, WEIGHTS)
    agree(path, SHAPES, tmp_path)


@pytest.mark.parametrize("new", [0, 1])
def test_a_sequence_that_grows(new, tmp_path):
    """As PyTorch writes a list that a loop appends to."""
    nodes = [helper.make_node("Gather", ["x", "i"], ["x_t"], axis=1), *CELL]
    grows = helper.make_tensor_sequence_value_info
    body = [*nodes, helper.make_node("SequenceInsert", ["before", "next"], ["after"])]
    loop = looped(
        body, ["start", "none"], [info("next", None), grows("after", 1, None)],
        [info("h", None), grows("before", 1, None)],
    )  # fmt: skip
    loop[-1].output[1] = "several"
    nodes = [
        *START, helper.make_node("SequenceConstruct", ["start"], ["none"]), *loop,
        helper.make_node("ConcatFromSequence", ["several"], ["all"], axis=1, new_axis=new),
    ]  # fmt: skip
    agree(make(tmp_path, nodes, GIVEN, FOUND, WEIGHTS), SHAPES, tmp_path)


def test_an_array_that_each_round_writes_into(tmp_path):
    """A row of it at a time, by places in two axes of any size."""
    nodes = [
        helper.make_node("Gather", ["x", "i"], ["x_t"], axis=1), *CELL,
        helper.make_node("Shape", ["next"], ["sizes"]), constant("zero", 0),
        helper.make_node("Gather", ["sizes", "zero"], ["rows"]),
        helper.make_node("Range", ["zero", "rows", "one"], ["down"]),
        constant("column", [-1, 1]), helper.make_node("Reshape", ["down", "column"], ["first"]),
        helper.make_node("Shape", ["first"], ["shape_of_first"]),
        helper.make_node("Expand", ["i", "shape_of_first"], ["second"]),
        helper.make_node("Concat", ["first", "second"], ["places"], axis=1),
        helper.make_node("ScatterND", ["before", "places", "next"], ["after"]),
    ]  # fmt: skip
    loop = looped(nodes, ["start", "zeros"], [info("next", None), info("after", None)],
                  [info("h", None), info("before", None)])  # fmt: skip
    zeros = [
        helper.make_node("MatMul", ["x", "turned"], ["wide"]),
        helper.make_node("Mul", ["wide", "nothing"], ["zeros"]), constant("nothing", 0, np.float32),
    ]  # fmt: skip
    nodes = [zeros[2], *START, *zeros[:2], *loop]
    stored = WEIGHTS | {"turned": numbers(WIDTH, STATE)}
    agree(make(tmp_path, nodes, GIVEN, FOUND, stored), SHAPES, tmp_path)


def test_long_loops_of_a_known_count(tmp_path):
    """A Scan, but where its steps differ."""
    nodes = [helper.make_node("Gather", ["x", "at"], ["x_t"], axis=1), *CELL]
    taken = [helper.make_node("Mod", ["i", "three"], ["at"]), *nodes, helper.make_node("Neg", ["next"], ["row"])]
    for count, scans in ((100, 1), (7, 0)):
        loop = looped([constant("three", 3), *taken], ["start"], [info("next", None), info("row", None)],
                      [info("h", None)], count="many")  # fmt: skip
        path = make(tmp_path, [*START, constant("many", count), *loop],
                    {"x": (["batch", 3, WIDTH], "f"), "s": GIVEN["s"]}, FOUND, WEIGHTS)  # fmt: skip
        agree(path, [["batch", 3, WIDTH], ["batch", STATE]], tmp_path, scans=scans)


def test_an_end_that_depends_on_values_is_refused(tmp_path):
    nodes = [
        helper.make_node("Gather", ["x", "i"], ["x_t"], axis=1), *CELL,
        helper.make_node("ReduceMax", ["next"], ["most"], keepdims=0), constant("limit", 0.9, np.float32),
        helper.make_node("Less", ["most", "limit"], ["on"]), helper.make_node("Neg", ["next"], ["row"]),
    ]  # fmt: skip
    loop = looped(nodes, ["start"], [info("next", None), info("row", None)], [info("h", None)])
    del loop[-1].attribute[0].g.node[0]
    with pytest.raises(ma.ConversionError, match="a Loop whose end depends on values is not supported"):
        exchange.read(make(tmp_path, [*START, *loop], GIVEN, FOUND, WEIGHTS))


def test_what_earlier_rounds_gave_is_refused(tmp_path):
    grows = helper.make_tensor_sequence_value_info
    nodes = [
        helper.make_node("ConcatFromSequence", ["before"], ["x_t"], axis=1), *CELL,
        helper.make_node("SequenceInsert", ["before", "next"], ["after"]),
    ]  # fmt: skip
    loop = looped(
        nodes, ["start", "none"], [info("next", None), grows("after", 1, None)],
        [info("h", None), grows("before", 1, None)],
    )  # fmt: skip
    nodes = [*START, helper.make_node("SequenceConstruct", ["start"], ["none"]), *loop]
    with pytest.raises(ma.ConversionError, match="what the rounds of a Loop before this one have added"):
        exchange.read(make(tmp_path, nodes, GIVEN, {"last": (None, "f")}, WEIGHTS))


# ------------------------------------------------------------------ what is written here


class Cell(nn.Block):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(STATE)

    def forward(self, state, x, table):
        state = ops.tanh(self.dense(ops.concatenate([state, x], axis=1)) + table)
        return state, state * 2


class Net(nn.Block):
    def __init__(self):
        super().__init__()
        self.encode = nn.Dense(WIDTH, flatten=False)
        self.rounds = nn.Scan(Cell(), states=1, axes=[1], output_axes=[2])

    def forward(self, state, x, table):
        return self.rounds(state, self.encode(x), table)


class Twice(Net):
    def forward(self, state, x, table):
        state, _ = self.rounds(state, self.encode(x), table)
        return self.rounds(state, self.encode(x), table)


@pytest.mark.parametrize(("make_net", "scans"), [(Net, 1), (Twice, 2)])
def test_what_is_written_has_its_names_again(make_net, scans, tmp_path):
    net = make_net()
    net.initialize(seed=0)
    net(numbers(2, STATE), numbers(2, 3, WIDTH), numbers(STATE))
    shapes = [["batch", STATE], ["batch", "length", WIDTH], [STATE]]
    declared = [
        {"name": name, "shape": shape, "dtype": "float32"}
        for name, shape in zip(("state", "x", "table"), shapes, strict=True)
    ]
    exchange.write(net, tmp_path / "net.onnx", inputs=declared, durable=False)
    bundle = agree(tmp_path / "net.onnx", shapes, tmp_path, scans=scans)
    names = set(net.collect_params())
    assert set(bundle.parameters) == names if scans == 1 else set(bundle.parameters) > names
    assert kinds_of(bundle.architecture)["rounds.body.dense"] == "Dense"
