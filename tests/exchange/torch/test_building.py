"""Networks as torch.nn.Module: every kind, every op, every network of the zoo; names, memory, training, export."""

import copy
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn, ops, zoo
from modelarchive.architecture import structure
from modelarchive.exchange.torch import build_module
from tests.cases.case import error, set_values, several, values
from tests.cases.kinds import KIND_CASES
from tests.cases.networks import NETWORKS, network
from tests.conformance.test_layers import FEWER
from tests.conftest import ROOT

torch = pytest.importorskip("torch")


def run(module, *inputs):
    """The module's outputs as arrays, without gradients."""
    with torch.no_grad():
        found = module(*(torch.from_numpy(np.array(each)) for each in inputs))
    return tuple(each.numpy() for each in several(found))


def assert_same_outputs(module, net, *inputs, limit=1e-5):
    found, wanted = run(module, *inputs), several(net(*inputs))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert error(one, other) <= limit


def test_the_tables_are_the_vocabulary():
    from modelarchive.exchange.torch import building, functions

    assert set(building.MODULES) == set(nn.KINDS)
    assert functions.missing() == set()
    assert set(functions.ACTIVATIONS) == set(ops.activation.ACTIVATIONS)


@pytest.mark.parametrize("kind", KIND_CASES)
@FEWER
@given(data=st.data())
def test_every_kind_gives_the_same_outputs(kind, data):
    case = data.draw(KIND_CASES[kind])
    inputs, arrays = values(case, "float32")
    set_values(case.layer, arrays)
    module = build_module(case.layer)
    assert list(module.state_dict()) == list(case.layer.collect_params())
    # What is left of gelu far below zero is a difference of two numbers near 1: 1.7e-5 was seen.
    assert_same_outputs(module, case.layer, *inputs, limit=3e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_the_same_outputs(name, tmp_path):
    net, inputs = network(name)
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, durable=False)
    module = build_module(tmp_path / "net.h5")
    assert isinstance(module, torch.nn.Module)
    with ma.open(tmp_path / "net.h5") as archive:
        state = module.state_dict()
        assert set(state) == set(archive.parameters)
        for parameter, array in archive.parameters.items():
            assert state[parameter].numpy().tobytes() == array.tobytes()
    blocks = {path: block for path, block in net.named_blocks() if isinstance(block, nn.Layer)}
    assert set(blocks) <= set(dict(module.named_modules()))
    assert_same_outputs(module, net, *inputs)


def test_parameters_are_on_the_memory_of_the_archive(tmp_path):
    net = zoo.LeNet()
    net.initialize(seed=0)
    ma.save_model(tmp_path / "net.h5", net, inputs=np.zeros((1, 1, 28, 28), np.float32))
    with ma.open(tmp_path / "net.h5") as archive:
        built = archive.build()
        module = build_module(built)
    for name, parameter in built.collect_params().items():
        assert module.state_dict()[name].data_ptr() == parameter.data().ctypes.data
    before = (tmp_path / "net.h5").read_bytes()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert (tmp_path / "net.h5").read_bytes() == before


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_dtypes_survive_and_can_be_chosen(dtype):
    layer = nn.Dense(3, in_units=4)
    layer.initialize(seed=0)
    layer.cast(dtype)
    module = build_module(layer)
    assert str(module.weight.dtype) == f"torch.{np.dtype(dtype).name}"
    expected = layer.weight.data().astype(np.float64)
    np.testing.assert_array_equal(module.weight.detach().double().numpy(), expected)
    assert build_module(layer, dtype="float32").weight.dtype == torch.float32
    assert build_module(layer, dtype=torch.float64, device="cpu").weight.dtype == torch.float64


def test_float8_parameters_keep_their_bits():
    layer = nn.Embedding(4, 3)
    layer.initialize(seed=0)
    layer.cast("float8_e4m3fn")
    module = build_module(layer)
    assert module.weight.dtype == torch.float8_e4m3fn
    assert module.weight.detach().view(torch.uint8).numpy().tobytes() == layer.weight.data().tobytes()


def test_frozen_parameters_and_shared_ones_stay_so():
    class Tied(nn.Block):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(7, 4)
            self.norm = nn.BatchNorm(axis=-1)
            self.decoder = nn.Dense(7, flatten=False, in_units=4)
            self.decoder.weight = self.embedding.weight

        def forward(self, x):
            return self.decoder(self.norm(self.embedding(x)))

    net = Tied()
    net.initialize(seed=0)
    net.freeze("norm.weight")
    module = build_module(net, inputs=np.zeros((2, 3), np.int64))
    assert module.decoder.weight is module.embedding.weight
    assert not module.norm.weight.requires_grad
    assert module.norm.bias.requires_grad
    assert "norm.running_mean" in dict(module.named_buffers())
    assert not isinstance(module.norm.running_mean, torch.nn.Parameter)


