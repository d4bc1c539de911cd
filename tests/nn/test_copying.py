"""Copies of blocks are what copy.deepcopy gives, and nothing that changes is in two of them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelarchive import nn
from modelarchive.architecture import build, describe
from modelarchive.nn.copying import copied
from modelarchive.nn.kinds import KINDS
from tests.architecture.architectures import X, network
from tests.cases.kinds import KIND_CASES


def state(block: nn.Block) -> Any:
    """Everything that a block holds, without the identity of what holds it."""
    own = {name: (each.shape, each.dtype, each.init, each.trainable, each.born_trainable, each.name)
           for name, each in block.parameters.items()}  # fmt: skip
    inside = {name: state(child) for name, child in block.children.items()}
    held = {
        name: None if isinstance(value, nn.Block | nn.Parameter) else repr(value)
        for name, value in vars(block).items()
        if name not in ("_children", "_parameters")
    }
    return type(block), own, inside, held


def is_immutable(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(is_immutable, value))
    return value is None or isinstance(value, bool | int | float | str)


def test_every_kind_has_a_case() -> None:
    assert KIND_CASES.keys() == KINDS.keys()


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(KIND_CASES)).flatmap(lambda kind: KIND_CASES[kind]))
def test_a_layer(case: Any) -> None:
    layer = type(case.layer).from_config(case.layer.config())
    found = copied(layer)
    assert state(found) == state(copy.deepcopy(layer)) == state(layer)
    for name, value in vars(layer).items():
        assert vars(found)[name] is not value or is_immutable(value), name
    for name, child in found.children.items():
        assert getattr(found, name) is child is not getattr(layer, name)
    for name, parameter in found.parameters.items():
        assert getattr(found, name) is parameter is not getattr(layer, name)


def test_a_network_whose_blocks_share_parameters() -> None:
    net = build(describe(network(), X))
    found = copied(net)
    assert state(found) == state(net)
    assert found.tied.weight is found.mix.weight is not net.mix.weight
    found.initialize(seed=1)
    assert not any(parameter.is_initialized for parameter in net.collect_params().values())
    other = copied(net)
    other.initialize(seed=1)
    for one, two in zip(found(X), other(X), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["_nodes", "_constants", "forward", "_children"])
def test_a_child_whose_name_an_attribute_has(name: str) -> None:
    net = nn.Sequential()
    net.adopt(name, nn.Dense(2, in_units=3))
    graph = nn.Graph(["x"], [], [("x", None)], {name: nn.Dense(2, in_units=3)})
    for block in (net, graph):
        found = copied(block)
        assert list(found.children) == [name]
        assert found.children[name] is not block.children[name]
        assert type(found).forward is type(block).forward
        np.testing.assert_array_equal(copied(graph)(np.ones(3)), np.ones(3))
