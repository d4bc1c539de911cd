"""Transplants into and out of Keras models, against Keras' own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma

keras = pytest.importorskip("keras")
layers = keras.layers


def outputs(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(x, training=False)))


def randomised(model: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.dtype == "float32":
            variable.assign(rng.uniform(0.1, 1, tuple(variable.shape)))
    return model


def image_model(classes: int) -> Any:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="stem"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            layers.SeparableConv2D(3, 2, name="separable"),
            layers.PReLU(shared_axes=[1, 2], name="slopes"),
            layers.GlobalAveragePooling2D(name="gap"),
            layers.Dense(classes, name="head"),
        ]
    )


def text_model() -> Any:
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 4, name="words")(words)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(x)
    x = layers.GRU(4, return_sequences=True, name="gru")(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d", name="einsum")(x)
    x = keras.Sequential([keras.Input((6, 5)), layers.Dense(3, name="inner")], name="nested")(x)
    return keras.Model(words, layers.SimpleRNN(2, name="last")(x))


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: image_model(5), np.random.default_rng(0).random((2, 8, 8, 3), np.float32)),
        (text_model, np.random.default_rng(0).integers(0, 20, (2, 6))),
    ],
)
def test_every_source_gives_the_same_outputs(make: Any, x: np.ndarray, tmp_path: Path) -> None:
    donor = randomised(make())
    wanted = outputs(donor, x)
    donor.save(tmp_path / "donor.keras")
    ma.save_model(tmp_path / "donor.h5", donor)
    for source in (donor, tmp_path / "donor.keras", tmp_path / "donor.h5", ma.load_model(tmp_path / "donor.h5")):
        target = randomised(make(), seed=1)
        report = ma.transplant(source, target)
        assert not report.missing
        assert not report.unexpected
        np.testing.assert_array_equal(outputs(target, x), wanted)


def test_the_first_layers_into_a_new_model_frozen(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    donor = randomised(image_model(5))
    ma.save_model(tmp_path / "donor.h5", donor)
    target = image_model(2)
    ma.transplant(tmp_path / "donor.h5", target, select=["stem.*", "norm.*"], freeze=True)
    for name in ("stem", "norm"):
        assert not target.get_layer(name).trainable
        for ours, theirs in zip(target.get_layer(name).variables, donor.get_layer(name).variables, strict=True):
            np.testing.assert_array_equal(
                ours.numpy() if hasattr(ours, "cpu") else np.asarray(ours), np.asarray(theirs)
            )
    frozen = {variable.path for name in ("stem", "norm") for variable in target.get_layer(name).variables}
    assert not frozen & {variable.path for variable in target.trainable_variables}
    before = [np.array(each) for each in target.get_layer("stem").get_weights()]
    target.compile("sgd", "mse")
    target.fit(x, np.ones((2, 2)), verbose=0)
    for one, other in zip(before, target.get_layer("stem").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    target.save(tmp_path / "target.keras")
    assert not keras.saving.load_model(tmp_path / "target.keras").get_layer("stem").trainable


def test_a_file_of_weights_alone(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    donor, target = randomised(image_model(5)), image_model(5)
    donor.save_weights(tmp_path / "donor.weights.h5")
    report = ma.load_parameters(tmp_path / "donor.weights.h5", target)
    assert not report.missing
    np.testing.assert_array_equal(outputs(target, x), outputs(donor, x))
    with pytest.raises(ma.ParameterError, match=r"places, not layers"):
        ma.transplant(tmp_path / "donor.weights.h5", keras.Sequential([keras.Input((3,)), layers.Dense(2)]))


def test_one_variable_of_a_layer_is_frozen_alone() -> None:
    donor, target = image_model(2), image_model(2)
    ma.transplant(donor, target, freeze="head.weight")
    head = target.get_layer("head")
    assert head.trainable
    assert [variable.name for variable in head.trainable_variables] == ["bias"]


def test_statistics_of_a_layer_that_has_nothing_to_train_are_frozen_with_it() -> None:
    def make() -> Any:
        norm = layers.BatchNormalization(center=False, scale=False, name="norm")
        return keras.Sequential([keras.Input((3,)), norm, layers.Dense(1, name="head")])

    donor, target = randomised(make()), make()
    report = ma.transplant(donor, target, select="norm.*", freeze=True)
    assert report.frozen == ["norm.running_mean", "norm.running_var"]
    assert not target.get_layer("norm").trainable
    assert target.get_layer("head").trainable
    target.compile("sgd", "mse")
    target.fit(np.ones((4, 3), "f4"), np.ones((4, 1), "f4"), verbose=0)
    for ours, theirs in zip(target.get_layer("norm").variables, donor.get_layer("norm").variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_compiled_model_is_to_be_compiled_again() -> None:
    donor, target = image_model(2), image_model(2)
    target.compile("sgd", "mse")
    assert not ma.transplant(donor, target).notes
    assert "compile the model again" in ma.transplant(donor, target, freeze="stem.*").notes[0]


def test_two_layers_of_one_model_change_places() -> None:
    net = randomised(
        keras.Sequential([keras.Input((3,)), layers.Dense(3, name="a"), Scaled(name="own"), layers.Dense(3, name="b")])
    )
    for model in (net, keras.Sequential([keras.Input((3,)), net.get_layer("a"), net.get_layer("b")])):
        before = {
            (name, variable.name): variable.numpy().copy()
            for name in "ab"
            for variable in model.get_layer(name).variables
        }
        ma.transplant(model, model, rename={"a.*": "b.*", "b.*": "a.*"})
        for (name, own), array in before.items():
            other = model.get_layer("b" if name == "a" else "a")
            found = next(variable for variable in other.variables if variable.name == own)
            np.testing.assert_array_equal(found.numpy(), array)


def test_heads_whose_values_are_wider_than_their_keys() -> None:
    def make() -> Any:
        x = keras.Input((4, 6))
        return keras.Model(x, layers.MultiHeadAttention(2, 3, value_dim=5, output_shape=7, name="attention")(x, x))

    donor, target = randomised(make(), 1), randomised(make(), 2)
    ma.transplant(donor, target)
    for ours, theirs in zip(target.variables, donor.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_model_that_is_not_built_is_built_by_the_source(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((2, 5), np.float32)
    donor = randomised(keras.Sequential([keras.Input((5,)), layers.Dense(3, name="a"), layers.Dense(2, name="b")]))
    ma.save_model(tmp_path / "donor.h5", donor)
    target = keras.Sequential([layers.Dense(3, name="a"), layers.Dense(2, name="b")])
    ma.transplant(tmp_path / "donor.h5", target)
    np.testing.assert_array_equal(outputs(target, x), outputs(donor, x))
    alone = keras.Sequential([layers.Dense(3, name="a")])
    with pytest.raises(ma.ParameterError, match=r"has no variables yet.*\n.*model\.build"):
        ma.transplant({"a.weight": np.ones((3, 5), "f4")}, alone)
    alone.build((None, 5))
    ma.transplant({"a.weight": np.ones((3, 5), "f4")}, alone)
    assert outputs(alone, np.ones((1, 5), "f4")).tolist() == [[5, 5, 5]]


class Own(keras.Model):
    """A model of its author's own class, with layers in lists, dicts and models, and one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = keras.Sequential([layers.Dense(4, name="first"), layers.Dense(3, name="second")])
        self.blocks = [layers.Dense(3), layers.LayerNormalization()]
        self.heads = {"a": layers.Dense(2)}
        self.recurrence = layers.GRU(3)
        self.attention = layers.MultiHeadAttention(2, 3)
        self.scale = Scaled()

    def call(self, x: Any) -> Any:
        x = self.encoder(x)
        for block in self.blocks:
            x = block(x)
        x = self.attention(x, x)
        return self.scale(self.heads["a"](self.recurrence(x)))


