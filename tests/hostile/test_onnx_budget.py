"""ONNX models that ask for more than their size allows: each kind ends early, by count and not by the clock."""

from __future__ import annotations

import contextlib
import itertools
import math
import tracemalloc

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import budget, onnx
from modelarchive.exchange.drawing import MAX_PROBLEMS
from modelarchive.exchange.onnx import protobuf
from modelarchive.exchange.onnx.folding import _MAX_FOLDED
from modelarchive.exchange.onnx.values import _MAX_CHANGES
from tests.exchange.onnx.wire import field, function, graph, model, node, tensor, value

X, Y = value("x", ["batch", 4]), value("y", ["batch", 4])
LARGE = 1 << 19


def write(path, nodes, stored=(), functions=(), inputs=(X,), opset=21):
    path.write_bytes(model(graph(nodes, stored, list(inputs), [Y]), functions, opset))
    return path


def whole(name, *numbers, shape=None):
    raw = np.array(numbers, "<i8").tobytes()
    return tensor(name, [len(numbers)] if shape is None else shape, raw, code=7)


def integer(name, number):
    return field(1, name) + field(3, number) + field(20, 2)


def integers(name, *numbers):
    return field(1, name) + b"".join(field(8, number) for number in numbers) + field(20, 7)


def truths(size):
    return field(1, "value") + field(5, tensor("", [1], b"\1", code=9)) + field(20, 4), whole("size", *size)


def zeros(name, size):
    """A constant of many elements that the file does not have."""
    return node("ConstantOfShape", [size], [name])


@pytest.fixture
def refusal(tmp_path):
    """Reads what has to be refused; gives the error."""

    def read(nodes, stored=(), functions=(), **more):
        path = write(tmp_path / "m.onnx", nodes, stored, functions, **more)
        with pytest.raises((ma.ConversionError, ma.UnsafeFileError)) as caught:
            onnx.read(path)
        assert len(str(caught.value)) < 200_000
        return caught.value

    return read


