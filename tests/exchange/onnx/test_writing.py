"""Whole models as ONNX: every network, names, shared parameters, files beside the model, notes, refusals."""

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.exchange.bundle import Bundle
from modelarchive.exchange.onnx import assembling, writing
from modelarchive.exchange.onnx.lowering import LOWERINGS
from modelarchive.exchange.onnx.writing import write
from tests.cases.networks import NETWORKS, network
from tests.exchange.onnx.live import assert_close, onnx, run, same_outputs


def initialisers(path):
    model = onnx.load(path)
    return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_the_same_outputs(name, tmp_path):
    net, inputs = network(name)
    path = same_outputs(net, tmp_path, *inputs)
    written = initialisers(path)
    packed = name in ("LSTM", "GRU")
    for parameter, array in net.collect_params().items():
        if parameter in written and not (packed and parameter.startswith("encoder.")):
            assert written[parameter].tobytes() == array.data().tobytes()
    first = {id(parameter): each for each, parameter in reversed(net.collect_params().items())}
    assert packed or set(first.values()) <= set(written)
    # Nothing but parameters, what positions become, and the biases of recurrences, two in one.
    rest = set(written) - set(net.collect_params())
    assert all("table" in each or each in ("encoder.bias_l0", "encoder.bias_l1") for each in rest)
    # As many items as one likes.
    assert_close(run(path, *(each[:1] for each in inputs))[0], np.asarray(first_output(net(*inputs)))[:1])


def first_output(found):
    while isinstance(found, tuple | list | dict):
        found = found[min(found)] if isinstance(found, dict) else found[0]
    return found


@pytest.mark.parametrize("name", ["LeNet", "ViT", "BERT", "Llama 3", "GRU"])
def test_onnx_s_own_evaluator_agrees(name, tmp_path):
    """A second runtime, written by other people than ONNX Runtime."""
    from onnx.reference import ReferenceEvaluator

    net, inputs = network(name)
    write(net, tmp_path / "net.onnx", inputs=inputs)
    evaluator = ReferenceEvaluator(str(tmp_path / "net.onnx"))
    (found, *_) = evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=True)))
    assert_close(found, first_output(net(*inputs)))


@pytest.mark.parametrize("name", ["GPT-2", "Llama 3", "BERT", "Transformer"])
def test_lengths_may_be_open(name, tmp_path):
    net, inputs = network(name)
    declared = [{"shape": [None, None], "dtype": each.dtype.name} for each in inputs]
    path = same_outputs(net, tmp_path, *inputs, declared=declared)
    shorter = [each[:, :5] for each in inputs]
    assert_close(run(path, *shorter)[0], first_output(net(*shorter)))


def test_an_archive_is_written_as_its_network(tmp_path):
    net, inputs = network("LeNet")
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, metadata={"license": "MIT", "classes": 10})
    notes = ma.convert(tmp_path / "net.h5", tmp_path / "net.onnx")
    assert [str(note) for note in notes] == ["metadata['classes']: is kept as the text of its JSON"]
    assert_close(run(tmp_path / "net.onnx", *inputs)[0], net(*inputs))
    model = onnx.load(tmp_path / "net.onnx")
    assert {each.key: each.value for each in model.metadata_props} == {"license": "MIT", "classes": "10"}
    assert (model.producer_name, model.opset_import[0].version) == ("modelarchive", assembling._OPSET)
    (given,) = model.graph.input
    assert [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim] == ["batch", 1, 28, 28]
    with ma.open(tmp_path / "net.h5") as archive:
        assert write(archive, tmp_path / "again.onnx") == notes
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()


