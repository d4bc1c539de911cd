"""Recording forward: what it sees, and what it refuses with class, file and line."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelarchive import nn, ops
from modelarchive.errors import SpecError
from modelarchive.nn.dim import Dim
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.trace import Recorded, record

INPUT = [([None, 4, 6], "float32")]


class Custom(nn.Block):
    """A block with some children whose forward is given."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.dense = nn.Dense(6, flatten=False)
        self.row = nn.Sequential(nn.Dense(6, flatten=False), nn.Activation("relu"))
        self.scale = nn.Parameter((6,))
        self.log: list[int] = []
        self.options = {"n": 1}

    def forward(self, *x: Any) -> Any:
        return self.function(self, *x)


def traced(function: Callable[..., Any], inputs: Any = INPUT) -> Recorded:
    block = Custom(function)
    return record(block, inputs)[id(block)]


def ops_of(function: Callable[..., Any]) -> list[tuple[str, dict[str, Any]]]:
    nodes = traced(function).nodes
    return [(node.target, dict(node.arguments)) for node in nodes if node.verb == "op" and node.target != "constant"]


KEEP = [None, None, None]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda s, x: x + x - x, [("add", {}), ("subtract", {})]),
        (lambda s, x: 2 * x / 3.0, [("multiply", {}), ("divide", {})]),
        (lambda s, x: 1 - -x, [("negative", {}), ("subtract", {})]),
        (lambda s, x: abs(+x) ** 2, [("abs", {}), ("power", {})]),
        (lambda s, x: np.ones(6, "f4") + x, [("add", {})]),
        (lambda s, x: np.float32(2) * x, [("multiply", {})]),
        (lambda s, x: np.maximum(x, 0), [("maximum", {})]),
        (lambda s, x: np.square(x), [("multiply", {})]),
        (lambda s, x: x @ x.transpose(0, 2, 1), [("transpose", {"axes": [0, 2, 1]}), ("matmul", {})]),
        (lambda s, x: x.T, [("transpose", {"axes": None})]),
        (lambda s, x: np.swapaxes(x, 1, -1), [("transpose", {"axes": [0, 2, 1]})]),
        (lambda s, x: np.moveaxis(x, 0, 2), [("transpose", {"axes": [1, 2, 0]})]),
        (lambda s, x: np.concatenate([x, x], axis=2), [("concatenate", {"axis": 2})]),
        (lambda s, x: ops.concatenate((x, x), axis=1), [("concatenate", {"axis": 1})]),
        (lambda s, x: np.stack([x, x]), [("stack", {"axis": 0})]),
        (lambda s, x: x.mean(axis=(1, 2)), [("mean", {"axis": [1, 2], "keepdims": False})]),
        (lambda s, x: np.sum(x, 1, keepdims=True), [("sum", {"axis": 1, "keepdims": True})]),
        (lambda s, x: np.amax(x, axis=-1), [("max", {"axis": -1, "keepdims": False})]),
        (lambda s, x: x.astype("float16"), [("cast", {"dtype": "float16"})]),
        (lambda s, x: x.astype(np.float64), [("cast", {"dtype": "float64"})]),
        (lambda s, x: ops.softmax(x), [("softmax", {"axis": -1})]),
        (lambda s, x: x[:, 0], [("slice", {"index": [KEEP, 0]})]),
        (lambda s, x: x[..., 1:3], [("slice", {"index": [KEEP, KEEP, [1, 3, None]]})]),
        (lambda s, x: x[:, None, ::2], [("slice", {"index": [KEEP, None, [None, None, 2]]})]),
        (lambda s, x: np.expand_dims(x, 1).squeeze(1), [("expand_dims", {"axis": 1}), ("squeeze", {"axis": 1})]),
        (lambda s, x: x.reshape(-1, 24), [("reshape", {"shape": [-1, 24]})]),
        (lambda s, x: x.reshape((x.shape[0], -1)), [("reshape", {"shape": [None, -1]})]),
        (lambda s, x: x.reshape(x.shape[0] * 4, 6), [("reshape", {"shape": [-1, 6]})]),
        (lambda s, x: x.reshape(x.shape[0], 2, -1, 6), [("reshape", {"shape": [None, 2, -1, 6]})]),
        (lambda s, x: np.reshape(x, x.shape), [("reshape", {"shape": [None, 4, 6]})]),
        (lambda s, x: ops.reshape(x, (None, 24)), [("reshape", {"shape": [None, 24]})]),
        (lambda s, x: x.flatten(), [("reshape", {"shape": [-1]})]),
    ],
)
def test_functions_operators_and_methods(function: Any, expected: Any) -> None:
    assert ops_of(function) == expected


