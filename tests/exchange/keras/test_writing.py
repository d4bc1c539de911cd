"""Files that Keras writes for us, and models in memory: into archives, and back with the same bits and outputs."""

import json
import subprocess
import sys

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.exchange import keras as exchange
from tests.cases.case import several
from tests.cases.networks import network
from tests.conftest import ROOT

keras = pytest.importorskip("keras")
from tests.exchange.keras import applications  # noqa: E402
from tests.exchange.keras.applications import model_of, sorted_values  # noqa: E402
from tests.exchange.keras.live import run, same  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["LeNet", "MobileNetV2", "U-Net, bilinear", "ViT", "BERT", "Llama", "Transformer", "GRU"]
)
def test_keras_loads_what_is_written_and_it_is_read_again(name, tmp_path):
    net, inputs = network(name)
    wanted = several(net(*inputs))
    exchange.write(net, tmp_path / "net.keras", inputs=inputs, durable=False)
    same(run(keras.saving.load_model(tmp_path / "net.keras"), *inputs), wanted)
    bundle = exchange.read(tmp_path / "net.keras")
    same(several(bundle.build()(*inputs)), wanted)
    assert [each.name for each in tmp_path.iterdir()] == ["net.keras"]
    if name != "GRU":
        values = {id(each): each.value() for each in net.collect_params().values()}.values()
        found = {id(array): array for array in bundle.parameters.values()}.values()
        assert sorted_values(found).tobytes() == sorted_values(values).tobytes()


def test_weights_alone_are_written_for_a_model_of_the_same_layers(tmp_path):
    net, inputs = network("LeNet")
    notes = exchange.write(net, tmp_path / "net.weights.h5", inputs=inputs)
    assert [note.where for note in notes] == ["(architecture)"]
    model = exchange.build_model(net, inputs=inputs)
    for variable in model.weights:
        variable.assign(variable.value * 0)
    model.load_weights(tmp_path / "net.weights.h5")
    same(run(model, *inputs), several(net(*inputs)))


def test_what_a_file_of_keras_does_not_hold_is_told(tmp_path):
    net, inputs = network("LSTM")
    for name, parameter in net.collect_params("encoder.bias_*").items():
        parameter.set_data(np.full(parameter.shape, 0.1 if "ih" in name else 0.2, np.float32))
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, metadata={"license": "MIT"})
    notes = ma.convert(tmp_path / "net.h5", tmp_path / "net.keras")
    assert [note.where for note in notes] == ["encoder", "metadata['license']"]
    assert "sum" in str(notes[0])


def test_nothing_is_written_of_what_cannot_be_said(tmp_path):
    (tmp_path / "net.keras").write_bytes(b"old")
    net = nn.AdaptiveAvgPool2D(3)
    with pytest.raises(ma.ConversionError, match="free sizes"):
        exchange.write(net, tmp_path / "net.keras", inputs={"shape": [None, 3, None, None]})
    with pytest.raises(ma.ConversionError, match="architecture"):
        exchange.write({"x": np.zeros(3)}, tmp_path / "net.keras")
    with pytest.raises(ValueError, match="ends in neither"):
        exchange.write(net, tmp_path / "net.h5", inputs={"shape": [None, 3, 6, 6]})
    assert (tmp_path / "net.keras").read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["net.keras"]


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "net.keras").write_bytes(b"old")
    net, inputs = network("LeNet")

    def fails(self, path, **more):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", fails)
    with pytest.raises(OSError, match="No space"):
        exchange.write(net, tmp_path / "net.keras", inputs=inputs)
    assert (tmp_path / "net.keras").read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["net.keras"]


def functional():
    """Two inputs, a shared layer, a model inside, frozen and stateful layers."""
    keras.utils.set_random_seed(0)
    left, right = keras.Input((6, 4), name="left"), keras.Input((6, 4), name="right")
    inner = keras.Sequential(
        [keras.Input((6, 4)), keras.layers.Dense(5, "relu"), keras.layers.Dropout(0.5)], name="inner"
    )
    shared = keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True), name="both")
    one, two = shared(inner(left)), shared(inner(right))
    attended = keras.layers.MultiHeadAttention(2, 4, name="attention")(one, two)
    added = keras.layers.Add(name="added")([attended, one])
    normal = keras.layers.LayerNormalization(name="normal")(added)
    model = keras.Model([left, right], [keras.layers.Dense(3, name="last")(normal), added])
    model.get_layer("last").trainable = False
    return model