class Tied(nn.Block):
    """A table for words, used twice, and outputs with names."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.decoder = nn.Dense(7, use_bias=False, flatten=False, in_units=4)
        self.decoder.weight = self.embedding.weight
        self.unused = nn.Dense(2, in_units=3)
        self.forgotten = nn.Dense(2, use_bias=False, in_units=4)

    def forward(self, x):
        hidden = ops.relu(self.embedding(x))
        self.forgotten(hidden[:, 0])
        return {"logits": self.decoder(hidden), "hidden": (hidden, hidden)}


def test_shared_parameters_are_written_once_and_outputs_keep_their_names(tmp_path):
    net = Tied()
    net.initialize(seed=0)
    net.freeze("embedding.weight")
    words = np.array([[1, 2, 3]])
    notes = [str(note) for note in write(net, tmp_path / "net.onnx", inputs=words)]
    assert notes == [
        "embedding.weight: is frozen, which ONNX does not say",
        "forgotten.weight: is not used by the model's outputs, and is left out",
        "decoder.weight: is 'embedding.weight', and stands there once, under that name",
        "decoder.weight: is frozen, which ONNX does not say",
        "unused.weight: is not used by the model's outputs, and is left out",
        "unused.bias: is not used by the model's outputs, and is left out",
    ]
    assert set(initialisers(tmp_path / "net.onnx")) == {"embedding.weight"}
    model = onnx.load(tmp_path / "net.onnx")
    assert [each.name for each in model.graph.output] == ["hidden_0", "hidden_1", "logits"]
    found, wanted = run(tmp_path / "net.onnx", words), net(words)
    for one, other in zip(found, [*wanted["hidden"], wanted["logits"]], strict=True):
        assert_close(one, other)


@pytest.mark.parametrize(
    "make", [nn.LayerNorm, lambda: nn.GroupNorm(2), lambda: nn.InstanceNorm(scale=True), nn.RMSNorm]
)
def test_normalisation_of_what_is_far_from_0(make, tmp_path):
    """Where runtimes take the square of the mean off the mean of squares, digits are lost: 0.004 in GroupNorm."""
    layer = make()
    x = np.random.default_rng(0).standard_normal((2, 4, 64), np.float32) + 100
    layer.initialize(seed=0)
    same_outputs(layer, tmp_path, x)


def test_names_of_blocks_stay(tmp_path):
    net, inputs = network("ResNet-18")
    write(net, tmp_path / "net.onnx", inputs=inputs)
    names = [node.name for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert len(set(names)) == len(names)
    layers = {path for path, block in net.named_blocks() if isinstance(block, nn.Layer)}
    assert layers <= set(names)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, "float8_e4m3fn", np.float64])
def test_parameters_keep_their_dtype(dtype, tmp_path):
    net = nn.Sequential(nn.Conv2D(3, 3, activation="gelu"), nn.BatchNorm(), nn.Flatten(), nn.Dense(2))
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5), np.float32)
    net.initialize(seed=0)
    net(x)
    net.cast(dtype)
    x = x.astype(np.float64) if dtype is np.float64 else x
    written = initialisers(same_outputs(net, tmp_path, x))
    stored = {name: parameter.data() for name, parameter in net.collect_params().items()}
    assert {name: array.tobytes() for name, array in written.items()} == {
        name: array.tobytes() for name, array in stored.items()
    }
    assert all(written[name].dtype.itemsize == array.dtype.itemsize for name, array in stored.items())


def test_parameters_in_a_file_beside_the_model(tmp_path):
    net, inputs = network("VGG-11")
    write(net, tmp_path / "one.onnx", inputs=inputs)
    write(net, tmp_path / "two.onnx", inputs=inputs, external_data=True)
    assert {each.name for each in tmp_path.iterdir()} == {"one.onnx", "two.onnx", "two.onnx.data"}
    one, two = initialisers(tmp_path / "one.onnx"), initialisers(tmp_path / "two.onnx")
    assert list(one) == list(two)
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    assert_close(run(tmp_path / "two.onnx", *inputs)[0], net(*inputs))
    outside = onnx.load(tmp_path / "two.onnx", load_external_data=False)
    for each in outside.graph.initializer:
        where = {entry.key: entry.value for entry in each.external_data}
        assert not where or (where["location"] == "two.onnx.data" and int(where["offset"]) % 64 == 0)
    assert (tmp_path / "two.onnx").stat().st_size < 60_000


def test_a_link_to_the_model_stays(tmp_path):
    net, inputs = network("LeNet")
    (tmp_path / "there").mkdir()
    (tmp_path / "link.onnx").symlink_to(tmp_path / "there" / "net.onnx")
    write(net, tmp_path / "link.onnx", inputs=inputs, external_data=True)
    assert {each.name for each in (tmp_path / "there").iterdir()} == {"net.onnx", "net.onnx.data"}
    assert (tmp_path / "link.onnx").is_symlink()
    assert_close(run(tmp_path / "there" / "net.onnx", *inputs)[0], net(*inputs))


def test_what_one_file_does_not_hold_goes_beside_it(tmp_path, monkeypatch):
    net, inputs = network("LeNet")
    monkeypatch.setattr(writing, "_MOST", 20_000)
    write(net, tmp_path / "net.onnx", inputs=inputs)
    assert (tmp_path / "net.onnx.data").exists()
    assert_close(run(tmp_path / "net.onnx", *inputs)[0], net(*inputs))
    with pytest.raises(ma.ConversionError, match="more than one file of ONNX holds"):
        write(net, tmp_path / "other.onnx", inputs=inputs, external_data=False)
    assert not (tmp_path / "other.onnx").exists()


def test_a_save_that_is_killed_between_its_files_leaves_the_old_pair(tmp_path, monkeypatch):
    net, inputs = network("LeNet")
    path = tmp_path / "net.onnx"
    write(net, path, inputs=inputs, external_data=True)
    old = net(*inputs)
    net.initialize(seed=1, force_reinit=True)
    replace = Path.replace

    def killed(self, target):
        if Path(target).name == "net.onnx":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(net, path, inputs=inputs, external_data=True)
    assert_close(run(path, *inputs)[0], old)
    for _ in range(3):
        write(net, path, inputs=inputs, external_data=True)
        assert len(list(tmp_path.iterdir())) == 2
        assert_close(run(path, *inputs)[0], net(*inputs))


def test_data_that_no_model_has_any_more_are_removed(tmp_path):
    net, inputs = network("LeNet")
    path = tmp_path / "net.onnx"
    write(net, path, inputs=inputs)
    (tmp_path / "net.onnx.data").write_text("somebody's own")
    write(net, path, inputs=inputs)
    assert (tmp_path / "net.onnx.data").exists()
    write(net, path, inputs=inputs, external_data=True)
    write(net, path, inputs=inputs)
    assert {each.name for each in tmp_path.iterdir()} == {"net.onnx"}


@pytest.mark.parametrize("external_data", [False, True])
def test_what_cannot_be_read_leaves_the_old_files(tmp_path, external_data):
    net, inputs = network("LeNet")
    path = tmp_path / "net.onnx"
    write(net, path, inputs=inputs, external_data=external_data)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs)
    with ma.open(tmp_path / "net.h5") as archive:
        parameters = dict(archive.parameters)

        class Broken(dict):
            def __getitem__(self, name):
                raise OSError(5, "the disk is gone")

        from modelarchive.exchange.bundle import Parameters, deferred
        from modelarchive.store.deferred import Deferred

        entries = deferred(parameters)
        last = list(entries)[-1]

        def gone():
            raise OSError(5, "the disk is gone")

        entries[last] = Deferred(entries[last].shape, entries[last].dtype, gone)
        bundle = Bundle(Parameters(entries), archive.architecture)
        with pytest.raises(OSError, match="nothing was changed"):
            write(bundle, path, external_data=external_data)
    (tmp_path / "net.h5").unlink()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_everything_that_cannot_be_said_is_told_at_once(tmp_path):
    with pytest.raises(ma.ConversionError, match="only arrays were given"):
        write({"x": np.ones(3, np.float32)}, tmp_path / "net.onnx")
    nodes = [
        {"name": "one", "op": "cast", "inputs": ["x"], "arguments": {"dtype": "complex64"}},
        {"name": "two", "op": "cast", "inputs": ["x"], "arguments": {"dtype": "complex128"}},
        {"name": "sum", "op": "add", "inputs": ["one", "two"], "arguments": {}},
    ]
    declared = [{"name": "x", "shape": [None, 2], "dtype": "float32"}]
    model = {"kind": "Graph", "inputs": ["x"], "nodes": nodes, "outputs": ["sum"]}
    with pytest.raises(ma.ConversionError) as caught:
        write(Bundle({}, {"vocabulary": 1, "inputs": declared, "model": model}), tmp_path / "net.onnx")
    assert caught.value.unsupported == [
        ("one", "ONNX's operators take no complex numbers"),
        ("two", "ONNX's operators take no complex numbers"),
    ]
    open_ended = Bundle({}, {"vocabulary": 1, "inputs": [], "model": {"kind": "Flatten"}})
    with pytest.raises(ma.ConversionError, match="not declared"):
        write(open_ended, tmp_path / "net.onnx")
    write(open_ended, tmp_path / "net.onnx", inputs=np.ones((2, 3, 4), np.float32))
    assert run(tmp_path / "net.onnx", np.ones((5, 3, 4), np.float32))[0].shape == (5, 12)
    bundle = dense_bundle()
    with pytest.raises(ma.ConversionError, match="expected 3 input features, found 4"):
        write(bundle, tmp_path / "net.onnx", inputs={"shape": [None, 4]})


def test_an_input_keeps_its_name_before_a_parameter(tmp_path):
    bundle = dense_bundle()
    bundle.architecture["inputs"][0]["name"] = "weight"
    write(bundle, tmp_path / "net.onnx")
    x = np.ones((2, 3), np.float32)
    assert_close(run(tmp_path / "net.onnx", x)[0], bundle.build()(x))
    assert set(initialisers(tmp_path / "net.onnx")) == {"weight_2", "bias"}


class Twice(nn.Block):
    """One layer, called twice."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Dense(3, "tanh")

    def forward(self, x):
        return self.hidden(x), self.hidden(self.hidden(x)), x


