"""Models of Keras on its PyTorch backend, with layers of their author's own, come in as modules."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "torch":
    pytest.skip("Keras' backend is another one", allow_module_level=True)


class Scaled(keras.layers.Layer):
    """A layer of somebody's own, with a variable; its config is not what Keras can write."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="scale")
        self.kept = self.add_weight(shape=(shape[-1],), initializer="ones", trainable=False, name="kept")

    def call(self, x):
        return keras.ops.gelu(x * self.scale) + self.kept

    def get_config(self):
        return {"a": self.not_there}


def functional():
    x = keras.Input((4,), name="features")
    h = Scaled(name="own")(keras.layers.Dense(6, activation="relu", name="dense")(x))
    return keras.Model(x, keras.layers.LayerNormalization(name="norm")(keras.layers.Dropout(0.5)(h)))


class Two(keras.Model):
    """A model of somebody's own class that takes a dict."""

    def __init__(self):
        super().__init__()
        self.words = keras.layers.Embedding(9, 4, name="words")
        self.dense = keras.layers.Dense(3, name="dense")

    def call(self, inputs, training=False):
        mask = keras.ops.cast(inputs["mask"], "float32")[..., None]
        return {"out": self.dense(keras.ops.sum(self.words(inputs["ids"]) * mask, axis=1))}


def test_a_functional_model_says_what_it_takes(tmp_path):
    model = functional()
    notes = ma.save_model(tmp_path / "net.h5", model)
    assert any("is read as a model of PyTorch" in note.what for note in notes)
    net = ma.load_model(tmp_path / "net.h5")
    x = np.random.default_rng(0).standard_normal((5, 4), np.float32)
    np.testing.assert_allclose(net(x), keras.ops.convert_to_numpy(model(x)), rtol=1e-4, atol=1e-5)
    with ma.open(tmp_path / "net.h5") as archive:
        assert archive.architecture["inputs"] == [{"name": "features", "shape": [None, 4], "dtype": "float32"}]
    stored = net.collect_params()
    assert {"own.scale", "own.kept"} <= set(stored)
    np.testing.assert_array_equal(stored["own.scale"].value(), keras.ops.convert_to_numpy(model.get_layer("own").scale))
    assert not stored["own.kept"].trainable
    assert stored["own.scale"].trainable


def test_a_sequential_says_what_it_takes(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Scaled(), keras.layers.Dense(2)])
    ma.save_model(tmp_path / "net.h5", model)
    x = np.random.default_rng(0).standard_normal((5, 4), np.float32)
    wanted = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_model_of_somebody_s_own_class_is_read_on_an_example():
    model = Two()
    given = {"ids": torch.randint(0, 9, (2, 5)), "mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])}
    wanted = keras.ops.convert_to_numpy(model(given)["out"])
    bundle = read_module(model, given)
    assert [each["name"] for each in bundle.architecture["inputs"]] == ["ids", "mask"]
    found = bundle.build()(*(each.numpy() for each in given.values()))
    np.testing.assert_allclose(found["out"], wanted, rtol=1e-5, atol=1e-6)
    assert set(bundle.state().parameters) == {name.replace("/", ".") for name in (each.path for each in model.weights)}


def test_what_both_refuse_is_told_by_both(tmp_path):
    class Turned(keras.layers.Layer):
        def call(self, x):
            return x @ keras.ops.svd(keras.ops.transpose(x) @ x)[0]

        def get_config(self):
            return {"a": self.not_there}

    model = keras.Sequential([keras.Input((4,)), Turned()])
    with pytest.raises(ma.ConversionError) as caught:
        ma.save_model(tmp_path / "net.h5", model)
    text = str(caught.value)
    assert "no config" in text
    assert "as a model of PyTorch" in text
    with pytest.raises(ma.ConversionError, match="are not known"):
        read_module(_called(Two()), None)


def _called(model):
    model({"ids": torch.zeros(1, 5, dtype=torch.int64), "mask": torch.ones(1, 5)})
    return model


class Distances(keras.layers.Layer):
    """Attention that counts in sizes, as KerasHub's decoders do."""

    def call(self, x):
        length = keras.ops.shape(x)[1]
        back = keras.ops.arange(1 - length, 1)
        return x + keras.ops.cast(back[:, None] + keras.ops.arange(length)[:, None] * 2, x.dtype)


def test_sizes_that_keras_counts_with_stay_free():
    from keras.src.backend.common import dtypes

    x = keras.Input((None, 4))
    model = keras.Model(x, Distances()(x))
    before = dict(dtypes.PYTHON_DTYPES_MAP)
    bundle = read_module(model, None)
    assert before == dtypes.PYTHON_DTYPES_MAP
    assert not any(isinstance(axis, int) for axis in bundle.architecture["inputs"][0]["shape"][:2])
    for length in (1, 7, 40):
        given = np.random.default_rng(0).standard_normal((2, length, 4), np.float32)
        np.testing.assert_allclose(bundle.build()(given), model(given).numpy(), atol=1e-5)