def test_numbers_are_weak_and_arrays_are_not() -> None:
    nodes = traced(lambda s, x: (x * 2 + 2) * np.float32(3) - np.array([1, np.inf])[0] + np.array([np.nan] * 6)).nodes
    values = [dict(node.arguments) for node in nodes if node.target == "constant"]
    assert values == [
        {"value": 2, "dtype": None},
        {"value": 3.0, "dtype": "float32"},
        {"value": 1.0, "dtype": "float64"},
        {"value": ["NaN"] * 6, "dtype": "float64"},
    ]


def test_calls_of_children_grandchildren_and_twice() -> None:
    def forward(self: Any, x: Any) -> Any:
        x = self.dense(x)
        for layer in self.row:
            x = layer(x)
        return self.row(self.dense(x))

    nodes = traced(forward).nodes
    assert [(node.name, node.verb, node.target) for node in nodes] == [
        ("dense", "block", "dense"),
        ("row_0", "call", "row.0"),
        ("row_1", "call", "row.1"),
        ("dense_1", "call", "dense"),
        ("row", "block", "row"),
    ]


def test_functions_that_are_layers_become_blocks() -> None:
    recorded = traced(lambda s, x: ops.flatten(ops.relu(x)))
    assert recorded.layers == {"relu": ("Activation", {"activation": "relu"}), "flatten": ("Flatten", {})}
    assert [node.verb for node in recorded.nodes] == ["block", "block"]


def test_several_inputs_and_outputs() -> None:
    class Two(nn.Block):
        def forward(self, left: Any, right: Any) -> Any:
            return right, left + right, left

    class Outer(nn.Block):
        def __init__(self) -> None:
            self.two = Two()

        def forward(self, *arrays: Any) -> Any:
            _, total, _ = self.two(*arrays)
            return total

    net = Outer()
    recorded = record(net, [([None, 2], "float32")] * 2)
    assert recorded[id(net.two)].inputs == ("left", "right")
    assert recorded[id(net.two)].outputs == (("right", None), ("add", None), ("left", None))
    assert recorded[id(net)].inputs == ("arrays_0", "arrays_1")
    assert recorded[id(net)].outputs == (("two", 1),)


def test_parameters_are_nodes_once() -> None:
    nodes = traced(lambda s, x: s.dense(x) * s.scale.data() + s.scale.data() + s.dense.bias.data()).nodes
    assert [node.target for node in nodes if node.verb == "parameter"] == ["scale", "dense.bias"]


def test_names_never_clash_with_children_or_inputs() -> None:
    class Clash(nn.Block):
        def __init__(self) -> None:
            self.add = nn.Dense(4)
            self.constant = nn.Dense(4)

        def forward(self, add: Any) -> Any:
            return self.constant(self.add(add)) + 1

    net = Clash()
    recorded = record(net, [([None, 4], "float32")])[id(net)]
    names = [*recorded.inputs, *(node.name for node in recorded.nodes)]
    assert names == ["add_1", "add", "constant", "constant_1", "add_2"]


