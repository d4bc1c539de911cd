"""Files that Keras 3 and Keras 2 wrote, read without Keras: outputs as they gave them, bits, notes, refusals."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange import keras as exchange
from modelarchive.formats import recognise
from modelarchive.models import convert, load, load_model
from modelarchive.nn import nesting
from tests.conftest import ROOT
from tests.sampling import some

FILES = ROOT / "tests" / "data" / "foreign" / "keras"
MODELS = sorted(path.name for path in FILES.iterdir() if path.suffix in (".keras", ".h5"))
#: Those that take longest to read.
LONG = ("old-masks.h5", "old-operations.h5")
#: Layers that compute in bfloat16 and float16 there.
LOOSE = {"new-narrow.keras": 2e-2}


def config_of(name: str) -> Path | None:
    return FILES / f"{name.partition('.')[0].removesuffix('-weights')}.json" if "weights" in name else None


def recorded(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with np.load(FILES / f"{name.partition('.')[0].removesuffix('-weights')}.npz") as arrays:
        inputs = [arrays[key] for key in sorted(arrays) if key.startswith("input")]
        return inputs, [arrays[key] for key in sorted(arrays) if key.startswith("output")]


@pytest.mark.parametrize("name", some(MODELS, slow=LONG))
def test_outputs_are_those_of_keras(name: str) -> None:
    bundle = exchange.read(FILES / name, config=config_of(name))
    inputs, expected = recorded(name)
    found = nesting.leaves(bundle.build()(*inputs))
    assert len(found) == len(expected)
    for one, two in zip(expected, found, strict=True):
        assert one.shape == two.shape
        np.testing.assert_allclose(one, two.astype("f4"), atol=LOOSE.get(name, 1e-5), rtol=LOOSE.get(name, 1e-5))


@pytest.mark.filterwarnings("ignore:.*a file of weights holds none")
@pytest.mark.parametrize("name", some(MODELS, slow=LONG))
def test_files_are_recognised_and_become_archives(name: str, tmp_path: Path) -> None:
    assert recognise(FILES / name) == "keras"
    if config_of(name) is not None:
        assert load(FILES / name).keys() == exchange.read(FILES / name).parameters.keys()
        return
    notes = convert(FILES / name, tmp_path / "x.h5", durable=False)
    bundle = exchange.read(FILES / name)
    assert {str(note) for note in bundle.notes} <= {str(note) for note in notes}
    with ma.Archive(tmp_path / "x.h5") as archive:
        assert archive.architecture == bundle.architecture
        assert {name: array.tobytes() for name, array in archive.parameters.items()} == {
            name: array.tobytes() for name, array in bundle.parameters.items()
        }
    inputs, _ = recorded(name)
    for one, two in zip(
        nesting.leaves(load_model(FILES / name)(*inputs)),
        nesting.leaves(load_model(tmp_path / "x.h5")(*inputs)),
        strict=True,
    ):
        assert one.tobytes() == two.tobytes()


def test_parameters_are_those_of_the_file_bit_for_bit() -> None:
    bundle = exchange.read(FILES / "new-image.keras")
    with h5py.File(FILES / "new-image.weights.h5") as file:
        kernel, bias = (file[f"layers/conv2d/vars/{number}"][:] for number in (0, 1))
        statistics = [file[f"layers/batch_normalization/vars/{number}"][:] for number in range(4)]
        dense = file["layers/dense/vars/0"][:]
    found = bundle.parameters
    assert list(found) == [
        *("conv2d.weight", "conv2d.bias"),
        *(f"batch_normalization.{name}" for name in ("weight", "bias", "running_mean", "running_var")),
        *("dense.weight", "dense.bias"),
    ]
    assert found["conv2d.weight"].tobytes() == kernel.transpose(3, 2, 0, 1).tobytes()
    assert found["conv2d.bias"].tobytes() == bias.tobytes()
    assert found["dense.weight"].tobytes() == dense.T.tobytes()
    for own, array in zip(("weight", "bias", "running_mean", "running_var"), statistics, strict=True):
        assert found[f"batch_normalization.{own}"].tobytes() == array.tobytes()


def test_arrays_are_views_of_the_mapped_file() -> None:
    bundle = exchange.read(FILES / "new-image.keras")
    assert not bundle.parameters["conv2d.weight"].flags.owndata
    assert bundle.metadata["source"]["format"] == "Keras"
    assert bundle.metadata["source"]["version"] == "3.15.1"


def test_layers_that_training_leaves_alone_are_frozen() -> None:
    for suffix in (".keras", ".h5"):
        model = exchange.read(FILES / f"new-image{suffix}").architecture["model"]
        first = model["nodes"][0]["block"] if model["kind"] == "Graph" else model["children"][0]["block"]
        assert first["frozen"] == ["weight", "bias"]


def test_models_inside_of_models_are_blocks_and_shared_layers_are_called_again() -> None:
    bundle = exchange.read(FILES / "old-nested.keras")
    nodes = {node["name"]: node for node in bundle.architecture["model"]["nodes"]}
    assert nodes["row"]["block"]["kind"] == "Sequential"
    assert nodes["inner"]["block"]["kind"] == "Graph"
    calls = [node["call"] for node in nodes.values() if "call" in node]
    assert sorted(calls) == ["row", "row", "shared"]
    assert "row.dense.weight" in bundle.parameters or any(name.startswith("row.") for name in bundle.parameters)
    assert [each["name"] for each in bundle.architecture["inputs"]] == ["left", "right"]


def test_a_layer_of_two_models_is_stored_once() -> None:
    bundle = exchange.read(FILES / "new-shared.keras")
    assert set(bundle.parameters) == {
        f"{model}.both.{own}" for model in ("first", "second") for own in ("weight", "bias")
    }
    entries = bundle.parameters.entries
    assert entries["first.both.weight"] is entries["second.both.weight"]
    second = next(node for node in bundle.architecture["model"]["nodes"] if node["name"] == "second")["block"]
    assert second["nodes"][0]["block"]["shares"] == {"weight": "first.both.weight", "bias": "first.both.bias"}


def test_dicts_of_outputs_stay_dicts() -> None:
    inputs, expected = recorded("new-nested.keras")
    found = exchange.read(FILES / "new-nested.keras").build()(*inputs)
    assert set(found) == {"a", "m", "z"}
    np.testing.assert_allclose(found["a"], expected[0], atol=1e-5)


def test_what_is_left_out_is_told() -> None:
    told = {note.where: note.what for note in exchange.read(FILES / "new-compiled.keras").notes}
    assert "left out" in told["(optimizer)"]
    assert "optimizer, loss, metrics" in told["(training)"]
    assert "GaussianNoise" in told["gaussian_noise"]


def test_dtypes_are_kept() -> None:
    parameters = exchange.read(FILES / "new-narrow.keras").parameters
    assert [str(array.dtype) for array in parameters.values()] == ["bfloat16", "bfloat16", "float16", "float16"]


def test_floats_are_cast_to_what_a_layer_computes_in() -> None:
    architecture = exchange.read(FILES / "new-narrow.keras").architecture
    assert architecture["inputs"][0]["dtype"] == "float32"
    nodes = architecture["model"]["nodes"]
    casts = [(node["inputs"], node["arguments"]["dtype"]) for node in nodes if "op" in node]
    assert casts == [(["input_layer_9"], "bfloat16"), (["dense_5"], "float16")]


def test_pytorch_s_network_of_narrow_layers_takes_what_is_declared() -> None:
    torch = pytest.importorskip("torch")
    inputs, expected = recorded("new-narrow.keras")
    module = load_model(FILES / "new-narrow.keras", backend="torch")
    with torch.no_grad():
        found = module(*(torch.from_numpy(each) for each in inputs)).numpy()
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected[0], atol=1e-2)


def test_weights_alone_have_the_names_of_the_file() -> None:
    bundle = exchange.read(FILES / "new-image.weights.h5")
    assert bundle.architecture is None
    assert "config=" in bundle.reason
    assert list(bundle.parameters)[:2] == ["layers.batch_normalization.vars.0", "layers.batch_normalization.vars.1"]
    old = exchange.read(FILES / "old-image-weights.h5")
    assert "dense.dense.kernel" in old.parameters
    config = json.loads((FILES / "new-image.json").read_text())
    whole = exchange.read(FILES / "new-image.weights.h5", config=config)
    assert whole.parameters.keys() == exchange.read(FILES / "new-image.keras").parameters.keys()


def test_sizes_that_the_file_leaves_open_can_be_given(tmp_path: Path) -> None:
    def open_sizes(config: dict[str, Any]) -> None:
        config["config"]["layers"][0]["config"]["batch_shape"] = [None, None, None, 3]

    path = changed(tmp_path, "new-image.keras", open_sizes)
    with pytest.raises(ConversionError, match="inputs=") as caught:
        exchange.read(path)
    assert len(caught.value.unsupported) == 1
    inputs, expected = recorded("new-image.keras")
    for given in ({"input_layer": [None, 8, 9, 3]}, [{"shape": [None, 8, 9, 3]}], "any:?,8,9,3"):
        bundle = exchange.read(path, inputs=given)
        np.testing.assert_allclose(bundle.build()(*inputs), expected[0], atol=1e-5)
        assert bundle.architecture["inputs"][0]["shape"] == [None, 8, 9, 3]
    with pytest.raises(ValueError, match="more than the 1 that the model takes"):
        exchange.read(path, inputs=[{"shape": [1]}, {"shape": [1]}])


def changed(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """A file with another config."""
    path = folder / name
    with zipfile.ZipFile(FILES / name) as source, zipfile.ZipFile(path, "w") as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            target.writestr(info.filename, data)
    return path


def _layer(config: dict[str, Any], place: int) -> dict[str, Any]:
    found: dict[str, Any] = config["config"]["layers"][place]
    return found


def _lambda(config: dict[str, Any]) -> None:
    _layer(config, 2).update(class_name="Lambda")
    _layer(config, 6).update(module="mine", class_name="Odd", registered_name="mine>Odd")
    _layer(config, 1)["config"]["activation"] = {
        "module": "builtins", "class_name": "function", "config": "my_function", "registered_name": "my_function",
    }  # fmt: skip


def test_everything_that_is_not_supported_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        exchange.read(changed(tmp_path, "new-image.keras", _lambda))
    told = dict(caught.value.unsupported)
    assert set(told) == {"conv2d", "batch_normalization", "dense"}
    assert "my_function" in told["conv2d"]
    assert "Lambda is code" in told["batch_normalization"]
    assert "mine>Odd" in told["dense"]
    assert "by its author's code only; its parameters still come" in str(caught.value.hint)
    assert str(tmp_path) in str(caught.value)


def test_what_looks_words_up_is_refused_with_the_way_round(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        _layer(config, 2).update(class_name="TextVectorization")

    with pytest.raises(ConversionError, match=r"TextVectorization looks words up.*keras\.Model\(layer\.output"):
        exchange.read(changed(tmp_path, "new-image.keras", change))


@pytest.mark.parametrize(
    ("place", "settings", "words"),
    [
        (1, {"padding": "odd"}, "padding = 'odd'"),
        (1, {"something_new": 3}, "something_new"),
        (1, {"kernel_size": [3]}, "kernel_size"),
        (1, {"filters": "4"}, "filters = '4' is not an integer"),
        (1, {"data_format": "other"}, "data_format"),
        (1, {"activation": "heaviside"}, "heaviside"),
        (1, {"activation": {"module": "mine", "class_name": "F", "config": {}}}, "'F'"),
        (1, {"activation": {"value": ["4wEAAA==", None, None]}}, "is code"),  # so Keras stores a lambda
        (1, {"activation": {}}, "is code"),
        (1, {"dtype": {"class_name": "QuantizedDTypePolicy", "config": {}}}, "quantised as 'None'"),
        (1, {"groups": 7}, "conv2d"),
        (1, {"filters": 5}, "conv2d"),
        (2, {"renorm": True}, "renorm"),
        (2, {"axis": [1, 2]}, "axis"),
        (6, {"quantization_config": {"bits": 8}}, "quantization_config"),
        (6, {"units": 10**12}, "units"),
        (6, {"use_bias": "no"}, "use_bias"),
    ],
)
def test_settings_that_are_not_supported_are_refused(
    tmp_path: Path, place: int, settings: dict[str, Any], words: str
) -> None:
    path = changed(tmp_path, "new-image.keras", lambda config: _layer(config, place)["config"].update(settings))
    with pytest.raises(ConversionError, match=words):
        exchange.read(path)


def test_only_of_what_is_its_author_s_own_it_is_said_so(tmp_path: Path) -> None:
    path = changed(tmp_path, "new-image.keras", lambda config: _layer(config, 1)["config"].update(padding="odd"))
    with pytest.raises(ConversionError) as caught:
        exchange.read(path)
    assert str(caught.value.hint).startswith("its parameters still come")


def test_a_mask_changes_what_a_layer_gives_that_takes_it(tmp_path: Path) -> None:
    def mask(config: dict[str, Any]) -> None:
        _layer(config, 1)["config"]["mask_zero"] = True

    network = exchange.read(changed(tmp_path, "new-text.keras", mask)).build()
    found = network(np.array([[3, 5, 0, 0, 0], [0, 3, 0, 5, 0]], "int32"))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_functions_of_tensorflow_are_read_by_a_table_of_names(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes((FILES / "old-functions.h5").read_bytes())

    def change(name: str, other: str) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = file.attrs["model_config"].replace(f'"{name}"', f'"{other}"')

    change("nn.relu6", "io.read_file")
    with pytest.raises(ConversionError) as caught:
        exchange.read(path)
    assert any("'io.read_file' is not supported" in what for _, what in caught.value.unsupported)
    assert len(caught.value.unsupported) == 1


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(FILES / "new-image.keras") as source, zipfile.ZipFile(path, "w") as target:
        target.writestr("config.json", source.read("config.json"))
    with pytest.raises(FormatError, match=r"it holds no model\.weights\.h5"):
        exchange.read(path)
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(3)
    with pytest.raises(FormatError, match=r"neither a model nor weights of Keras"):
        exchange.read(path)
    path.write_bytes(b"no file of Keras")
    with pytest.raises(FormatError, match=r"neither a \.keras nor an HDF5 file"):
        exchange.read(path)
    with zipfile.ZipFile(FILES / "new-image.keras") as source, zipfile.ZipFile(path, "w") as target:
        target.writestr("config.json", source.read("config.json"))
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file["layers/dense/vars/0"] = np.zeros((16, 3), "f4")
        target.writestr("model.weights.h5", (tmp_path / "w.h5").read_bytes())
    with pytest.raises(ConversionError, match="layers/conv2d/vars/0"):
        exchange.read(path)


def test_a_zip_that_was_packed_again_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.keras"
    with (
        zipfile.ZipFile(FILES / "new-image.keras") as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    one, two = exchange.read(path), exchange.read(FILES / "new-image.keras")
    assert {name: array.tobytes() for name, array in one.parameters.items()} == {
        name: array.tobytes() for name, array in two.parameters.items()
    }


def test_arrays_that_were_compressed_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.weights.h5"
    with h5py.File(FILES / "new-image.weights.h5") as source, h5py.File(path, "w") as target:

        def copy(name: str, found: Any) -> None:
            if isinstance(found, h5py.Dataset):
                target.create_dataset(name, data=found[:], compression="gzip", shuffle=True, chunks=found.shape)

        source.visititems(copy)
    one = exchange.read(path, config=FILES / "new-image.json")
    two = exchange.read(FILES / "new-image.keras")
    assert {name: array.tobytes() for name, array in one.parameters.items()} == {
        name: array.tobytes() for name, array in two.parameters.items()
    }
