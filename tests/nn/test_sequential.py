"""Sequential: order, names, slices into new networks."""

from __future__ import annotations

import numpy as np
import pytest

from modelarchive import nn

X = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)


def network() -> nn.Sequential:
    net = nn.Sequential(nn.Dense(4, activation="tanh"), nn.Dropout(0.5), nn.Dense(3))
    net.initialize(seed=0)
    net(X)
    return net


def test_children_run_in_order() -> None:
    net = network()
    np.testing.assert_array_equal(net(X), net[2](net[1](net[0](X))))


def test_a_slice_keeps_blocks_and_names() -> None:
    net = network()
    part = net[1:]
    assert isinstance(part, nn.Sequential)
    assert list(part.children) == ["1", "2"]
    assert part[1] is net[2]
    assert list(part.collect_params()) == ["2.weight", "2.bias"]
    part.add(nn.Dense(1))
    assert list(part.children) == ["1", "2", "3"]


def test_first_layers_in_a_new_network() -> None:
    net = network()
    new = nn.Sequential(*net[:2], nn.Dense(2))
    new.initialize(seed=1)
    assert new(X).shape == (5, 2)
    np.testing.assert_array_equal(new[0].weight.data(), net[0].weight.data())


def test_named_children() -> None:
    net = nn.Sequential().add(nn.Dense(2), head=nn.Dense(1))
    assert list(net.children) == ["0", "head"]
    assert net.head is net[-1]
    with pytest.raises(ValueError, match="child 'head' already"):
        net.add(head=nn.Dense(1))


def test_only_blocks_are_taken() -> None:
    with pytest.raises(TypeError, match="takes blocks, found int"):
        nn.Sequential(3)  # type: ignore[arg-type]


def test_length_truth_and_iteration() -> None:
    assert len(nn.Sequential()) == 0
    assert nn.Sequential()
    net = network()
    assert [type(child).__name__ for child in net] == ["Dense", "Dropout", "Dense"]
    with pytest.raises(IndexError):
        net[3]


def test_empty_is_the_identity() -> None:
    assert nn.Sequential()(X) is X
