"""Models with classes of KerasHub: files and preset folders, against what KerasHub itself gives."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import keras as exchange
from modelarchive.exchange.keras import permitted, through

keras = pytest.importorskip("keras")
keras_hub = pytest.importorskip("keras_hub")

pytestmark = pytest.mark.filterwarnings("ignore")
X = np.random.default_rng(0).standard_normal((2, 8, 8, 3), np.float32)


@pytest.fixture(scope="module")
def backbone() -> Any:
    made = keras_hub.models.DenseNetBackbone([1], image_shape=(8, 8, 3), growth_rate=4)
    return randomised(made)


@pytest.fixture(scope="module")
def classifier(backbone: Any) -> Any:
    made = keras_hub.models.DenseNetImageClassifier(backbone=backbone, num_classes=2, preprocessor=None)
    return randomised(made)


def randomised(model: Any) -> Any:
    generator = np.random.default_rng(1)
    for each in model.weights:
        each.assign(generator.uniform(0.1, 0.4, each.shape))
    return model


def same(bundle: Any, model: Any, x: np.ndarray = X) -> None:
    wanted = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(bundle.build()(x), wanted, rtol=1e-5, atol=1e-5)


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A .keras file with another config."""
    target = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return target


# ---------------------------------------------------------------------- what is read


def test_a_backbone_is_read_as_kerashub_builds_it(backbone: Any, tmp_path: Path) -> None:
    backbone.save(tmp_path / "x.keras")
    notes = ma.convert(tmp_path / "x.keras", tmp_path / "a.h5")
    assert (
        notes[0].what
        == f"is read as KerasHub {keras_hub.__version__} builds its DenseNetBackbone, on Keras' PyTorch backend"
    )
    network = ma.load_model(tmp_path / "a.h5")
    np.testing.assert_allclose(network(X), keras.ops.convert_to_numpy(backbone(X)), rtol=1e-5, atol=1e-5)
    names = [each.path.replace("/", ".") for each in backbone.weights]
    assert list(ma.load(tmp_path / "a.h5")) == names
    with ma.open(tmp_path / "a.h5") as archive:
        assert archive.metadata["source"]["format"] == "Keras"


@pytest.mark.slow
def test_a_task_is_read_with_its_head(classifier: Any, tmp_path: Path) -> None:
    classifier.save(tmp_path / "x.keras")
    same(exchange.read(tmp_path / "x.keras"), classifier)


def test_layers_of_kerashub_in_a_model_of_keras_are_read(tmp_path: Path) -> None:
    x = keras.Input((6, 4))
    y = keras.layers.Add()([x, keras_hub.layers.PositionEmbedding(6)(x)])
    model = randomised(keras.Model(x, keras.layers.Dense(3, "softmax")(y)))
    model.save(tmp_path / "x.keras")
    bundle = exchange.read(tmp_path / "x.keras")
    same(bundle, model, np.random.default_rng(2).standard_normal((3, 6, 4), np.float32))


@pytest.mark.slow
def test_declared_sizes_are_taken(tmp_path: Path) -> None:
    model = randomised(keras_hub.models.DenseNetBackbone([1], growth_rate=4))
    model.save(tmp_path / "x.keras")
    with pytest.raises(ma.ConversionError, match="pictures: is declared, and is no input of the model"):
        exchange.read(tmp_path / "x.keras", inputs={"pictures": [None, 8, 8, 3]})
    bundle = exchange.read(tmp_path / "x.keras", inputs=[{"shape": [None, 8, 8, 3]}])
    assert bundle.architecture["inputs"][0]["shape"][1:] == [8, 8, 3]
    same(bundle, model)


@pytest.mark.slow
def test_reading_leaves_no_variables_behind_that_keras_would_fill_later(backbone: Any, tmp_path: Path) -> None:
    from keras.src.backend.common import global_state

    backbone.save(tmp_path / "x.keras")
    before = len(global_state.get_global_attribute("uninitialized_variables") or [])
    exchange.read(tmp_path / "x.keras")
    assert len(global_state.get_global_attribute("uninitialized_variables") or []) == before


# ---------------------------------------------------------------------- preset folders


def test_a_preset_of_a_backbone_is_read(backbone: Any, tmp_path: Path) -> None:
    backbone.save_to_preset(tmp_path / "preset")
    (tmp_path / "preset" / "tokenizer.json").write_text("{}")
    bundle = exchange.read(tmp_path / "preset")
    same(bundle, backbone)
    assert bundle.metadata["source"] == {"format": "KerasHub preset", "version": keras.__version__}
    assert [note.what for note in bundle.notes if note.where == "(folder)"] == [
        "left out, as it says nothing of the network: tokenizer.json"
    ]
    assert ma.convert(tmp_path / "preset", tmp_path / "a.h5")
    np.testing.assert_allclose(
        ma.load_model(tmp_path / "a.h5")(X), keras.ops.convert_to_numpy(backbone(X)), rtol=1e-5, atol=1e-5
    )


def test_a_preset_of_a_task_is_read_with_its_head(classifier: Any, tmp_path: Path) -> None:
    classifier.save_to_preset(tmp_path / "preset")
    same(exchange.read(tmp_path / "preset"), classifier)
    alone = exchange.read(tmp_path / "preset", parameters_only=True)
    assert alone.architecture is None
    assert alone.reason == "only the parameters were asked for"
    wanted = {tuple(each.shape) for each in classifier.weights}
    assert {array.shape for array in alone.parameters.values()} == wanted
    assert [name for name in alone.parameters if name.startswith("task.")]


