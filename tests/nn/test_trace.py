"""Recording forward: what it sees, and what it refuses with class, file and line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelarchive import nn, ops
from modelarchive.errors import SpecError
from modelarchive.nn.dim import Dim
from modelarchive.nn.trace import Recorded
from modelarchive.nn.trace import record as record_values
from modelarchive.nn.trials import first_trial

INPUT = [([None, 4, 6], "float32")]


def record(block: nn.Block, inputs: Any) -> dict[int, Recorded]:
    """The recording at the sizes that are tried first."""
    return record_values(block, first_trial([{"shape": shape, "dtype": dtype} for shape, dtype in inputs]).values)


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
ARGMAX_TAKE = [
    ("argmax", {"axis": 0, "keepdims": False}),
    ("slice", {"index": [KEEP, 0]}),
    ("subtract", {}),
    ("take", {"axis": 0}),
]
ARGMAX_GATHER = [("argmax", {"axis": 1, "keepdims": True}), ("gather", {"axis": 1})]
REPEAT = [
    ("expand_dims", {"axis": 2}),
    ("broadcast_to", {"shape": [None, None, 2, None]}),
    ("reshape", {"shape": [None, 8, 6]}),
]


#: What people write, and the ops that it means.
SPELLINGS: list[tuple[Callable[..., Any], list[tuple[str, dict[str, Any]]]]] = [
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
    (lambda s, x: ops.where(x > 0, x, -np.inf), [("greater", {}), ("where", {})]),
    (lambda s, x: np.where(x == 1, x, 0), [("equal", {}), ("where", {})]),
    (lambda s, x: x <= 3, [("less", {}), ("equal", {}), ("maximum", {})]),
    (lambda s, x: (x < 1) & ~(x > 0), [("less", {}), ("greater", {}), ("equal", {}), ("minimum", {})]),
    (lambda s, x: x != x, [("equal", {}), ("equal", {})]),
    (lambda s, x: np.split(x, 3, axis=-1)[1], [("split", {"sizes": 3, "axis": -1})]),
    (lambda s, x: np.split(x, [1, 3], axis=1)[2], [("split", {"sizes": [1, 2, -1], "axis": 1})]),
    (lambda s, x: ops.split(x, (2, -1), axis=2)[0], [("split", {"sizes": [2, -1], "axis": 2})]),
    (lambda s, x: np.einsum("bij,bkj", x, x), [("einsum", {"pattern": "bij,bkj->ik"})]),
    (lambda s, x: np.einsum("...j,jk->...k", x, np.ones((6, 2))), [("einsum", {"pattern": "YZj,jk->YZk"})]),
    (lambda s, x: ops.einsum([x, x], "bij,bkj->bik"), [("einsum", {"pattern": "bij,bkj->bik"})]),
    (lambda s, x: x[:, [0, 2]], [("take", {"axis": 1})]),
    (lambda s, x: x[..., np.array([0, 2])], [("take", {"axis": 2})]),
    (lambda s, x: np.take(x, [1], axis=-1), [("take", {"axis": -1})]),
    (lambda s, x: x[x.argmax(axis=0)[:, 0] - 1], ARGMAX_TAKE),
    (lambda s, x: np.take_along_axis(x, x.argmax(1, keepdims=True), axis=1), ARGMAX_GATHER),
    (
        lambda s, x: np.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=-np.inf),
        [("pad", {"padding": [[0, 0], [1, 2], [0, 1]], "mode": "constant", "value": "-Infinity"})],
    ),
    (lambda s, x: np.clip(x, 0, None), [("clip", {"low": 0, "high": None})]),
    (lambda s, x: x.clip(x, 2), [("maximum", {}), ("minimum", {})]),
    (lambda s, x: x.var(axis=1, ddof=1), [("var", {"axis": 1, "keepdims": False, "ddof": 1})]),
    (lambda s, x: np.std(x, -1), [("var", {"axis": -1, "keepdims": False, "ddof": 0}), ("sqrt", {})]),
    (lambda s, x: x.cumsum(axis=1), [("cumsum", {"axis": 1})]),
    (lambda s, x: np.cumsum(x), [("reshape", {"shape": [-1]}), ("cumsum", {"axis": 0})]),
    (
        lambda s, x: np.broadcast_to(x[:1], (x.shape[0], 4, 6)),
        [("slice", {"index": [[None, 1, None]]}), ("broadcast_to", {"shape": [None, 4, 6]})],
    ),
    (lambda s, x: ops.broadcast_to(s.scale.data(), x, x.shape), [("broadcast_to", {"shape": [None, 4, 6]})]),
    (lambda s, x: np.ones_like(x), [("broadcast_to", {"shape": [None, None, None]})]),
    (lambda s, x: np.repeat(x, 2, axis=1), REPEAT),
    (lambda s, x: np.tile(x, (2, 1)), [("concatenate", {"axis": 1})]),
    (lambda s, x: np.flip(x, 1), [("slice", {"index": [KEEP, [None, None, -1], KEEP]})]),
    (
        lambda s, x: x.sum(0) / x.shape[0],
        [
            ("sum", {"axis": 0, "keepdims": False}),
            ("shape_of", {}),
            ("slice", {"index": [0]}),
            ("cast", {"dtype": "float32"}),
            ("divide", {}),
        ],
    ),
]


@pytest.mark.parametrize(("function", "expected"), SPELLINGS)
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
    recorded = traced(lambda s, x: ops.flatten(ops.elu(ops.relu(x), 0.5)))
    assert recorded.layers == {
        "relu": ("Activation", {"activation": "relu", "alpha": None}),
        "elu": ("Activation", {"activation": "elu", "alpha": 0.5}),
        "flatten": ("Flatten", {}),
    }
    assert [node.verb for node in recorded.nodes] == ["block", "block", "block"]


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
    recorded = record(net, [(["batch", 2], "float32")] * 2)
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


def test_keyword_arguments_of_blocks() -> None:
    class Masked(nn.Block):
        def forward(self, x: Any, mask: Any = None, *, scale: Any = 1, times: int = 1) -> Any:
            return (x if mask is None else ops.where(mask, x, 0)) * scale * times

    class Outer(nn.Block):
        def __init__(self) -> None:
            self.masked = Masked()
            self.dense = nn.Dense(6, flatten=False)

        def forward(self, x: Any) -> Any:
            return self.dense(x=self.masked(x, times=2, scale=x[:1], mask=x > 0))

    net = Outer()
    recorded = record(net, INPUT)
    assert recorded[id(net.masked)].inputs == ("x", "mask", "scale")
    call = next(node for node in recorded[id(net)].nodes if node.target == "masked")
    assert call.inputs == (("x", None), ("greater", None), ("slice", None))


def test_containers_of_outputs() -> None:
    class Many(nn.Block):
        def forward(self, x: Any) -> Any:
            return {"b": [x + 1, (x * 2,)], "a": x}

    class Outer(nn.Block):
        def __init__(self) -> None:
            self.many = Many()

        def forward(self, x: Any) -> Any:
            result = self.many(x)
            assert sorted(result) == ["a", "b"]
            return [result["a"], result["b"][1][0]]

    net = Outer()
    recorded = record(net, INPUT)
    assert recorded[id(net.many)].outputs == (("x", None), ("add", None), ("multiply", None))
    assert recorded[id(net.many)].structure == {"dict": {"b": {"list": [1, {"tuple": [2]}]}, "a": 0}}
    assert recorded[id(net)].outputs == (("many", 0), ("many", 2))
    assert recorded[id(net)].structure == {"list": [0, 1]}


def test_containers_of_inputs_and_of_literals() -> None:
    class Fuse(nn.Block):
        def forward(self, features: Any, shape: Any, options: Any) -> Any:
            return (ops.concatenate(features, axis=-1) * options["b"]).reshape(shape) + options["a"]

    class Outer(nn.Block):
        def __init__(self) -> None:
            self.fuse = Fuse()

        def forward(self, x: Any) -> Any:
            return self.fuse([x, -x], (x.shape[0], -1), {"b": 2.0, "a": x[:, 0, :1]})

    net = Outer()
    recorded = record(net, INPUT)
    assert recorded[id(net.fuse)].inputs == ("features_0", "features_1", "options_0")
    assert recorded[id(net)].nodes[-1].inputs == (("x", None), ("negative", None), ("slice", None))


def test_large_constants_become_parameters_once() -> None:
    mask = np.tril(np.ones((12, 12), bool))

    class Causal(nn.Block):
        def forward(self, x: Any) -> Any:
            return np.where(mask, x, 0) + np.where(mask, x, 1) + np.ones((12, 12), "f4")

    net = Causal()
    for _ in range(2):
        nodes = record(net, [([None, 12, 12], "float32")])[id(net)].nodes
        assert [node.target for node in nodes if node.verb == "parameter"] == ["constant", "constant_3"]
        assert list(net.parameters) == ["constant", "constant_3"]
    np.testing.assert_array_equal(net.parameters["constant"].data(), mask)
    assert not net.parameters["constant"].trainable


def test_iteration_over_a_fixed_axis() -> None:
    assert len(ops_of(lambda s, x: sum(part for part in x[0]))) == 1 + 4 + 4


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
