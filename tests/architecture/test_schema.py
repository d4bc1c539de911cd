"""The compiled checks decide as jsonschema does, and problems say where and what."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelarchive import nn
from modelarchive.architecture import schema, vocabulary
from tests.architecture.architectures import dense, op
from tests.architecture.test_checking import JSON, SMALL, mutated

PIECES = {
    "architecture": SMALL,
    "node": SMALL["model"]["nodes"][6],
    "child": SMALL["model"]["nodes"][6]["block"]["children"][0],
    "Graph": SMALL["model"],
    "Sequential": SMALL["model"]["nodes"][6]["block"],
    "Dense": dense(frozen=["bias"], shares={"weight": "other.weight"}),
    "BatchNorm": {
        "kind": "BatchNorm", "axis": 1, "momentum": 0.9, "epsilon": 1e-5, "center": True, "scale": True,
        "in_channels": 3, "dtype": "float32",
    },
    "Conv2D": {
        "kind": "Conv2D", "channels": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": [[1, 1], [1, 1]],
        "dilation": [1, 1], "groups": 1, "layout": "NCHW", "activation": None, "use_bias": False, "in_channels": 0,
        "dtype": "float32",
    },
    "LayerNorm": {
        "kind": "LayerNorm", "axis": [-2, -1], "epsilon": 1e-5, "center": True, "scale": False, "in_channels": [3, 0],
        "dtype": "float32",
    },
    "MultiHeadAttention": nn.MultiHeadAttention(
        8, 4, 2, 6, rotary={"scaling": {"type": "linear", "factor": 2}}
    ).config() | {"kind": "MultiHeadAttention", "frozen": ["q_proj.weight"]},
    "op slice": op("s", "slice", "x", index=[0, None, [0, None, 2]]),
    "op constant": op("c", "constant", value=[[1, 2.5], ["NaN", True]], dtype="float32"),
    "op sum": op("s", "sum", "x", axis=[0, 1], keepdims=True),
}  # fmt: skip


def has_round_float(value: Any) -> bool:
    """Whether a float of integer value is inside, which is an integer for jsonschema and not for us."""
    if isinstance(value, dict):
        return any(has_round_float(item) for item in value.values())
    if isinstance(value, list):
        return any(has_round_float(item) for item in value)
    return isinstance(value, float) and value.is_integer()


@pytest.mark.parametrize("name", PIECES)
def test_the_examples_are_valid(name: str) -> None:
    assert schema.compiled(name)(PIECES[name])
    jsonschema.Draft202012Validator(vocabulary.piece(name)).validate(PIECES[name])


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(PIECES)).flatmap(lambda name: st.tuples(st.just(name), mutated(PIECES[name]) | JSON)))
def test_both_agree(case: tuple[str, Any]) -> None:
    name, value = case
    valid = schema.compiled(name)(value)
    by_jsonschema = schema._validator(name).is_valid(value)
    assert valid == by_jsonschema or (has_round_float(value) and by_jsonschema)
    assert bool(schema.problems(name, value, "")) != valid


def test_pointers_are_escaped() -> None:
    ((where, rule, message),) = schema.problems("Graph", {**SMALL["model"], "parameters": {"a/b~": 1}}, "/model")[-1:]
    assert where == "/model/parameters/a~1b~0"
    assert rule == "type"
    assert "1 is not of type 'object'" in message


def test_an_unknown_keyword_is_a_mistake_of_ours() -> None:
    with pytest.raises(NotImplementedError, match="multipleOf"):
        schema._compile({"multipleOf": 2}, {})
