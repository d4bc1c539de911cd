"""Networks as Keras models: every kind, op and network of the zoo; names, dtypes, frozen and shared parameters."""

import warnings

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn, ops, zoo
from modelarchive.exchange.bundle import bundle_of
from modelarchive.exchange.keras import build_model
from modelarchive.ops.activation import ACTIVATIONS
from tests.cases.case import fixed, several
from tests.cases.kinds import BATCH_ELSEWHERE, KIND_CASES, drawn
from tests.cases.networks import NETWORKS, network
from tests.cases.ops import OP_CASES, op_networks

keras = pytest.importorskip("keras")
from tests.exchange.keras.applications import sorted_values  # noqa: E402
from tests.exchange.keras.live import run, same, same_outputs  # noqa: E402

SOME = settings(
    max_examples=5,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
FEWER = settings(SOME, max_examples=2)
#: Keras computes these as x * a + b, which loses digits where the elements are nearly equal.
LIMITS = {"InstanceNorm": 1e-4, "GroupNorm": 1e-4}
pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")


def test_the_tables_are_the_vocabulary():
    from modelarchive.exchange.keras.lowering import LOWERINGS

    assert set(LOWERINGS) == (set(nn.KINDS) | set(ops.OPS)) - {"grid_sample"}


def unsupported(kind, error):
    """Whether an error names one of the few things that Keras cannot say."""
    return kind == "PReLU" and all("one axis" in what or "of the batch" in what for _, what in error.unsupported)


@pytest.mark.parametrize("kind", KIND_CASES)
@SOME
@given(data=st.data())
def test_every_kind(kind, data):
    layer, inputs = drawn(data, kind)
    try:
        same_outputs(
            layer, *inputs, declared=fixed(inputs) if kind in BATCH_ELSEWHERE else None, limit=LIMITS.get(kind, 1e-5)
        )
    except ma.ConversionError as error:
        assert unsupported(kind, error)  # noqa: PT017


@pytest.mark.parametrize("kind", ["Dense", "Conv2D", "LSTM", "MultiHeadAttention", "BatchNorm", "LayerNorm"])
@FEWER
@given(data=st.data(), dtype=st.sampled_from(["float64", "float16", "bfloat16"]))
def test_parameters_of_other_dtypes(kind, data, dtype):
    layer, inputs = drawn(data, kind, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    if dtype == "float64":
        same_outputs(layer, *inputs, declared=fixed(inputs) if kind in BATCH_ELSEWHERE else None)
    else:
        # Inputs of 32 bits: then all is computed in these, on both sides.
        inputs = [each.astype(np.float32) if each.dtype not in (bool, np.int64) else each for each in inputs]
        model = same_outputs(layer, *inputs, declared=fixed(inputs))
        assert {str(each.dtype) for each in model.weights} <= {"float32", "uint32", "int64"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name):
    x = np.linspace(-9, 9, 42, dtype=np.float32).reshape(6, 7)
    dense = nn.Dense(3, name)
    dense.initialize("xavier", seed=0)
    net = nn.Sequential(nn.Activation(name), dense)
    if name in ("elu", "celu", "leaky_relu"):
        net.add(nn.Activation(name, 0.3))
    same_outputs(net, x)


@pytest.mark.parametrize("op", OP_CASES)
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_every_op(op, dtype):
    tried = 0
    for net, arrays, declared in op_networks(op, dtype):
        if not arrays:
            continue
        with np.errstate(all="ignore"):
            wanted = several(net(*arrays))
        if not all(np.isfinite(each).all() for each in wanted):
            continue
        try:
            same_outputs(net, *arrays, declared=declared)
        except ma.ConversionError as error:
            refused = [what for _, what in error.unsupported]
            told = ("truths", "sizes that are free", "in several groups", "'grid_sample' is not supported")
            assert all(any(each in what for each in told) for what in refused)
        tried += 1
    assert tried


@pytest.mark.parametrize(("value", "dtype"), [(0.5, None), (3, None), ([[1, 2]], "int64"), ([0.1, 2.0], "float64")])
def test_every_constant(value, dtype):
    nodes = [{"name": "c", "op": "constant", "inputs": [], "arguments": {"value": value, "dtype": dtype}}]
    nodes.append({"name": "sum", "op": "add", "inputs": ["x", "c"], "arguments": {}})
    model = {"kind": "Graph", "inputs": ["x"], "nodes": nodes, "outputs": ["sum"] if dtype is None else ["sum", "c"]}
    declared = [{"name": "x", "shape": [None, 2], "dtype": "float32"}]
    net = ma.build({"vocabulary": 1, "inputs": declared, "model": model}, {})
    same_outputs(net, np.ones((3, 2), np.float32), declared=declared)


def pytest_generate_tests(metafunc):
    """The largest networks are tried with --full-size only."""
    if "small_network" in metafunc.fixturenames:
        large = () if metafunc.config.getoption("--full-size") else ("ResNet-50", "DenseNet-121")
        metafunc.parametrize("small_network", [each for each in NETWORKS if each not in large])


@pytest.mark.slow
def test_every_network_gives_the_same_outputs(small_network, tmp_path):
    net, inputs = network(small_network)
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, durable=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BERT's padding_idx, biases of recurrences
        model = ma.load_model(tmp_path / "net.h5", backend="keras")
    assert isinstance(model, keras.Model)
    same(run(model, *inputs), several(net(*inputs)))
    if small_network not in ("LSTM", "GRU"):  # whose two biases are one in Keras
        arrays = [keras.ops.convert_to_numpy(each) for each in model.weights]
        assert sorted_values(arrays).tobytes() == sorted_values(_values(net)).tobytes()


def _values(net):
    return {id(each): each.value() for each in net.collect_params().values()}.values()


def test_layers_are_named_by_their_paths():
    net, inputs = network("ResNet-18")
    model = build_model(net, inputs=inputs)
    names = {layer.name for layer in model.layers}
    assert {"conv1", "layer1-0-conv1", "layer4-1-bn2", "fc"} <= names
    assert len(names) == len(model.layers)
    assert sum(isinstance(layer, keras.layers.Permute) for layer in model.layers) == 1
    assert model.input_shape == (None, 3, None, None) or model.input_shape[1] == 3


def test_images_with_their_channels_last_take_no_permute():
    net = nn.Sequential(
        nn.Conv2D(4, 3, padding=1, layout="NHWC", activation="relu"),
        nn.MaxPool2D(2, layout="NHWC"),
        nn.Conv2D(4, 3, groups=4, layout="NHWC"),
        nn.BatchNorm(axis=-1),
        nn.GlobalAvgPool2D(layout="NHWC"),
        nn.Dense(2),
    )
    x = np.random.default_rng(0).standard_normal((2, 9, 8, 3), np.float32)
    net.initialize(seed=0)
    net(x)
    model = same_outputs(net, x)
    assert [type(each).__name__ for each in model.layers] == [
        "InputLayer",
        "Conv2D",
        "MaxPooling2D",
        "DepthwiseConv2D",
        "BatchNormalization",
        "GlobalAveragePooling2D",
        "Flatten",
        "Dense",
    ]


class Tied(nn.Block):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm()
        self.decoder = nn.Dense(7, flatten=False, in_units=4)
        self.decoder.weight = self.embedding.weight
        self.scale = nn.Parameter((3, 2), init="ones")

    def forward(self, x):
        return self.decoder(self.norm(self.embedding(x))), self.scale.data() * 2.0


def test_shared_and_bare_parameters_are_variables_once():
    net = Tied()
    net.initialize(seed=0)
    x = np.array([[0, 1, 6]])
    net(x)
    model = same_outputs(net, x)
    assert sorted(tuple(each.shape) for each in model.weights) == [(1, 7), (3, 2), (4,), (4,), (7, 4)]


def test_frozen_parameters_make_layers_that_are_not_trained():
    net = nn.Sequential(nn.Dense(3, in_units=2), nn.Dense(4, in_units=3), nn.BatchNorm(axis=-1, in_channels=4))
    net.initialize(seed=0)
    net.freeze("0.*")
    net.freeze("1.weight")
    x = np.ones((2, 2), np.float32)
    from modelarchive.exchange.keras.writing import build_with_notes

    model, notes = build_with_notes(bundle_of(net, inputs=x))
    assert [each.trainable for each in model.layers[1:]] == [False, True, True]
    assert [each.path for each in model.trainable_weights] == ["1/bias", "2/gamma", "2/beta"]
    assert [note.where for note in notes] == ["1"]
    with pytest.warns(UserWarning, match="1: some of its parameters are frozen"):
        build_model(net, inputs=x)


def test_a_step_of_training_changes_the_model_and_not_the_archive(tmp_path):
    net, inputs = network("LeNet")
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, durable=False)
    before = (tmp_path / "net.h5").read_bytes()
    model = ma.load_model(tmp_path / "net.h5", backend="keras")
    old = [np.array(keras.ops.convert_to_numpy(each)) for each in model.trainable_weights]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(inputs[0], np.array([1, 2]), epochs=1, verbose=0)
    new = [keras.ops.convert_to_numpy(each) for each in model.trainable_weights]
    assert all((one != other).any() for one, other in zip(old, new, strict=True))
    assert (tmp_path / "net.h5").read_bytes() == before


def test_a_part_of_an_archive_is_a_model(tmp_path):
    net, inputs = network("ResNet-18")
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, durable=False)
    part = ma.load_model(tmp_path / "net.h5", block="layer1", backend="keras")
    x = np.random.default_rng(0).standard_normal((1, *part.input_shape[1:]), np.float32)
    same(run(part, x), (net.layer1(x),))


