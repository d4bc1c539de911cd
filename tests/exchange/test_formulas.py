"""Formulas in ops of the vocabulary give what the layers themselves give, whose reference is PyTorch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelarchive import nn
from modelarchive.exchange import formulas
from modelarchive.exchange.walking import Value
from modelarchive.nn.evaluate import Abstract
from modelarchive.ops.activation import ACTIVATIONS
from tests.cases.kinds import drawn
from tests.exchange.numpy_system import Computing, Context, NumpySystem, known

SOME = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
#: Activations that are formulas of others.
COMPOSED = ("gelu_tanh", "quick_gelu", "log_sigmoid", "silu", "hard_swish", "mish", "celu")


class _Attention(formulas.Attention[Value]):
    def shares(self, scores: Value, query: Value, key: Value, mask: Value | None) -> Value:
        """As the definition says it."""
        found = np.array(scores.tensor, np.float64)
        allowed = np.ones(found.shape, bool)
        if mask is not None and mask.tensor.dtype == np.bool_:
            allowed &= mask.tensor
        elif mask is not None:
            found = found + mask.tensor
            allowed &= ~np.isneginf(found)
        if self.layer.causal:
            allowed &= np.tri(*found.shape[-2:], dtype=bool)
        found = np.where(allowed, found, -np.inf)
        highest = found.max(-1, keepdims=True)
        powers = np.exp(found - np.where(np.isfinite(highest), highest, 0))
        total = powers.sum(-1, keepdims=True)
        shares = np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
        return Value(shares.astype(scores.tensor.dtype), scores.known)


def attention(context: Context, layer: Any, inputs: list[Value]) -> Value:
    return _Attention(context, layer).lower(inputs)


def positions(context: Context, layer: Any, inputs: list[Value]) -> Value:
    return formulas.add_sinusoids(context, layer, inputs[0], inputs[0].tensor.shape[-1])


def activated(context: Context, layer: Any, inputs: list[Value]) -> Value:
    def activate(context: Context, name: str, x: Value, alpha: float | None = None) -> Value:
        if name in COMPOSED:
            return formulas.activation(context, partial(activate, context), name, x, alpha)
        return Value(nn.Activation(name, alpha)(x.tensor), x.known)

    return activate(context, layer.activation, inputs[0], layer.alpha)


def compare(layer: nn.Layer, row: Any, inputs: list[np.ndarray], context: type[Context] = Context) -> NumpySystem:
    """The formula's result is the layer's, in the dtype of the layer's."""
    system = NumpySystem({layer.kind: row}, context)
    found = system.walk(layer, [Value(each, known(each)) for each in inputs])
    assert system.report.problems == []
    expected = np.asarray(layer(*inputs))
    assert found[0].tensor.shape == expected.shape
    scale = max(float(np.abs(expected).max(initial=0)), 0.05)
    assert np.abs(found[0].tensor - expected).max(initial=0) <= 2e-6 * scale
    return system


@pytest.mark.slow
@pytest.mark.parametrize("context", [Context, Computing])
@SOME
@given(data=st.data())
def test_attention(context: type[Context], data: st.DataObject) -> None:
    layer, inputs = drawn(data, "MultiHeadAttention")
    system = compare(layer, attention, inputs, context)
    assert system.steps[0] == ("", False)
    assert all(inside for _, inside in system.steps[1:])


@pytest.mark.parametrize("context", [Context, Computing])
@pytest.mark.parametrize(("units", "offset"), [(6, 0), (5, 3), (1, 1)])
def test_sinusoids(context: type[Context], units: int, offset: int) -> None:
    layer = nn.PositionalEmbedding("sinusoidal", offset=offset)
    compare(layer, positions, [np.ones((2, 300, units), np.float32)], context)


@SOME
@given(data=st.data())
def test_rms_norm(data: st.DataObject) -> None:
    layer, inputs = drawn(data, "RMSNorm")
    compare(layer, formulas.rms_norm, inputs)


@SOME
@given(data=st.data())
def test_layer_norm(data: st.DataObject) -> None:
    layer, inputs = drawn(data, "LayerNorm")
    compare(layer, formulas.layer_norm, inputs)


@pytest.mark.parametrize("name", COMPOSED)
def test_activations(name: str) -> None:
    x = np.linspace(-20, 20, 401, dtype=np.float32)
    compare(nn.Activation(name), activated, [x])
    if name == "celu":
        compare(nn.Activation(name, 0.3), activated, [x])


def test_every_composed_activation_is_one() -> None:
    assert set(COMPOSED) <= set(ACTIVATIONS)


def test_a_size_that_is_free_makes_no_table() -> None:
    layer = nn.PositionalEmbedding("sinusoidal")
    x = np.zeros((2, 12, 4), np.float32)
    system = NumpySystem({"PositionalEmbedding": positions})
    free = Value(x, Abstract(((2, 12, 4), (2, 20, 4)), x.dtype))
    (found,) = system.walk(layer, [free])
    np.testing.assert_allclose(found.tensor, layer(x), atol=1e-6)
    assert len(system.steps) > 2