def test_a_task_without_its_own_weights_gives_the_backbone(classifier: Any, backbone: Any, tmp_path: Path) -> None:
    classifier.save_to_preset(tmp_path / "preset")
    (tmp_path / "preset" / "task.weights.h5").unlink()
    bundle = exchange.read(tmp_path / "preset")
    same(bundle, backbone)
    (note,) = [note for note in bundle.notes if note.where == "task.json"]
    assert "the backbone alone is read" in note.what


@pytest.mark.slow
def test_a_preset_in_shards_is_read(backbone: Any, tmp_path: Path) -> None:
    backbone.save_to_preset(tmp_path / "preset")
    (tmp_path / "preset" / "model.weights.h5").unlink()
    backbone.save_weights(tmp_path / "preset" / "model.weights.json", max_shard_size=3.8e-5)
    assert len(list((tmp_path / "preset").glob("model_*.weights.h5"))) > 1
    same(exchange.read(tmp_path / "preset"), backbone)


def test_a_folder_without_weights_is_no_preset(backbone: Any, tmp_path: Path) -> None:
    backbone.save_to_preset(tmp_path / "preset")
    (tmp_path / "preset" / "config.json").unlink()
    with pytest.raises(ma.FormatError, match=r"no preset folder of KerasHub: it holds no config\.json"):
        exchange.read(tmp_path / "preset")


# ---------------------------------------------------------------------- what is refused


@pytest.fixture
def file(backbone: Any, tmp_path: Path) -> Path:
    backbone.save(tmp_path / "x.keras")
    return tmp_path / "x.keras"


def refused(path: Path, what: str) -> None:
    with pytest.raises(ma.ConversionError, match=what):
        exchange.read(path)


CLASSES = {
    "a class of nobody's": {"class_name": "Mine", "module": "mine", "registered_name": "mine>Mine", "config": {}},
    "a module of the file's": {"class_name": "X", "module": "keras_hub.src.models.evil", "config": {}},
    "code": {"class_name": "Lambda", "module": "keras.layers", "config": {"function": {}}},
    "a function in bytes": {"class_name": "__lambda__", "config": {"value": ""}},
    "a function by name": {"class_name": "function", "module": "builtins", "config": "system"},
    "a saved program": {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "x"}},
    "a class of files": {"class_name": "GPT2Tokenizer", "registered_name": "keras_hub>GPT2Tokenizer", "config": {}},
    "a loss": {"class_name": "MeanSquaredError", "module": "keras.losses", "config": {}},
    "another package's name": {"class_name": "Dense", "module": "os", "registered_name": None, "config": {}},
}


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_that_are_not_known_are_refused_and_nothing_is_imported(kind: str, file: Path) -> None:
    before = set(sys.modules)
    refused(
        changed(file, lambda config: config["config"].update(extra=CLASSES[kind])), "its author's own|KerasHub|no part"
    )
    assert not [name for name in set(sys.modules) - before if name.startswith(("keras_hub", "mine"))]


def test_a_model_that_is_larger_than_its_file_is_refused_before_memory_is_asked_for(file: Path) -> None:
    sizes = {"growth_rate": 1 << 19}
    refused(
        changed(file, lambda config: config["config"].update(sizes)), "means a model of .* parameters, and the files"
    )
    refused(
        changed(file, lambda config: config["config"].update(stackwise_num_repeats=[1 << 20])), "more than the file"
    )
    refused(changed(file, lambda config: config["config"].update(growth_rate=1 << 30)), "more than the file")


def test_parameters_of_other_shapes_or_none_are_refused(file: Path) -> None:
    refused(changed(file, lambda config: config["config"].update(growth_rate=3)), "its configuration makes it")
    refused(changed(file, lambda config: config["config"].update(growth_rate="x")), "KerasHub cannot build it")


def test_a_class_that_kerashub_does_not_have_is_refused(file: Path) -> None:
    def rename(config: dict[str, Any]) -> None:
        config.update(class_name="NoBackbone", registered_name="keras_hub>NoBackbone")

    refused(changed(file, rename), "has no layer 'NoBackbone'")


@pytest.fixture
def without_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(through, "is_installed", lambda: False)


@pytest.mark.usefixtures("without_hub")
def test_without_kerashub_the_parameters_come_and_the_message_says_what_to_install(file: Path) -> None:
    with pytest.raises(ma.ConversionError, match="is a class of KerasHub") as caught:
        exchange.read(file)
    assert "pip install keras-hub" in str(caught.value.hint)
    refused(file, "which is not installed")
    bundle = exchange.read(file, parameters_only=True)
    assert bundle.parameters
    assert "is a class of KerasHub (DenseNetBackbone), which is not installed" in bundle.reason


def test_on_another_backend_of_keras_the_next_step_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    refused(file, "Keras computes with jax")


def test_nesting_that_has_no_end_is_refused() -> None:
    config: dict[str, Any] = {
        "class_name": "DenseNetBackbone",
        "registered_name": "keras_hub>DenseNetBackbone",
        "config": {},
    }
    for _ in range(400):
        config = {
            "class_name": "DenseNetBackbone",
            "registered_name": "keras_hub>DenseNetBackbone",
            "config": {"x": config},
        }
    with pytest.raises(ma.ConversionError, match="nested too deeply"):
        permitted.permitted(config, {})
