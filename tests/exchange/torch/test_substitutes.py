"""Functions that PyTorch says by what writes into parameters, said by others that do not."""

import numpy as np
import pytest

import modelarchive as ma

torch = pytest.importorskip("torch")

from modelarchive.exchange.torch import read_module  # noqa: E402
from tests.exchange.torch.comparison import Function  # noqa: E402

WORDS = torch.tensor([[1, 2, 0], [3, 9, 9]])


class Looking(torch.nn.Module):
    def __init__(self, table):
        super().__init__()
        self.table, self.layer = table, torch.nn.Linear(4, 3)

    def forward(self, *given):
        return self.layer(self.table(*given))


TABLES = {
    "Embedding": (torch.nn.Embedding, {}, (WORDS,)),
    "of sums of sizes": (torch.nn.Embedding, {"norm_type": 1.0, "padding_idx": 0}, (WORDS,)),
    "of largest sizes": (torch.nn.Embedding, {"norm_type": float("inf")}, (WORDS,)),
    "EmbeddingBag": (torch.nn.EmbeddingBag, {}, (WORDS,)),
    "EmbeddingBag with offsets": (torch.nn.EmbeddingBag, {"mode": "sum"}, (WORDS.flatten(), torch.tensor([0, 2]))),
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_that_are_shortened_where_they_are_looked_up(name, tmp_path):
    make, options, given = TABLES[name]
    torch.manual_seed(0)
    module = Looking(make(10, 4, max_norm=1.0, **options)).eval()
    before = module.table.weight.detach().clone()
    ma.save_model(tmp_path / "net.h5", module, inputs=given)
    assert torch.equal(module.table.weight, before)
    assert np.array_equal(ma.load(tmp_path / "net.h5")["table.weight"], before)
    built = ma.load_model(tmp_path / "net.h5", backend="torch")
    found = ma.load_model(tmp_path / "net.h5")(*(each.numpy() for each in given))
    wanted = module(*given).detach().numpy()
    assert not torch.equal(module.table.weight, before)  # PyTorch has shortened some
    assert np.allclose(found, wanted, atol=1e-6)
    assert np.allclose(built(*given).detach().numpy(), wanted, atol=1e-6)


def _quantised(name):
    """A layer and what rounds its outputs to steps, whose ranges were seen before and stay."""
    quantization = torch.ao.quantization
    of_all = quantization.MovingAverageMinMaxObserver
    of_each = quantization.MovingAveragePerChannelMinMaxObserver
    make = {
        "of all": lambda: quantization.FakeQuantize(of_all, 0, 255),
        "of each": lambda: quantization.FakeQuantize(of_each, -128, 127, dtype=torch.qint8, ch_axis=1),
        "in one": lambda: quantization.FusedMovingAvgObsFakeQuantize(of_all, 0, 255),
        "in one, off": lambda: quantization.FusedMovingAvgObsFakeQuantize(of_all, 0, 255),
    }[name]
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), make())
    module(torch.randn(16, 4))
    module.apply(quantization.disable_observer)
    if name.endswith("off"):
        module.apply(quantization.disable_fake_quant)
    return module.eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["of all", "of each", "in one", "in one, off"])
def test_modules_that_are_to_be_quantised_round_as_pytorchs(name, tmp_path):
    module = _quantised(name)
    x = 2 * torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    ma.save_model(tmp_path / "net.h5", module, inputs=x[:2])
    wanted = module(x).detach().numpy()
    found = ma.load_model(tmp_path / "net.h5")(x.numpy())
    assert (len(np.unique(wanted)) == wanted.size) == name.endswith("off")
    step = float(module[1].scale.max())
    # A sum that is next to the middle of two steps may go either way.
    assert np.abs(found - wanted).max() <= 1.01 * step
    assert (np.abs(found - wanted) < 1e-5).mean() > 0.98


@pytest.mark.filterwarnings("ignore")
def test_networks_that_are_prepared_to_be_quantised_come_in(tmp_path):
    quantization = torch.ao.quantization
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 2))
    module.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    module = quantization.prepare_qat(module.train())
    x = torch.randn(8, 3, 6, 6)
    module(x)
    module.eval().apply(quantization.disable_observer)
    ma.save_model(tmp_path / "net.h5", module, inputs=x[:2])
    wanted = module(x).detach().numpy()
    found = ma.load_model(tmp_path / "net.h5")(x.numpy())
    step = float(module[3].activation_post_process.scale)
    assert np.abs(found - wanted).max() <= 1.01 * step
    assert (np.abs(found - wanted) < 1e-5).mean() > 0.8


@pytest.mark.filterwarnings("ignore")
def test_what_observes_while_it_runs_is_told_what_stops_it(tmp_path):
    module = _quantised("in one").apply(torch.ao.quantization.enable_observer)
    with pytest.raises(ma.ConversionError, match="disable_observer"):
        ma.save_model(tmp_path / "net.h5", module, inputs=torch.randn(2, 4))


class Reparameterised(torch.nn.Module):
    """As networks of several branches do when they are evaluated: one convolution in place of all."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
        self.both = torch.nn.Linear(4, 4)

    def forward(self, x):
        self.both.weight.data = self.narrow.weight @ self.wide.weight
        self.both.bias.data = self.narrow.weight @ self.wide.bias + self.narrow.bias
        return self.both(x)


def test_parameters_that_a_forward_assigns_are_computed():
    module = Reparameterised().eval()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    network = read_module(module, torch.randn(2, 4)).build()
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    x = torch.randn(3, 4)
    np.testing.assert_allclose(network(x.numpy()), module(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def _written(x):
    y = x.clone()
    y[(x > 0).byte()] *= 2
    return y


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "function", [_written, lambda x: torch.where((x > 0).byte(), x, -x), lambda x: x[(x[:, 0] > 0).byte()].sum(0)]
)
def test_masks_of_bytes_are_masks(function):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    found = read_module(Function(function), x).build()(x.numpy())
    np.testing.assert_allclose(found, function(x), rtol=1e-6)
