"""Files of Keras 1, of Theano, of cuDNN's layers, of Keras 2.12 to 2.14, and those that were written on Windows."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from modelarchive.errors import ConversionError
from modelarchive.exchange import keras as exchange
from modelarchive.nn import nesting
from tests.conftest import ROOT

FOLDER = ROOT / "tests" / "data" / "foreign" / "keras"
FILES = FOLDER / "early"
MODELS = sorted(path.name for path in FILES.iterdir() if path.suffix in (".keras", ".h5"))


def recorded(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with np.load((FILES / name).with_suffix(".npz")) as arrays:
        inputs = [arrays[key] for key in sorted(arrays) if key.startswith("input")]
        return inputs, [arrays[key] for key in sorted(arrays) if key.startswith("output")]


def outputs(path: Path, inputs: list[np.ndarray], **more: Any) -> list[np.ndarray]:
    bundle = exchange.read(path, **more)
    declared = (bundle.architecture or {})["inputs"]
    given = [array.astype(each["dtype"]) for array, each in zip(inputs, declared, strict=True)]
    return nesting.leaves(bundle.build()(*given))


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [each.shape for each in found] == [each.shape for each in expected]
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5 * np.abs(two).max())


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_keras_that_wrote_it(name: str) -> None:
    inputs, expected = recorded(name)
    assert np.std(expected[0]) > 0.01, "what hardly changes shows nothing"
    same(outputs(FILES / name, inputs), expected)


@pytest.mark.parametrize("name", ["first-image-th.h5", "first-text.h5", "first-branches.h5", "theano-video.h5"])
def test_weights_beside_their_config_give_the_same(name: str, tmp_path: Path) -> None:
    with h5py.File(FILES / name) as source, h5py.File(tmp_path / "x.h5", "w") as target:
        config = json.loads(source.attrs["model_config"]) | {"keras_version": source.attrs["keras_version"]}
        for key, value in source["model_weights"].attrs.items():
            target.attrs[key] = value
        for key in source["model_weights"]:
            source.copy(f"model_weights/{key}", target)
        if "backend" in source.attrs:
            target.attrs["backend"] = source.attrs["backend"]
    inputs, expected = recorded(name)
    same(outputs(tmp_path / "x.h5", inputs, config=config), expected)


def changed(name: str, path: Path, change: Callable[[h5py.File], None]) -> Path:
    shutil.copy(FILES / name, path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def numbered(file: h5py.File) -> None:
    """Weights named as TensorFlow named them, their kernels as they are for its convolutions."""
    groups = file["model_weights"]
    for group in groups.values():
        names = [each.decode() if isinstance(each, bytes) else each for each in group.attrs["weight_names"]]
        for name in names:
            array = group[name][()]
            del group[name]
            group[f"{name}:0"] = array[..., ::-1, ::-1] if array.ndim == 4 else array
        group.attrs["weight_names"] = np.array([f"{name}:0" for name in names], "S") if names else np.zeros(0)


def test_names_of_keras_1_say_whether_kernels_are_mirrored(tmp_path: Path) -> None:
    """With TensorFlow's names the mirrored kernels are those of the same network, but for a window of even size."""
    inputs, expected = recorded("first-deconvolved.h5")
    same(outputs(changed("first-deconvolved.h5", tmp_path / "x.h5", numbered), inputs), expected)
    inputs, expected = recorded("first-image-th.h5")
    assert not np.allclose(outputs(changed("first-image-th.h5", tmp_path / "y.h5", numbered), inputs), expected)


def test_the_backend_that_a_file_names_decides(tmp_path: Path) -> None:
    def other(file: h5py.File) -> None:
        file.attrs["backend"] = "tensorflow"

    path = changed("theano-video.h5", tmp_path / "x.h5", other)
    inputs, expected = recorded("theano-video.h5")
    assert not np.allclose(outputs(path, inputs)[0], expected[0], atol=1e-2)


def reconfigured(change: Callable[[Any], None]) -> Callable[[h5py.File], None]:
    def run(file: h5py.File) -> None:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)

    return run


def unordered(config: Any) -> None:
    for layer in config["config"]:
        layer["config"].pop("dim_ordering", None)