def test_a_model_in_memory_is_what_its_file_is(tmp_path):
    model = functional()
    x, y = (np.random.default_rng(seed).standard_normal((2, 6, 4), np.float32) for seed in (0, 1))
    wanted = run(model, x, y)
    notes = ma.save_model(tmp_path / "net.h5", model)
    assert [note.where for note in notes] == ["(random)"]
    model.save(tmp_path / "net.keras")
    file = exchange.read(tmp_path / "net.keras")
    with ma.open(tmp_path / "net.h5") as archive:
        assert archive.architecture == file.architecture
        assert {name: array.tobytes() for name, array in archive.parameters.items()} == {
            name: array.tobytes() for name, array in file.parameters.items()
        }
        net = archive.build()
    same(several(net(x, y)), wanted)
    assert not net.collect_params()["last.weight"].trainable
    again = ma.load_model(tmp_path / "net.h5", backend="keras")
    same(run(again, x, y), wanted)
    assert not again.get_layer("last").trainable
    assert (
        sorted_values(keras.ops.convert_to_numpy(each) for each in again.weights).tobytes()
        == sorted_values(keras.ops.convert_to_numpy(each) for each in model.weights).tobytes()
    )
    torch = ma.load_model(tmp_path / "net.h5", backend="torch")
    import torch as torch_module

    with torch_module.no_grad():
        found = torch(*(torch_module.from_numpy(each) for each in (x, y)))
    same(tuple(each.numpy() for each in found), wanted, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV3Small", "Xception"])
def test_keras_applications(name, tmp_path):
    model, image = model_of(name)
    wanted = run(model, image)
    ma.save_model(tmp_path / "net.h5", model, durable=False)
    same(several(ma.load_model(tmp_path / "net.h5")(image)), wanted)
    again = ma.load_model(tmp_path / "net.h5", backend="keras")
    same(run(again, image), wanted)
    numbers = keras.ops.convert_to_numpy
    assert sorted_values(map(numbers, again.weights)).tobytes() == sorted_values(map(numbers, model.weights)).tobytes()


class Own(keras.layers.Layer):
    def call(self, x):
        return x * 2


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_models_with_code_of_their_own_are_refused_by_name(tmp_path):
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Lambda(lambda y: y + 1, name="plus")(Own(name="own")(x)))
    with pytest.raises(ma.ConversionError) as caught:
        exchange.read_model(model)
    assert {where for where, _ in caught.value.unsupported} == {"own", "plus"}
    other = Subclassed()
    with pytest.raises(ma.ConversionError, match="no variables yet"):
        ma.save_model(tmp_path / "net.h5", other)
    other(np.zeros((1, 3), np.float32))
    with pytest.raises(ma.ConversionError):
        exchange.read_model(other)
    assert not list(tmp_path.iterdir())


def test_bfloat16_variables_keep_their_bits(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, dtype="bfloat16")])
    bundle = exchange.read_model(model)
    assert {each.dtype.name for each in bundle.parameters.values()} == {"bfloat16"}
    ma.save_model(tmp_path / "net.h5", model)
    with ma.open(tmp_path / "net.h5") as archive:
        assert {each.tobytes() for each in archive.parameters.values()} == {
            each.tobytes() for each in bundle.parameters.values()
        }


def test_without_keras_the_error_says_what_to_install(tmp_path):
    code = (
        "import sys\n"
        "sys.modules['keras'] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import modelarchive as ma\n"
        "from modelarchive.exchange import keras\n"
        "from modelarchive import nn\n"
        "net = nn.Dense(2, in_units=3)\n"
        "net.initialize(seed=0)\n"
        "try:\n"
        "    keras.build_model(net, inputs={'shape': [None, 3]})\n"
        "except ma.MissingDependencyError as error:\n"
        "    print(error.extra)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert done.stdout.split() == [b"keras"]


def test_the_figures_of_keras_applications_are_in_the_document():
    measured = json.loads(applications.MEASURED.read_text("utf-8"))
    text = applications.DOCUMENT.read_text("utf-8")
    assert f"{applications.BEGIN}\n{applications.table(measured)}\n{applications.END}" in text
    tried = [each for each in measured.values() if "numpy" in each]
    assert len(tried) >= 10
    for each in tried:
        assert each["equal"]
        assert max(each["numpy"], each["keras"]) <= max(1e-5, 10 * each["nudged"])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_whole_numbers_pass_through_layers(dtype, tmp_path):
    """Keras takes the word int8 for a way to quantise, and PyTorch has no infinity to fill them up with."""

    class Net(nn.Block):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2D([4, 3], strides=1, padding=[[2, 1], [1, 1]])

        def forward(self, x):
            return {"pool": self.pool(x), "same": x, "turned": ops.transpose(x, axes=[0, 2, 1, 3])}

    net = Net()
    x = np.random.default_rng(0).integers(0, 100, (2, 2, 6, 5)).astype(dtype) - np.asarray(
        110 * (dtype != "uint8"), dtype
    )
    expected = net(x)
    ma.save_model(tmp_path / "net.h5", net, inputs=x)
    ma.convert(tmp_path / "net.h5", tmp_path / "net.keras")
    torch = pytest.importorskip("torch")
    results = {
        "PyTorch": ma.load_model(tmp_path / "net.h5", backend="torch")(torch.from_numpy(x)),
        "Keras": keras.models.load_model(tmp_path / "net.keras")(x),
    }
    for framework, found in results.items():
        for name, value in expected.items():
            given = keras.ops.convert_to_numpy(found[name]) if framework == "Keras" else found[name].numpy()
            assert given.dtype == dtype, (framework, name)
            assert np.array_equal(given, value), (framework, name)