@pytest.fixture
def little_memory():
    """What a test asks for, at most."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


WIDE, TALL = [1, LARGE], [LARGE, 1]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        *((op, ["wide", "tall"], []) for op in ("Add", "Max", "Equal", "Less", "Pow", "Mod")),
        ("Where", ["mask", "wide", "tall"], []),
        ("GatherND", ["wide", "places"], []),
        ("Gather", ["wide", "places"], []),
        ("Expand", ["wide", "both"], []),
        ("Tile", ["wide", "both"], []),
        ("Tile", ["wide", "first_none"], []),
        ("ReduceSum", ["nothing", "first"], []),
        ("NonZero", ["ranked"], []),
        ("Trilu", ["line"], []),
        ("Trilu", ["flat"], []),
        ("Range", ["zero", "most", "one"], []),
        ("Split", ["wide"], [integer("num_outputs", 2**40), integer("axis", 1)]),
        ("Split", ["wide", "line_sizes"], [integer("axis", 1)]),
        ("Slice", ["wide", "line_sizes", "line_sizes"], []),
        ("Unsqueeze", ["wide", "line_sizes"], []),
        ("ConstantOfShape", ["line_sizes"], []),
    ],
)
@pytest.mark.usefixtures("little_memory")
def test_results_are_counted_before_they_are_computed(op, inputs, attributes, refusal):
    made = [zeros(name, f"{name}_size") for name in ("wide", "tall", "nothing", "ranked", "line", "flat")]
    fill, _ = truths([1])
    made += [node("ConstantOfShape", ["tall_size"], ["mask"], fill)]
    made += [
        node("Cast", ["tall"], ["places"], integer("to", 7)),
        node("Cast", ["line"], ["line_sizes"], integer("to", 7)),
    ]
    stored = [
        whole("wide_size", *WIDE),
        whole("tall_size", *TALL),
        whole("nothing_size", 0, 2**38),
        whole("ranked_size", *[1] * 40, LARGE),
        whole("line_size", LARGE),
        whole("flat_size", 0, LARGE, LARGE),
        whole("both", LARGE, LARGE),
        whole("first_none", LARGE, 0),
        whole("first", 0),
        whole("zero", 0, shape=[]),
        whole("most", 2**45, shape=[]),
        whole("one", 1, shape=[]),
    ]
    last = [
        node(op, inputs, ["r"], *attributes),
        node("ReduceSum", ["r"], ["s"]),
        node("Cast", ["s"], ["f"], integer("to", 1)),
    ]
    refusal([*made, *last, node("Concat", ["x", "f"], ["y"], integer("axis", 7))], stored)


def test_what_is_computed_is_counted_in_all(refusal):
    # Each of them is small enough; sixteen times that is all that a small file may have.
    count = 2 * budget._ELEMENTS // _MAX_FOLDED
    nodes = [zeros("w0", "s"), *(node("Neg", [f"w{at}"], [f"w{at + 1}"]) for at in range(count))]
    error = refusal([*nodes, node("Add", ["x", f"w{count}"], ["y"])], [whole("s", _MAX_FOLDED)])
    assert error.rule == "budget"


def test_what_is_looked_at_is_counted_in_all(refusal):
    count = 2 * budget._ELEMENTS // _MAX_FOLDED
    sums = [node("ReduceSum", ["w"], [f"r{at}"]) for at in range(count)]
    join = node("Concat", [f"r{at}" for at in range(count)], ["all"], integer("axis", 0))
    error = refusal([zeros("w", "s"), *sums, join, node("Add", ["x", "all"], ["y"])], [whole("s", _MAX_FOLDED)])
    assert error.rule == "budget"


@pytest.mark.parametrize(
    ("op", "shape", "extra", "attributes"),
    [
        ("Trilu", [1, 2**14, 2**14], [], []),
        ("EyeLike", [2**14, 2**14], [], []),
        ("Hardmax", [1, 2**30], [], []),
        ("OneHot", [1, 1], ["depth", "values"], []),
        ("GroupNormalization", [1, 2**38, 1], ["w", "w"], [integer("num_groups", 1)]),
    ],
)
def test_tables_that_are_made_are_counted(op, shape, extra, attributes, refusal):
    stored = [whole("depth", 2**40, shape=[]), whole("values", 0, 1), tensor("w", [1], bytes(4))]
    error = refusal([node(op, ["x", *extra], ["y"], *attributes)], stored, inputs=[value("x", shape)], opset=18)
    assert error.rule == "budget"


def test_a_size_that_is_squared_ends(refusal):
    squares = [node("Mul", [f"n{at}", f"n{at}"], [f"n{at + 1}"]) for at in range(60)]
    refusal([node("Shape", ["x"], ["n0"]), *squares, node("Expand", ["x", "n60"], ["y"])])


def test_numbers_beside_a_size_that_is_not_fixed_end_too(refusal):
    squares = [node("Mul", [f"n{at}", f"n{at}"], [f"n{at + 1}"]) for at in range(60)]
    refusal([node("Shape", ["x"], ["n0"]), *squares, node("Gather", ["n60", "one"], ["y"])], [whole("one", 1)])


def calls(levels, leaf, width=10):
    """Functions that each call the one below ten times, one after the other."""
    functions = [function("f0", leaf, ["a"], ["b"])]
    for level in range(1, levels + 1):
        names = ["a", *(f"t{at}" for at in range(width - 1)), "b"]
        inner = [node(f"f{level - 1}", [one], [two], domain="mine") for one, two in itertools.pairwise(names)]
        functions.append(function(f"f{level}", inner, ["a"], ["b"]))
    return [node(f"f{levels}", ["x"], ["y"], domain="mine")], functions


MANY = [integer("axis", at) for at in range(500)]
LEAVES = {
    "one node": [node("Neg", ["a"], ["b"])],
    "a node that adds nothing": [node("Identity", ["a"], ["b"])],
    "a row of many nodes": [node("LRN", ["a"], ["b"], integer("size", 64))],
    "nodes that nothing needs": [node("Neg", ["a"], ["b"]), *[node("Neg", ["a"], [f"u{at}"]) for at in range(400)]],
    "many attributes": [node("Neg", ["a"], ["b"], *MANY)],
    "long attributes": [node("ReduceSum", ["a"], ["b"], integers("axes", *[0] * 5000))],
    "many inputs": [node("Sum", ["a"] * 3000, ["b"])],
    "many outputs": [node("Identity", ["a"], ["b", *[""] * 3000])],
    "what is not supported": [node("Strange", ["a"], ["b"])],
    "what nothing gives": [node("Neg", ["c"], ["b"])],
    "long texts": [node("Einsum", ["a"], ["b"], field(1, "equation") + field(4, "," * 20000) + field(20, 3))],
    "a list of numbers": [
        node("Constant", [], ["c"], field(1, "value") + field(5, field(1, 9000) + field(2, 7) + field(7, bytes(9000)))),
        node("Add", ["a", "c"], ["b"]),
    ],
    "branches": [
        node(
            "If",
            ["t"],
            ["b"],
            field(1, "then_branch") + field(6, graph([node("Neg", ["a"], ["b"])] * 300, outputs=[Y])) + field(20, 5),
        )
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("leaf", LEAVES)
def test_calls_of_functions_are_counted(leaf, refusal, monkeypatch):
    looked_at = 0
    spend = budget._Budget.spend

    def counting(self, what, *, steps=0, elements=0, nbytes=0):
        nonlocal looked_at
        looked_at += 1
        spend(self, what, steps=steps, elements=elements, nbytes=nbytes)

    monkeypatch.setattr(budget._Budget, "spend", counting)
    nodes, functions = calls(8, LEAVES[leaf])
    error = refusal(nodes, functions=functions)
    # Problems end it too: so many are reported.
    assert isinstance(error, ma.UnsafeFileError) or len(error.unsupported) in (1, MAX_PROBLEMS + 1)
    assert looked_at < 8 * budget.STEPS


@pytest.mark.slow
def test_problems_that_are_told_are_few(refusal):
    nodes = [node("Strange", ["x"], [f"s{at}"], name="n" * 4000) for at in range(3000)]
    join = node("Sum", [f"s{at}" for at in range(3000)], ["y"])
    error = refusal([*nodes, join])
    assert len(error.unsupported) == MAX_PROBLEMS + 1
    assert max(map(len, error.unsupported[0])) < 1000


def test_names_are_short(refusal):
    error = refusal([node("Neg", ["x"], ["y"], name="n" * (protobuf.MAX_NAME + 1))])
    assert error.rule == "size"


def test_a_path_in_a_name_does_not_nest_for_ever(tmp_path):
    stored = [tensor("w", [4, 4], bytes(64))]
    path = write(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"], name="/a" * 2000)], stored)
    assert onnx.read(path).build()(np.ones((2, 4), np.float32)).shape == (2, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "extra", "attributes"),
    [
        ("Cast", [], [[integer("to", 10)], [integer("to", 1)]]),
        ("Reshape", ["shape"], [[], []]),
        ("Transpose", [], [[integers("perm", 1, 0)], [integers("perm", 1, 0)]]),
    ],
)
def test_changes_of_a_stored_array_do_not_nest_for_ever(op, extra, attributes, tmp_path):
    count = 3000
    nodes = [node(op, [f"w{at}", *extra], [f"w{at + 1}"], *attributes[at % 2]) for at in range(count)]
    stored = [tensor("w0", [4, 4], bytes(64)), whole("shape", 4, 4)]
    path = write(tmp_path / "m.onnx", [*nodes, node("MatMul", ["x", f"w{count}"], ["y"])], stored)
    with contextlib.suppress(ma.ConversionError):
        assert onnx.read(path).build()(np.ones((2, 4), np.float32)).shape == (2, 4)
    assert _MAX_CHANGES < 3000


@pytest.mark.slow
def test_messages_without_content_are_counted(tmp_path):
    # Two bytes each; as Python's objects they are some hundred times that.
    empty = field(7, b"") * (1 << 19)
    (tmp_path / "m.onnx").write_bytes(model(graph([node("Neg", ["x"], ["y"])], (), [X], [Y]), [empty]))
    with pytest.raises(ma.UnsafeFileError) as caught:
        onnx.read(tmp_path / "m.onnx")
    assert caught.value.rule == "budget"


@pytest.mark.slow
def test_many_free_axes_are_no_problem(tmp_path):
    inputs = [value(f"x{at}", [f"a{at}_{axis}" for axis in range(2)]) for at in range(1000)]
    path = write(tmp_path / "m.onnx", [node("Neg", ["x7"], ["y"])], inputs=inputs)
    assert len(onnx.read(path).architecture["inputs"]) == 1000


def test_what_the_budget_is_made_for_is_read(tmp_path):
    """The largest that one operator may compute, and the sum of all: these are within it."""
    side = math.isqrt(_MAX_FOLDED)
    nodes = [node("ConstantOfShape", ["s"], ["o"]), node("Add", ["o", "w"], ["t"]), node("MatMul", ["x", "t"], ["y"])]
    stored = [whole("s", side, 1), tensor("w", [side], np.ones(side, "<f4").tobytes())]
    path = write(tmp_path / "m.onnx", nodes, stored, inputs=[value("x", ["batch", side])])
    result = onnx.read(path).build()(np.ones((2, side), np.float32))
    assert np.array_equal(result, np.full((2, side), side, np.float32))


@pytest.mark.parametrize("kind", ["given", "made", "stored"])
def test_a_triangle_of_no_rows_counts_no_columns(tmp_path, kind):
    """NumPy makes a row of the numbers of all columns, however few elements the triangle has."""
    columns = 1 << 30
    nodes = [node("Trilu", ["none"], ["t"]), node("ReduceSum", ["t"], ["s"]), node("Add", ["x", "s"], ["y"])]
    stored, inputs = [], [X]
    if kind == "given":
        inputs.append(value("none", [0, columns]))
    elif kind == "made":
        nodes, stored = [zeros("none", "size"), *nodes], [whole("size", 0, columns)]
    else:
        stored = [tensor("none", [0, columns], b"")]
    path = write(tmp_path / "m.onnx", nodes, stored, inputs=inputs, opset=14)
    tracemalloc.start()
    try:
        onnx.read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()