def mixed(config: Any) -> None:
    config["config"][1]["config"]["dim_ordering"] = "tf"


def by_batches(config: Any) -> None:
    for layer in config["config"]:
        if layer["class_name"] == "BatchNormalization":
            layer["config"]["mode"] = 2


def computed(config: Any) -> None:
    config["config"][0]["config"]["mode_type"] = "lambda"


def cosine(config: Any) -> None:
    config["config"][0]["config"]["mode"] = "cos"


def unknown_branch(config: Any) -> None:
    config["config"][0]["config"]["layers"][0] = {"class_name": "Graph", "config": {}}


def smaller(config: Any) -> None:
    config["config"][0]["config"]["output_shape"] = [None, 2, 6, 6]


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("first-image-th.h5", unordered, "data_format = None is not a string"),
        ("first-image-th.h5", mixed, "data_format = None is not a string"),
        ("first-image-th.h5", by_batches, "'mode': 2"),
        ("first-branches.h5", computed, "Lambda is code"),
        ("first-branches.h5", cosine, "Merge of the mode 'cos'"),
        ("first-branches.h5", unknown_branch, "merges a 'Graph', expected rows of layers"),
        ("first-deconvolved.h5", smaller, r"output_shape = \[None, 2, 6, 6\], and its settings give"),
    ],
)
def test_what_cannot_be_told_is_refused(
    name: str, change: Callable[[Any], None], expected: str, tmp_path: Path
) -> None:
    path = changed(name, tmp_path / "x.h5", reconfigured(change))
    with pytest.raises(ConversionError, match=expected):
        exchange.read(path)
    assert exchange.read(path, parameters_only=True).parameters


def repacked(path: Path, target: Path, name: Callable[[str], str]) -> Path:
    """A `.keras` file whose weights have other paths."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as written:
        for member in ("config.json", "metadata.json"):
            written.writestr(member, source.read(member))
        content = io.BytesIO()
        with h5py.File(io.BytesIO(source.read("model.weights.h5"))) as old, h5py.File(content, "w") as new:
            paths: list[str] = []
            old.visit(paths.append)
            for each in paths:
                if isinstance(old[each], h5py.Dataset):
                    new[name(each)] = old[each][()]
        written.writestr("model.weights.h5", content.getvalue())
    return target


def on_windows(path: str) -> str:
    """Keras joined all but the variables' own parts with backslashes."""
    before, _, behind = path.partition("/vars/")
    return f"{before.replace('/', chr(92))}/vars/{behind}"


@pytest.mark.parametrize("name", ["old-nested.keras", "old-text.keras", "new-nested.keras"])
def test_paths_of_windows_are_those_of_everywhere(name: str, tmp_path: Path) -> None:
    path = repacked(FOLDER / name, tmp_path / "x.keras", on_windows)
    one, two = exchange.read(FOLDER / name), exchange.read(path)
    assert one.architecture == two.architecture
    assert {key: each.tobytes() for key, each in one.parameters.items()} == {
        key: each.tobytes() for key, each in two.parameters.items()
    }
    named = [exchange.read(each, parameters_only=True).parameters.keys() for each in (FOLDER / name, path)]
    assert named[0] == named[1]


@pytest.mark.parametrize("name", ["numbered-image.keras", "numbered-nested.keras"])
def test_layers_counted_once_or_twice_are_found(name: str, tmp_path: Path) -> None:
    """Keras 2.14 wrote the same, with each layer counted once."""

    def once(path: str) -> str:
        parts = path.split("/")
        for at, part in enumerate(parts):
            stem, _, number = part.rpartition("_")
            if at and parts[at - 1] == "_layer_checkpoint_dependencies" and number.isdigit():
                parts[at] = f"{stem}_{int(number) // 2}"
        return "/".join(parts)

    inputs, expected = recorded(name)
    same(outputs(repacked(FILES / name, tmp_path / "x.keras", once), inputs), expected)
    parameters = exchange.read(FILES / name, parameters_only=True).parameters
    assert not any("_layer_checkpoint_dependencies" in each for each in parameters)