def test_outputs_keep_their_containers():
    class Nested(nn.Block):
        def forward(self, x):
            return {"sum": x + 1, "both": [x, x * 2]}

    x = np.ones((2, 3), np.float32)
    found = build_model(Nested(), inputs=x)(x)
    assert set(found) == {"sum", "both"}
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found["both"][1]), x * 2)


def test_names_that_clash_or_begin_oddly_are_made_unique():
    net = nn.Sequential()
    for name in ("x", "_", "-"):
        net.adopt(name, nn.Dense(2, in_units=2))
    net.initialize(seed=0)
    model = same_outputs(net, np.ones((1, 2), np.float32))
    assert [each.name for each in model.layers] == ["x", "x_1", "x_", "x-"]


def test_all_that_is_not_supported_is_reported_at_once():
    class Two(nn.Block):
        def __init__(self):
            super().__init__()
            self.one = nn.PReLU(axis=0, in_channels=3)
            self.two = nn.AdaptiveAvgPool2D(3)

        def forward(self, x, y):
            return self.one(x), self.two(y)

    net = Two()
    net.initialize(seed=0)
    declared = ({"shape": [3, 2]}, {"shape": [None, 3, None, None]})
    with pytest.raises(ma.ConversionError, match="inputs") as caught:
        build_model(net, inputs=declared)
    assert [where for where, _ in caught.value.unsupported] == ["one", "two"]


