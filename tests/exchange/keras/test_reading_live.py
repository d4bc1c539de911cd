"""Every layer and operation of the tables, made by Keras, saved, read here: outputs as Keras gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import keras as exchange
from modelarchive.exchange.keras.lifting import LAYERS, OPERATIONS
from modelarchive.exchange.keras.lifting_preprocessing import RANDOM
from modelarchive.nn import nesting

keras = pytest.importorskip("keras")

from tests.exchange.keras.layer_cases import CASES, WINDOWS, together  # noqa: E402 - only where Keras is
from tests.exchange.keras.layer_cases import OPERATIONS as CALLS  # noqa: E402 - only where Keras is

#: Classes of models that Keras makes, or that no case of its own shows.
ELSEWHERE = {
    *("LayerScale", "StochasticDepth", "CustomScaleLayer"),  # of Keras' applications
    "GroupedQueryAttention",  # another name of what is shown
    *RANDOM,  # shown together
    *("ThresholdedReLU", "LocallyConnected1D", "LocallyConnected2D", "CuDNNLSTM", "CuDNNGRU"),  # of Keras 2
}


def randomised(model: Any) -> Any:
    """Its parameters as random numbers, all of them."""
    generator = np.random.default_rng(0)
    for each in model.weights:
        if np.dtype(each.dtype).kind == "f" and "normalization/" not in each.path.replace("batch_", "_"):
            low = 0.2 if "variance" in each.path else -1.0
            each.assign(generator.uniform(low, 1, each.shape))
    return model


def example(model: Any) -> list[np.ndarray]:
    """Inputs of a model."""
    generator = np.random.default_rng(1)
    is_text = any("embedding" in each.name for each in model.layers)
    found = []
    for each in model.inputs:
        shape = [size or 2 for size in each.shape]
        whole = is_text or not each.dtype.startswith("float")
        array = generator.integers(0, 4, shape) if whole else generator.normal(size=shape)
        found.append(array.astype(each.dtype))
    return found


def same(expected: Any, found: Any) -> None:
    """Equal but for rounding."""
    one, two = keras.tree.flatten(expected), nesting.leaves(found)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        array = keras.ops.convert_to_numpy(a)
        assert array.shape == b.shape
        np.testing.assert_allclose(array.astype("f8"), b.astype("f8"), atol=1e-5, rtol=1e-5)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Of what moves windows one case of each class; all of them, and each operation alone, with ``--full-size``."""
    if "case" in metafunc.fixturenames:
        first = {name.split()[0]: name for name in reversed(WINDOWS)}
        few = [name for name in CASES if not name.startswith("op ") and (name not in WINDOWS or name in first.values())]
        metafunc.parametrize("case", list(CASES) if metafunc.config.getoption("--full-size") else few)


@pytest.mark.filterwarnings("ignore")
def test_outputs_are_those_of_keras(case: str, tmp_path: Path) -> None:
    model = randomised(CASES[case]())
    inputs = example(model)
    expected = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    # Keras cannot write this one in the older format.
    suffixes = [".keras"] if case == "RandomBrightness" or len(case) % 2 else [".keras", ".h5"]
    for suffix in suffixes:
        path = tmp_path / f"x{suffix}"
        model.save(path)
        with ma.trusted():
            bundle = exchange.read(path)
        same(expected, bundle.build()(*inputs))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_operations_are_those_of_keras(suffix: str, tmp_path: Path) -> None:
    model = together(list(CALLS.values()))
    model.save(tmp_path / f"x{suffix}")
    inputs = example(model)
    same(model(inputs[0], training=False), exchange.read(tmp_path / f"x{suffix}").build()(*inputs))


@pytest.mark.filterwarnings("ignore")
def test_every_row_of_the_tables_is_shown() -> None:
    shown = {name.removeprefix("on images ").split()[0] for name in (*CASES, *CALLS)}
    assert {*LAYERS, *OPERATIONS} - ELSEWHERE <= shown


@pytest.mark.filterwarnings("ignore")
def test_sizes_are_found_that_leave_something_when_much_is_cut_off(tmp_path: Path) -> None:
    made = [keras.layers.Conv1D(3, 3), keras.layers.Cropping1D((400, 5000)), keras.layers.Conv1D(2, 1)]
    model = keras.Sequential([keras.Input((None, 2)), *made])
    model.save(tmp_path / "x.keras")
    bundle = exchange.read(tmp_path / "x.keras")
    assert bundle.architecture["inputs"][0]["shape"] == [None, None, 2]
    x = np.random.default_rng(0).normal(size=(1, 5405, 2)).astype("f4")
    same(model(x), bundle.build()(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_of_keras_applications_is_read(suffix: str, tmp_path: Path) -> None:
    model = randomised(keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), classes=5, alpha=0.35))
    model.save(tmp_path / f"x{suffix}")
    bundle = exchange.read(tmp_path / f"x{suffix}")
    inputs = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("f4")
    same(model(inputs, training=False), bundle.build()(inputs))
    assert len(bundle.parameters) == len(model.weights)


