"""Layers that say the same are read once, and are as many layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelarchive import nn
from modelarchive.architecture import build, describe, validate
from modelarchive.errors import SpecError
from modelarchive.nn.evaluate import constant_value
from tests.architecture.architectures import dense, row, whole


def test_layers_that_say_the_same_are_made_once_and_are_others() -> None:
    made: list[dict[str, Any]] = []
    original = nn.Dense.from_config

    def counted(config: dict[str, Any]) -> nn.Dense:
        made.append(config)
        return original(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Dense, "from_config", counted)
        net = build(whole(row(dense(4), dense(4), dense(4, frozen=["bias"]), row(dense(4), dense(4, in_units=0)))))
    assert len(made) == 3
    parameters = net.collect_params()
    assert len({id(each) for each in parameters.values()}) == len(parameters) == 10
    assert [each.trainable for each in parameters.values()] == [True] * 5 + [False] + [True] * 4
    net[0].weight.shape = (4, 4)
    net[0].units = 7
    assert net[1].units == 4


def test_what_is_wrong_with_equal_layers_is_told_of_each() -> None:
    for wrong in (dense(4, frozen=["no"]), dense(0), {**dense(4), "kind": "Nonsense"}):
        with pytest.raises(SpecError) as caught:
            validate(whole(row(wrong, wrong)))
        places = {pointer.rpartition("/block")[0] for pointer, _, _ in caught.value.problems}
        assert {"/model/children/0", "/model/children/1"} <= places


def test_equal_layers_on_other_inputs_are_followed_each() -> None:
    pool = {"kind": "GlobalAvgPool1D", "layout": "NCW"}
    flat = {"kind": "Flatten"}
    with pytest.raises(SpecError) as caught:
        validate(whole(row(flat, pool, flat), (None, 4, 2)))
    assert [pointer for pointer, _, _ in caught.value.problems] == ["/model/children/1/block"]
    assert describe(build(whole(row(flat, flat), (None, 4, 2))))["inputs"][0]["shape"] == [None, 4, 2]


def test_numbers_that_are_equal_and_not_the_same_are_told_apart() -> None:
    """What follows from an integer, a real number and a bool are other dtypes: a block on one is followed for each."""
    values = [constant_value(each) for each in (1, 1.0, True, np.ones((), np.int64), np.ones((), np.float64))]
    assert [[one == two for two in values] for one in values] == np.eye(5, dtype=bool).tolist()
    assert all(constant_value(each) == constant_value(each) for each in (1, 1.0, True))
    assert len({constant_value(1), constant_value(1), constant_value(1.0)}) == 2
