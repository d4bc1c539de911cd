"""Small architectures that mean much work: what it comes to is counted before any of it is done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.architecture import build, limits, parameter_shapes, validate
from modelarchive.architecture.checking import check


def graph(nodes: list[Any], output: Any) -> dict[str, Any]:
    return {"kind": "Graph", "inputs": ["x"], "nodes": nodes, "outputs": [output]}


def op(name: str, word: str, inputs: list[Any], **arguments: Any) -> dict[str, Any]:
    return {"name": name, "op": word, "inputs": inputs, "arguments": arguments}


def doubled(levels: int, inner: dict[str, Any]) -> dict[str, Any]:
    """A network that calls the one inside of it twice, and so on down."""
    for _ in range(levels):
        calls = [{"name": "a", "call": "f", "inputs": ["x"]}, {"name": "b", "call": "f", "inputs": ["a"]}]
        inner = graph([{"name": "f", "block": inner}, *calls], "b")
    return {"vocabulary": 1, "inputs": [{"name": "x", "shape": [None, 4], "dtype": "float32"}], "model": inner}


LONG = {
    "inputs": graph([op("n", "concatenate", ["x"] * 5000, axis=0), op("m", "slice", ["n"], index=[[0, 1, None]])], "m"),
    "arguments": graph([op("n", "split", ["x"], sizes=[0] * 5000 + [4], axis=1)], ["n", 5000]),
}


@pytest.mark.parametrize("which", LONG)
def test_long_nodes_that_are_called_again_and_again(which: str) -> None:
    validate(doubled(1, LONG[which]))
    with pytest.raises(ma.SpecError, match="at most 200,000 steps"):
        validate(doubled(10, LONG[which]))


def test_what_is_called_with_the_same_shapes_is_followed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelarchive.nn.evaluate import Evaluator

    followed = 0
    node = Evaluator.node

    def counting(self: Any, *given: Any) -> Any:
        nonlocal followed
        followed += 1
        return node(self, *given)

    monkeypatch.setattr(Evaluator, "node", counting)
    whole = check(doubled(15, graph([op("n", "negative", ["x"])], "n")))
    assert followed < 100
    assert whole.returned[id(whole.block)].declared == [None, 4]


def test_other_shapes_are_followed_again() -> None:
    """As NumPy computes it: each call gives what its own input leads to, not what the first one led to."""
    architecture = doubled(3, graph([op("n", "concatenate", ["x", "x"], axis=1)], "n"))
    whole = check(architecture)
    found = build(architecture)(np.ones((3, 4), np.float32))
    assert whole.returned[id(whole.block)].declared == [None, found.shape[1]] == [None, 4 * 2**8]


@pytest.mark.slow
def test_names_that_training_must_not_change_are_compared_once() -> None:
    network = graph([op("n", "negative", ["x"])], "n")
    names = [f"p{at}" for at in range(20_000)]
    network["parameters"] = {name: {"shape": [1], "dtype": "float32"} for name in names}
    network["frozen"] = names
    architecture = doubled(0, network)
    assert len(parameter_shapes(architecture)) == 20_000
    network["frozen"] = [*names[:3], names[1]]
    with pytest.raises(ma.SpecError, match="'p1' is there already"):
        validate(architecture)
    assert limits.MAX_NODES > 20_000
