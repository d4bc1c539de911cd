"""Checked-in models that PyTorch and Keras exported: read without the onnx package, with ONNX Runtime's outputs."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign" / "onnx"
MODELS = sorted(path.stem for path in FOREIGN.glob("*.onnx"))


def recorded(name):
    with np.load(FOREIGN / f"{name}.npz") as file:
        arrays = dict(file)
    state = {key.removeprefix("state "): each for key, each in arrays.items() if key.startswith("state ")}
    return [[each for key, each in arrays.items() if key.startswith(which)] for which in ("input ", "output ")], state


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_onnx_runtime(name):
    (inputs, outputs), _ = recorded(name)
    found = exchange.read(FOREIGN / f"{name}.onnx").build()(*inputs)
    for one, two in zip(found if isinstance(found, tuple) else (found,), outputs, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)
        assert one.dtype == two.dtype


@pytest.mark.parametrize("name", MODELS)
def test_another_size_of_the_batch_gives_each_item_its_own_output(name):
    (inputs, outputs), _ = recorded(name)
    network = exchange.read(FOREIGN / f"{name}.onnx").build()
    found = network(*(np.concatenate([each, each, each]) for each in inputs))
    for one, two in zip(found if isinstance(found, tuple) else (found,), outputs, strict=True):
        np.testing.assert_allclose(one, np.concatenate([two, two, two]), rtol=0, atol=1e-5)


#: Model -> parameters of the module that have their names and bits: those that the exporter keeps.
KEPT = {
    "torch-image-script": {"features.0.weight", "features.1.running_var", "depthwise.weight", "norm.bias", "head.bias"},
    "torch-image": {"depthwise.weight", "head.weight", "head.bias"},
    "torch-sound-script": {"convolution.weight", "lstm.weight_ih_l0", "lstm.bias_hh_l0_reverse", "gru.weight_hh_l0"},
    "torch-sound": {"convolution.weight", "convolution.bias"},
    "torch-text-script": {"embedding.weight", "position", "query.weight", "value.bias", "norm.weight", "outer.bias"},
    "torch-text": {"embedding.weight", "position", "norm.weight", "norm.bias"},
}


@pytest.mark.parametrize("name", KEPT)
def test_parameters_keep_their_names_and_bits(name):
    _, state = recorded(name)
    bundle = exchange.read(FOREIGN / f"{name}.onnx")
    for key in KEPT[name]:
        assert bundle.parameters[key].tobytes() == state[key].tobytes()


def test_a_table_that_is_used_twice_is_shared():
    bundle = exchange.read(FOREIGN / "torch-text-script.onnx")
    assert list(bundle.parameters).count("embedding.weight") == 1
    text = str(bundle.architecture)
    assert text.count("'shares': {'weight': 'embedding.weight'}") == 1


def test_blocks_are_those_of_the_names():
    network = exchange.read(FOREIGN / "torch-image-script.onnx").build()
    assert network.features.children["0"].kind == "Conv2D"
    assert network.features.children["1"].kind == "BatchNorm"
    assert network.head.kind == "Dense"


def test_what_is_called_otherwise_or_turned_is_noted():
    notes = {note.where: note.what for note in exchange.read(FOREIGN / "keras-image.onnx").notes}
    assert any("its elements in another order" in what for what in notes.values())


def test_data_beside_the_model_is_mapped():
    assert (FOREIGN / "torch-text.onnx.data").exists()
    view = exchange.read(FOREIGN / "torch-text.onnx").parameters["embedding.weight"]
    assert not view.flags.owndata


@pytest.mark.slow
def test_the_package_of_onnx_is_not_imported():
    code = "import sys, modelarchive.exchange.onnx as o; o.read(sys.argv[1]).build(); print('onnx' in sys.modules)"
    path = str(FOREIGN / "torch-text.onnx")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_convert_makes_an_archive_of_it(tmp_path):
    (inputs, outputs), _ = recorded("torch-image")
    shutil.copy(FOREIGN / "torch-image.onnx", tmp_path / "renamed")  # told by its content
    ma.convert(tmp_path / "renamed", tmp_path / "image.h5")
    np.testing.assert_allclose(ma.load_model(tmp_path / "image.h5")(*inputs), outputs[0], rtol=0, atol=1e-5)


def test_inputs_can_be_fixed(tmp_path):
    bundle = exchange.read(FOREIGN / "torch-text.onnx", inputs=[(None, 7)])
    assert bundle.architecture["inputs"][0]["shape"] == ["batch", 7]
    with pytest.raises(ValueError, match="y: is declared, and is no input of the model"):
        exchange.read(FOREIGN / "torch-text.onnx", inputs={"y": (None, 7)})
    with pytest.raises(ValueError, match="2 axes"):
        exchange.read(FOREIGN / "torch-text.onnx", inputs=[(None, 7, 1)])