@pytest.mark.filterwarnings("ignore")
def test_layers_whose_default_is_training_are_read_as_predict_has_them(tmp_path: Path) -> None:
    layers, x = keras.layers, keras.Input((8, 8, 3))
    y = layers.Resizing(4, 4)(layers.RandomRotation(0.1, name="turned")(layers.RandomFlip(name="flipped")(x)))
    model = keras.Model(x, layers.CenterCrop(2, 3)(y))
    model.save(tmp_path / "x.keras")
    bundle = exchange.read(tmp_path / "x.keras")
    assert [note.where for note in bundle.notes] == ["flipped", "turned"]
    given = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    np.testing.assert_allclose(bundle.build()(given), model.predict(given, verbose=0), atol=1e-6)
    keras.Model(x, layers.Dropout(0.5)(x, training=True)).save(tmp_path / "y.keras")
    with pytest.raises(ma.ConversionError, match="called with training"):
        exchange.read(tmp_path / "y.keras")


REFUSED = {
    "a long transform": (lambda: keras.Model(x := keras.Input((2000,)), keras.ops.rfft(x)), "at most of 1,024"),
    "a transform of any length": (lambda: keras.Model(x := keras.Input((None,)), keras.ops.rfft(x)), "size"),
    "long frames": (
        lambda: keras.Sequential([keras.Input((9000,)), keras.layers.MelSpectrogram(4096)]),
        "are not supported",
    ),
    "a short signal": (
        lambda: keras.Sequential([keras.Input((100,)), keras.layers.MelSpectrogram(256)]),
        "100 samples are too few",
    ),
    "a window of its author's own": (
        lambda: keras.Sequential([keras.Input((100,)), keras.layers.MelSpectrogram(64, window=[1.0] * 64)]),
        "only hann and hamming",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_transforms_that_are_too_long_or_unknown_are_refused(name: str, tmp_path: Path) -> None:
    make, what = REFUSED[name]
    make().save(tmp_path / "x.keras")
    with pytest.raises(ma.ConversionError, match=what):
        exchange.read(tmp_path / "x.keras")


@pytest.mark.filterwarnings("ignore")
def test_a_declaration_is_of_the_input_that_it_names(tmp_path):
    first, second = (keras.Input((None, size), name=name) for size, name in ((3, "first"), (5, "second")))
    means = [keras.layers.GlobalAveragePooling1D()(each) for each in (first, second)]
    path = tmp_path / "two.keras"
    keras.Model([first, second], keras.layers.Concatenate()(means)).save(path)
    both = {"second": [None, 7, 5], "first": [None, 4, 3]}
    for given in (both, [{"name": name, "shape": shape} for name, shape in both.items()], list(both.values())[::-1]):
        found = exchange.read(path, inputs=given).architecture["inputs"]
        assert [(each["name"], each["shape"]) for each in found] == [("first", [None, 4, 3]), ("second", [None, 7, 5])]
    found = exchange.read(path, inputs="second:?,7,5").architecture["inputs"]
    assert [each["shape"] for each in found] == [[None, None, 3], [None, 7, 5]]
    ma.convert(path, tmp_path / "two.h5", durable=False)
    ma.convert(tmp_path / "two.h5", tmp_path / "fixed.h5", inputs=both, durable=False)
    with ma.open(tmp_path / "fixed.h5") as archive:
        assert [each["shape"] for each in archive.architecture["inputs"]] == [[None, 4, 3], [None, 7, 5]]
    with pytest.raises(ma.ConversionError, match="other: is declared, and is no input of the model"):
        exchange.read(path, inputs={"other": [None, 8, 9]})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_numbers_are_read_that_python_writes_and_json_has_not(suffix: str, tmp_path: Path) -> None:
    x = keras.Input((6,))
    masked = keras.ops.softmax(keras.ops.where(x > 0, x, -np.inf))
    outputs = [masked, keras.ops.where(x > 0, x, np.nan), keras.ops.clip(x, -np.inf, 0.5), keras.ops.isinf(x * np.inf)]
    model = keras.Model(x, outputs)
    model.save(tmp_path / f"x{suffix}")
    given = np.random.default_rng(0).normal(size=(3, 6)).astype("f4")
    same(model(given), exchange.read(tmp_path / f"x{suffix}").build()(given))


@pytest.mark.filterwarnings("ignore")
def test_infinite_settings_are_refused_by_name(tmp_path: Path) -> None:
    made = {
        "max_value = inf": keras.layers.ReLU(max_value=np.inf),
        "negative_slope = inf": keras.layers.LeakyReLU(np.inf),
    }
    for what, layer in made.items():
        keras.Sequential([keras.Input((4,)), layer]).save(tmp_path / "x.keras")
        with pytest.raises(ma.ConversionError, match=what):
            exchange.read(tmp_path / "x.keras")


@pytest.mark.filterwarnings("ignore")
def test_where_pytorchs_backend_differs_numpys_result_is_taken(tmp_path: Path) -> None:
    # Keras 3.15.1 on PyTorch multiplies vectors along a batch of three, and repeats the edge for a mirror.
    x = keras.Input((3,))
    y = keras.ops.cross(x, keras.ops.flip(x, 1)), keras.ops.pad(x, [[0, 0], [2, 1]], mode="symmetric")
    keras.Model(x, y).save(tmp_path / "x.keras")
    bundle = exchange.read(tmp_path / "x.keras")
    given = np.random.default_rng(0).normal(size=(3, 3)).astype("f4")
    found = bundle.build()(given)
    np.testing.assert_allclose(found[0], np.cross(given, given[:, ::-1]), atol=1e-6)
    np.testing.assert_array_equal(found[1], np.pad(given, [[0, 0], [2, 1]], mode="symmetric"))
    assert [note for note in bundle.notes if "as TensorFlow and JAX have it" in note.what]
