"""torch.nn.Module to architecture: leaves, forwards, functions, shared and frozen parameters, what is refused."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn
from modelarchive.exchange.torch import build_module, read_module
from tests.cases.case import error, set_values, several, values
from tests.cases.kinds import KIND_CASES
from tests.cases.networks import NETWORKS, network
from tests.conformance.test_layers import FEWER
from tests.exchange.torch.comparison import IDS, IMAGE, Function, Holder, X, assert_read, tensors
from tests.zoo.comparison import randomised
from tests.zoo.conftest import transformers

torch = pytest.importorskip("torch")
__all__ = ["transformers"]  # the fixture


@pytest.mark.parametrize("kind", KIND_CASES)
@FEWER
@given(data=st.data())
def test_every_kind_goes_to_torch_and_back(kind, data):
    case = data.draw(KIND_CASES[kind])
    inputs, arrays = values(case, "float32")
    set_values(case.layer, arrays)
    module = build_module(case.layer)
    bundle = read_module(module, tuple({"shape": list(each.shape), "dtype": each.dtype.name} for each in inputs))
    again = bundle.build()
    for name, array in bundle.parameters.items():
        assert array.tobytes() == arrays[name].tobytes()
    for one, other in zip(several(again(*inputs)), several(case.layer(*inputs)), strict=True):
        assert one.shape == other.shape
        assert error(one, other) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_goes_to_torch_and_back(name):
    net, inputs = network(name)
    module = build_module(net, inputs=inputs)
    bundle = read_module(module, tensors(inputs))
    assert bundle.notes == []
    again = bundle.build()
    known = net.collect_params()
    assert set(bundle.parameters) == set(known)
    for parameter, array in bundle.parameters.items():
        assert array.tobytes() == known[parameter].data().tobytes()
    for one, other in zip(several(again(*inputs)), several(net(*inputs)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


VISION = {
    "LeNet": (lambda theirs: theirs.lenet(), (1, 28, 28)),
    "AlexNet": (lambda theirs: theirs.alexnet(10, 32), (3, 95, 67)),
    "VGG-11": (lambda theirs: theirs.vgg11(10, 16), (3, 32, 45)),
    "NiN": (lambda theirs: theirs.nin(10), (3, 95, 67)),
    "GoogLeNet": (lambda theirs: theirs.GoogLeNet(10), (3, 61, 64)),
    "ResNet-18": (lambda theirs: theirs.ResNet(theirs.BasicBlock, [2, 2, 2, 2], 10), (3, 61, 64)),
    "ResNet-50": (lambda theirs: theirs.ResNet(theirs.Bottleneck, [3, 4, 6, 3]), (3, 64, 64)),
    "DenseNet-121": (lambda theirs: theirs.DenseNet([6, 12, 24, 16], classes=10), (3, 64, 64)),
    "U-Net": (lambda theirs: theirs.UNet(3, 3, 8), (3, 48, 32)),
    "U-Net, bilinear": (lambda theirs: theirs.UNet(3, 3, 8, bilinear=True), (3, 48, 32)),
    "MobileNetV2": (lambda theirs: theirs.MobileNetV2(10), (3, 45, 64)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VISION)
def test_pytorch_s_networks_are_read(name, tmp_path):
    from tests.zoo import vision_references

    make, shape = VISION[name]
    module = randomised(make(vision_references), torch)
    x = np.random.default_rng(1).standard_normal((2, *shape), np.float32)
    bundle = assert_read(module, x, folder=tmp_path)
    assert set(bundle.parameters) == {each for each in module.state_dict() if "num_batches" not in each}
    paths = {path for path, _ in bundle.build().named_blocks()}
    assert {path for path, _ in module.named_modules()} <= paths


def test_the_recorded_digits_network_is_read():
    fixtures = Path(str(files("modelarchive.cli") / "digits"))
    from safetensors.torch import load_file

    class LeNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            layers = []
            for channels, filters in ((1, 16), (16, 32)):
                layers += [torch.nn.Conv2d(channels, filters, 3, padding=1), torch.nn.BatchNorm2d(filters)]
                layers += [torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
            self.features = torch.nn.Sequential(*layers)
            self.hidden = torch.nn.Linear(128, 64)
            self.dropout = torch.nn.Dropout(0.3)
            self.output = torch.nn.Linear(64, 10)

        def forward(self, x):
            x = torch.flatten(self.features(x), 1)
            return self.output(self.dropout(torch.relu(self.hidden(x))))

    module = LeNet()
    module.load_state_dict(load_file(fixtures / "lenet-digits.safetensors"))
    recorded = np.load(fixtures / "digits-test.npz")
    net = read_module(module, torch.zeros(1, 1, 8, 8)).build()
    np.testing.assert_allclose(net(recorded["images"]), recorded["logits"], atol=1e-5)


def test_save_model_takes_a_module_and_load_model_gives_one(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU()).train()
    x = torch.randn(2, 1, 8, 8)
    notes = ma.save_model(tmp_path / "net.h5", module, inputs=x)
    assert module.training
    assert [note.where for note in notes] == ["1.num_batches_tracked"]
    again = ma.load_model(tmp_path / "net.h5", backend="torch")
    module.eval()
    np.testing.assert_allclose(again(x).detach().numpy(), module(x).detach().numpy(), atol=1e-6)
    assert ma.load_model(tmp_path / "net.h5", backend="torch", dtype="float64")[0].weight.dtype == torch.float64
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(x.numpy()), module(x).detach().numpy(), atol=1e-6)


def test_shared_and_frozen_parameters_stay_so():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(7, 4)
            self.norm = torch.nn.LayerNorm(4)
            self.norm.weight.requires_grad_(False)
            self.twice = torch.nn.Linear(4, 4)
            self.also = self.twice
            self.decoder = torch.nn.Linear(4, 7, bias=False)
            self.decoder.weight = self.embedding.weight

        def forward(self, x):
            return self.decoder(self.also(self.twice(self.norm(self.embedding(x)))))

    module = Tied()
    bundle = assert_read(module, np.array([[1, 2], [3, 4]]), again=False)
    assert bundle.parameters["decoder.weight"] is bundle.parameters["embedding.weight"]
    net = bundle.build()
    assert net.twice.weight is net.also.weight
    assert not net.norm.weight.trainable
    assert net.norm.bias.trainable
    again = build_module(net)
    assert again.decoder.weight is again.embedding.weight
    assert not again.norm.weight.requires_grad


def test_own_parameters_buffers_and_lists_of_modules():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.randn(4))
            self.register_buffer("shift", torch.randn(4))
            self.register_buffer("scratch", torch.randn(3, 40), persistent=False)
            self.register_buffer("sparse", torch.eye(3).to_sparse(), persistent=False)  # as Whisper has one
            self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))
            self.heads = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 2), "unused": torch.nn.Linear(4, 9)})
            self.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.randn(2, 3))])

        def forward(self, x, *, factor=2.0):
            for layer in self.layers[:2]:
                x = x + layer(x) * factor
            x = self.layers[2](x) * self.scale.exp() + self.shift
            return {"b": self.heads["a"](x) @ self.weights[0] @ self.scratch, "a": x}

    module = Own()
    bundle = assert_read(module, np.random.default_rng(0).standard_normal((3, 4), np.float32))
    assert set(module.state_dict()) == set(bundle.state().parameters)
    assert set(bundle.parameters) - set(module.state_dict()) == {"constant_1"}
    assert not bundle.notes
    assert not bundle.build().shift.trainable


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU"])
def test_recurrent_modules_with_states(cell, batch_first):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = getattr(torch.nn, cell)(6, 5, 2, batch_first=batch_first, bidirectional=True)
            self.second = getattr(torch.nn, cell)(10, 5, 4, batch_first=batch_first)

        def forward(self, x):
            output, state = self.first(x)
            return self.second(output, state)

    assert_read(randomised(Net(), torch), X)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_with_its_masks(batch_first):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(6, 2, batch_first=batch_first)

        def forward(self, x, padding):
            size = x.shape[1 if batch_first else 0]
            causal = torch.ones(size, size, dtype=torch.bool).triu(1)
            one, _ = self.attention(x, x, x, key_padding_mask=padding, attn_mask=causal, need_weights=False)
            return one + self.attention(one, x, x)[0]

    module = randomised(Net(), torch)
    x = X if batch_first else X.transpose(1, 0, 2).copy()
    padding = np.array([[False] * 4, [False, False, True, True]])
    if not batch_first:
        bundle = read_module(module, ({"shape": [4, 2, 6]}, {"shape": [2, 4], "dtype": "bool"}))
        net = bundle.build()
        wanted = module(torch.from_numpy(x), torch.from_numpy(padding)).detach().numpy()
        np.testing.assert_allclose(net(x, padding), wanted, atol=1e-5)
        return
    assert_read(module, x, padding)
    assert_read(Holder(module.attention, lambda held, x: held(x, x, x)[1]), x)


def test_pytorch_s_transformer_layers_are_read():
    layer = torch.nn.TransformerEncoderLayer(6, 2, 10, batch_first=True, activation="gelu", norm_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    assert_read(randomised(encoder, torch), X)
    decoder = torch.nn.TransformerDecoderLayer(6, 2, 10, batch_first=True)
    assert_read(randomised(decoder, torch), X, X[:, :3])


@pytest.mark.filterwarnings("ignore:.*even kernel lengths:UserWarning")
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid", 1])
def test_paddings_of_convolutions(dilation, padding):
    module = torch.nn.Conv2d(4, 3, (3, 2), padding=padding, dilation=dilation)
    assert_read(module, IMAGE)


def test_narrow_dtypes_keep_their_bits():
    module = torch.nn.Linear(6, 3).bfloat16()
    bundle = read_module(module, {"shape": [None, 6], "dtype": "bfloat16"})
    assert bundle.parameters["weight"].dtype.name == "bfloat16"
    assert bundle.parameters["weight"].tobytes() == module.weight.detach().view(torch.int16).numpy().tobytes()


def test_reading_copies_nothing_and_leaves_pytorch_as_it_was():
    before = (torch.nn.Module.__call__, torch.nn.Module.__getattr__, torch.reshape)
    module = torch.nn.Linear(6, 3)
    bundle = read_module(module, X)
    assert bundle.parameters["weight"].ctypes.data == module.weight.data_ptr()
    with pytest.raises(ma.ConversionError):
        read_module(Function(torch.fft.fft), X)
    assert (torch.nn.Module.__call__, torch.nn.Module.__getattr__, torch.reshape) == before
    assert nn.KINDS[bundle.architecture["model"]["kind"]] is nn.Dense


SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
VIEWS = {
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "ConvNext": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "MobileNetV2": {"depth_multiplier": 0.25},
    "ViT": {**SIZES, "image_size": 64, "patch_size": 16},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_image_models_of_transformers_are_read(name, transformers):
    config = getattr(transformers, f"{name}Config")(num_labels=3, **VIEWS[name])
    module = randomised(getattr(transformers, f"{name}ForImageClassification")(config), torch)
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64), np.float32)
    assert_read(Holder(module, lambda held, x: held(x).logits), x)


def test_bert_of_transformers_is_read(transformers):
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=16, **SIZES)
    module = randomised(transformers.BertModel(config), torch)
    assert_read(Holder(module, lambda held, x: tuple(held(x)[:2])), IDS)


def test_states_of_zeros_may_have_the_size_of_the_batch():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(6, 5, batch_first=True)

        def forward(self, x):
            zeros = torch.zeros(1, x.size(0), 5)
            return self.lstm(x, (zeros, torch.ones(1, x.size(0), 5)))

    bundle = assert_read(Net(), X)
    assert bundle.build()(np.ones((7, 4, 6), np.float32))[0].shape == (7, 4, 5)


def test_what_a_module_returns_beside_tensors_reaches_its_caller():
    class Inner(torch.nn.Module):
        def forward(self, x):
            return {"y": x * 2, "factor": 3, "none": None}

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            found = self.inner(x)
            assert found["none"] is None
            return found["y"] * found["factor"]

    assert_read(Outer(), X)


def test_what_a_network_returns_beside_tensors_is_told():
    class Net(torch.nn.Module):
        def forward(self, x):
            return {"y": x * 2, "steps": 3, "loss": None}

    program = torch.export.export(Net(), (torch.from_numpy(X),))
    for module in (Net(), program):
        (note,) = [note for note in read_module(module, torch.from_numpy(X)).notes if note.where == "(model)"]
        assert note.what == "returns 3, None as well, which is left out: tensors alone are outputs"


@pytest.mark.slow
def test_gpt2_of_transformers_is_read_with_a_fixed_batch(transformers):
    options = {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 16, "bos_token_id": 0, "eos_token_id": 0}
    config = transformers.GPT2Config(vocab_size=50, use_cache=False, **options)
    module = Holder(randomised(transformers.GPT2Model(config), torch), lambda held, x: held(x)[0]).eval()
    net = read_module(module, {"shape": list(IDS.shape), "dtype": "int64"}).build()
    wanted = module(torch.from_numpy(IDS)).detach().numpy()
    assert error(net(IDS), wanted) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Llama", "Mistral", "Qwen2"])
def test_llama_of_transformers_is_read_with_a_fixed_batch(name, transformers):
    config = getattr(transformers, f"{name}Config")(
        vocab_size=50, max_position_embeddings=16, num_key_value_heads=2, use_cache=False, **SIZES
    )
    module = Holder(randomised(getattr(transformers, f"{name}Model")(config), torch), lambda held, x: held(x)[0]).eval()
    net = read_module(module, {"shape": list(IDS.shape), "dtype": "int64"}).build()
    wanted = module(torch.from_numpy(IDS)).detach().numpy()
    assert error(net(IDS), wanted) <= 1e-5
