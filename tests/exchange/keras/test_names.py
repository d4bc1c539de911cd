"""Names of Keras' layers: kept, or changed with a note; whose weights are whose where names are inside of others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import keras as exchange
from modelarchive.exchange.keras.naming import block_names, dotted
from modelarchive.nn import nesting
from modelarchive.store.deferred import Deferred
from tests.conftest import ROOT

FILES = ROOT / "tests" / "data" / "foreign" / "keras" / "more"
LONG = "encoder_" * 20


def test_names_that_are_names_stay_and_others_go_around_them() -> None:
    several = ["head v1", "head_v1", "head:v1", "плотный", "выход", f"{LONG}1", f"{LONG}2", "a" * 128, "__metadata__"]
    found = block_names(several)
    assert found["head_v1"] == "head_v1"
    assert found["a" * 128] == "a" * 128
    assert found["head v1"] == "head_v1_2"
    assert found["head:v1"] == "head_v1_3"
    assert len(set(found.values())) == len(several)
    notes: list[Any] = []
    called = dotted(
        {"1": ["a b", "k"], "2": ["a_b", "k"], "3": ["a", "b.c"], "4": ["a", "b_c"], "5": ["a", "b_c"]}, notes
    )
    assert called["2"] == "a_b.k"
    assert called["4"] == "a.b_c"
    assert len(set(called.values())) == len(called)
    assert {note.where for note in notes} == {"a b", "b.c", "5"}


def test_many_names_that_become_one_take_no_time() -> None:
    begin = time.process_time()
    found = block_names("a" + chr(0x4E00 + at % 20_000) + chr(0x4E00 + at // 20_000) for at in range(50_000))
    assert len(set(found.values())) == len(found) == 50_000
    assert time.process_time() - begin < 10


def test_files_of_keras_2_whose_names_are_inside_of_each_other_are_read() -> None:
    bundle = exchange.read(FILES / "old-names.h5")
    with np.load(FILES / "old-names.npz") as arrays:
        np.testing.assert_allclose(bundle.build()(arrays["input_0"]), arrays["output_0"], atol=1e-6)
    told = {note.where: note.what for note in bundle.notes}
    assert set(told) == {"conv1/conv", "conv1/conv/norm", "inner/model"}
    assert "'conv1_conv'" in told["conv1/conv"]
    assert [name for name in bundle.parameters if name.endswith(".weight")] == [
        *("conv1.weight", "conv1_conv.weight", "inner_model.conv1.weight", "inner_model.conv1_conv.weight"),
        *("inner_model.conv.weight", "conv1_conv_norm.weight"),
    ]


def test_weights_whose_own_names_say_nothing_are_taken_in_their_order(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="one"), keras.layers.Dense(3, name="two")])
    model.save(tmp_path / "x.h5")
    x = np.random.default_rng(0).random((2, 4), np.float32)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        for layer in ("one", "two"):
            arrays = [each.numpy() for each in model.get_layer(layer).weights]
            del file["model_weights"][layer]
            group = file["model_weights"].create_group(layer)
            group.attrs["weight_names"] = [f"{layer}_W:0".encode(), f"{layer}_b:0".encode()]  # as Keras 1 called them
            for name, array in zip(("W", "b"), arrays, strict=True):
                group[f"{layer}_{name}:0"] = array
    found = exchange.read(tmp_path / "x.h5").build()(x)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-6)


def test_lists_of_weights_may_be_cut_into_parts(tmp_path: Path) -> None:
    with h5py.File(FILES / "old-names.h5") as source, h5py.File(tmp_path / "x.h5", "w") as target:
        source.copy("model_weights", target)
        target.attrs.update(source.attrs)
        group = target["model_weights"]
        for owner, name in [(group, "layer_names"), (group["conv1/conv"], "weight_names")]:
            several = owner.attrs[name]
            del owner.attrs[name]
            owner.attrs[f"{name}0"], owner.attrs[f"{name}1"] = several[:1], several[1:]
    one, two = exchange.read(FILES / "old-names.h5"), exchange.read(tmp_path / "x.h5")
    assert {name: array.tobytes() for name, array in one.parameters.items()} == {
        name: array.tobytes() for name, array in two.parameters.items()
    }


def _network(keras: Any) -> Any:
    """Layers of many kinds under odd names; several outputs, a layer that is called twice, a model inside."""
    layers = keras.layers
    given, image = keras.Input((5, 8), name="in put"), keras.Input((8, 9, 3), name="image")
    y = layers.MultiHeadAttention(2, 4, name="self attention")(given, given)
    y = layers.LayerNormalization(name="norm 1")(layers.Add(name="add:1")([given, y]))
    y = layers.Dense(4, name="gap_flat")(layers.GRU(6, name="läuft", return_sequences=True)(y))
    y = layers.GlobalAveragePooling1D(name="gap")(y)
    inner_given = keras.Input((8, 9, 3), name="pixels here")
    z = layers.BatchNormalization(name="bn a")(layers.Conv2D(4, 3, name="conv a")(inner_given))
    inner = keras.Model(inner_given, layers.GlobalMaxPooling2D(name="gmp")(z), name="back bone")
    shared = layers.Dense(4, name="shared é")
    one, two = layers.Dense(3, name="head v1")(y), layers.Dense(3, name="head_v1", activation="softmax")(inner(image))
    return keras.Model([given, image], [layers.Concatenate(name="cat")([shared(one), shared(two)]), one, two])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_each_name_that_changes_is_told_and_the_values_are_the_layers_own(suffix: str, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    model = _network(keras)
    generator = np.random.default_rng(0)
    for each in model.weights:
        each.assign(generator.uniform(0.2, 1, each.shape))
    if suffix:
        model.save(tmp_path / f"x{suffix}")
    bundle = exchange.read(tmp_path / f"x{suffix}") if suffix else exchange.read_model(model)
    inputs = [generator.normal(size=(2, *each.shape[1:])).astype("f4") for each in model.inputs]
    for one, two in zip(model(inputs, training=False), nesting.leaves(bundle.build()(*inputs)), strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(one), two, atol=1e-5, rtol=1e-5)
    renamed = {note.where: note.what.split("'")[1] for note in bundle.notes if "is called" in note.what}
    assert renamed == {
        **{"in put": "in_put", "self attention": "self_attention", "norm 1": "norm_1", "add:1": "add_1"},
        **{"läuft": "l_uft", "pixels here": "pixels_here", "bn a": "bn_a", "conv a": "conv_a"},
        **{"back bone": "back_bone", "shared é": "shared__", "head v1": "head_v1_2"},
    }
    nodes = {node["name"]: node for node in bundle.architecture["model"]["nodes"]}
    assert {"gap", "gap_flat", "cat", "head_v1", *renamed.values()} - {"pixels_here", "bn_a", "conv_a"} - set(
        nodes
    ) == {"in_put"}
    weights = model.get_layer("head v1").get_weights()
    np.testing.assert_array_equal(bundle.parameters["head_v1_2.weight"], weights[0].T)
    # The result of a layer has its name; where that is the block with its parameters, a note says what the result is.
    assert nodes["gap"]["inputs"] == ["gap_globalavgpool1d"]
    assert [note.what for note in bundle.notes if note.where == "head_v1"] == [
        "has its parameters in 'head_v1', and its result is that of 'head_v1_softmax' behind it"
    ]
    assert ma.save_model(tmp_path / "o.h5", bundle) == bundle.notes


@pytest.mark.filterwarnings("ignore")
def test_the_input_of_a_row_may_have_any_name(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((6,), name="mein Eingang"), keras.layers.Dense(3, name="größe")])
    model.save(tmp_path / "x.keras")
    bundle = exchange.read(tmp_path / "x.keras", inputs={"mein Eingang": [None, 6]})
    assert [each["name"] for each in bundle.architecture["inputs"]] == ["mein_Eingang"]
    assert [note.where for note in bundle.notes] == ["mein Eingang", "größe"]


def test_a_layer_may_be_called_as_an_input_would_be() -> None:
    def layer(kind: str, **config: Any) -> dict[str, Any]:
        return {"class_name": kind, "module": "keras.layers", "config": {"trainable": True, **config}}

    layers = [layer("Dense", name="x", units=3), layer("UnitNormalization", name="x_2")]
    config = {"class_name": "Sequential", "config": {"name": "row", "layers": layers}}
    shapes = {"layers/dense/vars/0": (4, 3), "layers/dense/vars/1": (3,)}
    arrays = {
        path: Deferred(shape, np.dtype("f4"), lambda shape=shape: np.ones(shape, "f4"))
        for path, shape in shapes.items()
    }
    bundle = exchange.bundle_of_config(config, arrays, inputs=[{"shape": [None, 4]}])
    graph = bundle.architecture["model"]
    assert list(bundle.parameters) == ["x.weight", "x.bias"]
    assert graph["outputs"] == ["x_2"]
    assert graph["inputs"] == ["x_3"] == [each["name"] for each in bundle.architecture["inputs"]]


@pytest.mark.filterwarnings("ignore")
def test_layers_that_are_operations_on_parameters_are_blocks_of_their_name(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    layers, x = keras.layers, keras.Input((5, 8), name="x")
    mixed = layers.EinsumDense("abc,cd->abd", output_shape=(5, 8), bias_axes="d", name="mixed")
    y = layers.Attention(use_scale=True, name="looks")([mixed(mixed(x)), x])
    model = keras.Model(x, layers.UnitNormalization(name="unit")(layers.PReLU(name="bent")(y)))
    for each in model.weights:
        each.assign(np.random.default_rng(0).uniform(0.2, 1, each.shape))
    model.save(tmp_path / "x.keras")
    bundle = exchange.read(tmp_path / "x.keras")
    assert list(bundle.parameters) == ["mixed.kernel", "mixed.bias", "looks.scale", "bent.weight"]
    assert bundle.architecture["model"]["outputs"] == ["unit"]
    assert bundle.notes == []
    given = np.random.default_rng(1).normal(size=(2, 5, 8)).astype("f4")
    np.testing.assert_allclose(bundle.build()(given), model.predict(given, verbose=0), atol=1e-5)
    # A frozen layer's parameters are frozen there too.
    model.get_layer("mixed").trainable = False
    frozen = exchange.read_model(model).architecture["model"]["nodes"][0]["block"]["frozen"]
    assert frozen == ["kernel", "bias"]


def test_pooling_and_flattening_keep_their_names_on_the_way_back(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    layers = keras.layers
    image = keras.Input((8, 6, 3), name="image")
    pooled = layers.GlobalAveragePooling2D(name="gap")(layers.Conv2D(4, 3, name="stem")(image))
    flat = layers.Flatten(name="flat")(layers.MaxPooling2D(2, name="pool")(image))
    rows = layers.GlobalMaxPooling1D(name="most")(layers.Reshape((48, 3), name="rows")(image))
    model = keras.Model(image, layers.Dense(5, name="head")(layers.Concatenate(name="all")([pooled, flat, rows])))
    ma.save_model(tmp_path / "model.h5", model)
    again = ma.load_model(tmp_path / "model.h5", backend="keras")
    for name in ("stem", "gap", "pool", "flat", "most", "head"):
        assert type(again.get_layer(name)) is type(model.get_layer(name))
    images = np.random.default_rng(0).random((2, 8, 6, 3), np.float32)
    np.testing.assert_allclose(again.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)


def test_pooling_whose_axes_are_used_keeps_them(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    layers = keras.layers
    image = keras.Input((8, 6, 3), name="image")
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="gate")(image)
    model = keras.Model(image, [layers.Multiply()([image, gate]), layers.Flatten(name="flat")(gate)])
    ma.save_model(tmp_path / "model.h5", model)
    again = ma.load_model(tmp_path / "model.h5", backend="keras")
    images = np.random.default_rng(0).random((2, 8, 6, 3), np.float32)
    for found, expected in zip(again.predict(images, verbose=0), model.predict(images, verbose=0), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
