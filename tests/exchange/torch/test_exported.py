"""Programs of torch.export as whole models, against the program itself, on another batch than it was exported on."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.exchange.torch import read_module
from tests.cases.case import error
from tests.exchange.torch.comparison import IDS, IMAGE, X, flat
from tests.zoo.comparison import randomised
from tests.zoo.conftest import transformers

torch = pytest.importorskip("torch")
__all__ = ["transformers"]  # the fixture
# What PyTorch's own tracing says while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")

BATCH = {0: torch.export.Dim.AUTO}


def exported(module, *inputs, is_free=True):
    inputs = tuple(torch.from_numpy(np.array(each)) for each in inputs)
    shapes = tuple(BATCH for _ in inputs) if is_free else None
    return torch.export.export(module.eval(), inputs, dynamic_shapes=shapes, strict=False)


def assert_saved(module, *inputs, is_free=True, folder, limit=1e-5):
    program = exported(module, *inputs, is_free=is_free)
    for each in (program, program.module()):
        notes = ma.save_model(folder / "net.h5", each, durable=False)
        net = ma.load_model(folder / "net.h5")
        if is_free:
            inputs = tuple(np.concatenate([one, one[:1]]) for one in inputs)
        with torch.no_grad():
            wanted = flat(module(*(torch.from_numpy(one) for one in inputs)))
        for one, other in zip(flat(net(*inputs)), wanted, strict=True):
            assert one.shape == tuple(other.shape)
            assert error(one, other.numpy()) <= limit
    state = {name: value for name, value in module.state_dict().items() if "num_batches" not in name}
    stored = ma.load(folder / "net.h5")
    assert set(stored) == set(state)
    assert all(stored[name].tobytes() == value.numpy().tobytes() for name, value in state.items())
    return net, notes


class One(torch.nn.Module):
    """A function of one input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Two(torch.nn.Module):
    def forward(self, x, y):
        return x * 2, y * 3


class Holding(torch.nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x)


LAYERS = {
    "Dense": (lambda: torch.nn.Linear(6, 3, bias=False), X),
    "Embedding": (lambda: torch.nn.Embedding(5, 3, padding_idx=1), IDS),
    "Conv1D": (lambda: torch.nn.Conv1d(4, 6, 3, 2, 1, groups=2), X),
    "Conv2D": (lambda: torch.nn.Conv2d(4, 3, (3, 2), (2, 1), padding=(1, 0), dilation=(1, 2), bias=False), IMAGE),
    "Conv2D, same": (lambda: torch.nn.Conv2d(4, 3, 3, padding="same", dilation=2), IMAGE),
    "Conv3D": (lambda: torch.nn.Conv3d(4, 3, 2), IMAGE[..., None].repeat(3, -1)),
    "Conv2DTranspose": (lambda: torch.nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), IMAGE),
    "BatchNorm": (lambda: torch.nn.BatchNorm2d(4, eps=1e-3), IMAGE),
    "BatchNorm, plain": (lambda: torch.nn.BatchNorm1d(4, affine=False), X),
    "LayerNorm": (lambda: torch.nn.LayerNorm([4, 6], eps=1e-3), X),
    "LayerNorm, no bias": (lambda: torch.nn.LayerNorm(6, bias=False), X),
    "GroupNorm": (lambda: torch.nn.GroupNorm(2, 4), IMAGE),
    "PReLU": (lambda: torch.nn.PReLU(4), IMAGE),
}


@pytest.mark.filterwarnings("ignore:.*even kernel lengths:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_made_again_of_their_calls(name, tmp_path):
    make, x = LAYERS[name]
    torch.manual_seed(0)
    net, _ = assert_saved(Holding(randomised(make(), torch)), x, folder=tmp_path)
    assert dict(net.named_blocks())["part"].kind == name.partition(",")[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*_flat_weights:UserWarning")  # of the export itself
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers(cell, batch_first, tmp_path):
    part = getattr(torch.nn, cell)(6, 5, 2, batch_first=batch_first, bidirectional=True, bias=batch_first)
    module = Holding(randomised(part, torch))
    net, _ = assert_saved(module, X, is_free=batch_first, folder=tmp_path)
    assert type(net.part) is nn.KINDS[cell]


@pytest.mark.slow
def test_a_residual_network_with_pooling_and_dropout(tmp_path):
    from tests.zoo import vision_references

    torch.manual_seed(0)
    module = randomised(vision_references.ResNet(vision_references.BasicBlock, [1, 1, 1, 1], 10), torch)
    _, notes = assert_saved(
        torch.nn.Sequential(module, torch.nn.Dropout(0.5)), np.ones((2, 3, 64, 64), np.float32), folder=tmp_path
    )
    assert [note.where for note in notes if "num_batches" in note.where]
    part = ma.load_model(tmp_path / "net.h5", block="0.layer1.0.conv1")
    assert part.kind == "Conv2D"


def test_a_transformer_with_its_attention(tmp_path):
    layer = torch.nn.TransformerEncoderLayer(6, 2, 10, batch_first=True, activation="gelu", norm_first=True)
    assert_saved(torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), X, folder=tmp_path)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x[:, 1:, :3], x[:, -2], x[..., ::2], x.select(1, 0)),
        lambda x: {"b": x.softmax(-1), "a": [x.mean(1, keepdim=True), x.sum((1, 2))]},
        lambda x: x.reshape(x.shape[0], -1).unsqueeze(1).expand(-1, 2, -1).transpose(1, 2).flatten(1),
        lambda x: torch.cat([(x + 1).relu_() * 2 - 1, (x / 3).clamp(min=0.1).pow(2)], -1) + torch.tensor([1.0]),
        lambda x: torch.nn.functional.interpolate(x, scale_factor=2.0),
        lambda x: torch.nn.functional.gelu(x, approximate="tanh") @ x.mT,
        lambda x: torch.where(x > 0, x, x * 0.1).to(torch.float64),
        lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True),
    ],
)
def test_calls_that_are_no_layers(function, tmp_path):
    program = exported(One(function), X)
    bundle = read_module(program)
    x = np.concatenate([X, X[:1]])
    wanted = flat(function(torch.from_numpy(x.copy())))
    for one, other in zip(flat(bundle.build()(x)), wanted, strict=True):
        assert one.dtype == other.numpy().dtype
        assert error(one, other.numpy()) <= 1e-5


