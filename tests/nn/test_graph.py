"""Graph: declared nodes are executed, and freed when nobody needs them."""

from __future__ import annotations

import numpy as np
import pytest

from modelarchive import nn
from modelarchive.nn.graph import Node

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_nodes_run_in_order() -> None:
    graph = nn.Graph(
        ["x", "y"],
        [
            Node("half", "op", "constant", (), {"value": 0.5, "dtype": None}),
            Node("sum", "op", "add", (("x", None), ("y", None))),
            Node("mean", "op", "multiply", (("sum", None), ("half", None))),
            Node("act", "block", "act", (("mean", None),)),
            Node("again", "call", "act", (("y", None),)),
        ],
        [("act", None), ("again", None)],
        {"act": nn.Activation("relu")},
    )
    mean, again = graph(X, -X + 1)
    np.testing.assert_array_equal(mean, np.full((2, 3), 0.5, np.float32))
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(again, np.maximum(1 - X, 0))


def test_own_parameters_and_those_of_children() -> None:
    graph = nn.Graph(
        ["x"],
        [
            Node("scale", "parameter", "scale"),
            Node("table", "block", "table", None),
            Node("weight", "parameter", "table.weight"),
            Node("scaled", "op", "multiply", (("x", None), ("scale", None))),
            Node("out", "op", "matmul", (("scaled", None), ("weight", None))),
        ],
        [("out", None)],
        {"table": nn.Embedding(3, 2)},
        {"scale": nn.Parameter((3,), init="ones")},
    )
    assert list(graph.collect_params()) == ["scale", "table.weight"]
    graph.initialize(seed=0)
    np.testing.assert_array_equal(graph(X), X @ graph.table.weight.data())


def test_names_that_are_no_good_attributes_still_work() -> None:
    graph = nn.Graph(
        ["x"],
        [Node("forward", "block", "forward", (("x", None),)), Node("0", "block", "0", (("forward", None),))],
        [("0", None)],
        {"forward": nn.Dense(2), "0": nn.Dense(1)},
    )
    graph.initialize(seed=0)
    assert graph(X).shape == (2, 1)
    assert list(graph.collect_params("forward.*")) == ["forward.weight", "forward.bias"]


def test_a_replaced_child_is_used() -> None:
    graph = nn.Graph(["x"], [Node("out", "block", "out", (("x", None),))], [("out", None)], {"out": nn.Dense(2)})
    graph.out = nn.Dense(5)
    graph.initialize(seed=0)
    assert graph(X).shape == (2, 5)


def test_what_is_only_declared_cannot_be_called() -> None:
    graph = nn.Graph([], [Node("a", "block", "a", None)], [], {"a": nn.Dense(1)})
    with pytest.raises(TypeError, match="only declares its children"):
        graph(X)


def test_the_number_of_inputs_is_checked() -> None:
    graph = nn.Graph(["x"], [], [("x", None)])
    with pytest.raises(TypeError, match="expected 1 inputs"):
        graph(X, X)


def test_several_results_need_an_index() -> None:
    pair = nn.Graph(["x"], [], [("x", None), ("x", None)])
    bare = nn.Graph(["x"], [Node("p", "block", "p", (("x", None),))], [("p", None)], {"p": pair})
    with pytest.raises(ValueError, match="2 outputs, choose one"):
        bare(X)
    first = nn.Graph(["x"], [Node("p", "block", "p", (("x", None),))], [("p", 0)], {"p": pair})
    assert first(X) is X
    index = nn.Graph(["x"], [], [("x", 0)])
    with pytest.raises(ValueError, match="one output"):
        index(X)