def test_without_declared_inputs_the_error_says_what_to_pass():
    net = nn.Dense(2, in_units=3)
    net.initialize(seed=0)
    bundle = bundle_of(net, inputs={"shape": [None, 3]})
    bundle.architecture["inputs"] = []
    with pytest.raises(ma.ConversionError, match="inputs=") as caught:
        build_model(bundle)
    assert caught.value.unsupported[0][0] == "(inputs)"
    assert build_model(bundle, inputs={"shape": [None, 3]}).output_shape == (None, 2)
    with pytest.raises(ma.ConversionError, match="expected 3 input features, found 4"):
        build_model(bundle, inputs={"shape": [None, 4]})


def test_zoo_networks_have_no_copies_of_shared_parameters():
    net = zoo.GPT2(50, 24, 2, 4, 16)
    net.initialize(seed=0)
    x = np.zeros((1, 5), np.int64)
    net(x)
    model = build_model(net, inputs=x)
    count = sum(int(np.prod(each.shape)) for each in model.weights if "seed" not in each.path)
    assert count == sum(each.size for each in _values(net))


def test_a_kind_without_a_row_is_its_formula(monkeypatch):
    from modelarchive.exchange.keras.lowering import LOWERINGS

    rows = {word: row for word, row in LOWERINGS.items() if word not in ("LayerNorm", "RMSNorm")}
    monkeypatch.setattr("modelarchive.exchange.keras.exporting.LOWERINGS", rows)
    net = nn.Sequential(nn.LayerNorm((1, 2)), nn.RMSNorm((2, 1)), nn.LayerNorm(center=False))
    net.initialize(seed=0)
    model = same_outputs(net, np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32))
    assert not any("Normalization" in type(each).__name__ for each in model.layers)