def test_literals_for_a_child_are_part_of_what_it_does() -> None:
    class Repeat(nn.Block):
        def forward(self, x: Any, times: int, mode: str | None = None) -> Any:
            for _ in range(times):
                x = x + x
            return x

    class Outer(nn.Block):
        def __init__(self) -> None:
            self.repeat = Repeat()

        def forward(self, x: Any) -> Any:
            return self.repeat(x, 3, None)

    net = Outer()
    recorded = record(net, [([None, 4], "float32")])
    assert len(recorded[id(net.repeat)].nodes) == 3
    assert recorded[id(net.repeat)].inputs == ("x",)


def test_shapes_are_ints_but_for_the_batch() -> None:
    seen: list[Any] = []

    def forward(self: Any, x: Any) -> Any:
        seen[:] = [x.shape, x.ndim, x.size, x.dtype, len(x[0]), np.shape(x[0, 0])]
        assert x.shape == (x + 1).shape
        return x

    traced(forward)
    assert seen == [(Dim(12, 20), 4, 6), 3, Dim(288, 480), np.float32, 4, (6,)]
    assert Dim(12, 20) * 2 - Dim(24, 40) == 0
    assert (1 + Dim(12, 20)) // 1 == Dim(13, 21)
    assert 100 - Dim(12, 20) == Dim(88, 80)


def test_iteration_over_a_fixed_axis() -> None:
    assert len(ops_of(lambda s, x: sum(part for part in x[0]))) == 1 + 4 + 4


def _swallowed(self: Any, x: Any) -> Any:
    try:
        return x * float(x)
    except Exception:
        return x


def _assigns(self: Any, x: Any) -> Any:
    self.last = x
    return x


def _appends(self: Any, x: Any) -> Any:
    self.log.append(1)
    return x


def _counts(self: Any, x: Any) -> Any:
    self.options["n"] += 1
    return x


def _in_place(self: Any, x: Any) -> Any:
    y = self.dense(x)
    y += x
    return y


def _writes(self: Any, x: Any) -> Any:
    x[0] = 1
    return x


def _branches(self: Any, x: Any) -> Any:
    return x if x.mean() > 0 else -x


def _sets_data(self: Any, x: Any) -> Any:
    self.scale.set_data(np.zeros(6, "f4"))
    return x


