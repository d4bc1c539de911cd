"""Masks, made by Keras and taken by its layers: outputs as Keras gives them, of models saved and read here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelarchive.errors import ConversionError
from modelarchive.exchange import keras as exchange
from modelarchive.nn import nesting

keras = pytest.importorskip("keras")

from keras import layers, ops  # noqa: E402 - only where Keras is

pytestmark = [
    pytest.mark.slow,
    # So Keras says of layers that do not pass a mask on.
    pytest.mark.filterwarnings("ignore:[\\s\\S]*was passed an input with a mask attached to it:UserWarning"),
]
WORDS = np.array([[1, 2, 3, 0, 0, 0], [0, 4, 0, 5, 6, 0], [0, 0, 0, 0, 0, 0], [3, 1, 2, 4, 5, 6]], "int32")
OTHERS = WORDS[::-1].copy()
#: Without the row in which nothing counts, whose mean is NaN.
SOME = [0, 1, 3]
STEPS = np.random.default_rng(0).normal(size=(4, 6, 5)).astype("float32")
STEPS[0, 3:], STEPS[1, 0], STEPS[2] = 0, 0, 0


def words(length: int | None = 6) -> Any:
    return keras.Input((length,), dtype="int32")


def embedded(*made: Callable[[], Any], length: int | None = 6) -> Any:
    """A row of layers behind an Embedding that makes a mask."""
    return keras.Sequential([words(length), layers.Embedding(8, 6, mask_zero=True), *(make() for make in made)])


def two(call: Callable[[Any, Any], Any]) -> Any:
    """A model of two inputs of words, which one Embedding takes."""
    one, other = words(), words()
    embedding = layers.Embedding(8, 6, mask_zero=True)
    return keras.Model([one, other], call(embedding(one), embedding(other)))


def behind(call: Callable[[Any], Any], length: int | None = 6) -> Any:
    x = words(length)
    return keras.Model(x, call(layers.Embedding(8, 6, mask_zero=True)(x)))


def with_states(kind: str, length: int | None) -> Any:
    return behind(lambda x: list(getattr(layers, kind)(3, return_sequences=True, return_state=True)(x)), length)


def translated(kind: str) -> Any:
    def call(one: Any, other: Any) -> Any:
        _, *states = getattr(layers, kind)(4, return_state=True)(one)
        return layers.Dense(2)(getattr(layers, kind)(4, return_sequences=True)(other, initial_state=states))

    return two(call)


def explicit() -> Any:
    x, mask = keras.Input((6, 5)), keras.Input((6,), dtype="bool")
    given = [layers.LSTM(3)(x, mask=mask), layers.GlobalAveragePooling1D()(x, mask=mask)]
    return keras.Model([x, mask], [*given, layers.Softmax()(x, mask=ops.expand_dims(mask, -1))])


def nested() -> Any:
    inner = keras.Sequential([keras.Input((6, 6)), layers.Dropout(0.1), layers.LSTM(3)])
    return behind(inner)


def added() -> Any:
    x, steps = words(), keras.Input((6, 6))
    return keras.Model([x, steps], layers.LSTM(3)(layers.Add()([layers.Embedding(8, 6, mask_zero=True)(x), steps])))


def merged(kind: str, places: str) -> Any:
    """A merging layer of a tensor with a mask and one with or without."""
    x, steps = words(), keras.Input((6, 6))
    masked = layers.Embedding(8, 6, mask_zero=True)
    other = {"both": lambda: masked(ops.flip(x, 1)), "first": lambda: steps, "second": lambda: steps}[places]()
    pair = [masked(x), other][:: -1 if places == "second" else 1]
    layer = layers.Concatenate(axis=1) if kind == "joined" else getattr(layers, kind)()
    found = layer(pair)
    return keras.Model([x, steps], [found, layers.GRU(3)(found)])


def fewer_axes() -> Any:
    x, row = words(), keras.Input((6,))
    embedding = layers.Embedding(8, 6, mask_zero=True)(x)
    return keras.Model([x, row], [getattr(layers, kind)()([embedding, row]) for kind in ("Add", "Multiply", "Maximum")])


def out_of(depth: int) -> Any:
    """A model whose results have masks, inside of others, before a layer that takes the mask."""
    x = words()
    embedding = layers.Embedding(8, 6, mask_zero=True)(x)
    found = keras.Model(x, [layers.LSTM(4, return_sequences=True)(embedding), layers.Dense(3)(embedding)])
    for _ in range(depth - 1):
        x = words()
        found = keras.Model(x, found(x))
    x = words()
    one, other = found(x)
    return keras.Model(x, [layers.GRU(3)(one), layers.GlobalMaxPooling1D()(other), layers.LSTM(2)(other)])


def attention(one: Any, other: Any, kind: str = "MultiHeadAttention", **called: Any) -> Any:
    if kind == "MultiHeadAttention":
        found = layers.MultiHeadAttention(2, 3)(one, other, **called)
        return layers.GRU(3)(layers.LayerNormalization()(layers.Add()([one, found])))
    found = getattr(layers, kind)()([one, other], **called)
    return layers.GlobalAveragePooling1D()(found)


CASES: dict[str, tuple[Callable[[], Any], list[np.ndarray]]] = {
    **{
        f"{kind} {sequences} {backwards} {length}": (
            lambda kind=kind, sequences=sequences, backwards=backwards, length=length: embedded(
                lambda: getattr(layers, kind)(3, return_sequences=sequences, go_backwards=backwards), length=length
            ),
            [WORDS],
        )
        for kind in ("LSTM", "GRU", "SimpleRNN")
        for sequences, backwards, length in ((False, False, None), (True, False, 6), (True, True, None))
    },
    **{
        f"Bidirectional {kind} {mode} {sequences}": (
            lambda kind=kind, mode=mode, sequences=sequences: embedded(
                lambda: layers.Bidirectional(getattr(layers, kind)(3, return_sequences=sequences), merge_mode=mode),
                length=None,
            ),
            [WORDS],
        )
        for kind, mode, sequences in (("LSTM", "concat", True), ("GRU", "ave", False), ("LSTM", "sum", True))
    },
    "zeros where nothing counts": (
        lambda: embedded(
            lambda: layers.RNN(layers.GRUCell(3), return_sequences=True, zero_output_for_mask=True), length=None
        ),
        [WORDS],
    ),
    "through layers that pass it on": (
        lambda: embedded(
            lambda: layers.LSTM(3, return_sequences=True),
            lambda: layers.Dropout(0.2),
            lambda: layers.TimeDistributed(layers.Dense(4)),
            lambda: layers.GlobalAveragePooling1D(keepdims=True),
        ),
        [WORDS[SOME]],
    ),
    "dropped by a convolution": (
        lambda: embedded(lambda: layers.Conv1D(5, 3, padding="same"), lambda: layers.LSTM(3)),
        [WORDS],
    ),
    "states of LSTM": (lambda: with_states("LSTM", 6), [WORDS]),
    "states of GRU": (lambda: with_states("GRU", None), [WORDS]),
    "LSTM to LSTM": (lambda: translated("LSTM"), [WORDS, OTHERS]),
    "GRU to GRU": (lambda: translated("GRU"), [WORDS, OTHERS]),
    "Masking": (
        lambda: keras.Sequential(
            [keras.Input((6, 5)), layers.Masking(), layers.Dense(4), layers.Bidirectional(layers.LSTM(3))]
        ),
        [STEPS],
    ),
    "attention to itself": (lambda: embedded_attention(), [WORDS]),
    "causal attention": (lambda: two(lambda a, b: attention(a, b, use_causal_mask=True)), [WORDS, OTHERS]),
    "attention to another": (lambda: two(attention), [WORDS, OTHERS]),
    "attention with dropout": (
        lambda: behind(lambda x: layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x)),
        [WORDS],
    ),
    "grouped attention": (lambda: behind(lambda x: layers.GroupQueryAttention(3, 4, 2)(x, x)), [WORDS]),
    **{
        f"{kind} {called}": (
            lambda kind=kind, called=called: two(lambda a, b: attention(a, b, kind, **called)),
            [WORDS[SOME], OTHERS[SOME]],
        )
        for kind in ("Attention", "AdditiveAttention")
        for called in ({}, {"use_causal_mask": True})
    },
    **{
        f"Concatenate {axis}": (
            lambda axis=axis: two(lambda a, b: layers.LSTM(3)(layers.Concatenate(axis=axis)([a, b]))),
            [WORDS, OTHERS],
        )
        for axis in (-1, 1)
    },
    **{
        f"{kind} {places}": (
            lambda kind=kind, places=places: merged(kind, places),
            [WORDS, np.random.default_rng(1).normal(size=(4, 6, 6)).astype("f4")],
        )
        for kind in ("Multiply", "Maximum", "Minimum", "Average", "Concatenate", "joined")
        for places in ("both", "first", "second")
    },
    "merged with one of fewer axes": (fewer_axes, [WORDS, np.random.default_rng(1).normal(size=(4, 6)).astype("f4")]),
    **{
        f"{kind}, other activations, {sequences} {backwards}": (
            lambda kind=kind, sequences=sequences, backwards=backwards: behind(
                lambda x: list(
                    getattr(layers, kind)(
                        3, "softsign", return_sequences=sequences, return_state=True, go_backwards=backwards
                    )(x)
                )
            ),
            [WORDS],
        )
        for kind in ("LSTM", "GRU", "SimpleRNN")
        for sequences, backwards in ((False, True), (True, False))
    },
    "cells one upon the other": (
        lambda: embedded(lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], return_sequences=True)),
        [WORDS],
    ),
    "both ways, other activations": (
        lambda: embedded(lambda: layers.Bidirectional(layers.LSTM(3, "relu", return_sequences=True))),
        [WORDS],
    ),
    "out of a row inside": (
        lambda: keras.Sequential([words(), keras.Sequential([layers.Embedding(8, 6, mask_zero=True)]), layers.LSTM(2)]),
        [WORDS],
    ),
    **{f"out of a model inside, {depth}": (lambda depth=depth: out_of(depth), [WORDS]) for depth in (1, 2)},
    "Add of a tensor without one": (added, [WORDS, np.random.default_rng(1).normal(size=(4, 6, 6)).astype("f4")]),
    "given as a tensor": (explicit, [STEPS, (WORDS > 0) | (np.arange(6) == 1)]),
    "into a model inside": (nested, [WORDS]),
}


def embedded_attention() -> Any:
    return behind(lambda x: layers.MultiHeadAttention(2, 3)(x, x))


def saved(model: Any, folder: Path) -> Path:
    generator = np.random.default_rng(2)
    model.set_weights([generator.normal(0, 0.5, each.shape).astype("float32") for each in model.get_weights()])
    model.save(folder / "model.keras")
    return folder / "model.keras"


@pytest.mark.parametrize("name", CASES)
def test_outputs_behind_masks_are_those_of_keras(tmp_path: Path, name: str) -> None:
    make, given = CASES[name]
    model = make()
    network = exchange.read(saved(model, tmp_path)).build()
    expected = keras.tree.flatten(model(given if len(given) > 1 else given[0], training=False))
    found = nesting.leaves(network(*given))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        array = keras.ops.convert_to_numpy(other)
        assert one.shape == array.shape
        np.testing.assert_allclose(one, array, atol=2e-5)


def test_the_cell_behind_a_mask_needs_a_known_number_of_steps(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="gives its cell behind a mask over steps of which the number is not"):
        exchange.read(saved(with_states("LSTM", None), tmp_path))