class Scaled(layers.Layer):
    """A layer of its author's own, with a variable that the vocabulary has no word for."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(shape[-1],), name="factor")

    def call(self, x: Any) -> Any:
        return x * self.factor


def test_models_of_ones_own_class(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((2, 4, 5), np.float32)
    donor, target = Own(), Own()
    donor(x), target(x)
    randomised(donor)
    report = ma.transplant(donor, target)
    assert not report.missing
    np.testing.assert_array_equal(outputs(target, x), outputs(donor, x))
    names = set(report.copied)
    assert {
        "encoder.first.weight",
        "blocks.0.bias",
        "heads.a.weight",
        "scale.factor",
        "attention.q_proj.weight",
    } <= names
    ma.transplant(donor, target, select="encoder.*", freeze=True)
    assert not target.encoder.trainable


def test_from_pytorch_into_keras_and_back() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2))
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="0"), layers.Flatten(), layers.Dense(2)])
    ma.transplant(net, model, select="0.*")
    x = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    features = keras.Model(model.inputs[0], model.get_layer("0").output)
    expected = net[0](torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(outputs(features, x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), expected, atol=1e-5)
    randomised(model)
    ma.transplant(model, net, select="0.*")
    expected = net[0](torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(outputs(features, x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), expected, atol=1e-5)


def test_narrow_variables() -> None:
    donor = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a", dtype="bfloat16")])
    target = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a", dtype="bfloat16")])
    ma.transplant(donor, target)
    wide = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a")])
    with pytest.raises(ma.ParameterError, match="cast_dtype=True"):
        ma.transplant(donor, wide)
    ma.transplant(donor, wide, cast_dtype=True)
    for model in (target, wide):
        for ours, theirs in zip(model.variables, donor.variables, strict=True):
            assert keras.ops.all(keras.ops.cast(ours, "float32") == keras.ops.cast(theirs, "float32"))


def test_a_lora_gives_the_sum_and_cannot_receive() -> None:
    donor = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="a")])
    donor.layers[0].enable_lora(2)
    randomised(donor)
    x = np.random.default_rng(0).random((2, 3), np.float32)
    plain = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="a")])
    ma.transplant(donor, plain)
    np.testing.assert_allclose(outputs(plain, x), outputs(donor, x), atol=1e-5)
    with pytest.raises(ma.ParameterError, match=r"a\.weight: expected a parameter that can be filled.*LoRA"):
        ma.transplant(plain, donor)


def test_a_shape_that_differs_is_told_in_the_vocabularys_axes() -> None:
    with pytest.raises(ma.ParameterError, match=r"head\.weight: expected shape \(2, 3\), found shape \(5, 3\)"):
        ma.transplant(image_model(5), image_model(2))


class Late(keras.Model):
    """A model of a class of its author's own, whose layers are made at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = layers.Conv2D(4, 3)
        self.head = layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.head(keras.ops.mean(self.stem(x), axis=(1, 2)))


