"""Masks that the first attention takes off its tensors, so that what runs after it finds none: as Keras computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelarchive.errors import ConversionError
from modelarchive.exchange import keras as exchange
from tests.sampling import some

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS = np.array([[0, 2, 5, 7, 0, 7, 6], [1, 2, 3, 0, 0, 0, 0]], "i4")


def attention(query: Any, value: Any = None, **more: Any) -> Any:
    return keras.layers.MultiHeadAttention(2, 2)(query, query if value is None else value, **more)


def block(x: Any) -> Any:
    """A layer of an encoder."""
    x = keras.layers.LayerNormalization()(keras.layers.Add()([x, attention(x)]))
    wide = keras.layers.Dense(4)(keras.layers.Dense(8, activation="relu")(x))
    return keras.layers.LayerNormalization()(keras.layers.Add()([x, wide]))


def decoder(x: Any, other: Any) -> Any:
    """Two layers that look at what one encoder gives."""
    found = block(block(other))
    for _ in range(2):
        x = keras.layers.LayerNormalization()(keras.layers.Add()([x, attention(x, use_causal_mask=True)]))
        x = keras.layers.LayerNormalization()(keras.layers.Add()([x, attention(x, found)]))
    return x


def pooled(x: Any) -> Any:
    return keras.layers.GlobalAveragePooling1D()(x)


def product(x: Any, *, through: Any = None) -> Any:
    return keras.layers.Multiply()([x, attention(x if through is None else through(x))])


#: What becomes of tokens with a mask.
MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "two layers": lambda x, other: pooled(block(block(x))),
    "behind a dropout": lambda x, other: pooled(block(block(keras.layers.Dropout(0.1)(x)))),
    "a decoder": decoder,
    "a product": lambda x, other: product(x),
    "a product with what a dropout gives": lambda x, other: product(x, through=keras.layers.Dropout(0.1)),
    "a product with what another layer takes": lambda x, other: product(x, through=keras.layers.Dense(4)),
    "a recurrence between": lambda x, other: pooled(
        attention(keras.layers.LSTM(4, return_sequences=True)(keras.layers.Add()([x, attention(x)])))
    ),
    "parts side by side": lambda x, other: pooled(
        attention(keras.layers.Dense(4)(keras.layers.Concatenate()([x, attention(x)])))
    ),
}


def made(of: Callable[[Any, Any], Any], path: Path) -> Any:
    inputs = [keras.Input((None,), dtype="int32") for _ in range(2)]
    one, two = (keras.layers.Embedding(9, 4, mask_zero=True)(each) for each in inputs)
    model = keras.Model(inputs, [of(one, two), pooled(two)])
    rng = np.random.default_rng(0)
    for each in model.weights:
        each.assign(rng.uniform(-0.7, 0.7, each.shape))
    model.save(path)
    return model


@pytest.mark.parametrize("name", some(MODELS))
def test_outputs_are_those_of_keras(name: str, tmp_path: Path) -> None:
    model = made(MODELS[name], tmp_path / "x.keras")
    net = exchange.read(tmp_path / "x.keras").build()
    for tokens in (TOKENS, TOKENS[:, 2:]):
        given = [tokens, tokens[:, ::-1].copy()]
        for one, two in zip(model.predict(given, verbose=0), net(*given), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "of",
    [
        lambda x, other: pooled(keras.layers.Concatenate()([attention(x), attention(x)])),
        lambda x, other: keras.layers.Multiply()([keras.layers.Dense(4)(x), attention(x)]),
    ],
    ids=["both attend", "one attends"],
)
def test_what_runs_first_where_nothing_decides_it_is_not_guessed(of: Any, tmp_path: Path) -> None:
    made(of, tmp_path / "x.keras")
    with pytest.raises(ConversionError, match=r"takes the mask of 'embedding\w*' away when it runs, before or after"):
        exchange.read(tmp_path / "x.keras")
