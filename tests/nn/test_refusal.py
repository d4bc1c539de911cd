"""What cannot be recorded is refused, with class, file, line and what to do instead."""

from __future__ import annotations

import inspect
import random
from typing import Any

import numpy as np
import pytest

from modelarchive import nn, ops
from modelarchive.errors import SpecError
from modelarchive.nn.recording import RECORDER
from tests.nn.test_trace import INPUT, record, traced


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
        (_branches, "branch", "`if`"),
        (lambda s, x: x if x else -x, "branch", "`if`"),
        (lambda s, x: x if x.shape[0] == 1 else -x, "branch", "size of an axis that is not fixed"),
        (lambda s, x: x if x.shape[0] > 1 else -x, "branch", "size of an axis"),
        (lambda s, x: [x for _ in range(x.shape[0])], "branch", "range"),
        (lambda s, x: x if 1 in x else -x, "branch", "`in`"),
        (lambda s, x: x * float(x), "value", r"float\(x\)"),
        (_swallowed, "value", r"float\(x\)"),
        (lambda s, x: x * x.mean().item(), "value", r"x.item\(\)"),
        (lambda s, x: np.asarray(x), "value", "asarray"),
        (lambda s, x: np.cumprod(x), "function", "np.cumprod is not in the vocabulary"),
        (lambda s, x: np.tan(x), "function", "np.tan is not in the vocabulary"),
        (lambda s, x: np.add.reduce(x), "function", "np.add.reduce"),
        (lambda s, x: np.add(x, x, where=True), "function", "np.add with"),
        (lambda s, x: np.sum(x, dtype="f8"), "function", "np.sum"),
        (lambda s, x: x.cumprod(), "function", "x.cumprod"),
        (lambda s, x: x[x > 0], "index", "by a mask"),
        (lambda s, x: x[0, [0, 1]], "index", "arrays and ints at once"),
        (lambda s, x: x["a"], "index", "expected an index"),
        (lambda s, x: np.split(x, [3, 1], 1)[0], "function", "np.split: expected places"),
        (lambda s, x: np.split(x, 5, 1)[0], "shape", "sizes: expected a number of parts that divides 4"),
        (lambda s, x: np.einsum("bij,bkj->bik", x), "function", "np.einsum: expected a pattern of 1 arrays"),
        (lambda s, x: ops.einsum([x, x], "bij,jk->bik"), "shape", "expected 3 letters"),
        (lambda s, x: np.pad(x, 5, "reflect"), "shape", "padding: expected at most"),
        (lambda s, x: ~x, "function", "expected an array of dtype bool"),
        (lambda s, x: np.broadcast_to(x[0, 0], (5, x.shape[0], 6)), "shape", "no array has the free sizes"),
        (lambda s, x: x[: x.shape[0]], "argument", "a size that is not fixed"),
        (_in_place, "assignment", r"x \+= y"),
        (_writes, "assignment", r"x\[...\] = y"),
        (_assigns, "state", "self.last = ..."),
        (_sets_data, "state", "set_data"),
        (lambda s, x: nn.Dense(3)(x), "unregistered", "a Dense is created in forward"),
        (lambda s, x: x * np.random.rand(), "differs", "two recordings differ"),
        (lambda s, x: random.choice([x, -x, x + x, x * x, abs(x)]) + random.random(), "differs", "two recordings"),
        (lambda s, x: {"x": {1: x}}, "output", "returns a dict with the key 1"),
        (lambda s, x: {"x": []}, "output", "returns an empty dict"),
        (lambda s, x: [x, "x"], "output", "returns a str"),
        (lambda s, x: None, "output", "returns a NoneType"),
        (lambda s, x: (), "output", "returns an empty tuple"),
        (lambda s, x: s.dense([x, x]), "argument", "a list, which is no array"),
        (lambda s, x: x + np.ones(6, complex), "constant", "does not fit into an architecture"),
        (lambda s, x: x + np.full((24, 6), "a"), "constant", "a constant array of dtype"),
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