def test_a_model_of_ones_own_class_is_built_by_what_the_source_says(tmp_path: Path) -> None:
    donor = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="stem"), layers.Flatten()])
    donor.save(tmp_path / "donor.keras")
    model = Late()
    assert ma.transplant(tmp_path / "donor.keras", model, select="stem.*", freeze=True).frozen
    assert keras.ops.all(model.stem.kernel == donor.layers[0].kernel)
    assert len(model.trainable_variables) == 2
    assert model(np.zeros((2, 8, 8, 3), np.float32)).shape == (2, 3)


def test_a_file_of_weights_is_filled_by_keras_and_then_a_source_for_other_models(tmp_path: Path) -> None:
    donor = randomised(image_model(5))
    donor.save_weights(tmp_path / "donor.weights.h5")
    other = {"head.weight": np.zeros((5, 3), np.float32), "head.bias": np.zeros(5, np.float32)}
    with pytest.raises(ma.ParameterError, match=r"model.load_weights\(path\) of Keras"):
        ma.transplant(tmp_path / "donor.weights.h5", other)
    same = image_model(5)
    same.load_weights(tmp_path / "donor.weights.h5")
    ma.transplant(same, other, select="head.*")
    np.testing.assert_array_equal(other["head.weight"].T, keras.ops.convert_to_numpy(donor.get_layer("head").kernel))


def test_a_file_of_weights_of_another_model_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    """Its layers are called by their class and place: the first Dense of one is not that of another."""
    donor = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.Dense(4, name="b")])
    donor.save_weights(tmp_path / "donor.weights.h5")
    target = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="b")])
    with pytest.raises(ma.ParameterError, match=r"model.load_weights\(path\) of Keras"):
        ma.transplant(tmp_path / "donor.weights.h5", target)
    ma.transplant(donor, target)
    assert keras.ops.all(target.get_layer("b").kernel == donor.get_layer("b").kernel)


def test_layers_in_nested_containers() -> None:
    """Lists of lists, dicts in them, tuples: none is passed over."""

    class Nested(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [[layers.Dense(3), {"norm": layers.BatchNormalization()}], (layers.Dense(3),)]

        def call(self, x: Any) -> Any:
            return self.parts[1][0](self.parts[0][1]["norm"](self.parts[0][0](x)))

    x = np.random.default_rng(0).random((2, 4), np.float32)
    source, target = Nested(), Nested()
    source(x), target(x)
    randomised(source)
    report = ma.transplant(source, target)
    assert len(report.copied) == len(target.weights) == 8
    assert np.array_equal(outputs(source, x), outputs(target, x))