def test_a_training_step_changes_what_is_trainable():
    net, inputs = network("ResNet-18")
    net.freeze("conv1.*")
    module = build_module(net, inputs=inputs).train()
    before = copy.deepcopy(module.state_dict())
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(inputs[0].copy())), torch.tensor([1, 2]))
    loss.backward()
    optimizer.step()
    after = module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "conv1.weight" not in changed
    assert {"bn1.running_mean", "bn1.weight", "layer1.0.conv1.weight"} <= changed
    # What was learned goes back into the archive's network.
    for name, parameter in net.collect_params().items():
        parameter.set_data(after[name].numpy())
    assert_same_outputs(module.eval(), net, *inputs, limit=1e-4)


def test_states_of_the_original_load_strictly_both_ways():
    class Original(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
            self.output = torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.output(self.features(x).mean((2, 3)))

    class Ours(nn.Block):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Activation("relu"))
            self.output = nn.Dense(2)

        def forward(self, x):
            return self.output(ops.mean(self.features(x), axis=(2, 3)))

    net = Ours()
    net.initialize(seed=0)
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8), np.float32)
    module = build_module(net, inputs=x)
    original = Original().eval()
    module.load_state_dict(original.state_dict(), strict=True)
    np.testing.assert_allclose(run(module, x)[0], run(original, x)[0], atol=1e-6)
    other = Original().eval()
    other.load_state_dict(module.state_dict(), strict=True)
    np.testing.assert_array_equal(run(other, x)[0], run(original, x)[0])
    other.load_state_dict(dict(module.state_dict()), strict=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*_flat_weights:UserWarning")  # of torch.nn.LSTM itself
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["ResNet-18", "BERT", "Llama", "LSTM", "U-Net, bilinear"])
def test_modules_can_be_traced_and_exported(name):
    net, inputs = network(name)
    module = build_module(net, inputs=inputs)
    tensors = tuple(torch.from_numpy(each) for each in inputs)
    wanted = run(module, *inputs)
    exported = torch.export.export(module, tensors, strict=False).module()
    for one, other in zip(run(exported, *inputs), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    with torch.no_grad():
        traced = torch.jit.trace(module, tensors, check_trace=False)
    for one, other in zip(run(traced, *inputs), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_a_module_with_arrays_in_its_code_can_be_traced_and_exported():
    class Constants(nn.Block):
        def __init__(self):
            super().__init__()
            self.constant_constant = nn.Dense(3)

        def forward(self, x):
            return self.constant_constant(x * np.array([1.0, 2.0, 3.0], np.float32))

    net = Constants()
    net.initialize(seed=0)
    x = np.ones((2, 3), np.float32)
    wanted = net(x)
    module = build_module(net, inputs=x)
    assert set(module.state_dict()) == {"constant_constant.weight", "constant_constant.bias"}
    tensor = torch.from_numpy(x)
    for other in (torch.export.export(module, (tensor,)).module(), torch.jit.trace(module, (tensor,))):
        np.testing.assert_allclose(run(other, x)[0], wanted, atol=1e-6)


def test_a_copy_of_a_module_is_one():
    net, inputs = network("LSTM")
    module = build_module(net, inputs=inputs)
    again = copy.deepcopy(module)
    np.testing.assert_array_equal(run(again, *inputs)[0], run(module, *inputs)[0])


def test_names_that_are_attributes_of_modules_do_no_harm():
    net = nn.Sequential()
    net.adopt("forward", nn.Dense(3, in_units=2))
    net.adopt("type", nn.Dense(2, in_units=3))
    net.initialize(seed=0)
    module = build_module(net, inputs=np.zeros((1, 2), np.float32))
    assert list(module.state_dict()) == list(net.collect_params())
    assert_same_outputs(module, net, np.ones((1, 2), np.float32))


def test_a_name_that_no_module_can_have_is_refused():
    net = nn.Sequential()
    net.adopt("training", nn.Dense(2, in_units=3))
    net.initialize(seed=0)
    with pytest.raises(ma.ConversionError, match="training") as caught:
        build_module(net)
    assert [where for where, _ in caught.value.unsupported] == ["training"]


def test_without_pytorch_the_error_says_what_to_install(tmp_path):
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import modelarchive as ma\n"
        "from modelarchive.exchange import torch\n"
        "try:\n"
        "    torch.support()\n"
        "except ma.MissingDependencyError as error:\n"
        "    print(error.extra)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert done.stdout.split() == [b"torch"]


def test_a_part_of_an_archive_is_a_module(tmp_path):
    net, inputs = network("ResNet-18")
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, durable=False)
    part = ma.load_model(tmp_path / "net.h5", block="layer1", backend="torch")
    x = np.random.default_rng(0).standard_normal((1, net.conv1.channels, 8, 8), np.float32)
    assert_same_outputs(part, net.layer1, x)


def test_of_a_block_of_an_archive_nothing_else_is_checked_until_its_inputs_are_asked_for(tmp_path, monkeypatch):
    net = nn.Sequential(*(nn.Dense(4, in_units=4) for _ in range(30)))
    net.initialize(seed=0)
    x = np.ones((1, 4), np.float32)
    ma.save_model(tmp_path / "net.h5", net, inputs=x, durable=False)
    built = []
    read = structure.Reader.block

    def counted(self, data, *where):
        built.append(data["kind"])
        return read(self, data, *where)

    monkeypatch.setattr(structure.Reader, "block", counted)
    part = ma.load_model(tmp_path / "net.h5", block="7", backend="torch")
    assert built == ["Dense"]
    assert_same_outputs(part, net[7], x)
    ma.save_model(tmp_path / "part.h5", copy.deepcopy(part), durable=False)
    with ma.open(tmp_path / "part.h5") as archive:
        assert archive.architecture["inputs"] == [{"name": "x", "shape": [None, 4], "dtype": "float32"}]


def test_no_compiler_is_imported_to_make_modules(tmp_path):
    net = nn.Sequential(
        nn.Embedding(10, 4),
        nn.Dense(4, in_units=4, flatten=False),
        nn.LayerNorm(in_channels=4),
        nn.LSTM(4, input_size=4),
        nn.PReLU(in_channels=3),
    )
    net.initialize(seed=0)
    ma.save_model(tmp_path / "net.h5", net, inputs=np.zeros((1, 3), np.int64), durable=False)
    code = (
        "import sys, torch\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import modelarchive as ma\n"
        "before = set(sys.modules)\n"
        "ma.load_model('net.h5', backend='torch')\n"
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith(('torch.', 'sympy'))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert done.stdout.split() == [b"torch.utils._device"]


def test_ops_with_lists_of_lists_run_as_they_come_from_a_file(tmp_path):
    class Padded(nn.Block):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter((4, 3, 3, 3))

        def forward(self, x):
            x = ops.pad(x, padding=[[1, 0], [0, 2]], mode="edge")
            return ops.conv(x, self.kernel.data(), strides=[1, 2], padding=[[1, 1], [0, 1]], dilation=[1, 1])

    net, x = Padded(), np.random.default_rng(0).standard_normal((2, 3, 6, 5), np.float32)
    net.initialize(seed=0)
    ma.save_model(tmp_path / "net.h5", net, inputs=x)
    assert_same_outputs(ma.load_model(tmp_path / "net.h5", backend="torch"), net, x)


@pytest.mark.parametrize("name", ["LeNet", "BERT", "Transformer"])
def test_modules_are_compiled_as_one_graph(name):
    net, inputs = network(name)
    module = build_module(net, inputs=inputs)
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    for one, other in zip(run(compiled, *inputs), run(module, *inputs), strict=True):
        np.testing.assert_array_equal(one, other)


class Doubled(torch.nn.Module):
    """What `forward` does depends on a size."""

    def forward(self, x):
        return torch.cat([x, x], 1) if x.shape[1] > 4 else x + 1


def test_what_a_size_has_decided_is_never_another_network(tmp_path):
    ma.save_model(tmp_path / "x.h5", Doubled(), inputs=torch.randn(2, 3))
    module = ma.load_model(tmp_path / "x.h5", backend="torch")
    torch.save(module, tmp_path / "module.pt")
    again = torch.load(tmp_path / "module.pt", weights_only=False)
    compiled = torch.compile(module, backend="eager")
    for each in (module, copy.deepcopy(module), again, torch.nn.Sequential(module), compiled):
        assert each(torch.zeros(5, 3)).shape == (5, 3)
        with pytest.raises(
            ValueError, match=r"input x: expected float32 \(batch, 3\), found float32 \(2, 6\); load it with"
        ):
            each(torch.zeros(2, 6))
    # A module that holds it is read with the sizes that it takes.
    outer = torch.nn.Sequential(torch.nn.Linear(3, 3), module)
    ma.save_model(tmp_path / "y.h5", outer, inputs=torch.randn(2, 3))
    with ma.open(tmp_path / "y.h5") as archive:
        assert archive.architecture["inputs"][0]["shape"] == [None, 3]


class Convolved(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.convolution(x).relu().mean((2, 3))


def test_a_module_that_is_changed_takes_what_its_layers_do(tmp_path):
    ma.save_model(tmp_path / "x.h5", Convolved(), inputs={"shape": [None, 3, 8, 8]})
    module = ma.load_model(tmp_path / "x.h5", backend="torch")
    with pytest.raises(ValueError, match=r"inputs={'x': \(None, 3, None, None\)} for other sizes"):
        module(torch.zeros(2, 3, 9, 9))
    other = ma.load_model(tmp_path / "x.h5", backend="torch", inputs={"x": (None, 3, None, None)})
    assert other(torch.zeros(2, 3, 9, 9)).shape == (2, 4)
    assert module.convolution(torch.zeros(2, 3, 9, 9)).shape == (2, 4, 7, 7)
    module.convolution = torch.nn.Conv2d(1, 4, 3)
    assert module(torch.zeros(2, 1, 9, 9)).shape == (2, 4)
    ma.save_model(tmp_path / "y.h5", module, inputs=torch.zeros(2, 1, 9, 9))
    assert ma.load_model(tmp_path / "y.h5")(np.zeros((3, 1, 9, 9), "f4")).shape == (3, 4)
