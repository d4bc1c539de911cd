"""A network of ours, walked: order, paths, what is not supported, and the arrays that parameters are stored as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.walking import Value, output_structure, owners_of
from modelarchive.nn.evaluate import Abstract
from tests.exchange.numpy_system import NumpySystem, known

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)


class Twice(nn.Block):
    """One layer that is called twice, a parameter of the network's own, an array and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Identity(), nn.Identity())
        self.scale = nn.Parameter((4,), init="ones")

    def forward(self, x: Any) -> Any:
        first = self.inner(x) * self.scale.data()
        one, two = np.split(self.inner(first), 2, axis=-1)
        return one + 2.0, two * np.array([1.0, 3.0], np.float32)


def same(context: Any, layer: Any, inputs: list[Value]) -> Any:
    """What an Identity does."""
    return inputs[0].tensor


def refused(context: Any, layer: Any, inputs: list[Value]) -> Any:
    """A row that takes nothing."""
    raise Refusal("this is not supported")


def built(net: nn.Block) -> nn.Block:
    """The network as an architecture has it: blocks of the vocabulary and graphs."""
    net.initialize(seed=0)
    found = ma.build(ma.describe(net, X))
    found.initialize(seed=0)
    return found


def test_a_network_is_computed_in_its_order() -> None:
    net = built(Twice())
    expected = net(X)
    system = NumpySystem({"Identity": same})
    found = system.walk(net, [Value(X, known(X))])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.tensor, other)
        assert one.sizes == list(other.shape)
    assert system.report.problems == []
    paths = [path for path, _ in system.steps]
    assert paths[:2] == ["inner.0", "inner.1"]
    assert paths.count("inner.0") == 2


def test_all_that_is_not_supported_is_reported_and_what_leads_on_is_left_alone() -> None:
    net = built(nn.Sequential(nn.Identity(), nn.Flatten(), nn.Softmax()))
    system = NumpySystem({"Identity": same})
    assert system.walk(net, [Value(X, known(X))]) == []
    assert system.report.problems == [("1", "the kind 'Flatten' is not supported in NumPy")]
    system = NumpySystem({"Identity": refused})
    assert system.walk(net, [Value(X, known(X))]) == []
    assert system.report.problems == [("0", "this is not supported")]


def test_branches_that_do_not_lead_on_are_each_reported() -> None:
    class Both(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Flatten(), nn.Softmax()

        def forward(self, x: Any) -> Any:
            return self.one(x), self.two(x), x + 1

    system = NumpySystem({})
    found = system.walk(built(Both()), [Value(X, known(X))])
    assert [where for where, _ in system.report.problems] == ["one", "two"]
    assert len(found) == 1


def test_inputs_that_do_not_fit_are_reported() -> None:
    dense = nn.Dense(2, in_units=5, flatten=False)
    dense.initialize(seed=0)
    system = NumpySystem({"Dense": same})
    assert system.walk(dense, [Value(X, known(X))]) == []
    assert system.report.problems[0][1].startswith("the declared inputs do not fit: ")


def test_where_no_inputs_are_declared_nothing_is_known() -> None:
    system = NumpySystem({"Identity": same})
    (found,) = system.walk(nn.Identity(), [Value(X)])
    assert found.known is None
    with pytest.raises(Refusal, match="declare the model's inputs"):
        found.rank  # noqa: B018 - raises


def test_ops_of_constants_are_computed() -> None:
    system = NumpySystem({})
    (found,) = system.op("add", "sum", [system.constant(2, ""), system.constant(3, "")], {})
    assert found.tensor is None
    assert found.constant == 5
    assert system.steps == []


def test_each_parameter_has_the_name_that_its_array_is_stored_under() -> None:
    one, two = nn.Dense(3, in_units=3), nn.Dense(3, in_units=3, use_bias=False)
    two.weight = one.weight
    net = nn.Sequential(one, two)
    found, missing = owners_of(net, {"1.weight": X})
    assert found == {id(one.weight): "1.weight"}
    assert missing == [("0.bias", "the parameter has no values here")]


def test_the_containers_around_outputs_are_those_of_the_last_graph() -> None:
    class Named(nn.Block):
        def forward(self, x: Any) -> Any:
            return {"b": x + 1, "a": ops.softmax(x)}

    net = built(nn.Sequential(nn.Identity(), Named()))
    assert set(output_structure(net, 2)["dict"]) == {"a", "b"}
    assert output_structure(nn.Identity(), 1) == output_structure(nn.Sequential(), 1)


def test_sizes_that_are_free_are_none() -> None:
    assert Value(None, Abstract(((12, 3), (20, 3)), np.dtype(np.float32))).sizes == [None, 3]
