"""A network out of Keras is cut at a layer, and gives what Keras gives there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance

keras = pytest.importorskip("keras")
layers = keras.layers


@pytest.mark.parametrize("name", ["conv", "pool", "sequence", "both", "last", "hidden", "head"])
def test_until_and_after_a_layer(tmp_path: Path, name: str) -> None:
    given = keras.Input((6, 5), name="x")
    y = layers.Conv1D(4, 3, activation="gelu", name="conv")(given)
    y = layers.MaxPooling1D(2, strides=1, name="pool")(y)
    y = layers.GRU(4, return_sequences=True, name="sequence")(y)
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(y)
    y = layers.LSTM(3, name="last")(y)
    y = layers.Dense(4, activation="leaky_relu", name="hidden")(y)
    model = keras.Model(given, layers.Dense(3, activation="softmax", name="head")(y))
    x = np.random.default_rng(0).standard_normal((2, 6, 5), dtype=np.float32)
    expected = keras.ops.convert_to_numpy(keras.Model(given, model.get_layer(name).output)(x))
    ma.save_model(tmp_path / "m.h5", model)
    model.save(tmp_path / "m.keras")
    maintenance.extract(tmp_path / "m.h5", "", tmp_path / "cut.h5", until=name)
    with ma.open(tmp_path / "m.h5") as archive:
        cuts = [
            archive.build(until=name),
            ma.load_model(tmp_path / "m.keras", until=name),
            ma.load_model(tmp_path / "cut.h5"),
        ]
        rest = None if name == "head" else archive.build(after=name)
    for cut in cuts:
        np.testing.assert_allclose(cut(x), expected, atol=1e-5)
    if rest is not None:
        np.testing.assert_allclose(rest(expected), keras.ops.convert_to_numpy(model(x)), atol=1e-5)


@pytest.mark.parametrize("results", [3, {"head": 3}, {"head": "nowhere"}, {"other": "head"}])
def test_what_the_metadata_say_wrongly_harms_nothing(tmp_path: Path, results: object) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="head"), layers.Dense(2)])
    ma.save_model(tmp_path / "m.h5", model, metadata={"source": {"results": results}})
    with ma.open(tmp_path / "m.h5") as archive:
        if results == {"head": "nowhere"}:
            with pytest.raises(ma.SpecError, match="nowhere"):
                archive.build(until="head")
        else:
            assert archive.build(until="head")(np.ones((1, 3), "f4")).shape == (1, 2)