@pytest.mark.parametrize(
    ("function", "rule", "message"),
    [
        (_branches, "branch", "x > y would decide"),
        (lambda s, x: x if x else -x, "branch", "`if`"),
        (lambda s, x: x if x.shape[0] == 1 else -x, "branch", "size of an axis that is not fixed"),
        (lambda s, x: x if x.shape[0] > 1 else -x, "branch", "size of an axis"),
        (lambda s, x: [x for _ in range(x.shape[0])], "branch", "range"),
        (lambda s, x: x if 1 in x else -x, "branch", "`in`"),
        (lambda s, x: x * float(x), "value", r"float\(x\)"),
        (_swallowed, "value", r"float\(x\)"),
        (lambda s, x: x * x.mean().item(), "value", r"x.item\(\)"),
        (lambda s, x: np.asarray(x), "value", "asarray"),
        (lambda s, x: np.cumsum(x), "function", "np.cumsum is not in the vocabulary"),
        (lambda s, x: np.sin(x), "function", "np.sin is not in the vocabulary"),
        (lambda s, x: np.add.reduce(x), "function", "np.add.reduce"),
        (lambda s, x: np.add(x, x, where=True), "function", "np.add with"),
        (lambda s, x: np.sum(x, dtype="f8"), "function", "np.sum"),
        (lambda s, x: x.cumsum(), "function", "x.cumsum"),
        (lambda s, x: x[[0, 1]], "index", "expected an index"),
        (lambda s, x: x[: x.shape[0]], "argument", "a size that is not fixed"),
        (_in_place, "assignment", r"x \+= y"),
        (_writes, "assignment", r"x\[...\] = y"),
        (_assigns, "state", "self.last = ..."),
        (_sets_data, "state", "set_data"),
        (lambda s, x: nn.Dense(3)(x), "unregistered", "a Dense is created in forward"),
        (lambda s, x: x * np.random.rand(), "differs", "two recordings differ"),
        (lambda s, x: random.choice([x, -x, x + x, x * x, abs(x)]) + random.random(), "differs", "two recordings"),
        (lambda s, x: {"x": x}, "output", "returns a dict"),
        (lambda s, x: None, "output", "returns a NoneType"),
        (lambda s, x: (x,), "output", "returns a tuple of 1"),
        (lambda s, x: s.dense([x, x]), "argument", "a list, which is no array"),
        (lambda s, x: x + np.ones((24, 6)), "constant", "does not fit into an architecture"),
        (lambda s, x: x + 1j, "argument", "complex"),
        (lambda s, x: s.dense(x[:, :, :3]) + s.dense(x), "shape", "expected 3"),
        (lambda s, x: x + x[:, :3], "shape", "broadcast"),
        (lambda s, x: x.reshape(5, -1), "shape", "reshape"),
        (lambda s, x: x.undefined, "forward", "AttributeError"),
        (lambda s, x: s.row(s.row), "argument", "Sequential, which is no array"),
        (lambda s, x: s(x), "recursion", "calls itself"),
    ],
)
def test_what_cannot_be_recorded_is_refused_at_its_line(function: Any, rule: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        traced(function)
    assert [problem[1] for problem in caught.value.problems] == [rule]
    text = str(caught.value)
    assert "Custom." in text
    assert "hint: " in text
    lines, start = inspect.getsourcelines(function)
    places = [f"{__file__}, line {line})" for line in range(start, start + len(lines))]
    if rule != "output":  # that is known after the last line
        assert any(place in text for place in places), text
    assert RECORDER.get() is None


@pytest.mark.parametrize(("function", "attribute"), [(_appends, "log"), (_counts, "options")])
def test_state_that_changes_is_refused(function: Any, attribute: str) -> None:
    with pytest.raises(SpecError, match=rf"Custom.forward \(.*line \d+\): forward changes the attribute '{attribute}'"):
        traced(function)


def test_an_array_of_another_forward_is_refused() -> None:
    kept: list[Any] = []

    class Inner(nn.Block):
        def forward(self, x: Any) -> Any:
            return kept[-1] + x

    class Outer(nn.Block):
        def __init__(self) -> None:
            self.inner = Inner()

        def forward(self, x: Any) -> Any:
            kept.append(x + 1)
            return self.inner(x)

    with pytest.raises(SpecError, match="belongs to another forward"):
        record(Outer(), INPUT)


def test_a_block_used_in_two_ways_is_refused() -> None:
    class Rows(nn.Block):
        def forward(self, x: Any) -> Any:
            return x.reshape(-1, x.shape[1] * 2)

    class Outer(nn.Block):
        def __init__(self) -> None:
            self.rows = Rows()

        def forward(self, x: Any) -> Any:
            return self.rows(self.rows(x))

    with pytest.raises(SpecError, match="two calls of this block do different things") as caught:
        record(Outer(), [([None, 8], "float32")])
    assert "Rows.forward" in str(caught.value)


def test_a_misfit_in_a_row_names_the_layer() -> None:
    net = nn.Sequential(nn.Dense(3), nn.Dense(2, in_units=4))
    with pytest.raises(SpecError, match="1: Dense: expected 4 input features, found 3"):
        record(net, [([None, 5], "float32")])


def test_recording_learns_shapes() -> None:
    net = nn.Sequential(nn.Dense(3))
    net.initialize(seed=0)
    record(net, [([None, 5], "float32")])
    assert net[0].weight.data().shape == (3, 5)


def test_a_subclass_of_a_layer_with_its_own_forward_is_code() -> None:
    class Scaled(nn.Dense):
        def forward(self, x: Any) -> Any:
            return x @ np.transpose(self.weight.data()) * 2

    net = nn.Sequential(Scaled(3, in_units=5, use_bias=False))
    recorded = record(net, [([None, 5], "float32")])
    assert [node.target for node in recorded[id(net[0])].nodes] == [
        "weight",
        "transpose",
        "matmul",
        "constant",
        "multiply",
    ]
