"""Parameters of Keras' files without an architecture: of models of an author's own class, of refused ones, of none."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange import keras as exchange
from modelarchive.exchange import save_bundle
from modelarchive.exchange.bundle import Bundle
from tests.conftest import ROOT
from tests.sampling import some

FOLDER = ROOT / "tests" / "data" / "foreign" / "keras"
FILES = FOLDER / "more"


def values(bundle: Bundle) -> list[bytes]:
    return sorted(array.tobytes() for array in bundle.parameters.values())


def recorded(name: str) -> list[bytes]:
    with np.load(FILES / name) as arrays:
        return sorted(array.tobytes() for array in arrays.values())


def told(bundle: Bundle, where: str) -> str:
    return "; ".join(note.what for note in bundle.notes if note.where == where)


@pytest.mark.parametrize("parameters_only", [False, True])
@pytest.mark.parametrize("name", ["new-own.weights.h5", "old-own.weights.h5", "old-own.h5"])
def test_weights_of_a_model_of_its_authors_own_class_are_read(name: str, parameters_only: bool, tmp_path: Path) -> None:
    bundle = exchange.read(FILES / name, parameters_only=parameters_only)
    assert values(bundle) == recorded(f"{name.partition('.')[0]}.npz")
    assert bundle.architecture is None
    assert "config=" in told(bundle, "(architecture)")
    if ".weights" in name:  # Keras 2 writes no optimizer into the older format
        assert told(bundle, "(optimizer)") == "its state is left out"
    save_bundle(tmp_path / "x.h5", bundle)


def test_names_are_paths_of_attributes_or_names_of_layers() -> None:
    by_path = list(exchange.read(FILES / "new-own.weights.h5").parameters)
    assert {"vars.0", "blocks.block_1.norm.vars.0", "heads.dense.vars.1", "encoder.layers.dense.vars.0"} <= {*by_path}
    for name in ("new-own.weights.h5", "new-own.keras"):
        found = exchange.read(FILES / name, parameters_only=True).parameters
        assert {"vars.0", "encoder.stem.kernel", "encoder.batch_normalization.moving_mean"} <= found.keys()
        assert found["encoder.stem.kernel"].shape == (5, 4)  # as Keras stores it
    old = exchange.read(FILES / "old-own.h5", parameters_only=True).parameters
    assert {"bias", "dense.kernel", "sequential.stem.kernel", "sequential.batch_normalization.gamma"} <= old.keys()


def test_a_model_of_its_authors_own_class_is_refused_with_the_way_to_its_parameters() -> None:
    with pytest.raises(ConversionError, match="'Net' is a class of its author's own") as caught:
        exchange.read(FILES / "new-own.keras")
    assert "load()" in caught.value.hint
    assert "--parameters-only" in caught.value.hint
    bundle = exchange.read(FILES / "new-own.keras", parameters_only=True)
    assert values(bundle) == recorded("new-own.npz")
    assert "'Net' is a class" in bundle.reason
    assert bundle.reason in told(bundle, "(architecture)")


def _custom(path: Path, source: Path) -> None:
    """A file whose second layer is of a class that nobody knows."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][2].update(module="mine", class_name="Odd", registered_name="mine>Odd")
                data = json.dumps(config).encode()
            new.writestr(name, data)


