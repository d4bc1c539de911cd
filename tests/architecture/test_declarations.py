"""Declarations of inputs, in all the forms in which people write them, for models that have names for their inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.architecture.declarations import by_name, given_inputs

ONE: dict[str, Any] = {"shape": [None, 3]}
NAMED: dict[str, Any] = {"name": "a", **ONE}


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (NAMED, [NAMED]),
        (ONE, [ONE]),
        ([ONE, "b:?,4"], [ONE, {"name": "b", "shape": [None, 4]}]),
        ("a:?,3", [NAMED]),
        ({"a": [None, 3], "name": (5,)}, [NAMED, {"name": "name", "shape": [5]}]),
        ((None, 3), [ONE]),
        ([(-1, 3), ()], [ONE, {"shape": []}]),
        (np.zeros((2, 3), np.float32), [{**ONE, "dtype": "float32"}]),
        ([np.int64(7)], [{"shape": [], "dtype": "int64"}]),
        ({"name": "rate", "value": 8}, [{"name": "rate", "value": 8}]),
        ([], []),
    ],
)
def test_a_declaration_in_any_form(inputs: Any, found: list[dict[str, Any]]) -> None:
    assert given_inputs(inputs) == found
    assert given_inputs(found) == found


@pytest.mark.parametrize("inputs", [5, 3.5, b"x", object(), [3.5], [b"x"], [""], {"x": 5}, [{"shape": 5}]])
def test_what_declares_nothing_is_refused(inputs: Any) -> None:
    with pytest.raises(ma.SpecError) as caught:
        given_inputs(inputs)
    assert "write" in str(caught.value)


def test_a_name_says_which_input_is_meant() -> None:
    """Whatever the order; what has no name is of the input in its place."""
    assert by_name({"b": [4], "a": [None, 3]}, ["a", "b"]) == {"b": {"name": "b", "shape": [4]}, "a": NAMED}
    assert by_name([{"name": "b", "shape": [4]}], ["a", "b"]) == {"b": {"name": "b", "shape": [4]}}
    assert by_name([ONE, {"shape": [4]}], ["a", "b"]) == {"a": ONE, "b": {"shape": [4]}}


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (["c:1"], "c: is declared, and is no input of the model"),
        (["a:1", "a:2"], "a: is declared twice"),
        ([ONE, {"name": "a", "shape": [1]}], "a: is declared twice"),
        ([[1], [2], [3]], r"\(inputs\): are more than the 2 that the model takes"),
    ],
)
def test_what_the_model_does_not_take_is_refused(inputs: Any, told: str) -> None:
    with pytest.raises(ma.ConversionError, match=told) as caught:
        by_name(inputs, ["a", "b"])
    assert caught.value.hint == "the model takes a, b"
