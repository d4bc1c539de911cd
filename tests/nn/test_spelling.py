"""NumPy's functions mean ops, with NumPy's own bits; what they cannot mean is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelarchive import nn
from modelarchive.architecture import build, describe
from modelarchive.errors import SpecError
from modelarchive.nn.spelling import MEANINGS
from modelarchive.ops.registry import BY_NUMPY

#: np.clip takes `min` and `max`, and neither, since this version.
HAS_OPTIONAL_BOUNDS = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
X = np.random.default_rng(0).standard_normal((5, 4, 6)).astype(np.float32)


class Written(nn.Block):
    """A block with a given forward."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.tanh(x),
        lambda x: np.sin(x) * np.cos(x),
        lambda x: np.reciprocal(x),
        lambda x: np.positive(np.copy(x)) + np.square(x),
        lambda x: np.moveaxis(x, (0, 1), (2, 0)),
        lambda x: np.take(x, [3, -1, 0]),
        lambda x: np.take(x, np.array([[1], [0]]), axis=1),
        lambda x: np.take_along_axis(x, np.argmax(x, axis=2, keepdims=True), 2),
        lambda x: np.take_along_axis(x, np.argmax(x.reshape(-1), keepdims=True), None),
        lambda x: np.full_like(x, 2.5),
        lambda x: np.zeros_like(x, dtype="int32") + np.ones_like(x, dtype=np.float64),
        lambda x: np.repeat(x, 3),
        lambda x: np.repeat(x, 3, axis=-1),
        lambda x: x.repeat(2, axis=0),
        lambda x: np.tile(x, 2),
        lambda x: np.flip(x),
        lambda x: np.flip(x, (1, -1)),
        lambda x: np.hstack([x, x]),
        lambda x: np.hstack([x[0, 0], x[0, 1]]),
        lambda x: np.vstack([x[0], x[1]]),
        lambda x: np.vstack([x[0, 0], x[0, 1]]),
        lambda x: np.dot(x[0], x[1].T),
        lambda x: x[0, 0].dot(x[0, 1]),
        lambda x: np.logical_or(x > 0, x < -1),
        lambda x: np.logical_xor(x > 0, x > -1),
        lambda x: (x > 0) ^ (x < 0.5),
        lambda x: np.logical_not(np.logical_and(x > 0, x < 1)),
        lambda x: (x > 0) & np.True_ | (x >= 0.5),
        lambda x: np.not_equal(x, 0.5) & np.less_equal(x, 1) & np.greater_equal(1, x),
        lambda x: np.where(x > 0, 1.0, 0.0),
        lambda x: np.where(x > 0, np.float32(1), np.arange(6, dtype=np.float32)),
        lambda x: np.pad(x, 1),
        lambda x: np.pad(x, (1, 2), "edge"),
        lambda x: np.pad(x > 0, ((0, 0), (1, 0), (0, 2)), constant_values=True),
        lambda x: np.clip(x, np.float32(-0.5), 0.5),
        lambda x: x.clip(max=0.5),
        *([lambda x: np.clip(x, max=0.5), lambda x: x.clip(), np.clip] if HAS_OPTIONAL_BOUNDS else []),
        lambda x: np.std(x, axis=(1, 2), keepdims=True, ddof=1),
        lambda x: x.std(1) + x.var(1),
        lambda x: np.broadcast_to(x[:, :1], x.shape),
        lambda x: np.broadcast_to(x[0, 0], (3, 6)),
        lambda x: np.cumsum(x > 0, axis=1),
        lambda x: np.amin(x, 1) * np.size(x[0]) / np.ndim(x) + np.shape(x)[1],
        lambda x: x / x.shape[0] + (x > 0) * x.shape[0],
        lambda x: (x * 10).astype(np.int32) * x.shape[0],
        lambda x: x[:, [2, 0]][..., [1, 1]],
        lambda x: x[..., None, [0, 3], :],
        lambda x: x[x.argmax(axis=2)[0, :2] * 0 + 1],
        lambda x: np.stack(np.split(x, (2, 3), axis=2)[:1] * 2, axis=-1),
        lambda x: x == x.max(axis=-1, keepdims=True),
    ],
)
def test_they_mean_what_they_mean_in_numpy(function: Callable[..., Any]) -> None:
    net = Written(function)
    architecture = describe(net, X)
    again = build(architecture, {name: each.value() for name, each in net.collect_params().items()})
    for batch in (X, X[:2], np.concatenate([X, X])):
        np.testing.assert_array_equal(again(batch), np.asarray(net(batch)), strict=True)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: np.repeat(x, [1, 2, 1, 2], axis=1), "one int as repeats"),
        (lambda x: np.tile(x, (1, 1, 1, 2)), "one positive int for each axis"),
        (lambda x: np.dot(x, x), "1 or 2 dimensions; write a @ b"),
        (lambda x: np.logical_and(x, x > 0), "arrays of dtype bool"),
        (lambda x: np.pad(x, 1, constant_values=(1, 2)), "one number as constant_values"),
        (lambda x: np.pad(x, 1, "linear_ramp"), "mode: expected one of constant"),
        (lambda x: np.where(x > 0), "np.where: missing"),
        (lambda x: np.einsum(x, [0, 1, 2], [0]), "a pattern such as"),
        (lambda x: np.einsum("...i->", x), "the result of '...i->' to have an ellipsis"),
        (lambda x: np.argmax(x, out=np.zeros(3)), "np.argmax"),
        (lambda x: x * (x.shape[0] * 3), "a calculated size that is not fixed"),
        (lambda x: np.arange(9)[x.argmax(1)], "needs the values of an array"),
    ],
)
def test_what_they_cannot_mean_is_refused(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        describe(Written(function), X)
    assert "Written.forward" in str(caught.value)
    assert "hint: " in str(caught.value)


def test_a_word_of_the_vocabulary_needs_no_meaning() -> None:
    assert not MEANINGS.keys() & BY_NUMPY.keys()