def test_parameters_of_a_refused_architecture_come_by_the_names_of_its_layers(tmp_path: Path) -> None:
    _custom(tmp_path / "x.keras", FOLDER / "new-image.keras")
    bundle = exchange.read(tmp_path / "x.keras", parameters_only=True)
    whole = exchange.read(FOLDER / "new-image.keras", parameters_only=True)
    assert told(whole, "(architecture)") == "left out: only the parameters were asked for"
    assert list(whole.parameters) == [
        *("conv2d.kernel", "conv2d.bias"),
        *(f"batch_normalization.{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
        *("dense.kernel", "dense.bias"),
    ]
    assert values(bundle) == values(whole)
    assert "'mine>Odd' is a class of its author's own" in bundle.reason
    assert {"conv2d.kernel", "dense.bias"} < bundle.parameters.keys()


@pytest.mark.parametrize(
    "name", some(sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".keras", ".h5")))
)
def test_every_file_gives_all_of_its_parameters(name: str) -> None:
    bundle = exchange.read(FOLDER / name, parameters_only=True)
    stored: dict[str, Any] = {}

    def see(path: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset) and not path.startswith("optimizer"):
            stored[path] = found[()]

    if name.endswith(".keras"):
        with zipfile.ZipFile(FOLDER / name) as opened, opened.open("model.weights.h5") as member:
            h5py.File(member).visititems(see)
    else:
        h5py.File(FOLDER / name).visititems(see)
    kept = {path: array for path, array in stored.items() if "seed_generator" not in path and "metrics/" not in path}
    assert values(bundle) == sorted(array.tobytes() for array in kept.values())
    assert ".weights.h5" in name or "vars" not in " ".join(bundle.parameters)


@pytest.mark.filterwarnings("ignore")
def test_names_of_variables_are_those_of_keras(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from tests.exchange.keras.layer_cases import CASES
    from tests.exchange.keras.test_reading_live import randomised

    kinds: set[str] = set()
    for case, make in CASES.items():
        if case.startswith("op ") or case.split()[0] in kinds:
            continue
        kinds.add(case.split()[0])
        model = randomised(make())
        wanted = [each for each in model.weights if "seed" not in each.path]
        if wanted:
            model.save(tmp_path / "x.keras")
            found = exchange.read(tmp_path / "x.keras", parameters_only=True).parameters
            # Sets: the kernel of a SpectralNormalization is in the file twice.
            by_name = {(name.rpartition(".")[2], array.tobytes()) for name, array in found.items()}
            assert by_name == {(each.name, np.asarray(each.numpy()).tobytes()) for each in wanted}, case
            layers = {layer.name for layer in model.layers}
            assert {name.partition(".")[0] for name in found} <= layers, case


def test_layers_called_after_optimizers_and_metrics_keep_their_parameters(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        file["my_optimizer/vars/0"], file["my_optimizer/vars/1"] = np.int64(3), np.float32(0.1)
        file["loss_tracker/vars/0"], file["sum_tracker/vars/0"] = np.float32(1), np.float32(1)
        file["learned_optimizer/vars/0"], file["distance_metric/vars/0"] = np.ones((2, 2), "f4"), np.ones(3, "f4")
    bundle = exchange.read(tmp_path / "x.weights.h5")
    assert list(bundle.parameters) == ["distance_metric.vars.0", "learned_optimizer.vars.0"]
    assert told(bundle, "(optimizer)")
    assert told(bundle, "(metrics)")


def test_an_hdf5_file_of_another_program_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["table"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        file["more/values"] = np.zeros(3)
    with pytest.raises(FormatError, match="neither a model nor weights of Keras: it has no model_config") as caught:
        exchange.read(path)
    assert "2 datasets 'more/values', 'table'" in str(caught.value)
    assert "h5py" in caught.value.hint
    with h5py.File(path, "r+") as file:
        file.attrs["PYTABLES_FORMAT_VERSION"] = "2.1"
    with pytest.raises(FormatError, match="it is a file of PyTables or pandas"):
        exchange.read(path, parameters_only=True)
    with h5py.File(path, "r+") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 2), "f4")
    with pytest.raises(ConversionError, match="table: is of a dtype that archives do not hold"):
        exchange.read(path)
    bundle = exchange.read(path, parameters_only=True)
    assert list(bundle.parameters) == ["layers.dense.vars.0", "more.values"]
    assert told(bundle, "table").startswith("is left out")


def test_weights_without_names_are_called_by_their_paths(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "new-image.weights.h5", tmp_path / "x.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5", "r+") as file:
        file.visititems(lambda path, found: found.attrs.pop("name", None) and None)
    found = exchange.read(tmp_path / "x.weights.h5", parameters_only=True).parameters
    assert found.keys() == exchange.read(tmp_path / "x.weights.h5").parameters.keys()