def test_a_block_may_be_called_again_and_an_input_be_an_output(tmp_path):
    net = Twice()
    net.initialize(seed=0)
    path = same_outputs(net, tmp_path, np.ones((2, 3), np.float32))
    assert set(initialisers(path)) == {"hidden.weight", "hidden.bias"}


def dense_bundle():
    layer, shape = nn.Dense(2, in_units=3), (None, 3)
    layer.initialize(seed=0)
    architecture = ma.describe(layer, {"shape": list(shape)})
    return Bundle({name: each.data() for name, each in layer.collect_params().items()}, architecture)


def test_parameters_that_are_not_those_of_the_architecture(tmp_path):
    bundle = dense_bundle()
    bundle.parameters = {"weight": np.ones((2, 4), np.float32)}
    with pytest.raises(ma.ConversionError) as caught:
        write(bundle, tmp_path / "net.onnx")
    assert [where for where, _ in caught.value.unsupported] == ["weight", "bias"]
    assert list(tmp_path.iterdir()) == []


PEAK = """
import re, sys
sys.path.insert(0, {package!r})
import modelarchive as ma
from modelarchive.exchange.onnx import writing

def peak():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) * 1024

small, large, out, external = sys.argv[1:]
writing.write(small, out)
before = peak()
with ma.open(large) as archive:
    writing.write(archive, out, external_data=bool(int(external)))
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("external", [0, 1])
def test_memory_holds_one_array_and_not_the_model(tmp_path, external):
    for name, units, count in (("small", 8, 1), ("large", 2048, 10)):
        net = nn.Sequential(*(nn.Dense(units, in_units=units, use_bias=False) for _ in range(count)))
        for parameter in net.collect_params().values():
            parameter.set_data(np.ones((units, units), np.float32))
        ma.save_model(tmp_path / f"{name}.h5", net, inputs={"shape": [None, units]}, durable=False)
    del net, parameter
    package = str(Path(ma.__path__[0]).parent)
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(package=package), tmp_path / "small.h5", tmp_path / "large.h5",
         tmp_path / "out.onnx", str(external)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2 * 2048 * 2048 * 4, f"{int(done.stdout) / 2**24:.2f} arrays, of 10"


def test_a_kind_without_a_row_is_written_as_its_formula(tmp_path, monkeypatch):
    rows = {word: row for word, row in LOWERINGS.items() if word not in ("LayerNorm", "RMSNorm")}
    monkeypatch.setattr("modelarchive.exchange.onnx.exporting.LOWERINGS", rows)
    net = nn.Sequential(nn.LayerNorm((1, 2)), nn.RMSNorm((2, 1)), nn.LayerNorm(center=False))
    net.initialize(seed=0)
    path = same_outputs(net, tmp_path, np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32))
    assert {node.op_type for node in onnx.load(path).graph.node} >= {"ReduceMean", "Sqrt", "Div"}
