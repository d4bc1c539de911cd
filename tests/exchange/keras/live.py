"""Runs Keras models beside networks of the vocabulary, and compares what they give."""

from typing import Any

import numpy as np

from modelarchive.exchange.bundle import bundle_of
from modelarchive.exchange.keras.writing import build_with_notes
from tests.cases.case import error, several


def run(model: Any, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """A model's outputs as arrays."""
    import keras

    found = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
    flat = found if isinstance(found, list | tuple) else [found]
    return tuple(np.asarray(keras.ops.convert_to_numpy(each)) for each in flat)


def same(found: tuple[np.ndarray, ...], wanted: tuple[np.ndarray, ...], limit: float = 1e-5) -> None:
    """Shapes, dtypes and values are those."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if np.isnan(other).any():
            np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
            one, other = np.nan_to_num(one), np.nan_to_num(other)
        assert error(one.astype(np.float64), np.asarray(other, np.float64)) <= limit


def same_outputs(net: Any, *inputs: np.ndarray, declared: Any = None, limit: float = 1e-5) -> Any:
    """Keras' model of a network gives the same outputs; the model."""
    bundle = bundle_of(net, inputs=declared or tuple(inputs))
    model, _ = build_with_notes(bundle)
    same(run(model, *inputs), several(net(*inputs)), limit)
    return model
