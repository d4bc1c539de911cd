"""Branches that are chosen between, loops that are written out: against ONNX Runtime, and refusals by name."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx.test_reading_live import compared, make, onnx

helper = onnx.helper


def info(name, shape=(), dtype="f"):
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def branches(one, other, **options):
    graphs = {
        name: helper.make_graph([helper.make_node(op, ["x"], ["z"], **options)], name, [], [info("z", None)])
        for name, op in (("then_branch", one), ("else_branch", other))
    }
    return helper.make_node("If", ["c"], ["y"], **graphs)


@pytest.mark.parametrize("value", [True, False])
def test_a_branch_by_a_value_is_chosen_between(value, tmp_path):
    nodes = [branches("Neg", "Abs")]
    inputs = {"x": (["n", 3], "f"), "c": ([1], "?")}
    bundle = compared(make(tmp_path, nodes, inputs, {"y": (None, "f")}), np.ones((2, 3), "f") * -2, np.array([value]))
    assert any("both branches" in note.what for note in bundle.notes)


def test_branches_of_other_shapes_are_refused_with_the_way_out(tmp_path):
    nodes = [branches("ReduceMax", "ReduceSum", keepdims=0)]
    nodes[0].attribute[0].g.node[0].attribute[0].i = 1
    with pytest.raises(ma.ConversionError, match=r"(?s)one shape and dtype.*inputs="):
        exchange.read(make(tmp_path, nodes, {"x": ([2, 3], "f"), "c": ([], "?")}, {"y": (None, "f")}))


def loop(count, condition="keep", changes=()):
    """Adds the number of the round to a sum, and keeps each sum."""
    nodes = [
        helper.make_node("Cast", ["i"], ["f"], to=1),
        helper.make_node("Add", ["sum", "f"], ["plus"]),
        helper.make_node("Add", ["plus", "x"], ["next"]),
        helper.make_node("Identity", ["next"], ["row"]),
        *(changes or [helper.make_node("Identity", ["go"], ["keep"])]),
    ]
    inputs = [info("i", [], "q"), info("go", [], "?"), info("sum", [2])]
    body = helper.make_graph(nodes, "body", inputs, [info("keep", [], "?"), info("next", [2]), info("row", [2])])
    return helper.make_node("Loop", [count, "", "start"], ["y", "rows"], body=body)


START = {"start": np.zeros(2, np.float32)}


def test_a_loop_of_a_known_count_is_written_out(tmp_path):
    path = make(tmp_path, [loop("n")], {"x": ([2], "f")}, {"y": (None, "f"), "rows": (None, "f")},
                START | {"n": np.array(5)})  # fmt: skip
    compared(path, np.array([1, 2], np.float32))


def test_a_loop_ends_where_its_condition_says(tmp_path):
    three = helper.make_node("Constant", [], ["three"], value=onnx.numpy_helper.from_array(np.array(3)))
    changes = [three, helper.make_node("Less", ["i", "three"], ["keep"])]
    path = make(
        tmp_path, [loop("", changes=changes)], {"x": ([2], "f")}, {"y": (None, "f"), "rows": (None, "f")}, START
    )
    compared(path, np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    ("inputs", "stored", "changes", "words"),
    [
        ({"n": ([], "q")}, {}, (), "count is computed"),
        ({}, {"n": np.array(10**12)}, (), "more (steps|than)"),
        ({}, {"n": np.array(4)}, [helper.make_node("Greater", ["next", "f"], ["g"]),
                                  helper.make_node("ReduceMax", ["f"], ["m"], keepdims=0),
                                  helper.make_node("ReduceMax", ["next"], ["a"], keepdims=0),
                                  helper.make_node("Greater", ["a", "m"], ["keep"])], "end depends on values"),
    ],
)  # fmt: skip
def test_loops_that_are_not_known_are_refused_by_name(inputs, stored, changes, words, tmp_path):
    path = make(tmp_path, [loop("n", changes=changes)], {"x": ([2], "f")} | inputs, {"y": (None, "f")}, START | stored)
    with pytest.raises(ma.ModelArchiveError, match=words):
        exchange.read(path)


@pytest.mark.parametrize("turned", [0, 1])
def test_a_scan_over_a_known_axis_is_written_out(turned, tmp_path):
    nodes = [helper.make_node("Add", ["s", "part"], ["next"]), helper.make_node("Mul", ["next", "part"], ["row"])]
    body = helper.make_graph(nodes, "b", [info("s", [2]), info("part", [2])], [info("next", [2]), info("row", [2])])
    one = helper.make_node("Scan", ["start", "x"], ["y", "rows"], body=body, num_scan_inputs=1,
                           scan_input_directions=[turned], scan_input_axes=[1], scan_output_axes=[1])  # fmt: skip
    path = make(tmp_path, [one], {"x": ([2, 4], "f")}, {"y": (None, "f"), "rows": (None, "f")}, START)
    compared(path, np.arange(8, dtype=np.float32).reshape(2, 4))