def test_shared_and_frozen_parameters_stay_so(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(5, 6)
            self.norm = torch.nn.LayerNorm(6)
            self.norm.weight.requires_grad_(False)
            self.head = torch.nn.Linear(6, 5, bias=False)
            self.head.weight = self.words.weight
            self.register_buffer("scale", torch.tensor(2.0))

        def forward(self, ids):
            return self.head(self.norm(self.words(ids)) * self.scale)

    net, _ = assert_saved(Tied(), IDS, folder=tmp_path)
    assert net.words.weight is net.head.weight
    assert not net.norm.weight.trainable
    assert not net.scale.trainable


def test_axes_are_free_as_the_program_says(tmp_path):
    module = Two()
    inputs = (torch.zeros(3, 5), torch.zeros(2, 4, 6))
    program = torch.export.export(module, inputs, dynamic_shapes=({1: torch.export.Dim.AUTO}, None))
    declared = read_module(program).architecture["inputs"]
    assert [each["shape"] for each in declared] == [[3, None], [2, 4, 6]]


def test_inputs_that_a_program_does_not_take(tmp_path):
    program = torch.export.export(torch.nn.Sequential(torch.nn.Linear(6, 2)), (torch.zeros(3, 6),))
    for x in (torch.zeros(2, 6), (torch.zeros(3, 6), torch.zeros(3, 6))):
        with pytest.raises(ma.ConversionError, match="does not run on them") as caught:
            ma.save_model(tmp_path / "net.h5", program, inputs=x)
        assert caught.value.hint == "leave inputs= out: it is known to take float32 [3, 6] (None: any size)"
    ma.save_model(tmp_path / "net.h5", program)


def test_language_models_of_transformers(transformers, tmp_path):
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        num_key_value_heads=2, use_cache=False, max_position_embeddings=16,
    )  # fmt: skip
    module = randomised(transformers.LlamaForCausalLM(config), torch).eval()
    program = exported(Holding(module), IDS, is_free=False)
    ma.save_model(tmp_path / "net.h5", program, durable=False)
    wanted = module(torch.from_numpy(IDS)).logits.detach().numpy()
    found = ma.load_model(tmp_path / "net.h5")(IDS)
    assert error(found["logits"] if isinstance(found, dict) else found, wanted) <= 1e-5


def test_what_cannot_be_said_is_listed(tmp_path):
    program = exported(One(lambda x: torch.special.bessel_j1(torch.linalg.pinv(x @ x.mT))), X)
    with pytest.raises(ma.ConversionError) as caught:
        ma.save_model(tmp_path / "net.h5", program)
    assert [what.split("'")[1] for _, what in caught.value.unsupported] == ["linalg_pinv", "special_bessel_j1"]

    def narrowed(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.mT

    program = exported(One(narrowed), X)
    found = read_module(program).build()(X)
    np.testing.assert_allclose(found.astype(np.float32), program.module()(torch.from_numpy(X)).float(), rtol=2e-2)


def test_inputs_that_were_fixed_are_told(tmp_path):
    class Options(torch.nn.Module):
        def forward(self, x, times, mask=None):
            return x * times if mask is None else x

    program = torch.export.export(Options(), (torch.ones(2), 3))
    notes = ma.save_model(tmp_path / "net.h5", program)
    assert any("is fixed to 3" in note.what for note in notes)
    np.testing.assert_array_equal(ma.load_model(tmp_path / "net.h5")(np.ones(2, np.float32)), [3, 3])


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_other_graphs_of_aten_are_read(tmp_path):
    from torch.fx.experimental.proxy_tensor import make_fx

    module = torch.nn.Sequential(torch.nn.Linear(6, 2))
    wanted = module(torch.from_numpy(X)).detach().numpy()
    program = exported(module, X)
    for each in (
        make_fx(module)(torch.from_numpy(X)),
        torch.export.unflatten(program),
        program.module(),
        torch.nn.Sequential(program.module(), torch.nn.Identity()),
    ):
        ma.save_model(tmp_path / "net.h5", each, inputs=torch.from_numpy(X))
        np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), wanted, rtol=1e-5, atol=1e-6)


def test_a_program_for_training_is_refused(tmp_path):
    program = torch.export.export(torch.nn.Sequential(torch.nn.BatchNorm1d(4)).train(), (torch.from_numpy(X),))
    with pytest.raises(ma.ConversionError, match=r"export the module in evaluation, module.eval\(\)"):
        ma.save_model(tmp_path / "net.h5", program)


def test_a_program_is_as_it_was(tmp_path):
    program = exported(torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(6, 2)), X)
    before = {name: (id(each), each.clone()) for name, each in program.state_dict.items()}
    text = str(program.graph)
    ma.save_model(tmp_path / "net.h5", program)
    assert str(program.graph) == text
    assert all(id(program.state_dict[name]) == one and torch.equal(program.state_dict[name], other)
               for name, (one, other) in before.items())  # fmt: skip
