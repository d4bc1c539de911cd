"""Padding "same" over sizes that are free: as Keras computes it at each of them, read, run and written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelarchive.errors import ConversionError
from modelarchive.exchange import keras as exchange
from modelarchive.models import convert, load_model
from tests.sampling import some

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore")

#: What stands over an image (height, width, 3), and over one (3, height, width).
LAYERS: dict[str, Any] = {
    "Conv2D": lambda **more: keras.layers.Conv2D(2, (3, 4), strides=2, padding="same", activation="relu", **more),
    "Conv2D in larger steps": lambda **more: keras.layers.Conv2D(2, (5, 2), strides=(3, 4), padding="same", **more),
    "DepthwiseConv2D": lambda **more: keras.layers.DepthwiseConv2D(3, strides=2, padding="same", **more),
    "SeparableConv2D": lambda **more: keras.layers.SeparableConv2D(2, 3, strides=2, padding="same", **more),
    "MaxPooling2D": lambda **more: keras.layers.MaxPooling2D((3, 2), strides=(2, 3), padding="same", **more),
}


def randomised(model: Any) -> Any:
    rng = np.random.default_rng(0)
    for each in model.weights:
        each.assign(rng.uniform(-0.5, 0.5, each.shape))
    return model


def same(one: Any, two: Any) -> None:
    expected = np.asarray(one.detach() if hasattr(one, "detach") else one)
    assert two.shape == expected.shape
    np.testing.assert_allclose(two, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name", some(LAYERS))
def test_images_of_any_size(name: str, order: str, tmp_path: Path) -> None:
    is_last = order == "channels_last"
    given = keras.Input((None, None, 3) if is_last else (3, None, None))
    model = randomised(keras.Model(given, LAYERS[name](data_format=order)(given)))
    model.save(tmp_path / "x.keras")
    convert(tmp_path / "x.keras", tmp_path / "x.h5", durable=False)
    net = load_model(tmp_path / "x.h5")
    for height, width in ((6, 7), (7, 6), (8, 9), (9, 11), (1, 2), (5, 12)):
        size = (2, height, width, 3) if is_last else (2, 3, height, width)
        x = np.random.default_rng(1).normal(size=size).astype("f4")
        same(model(x), net(x))


@pytest.mark.parametrize("window", [1, 2, 3, *(pytest.param(each, marks=pytest.mark.slow) for each in (4, 5))])
@pytest.mark.parametrize("stride", [2, 3])
def test_every_rest_of_a_size_and_every_system(window: int, stride: int, tmp_path: Path) -> None:
    given = keras.Input((None, 2))
    x = keras.layers.Conv1D(2, window, strides=stride, padding="same")(given)
    model = randomised(keras.Model(given, keras.layers.MaxPooling1D(window, strides=stride, padding="same")(x)))
    model.save(tmp_path / "x.keras")
    for name in ("x.h5", "x.onnx", "again.h5"):
        source = {"x.h5": "x.keras", "x.onnx": "x.h5", "again.h5": "x.onnx"}[name]
        convert(tmp_path / source, tmp_path / name, durable=False)
    nets = [load_model(tmp_path / "x.h5"), load_model(tmp_path / "again.h5")]
    for size in range(1, 2 * stride**2 + 3):
        x = np.random.default_rng(size).normal(size=(2, size, 2)).astype("f4")
        for net in nets:
            same(model(x), net(x))


def test_means_over_free_sizes_are_refused_where_these_decide(tmp_path: Path) -> None:
    given = keras.Input((None, 2))
    for pools, is_read in ((2, True), (3, False)):
        model = keras.Model(given, keras.layers.AveragePooling1D(pools, strides=2, padding="same")(given))
        model.save(tmp_path / "x.keras")
        if not is_read:
            with pytest.raises(ConversionError, match="depends on a size that is free in the file: pass inputs="):
                exchange.read(tmp_path / "x.keras")
            continue
        net = exchange.read(tmp_path / "x.keras").build()
        for size in (1, 2, 5, 6):
            x = np.random.default_rng(size).normal(size=(2, size, 2)).astype("f4")
            same(model(x), net(x))
