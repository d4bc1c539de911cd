"""Hooks, parametrisations, pruning: read, or told by name with what makes the weight plain."""

import re

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import build_module, read_module
from tests.exchange.torch.comparison import X
from tests.exchange.torch.refusals import refused

torch = pytest.importorskip("torch")
pytest.importorskip("torch.nn.utils.prune")


def symmetric(module):
    class Symmetric(torch.nn.Module):
        def forward(self, x):
            return x + x.T

    torch.nn.utils.parametrize.register_parametrization(module, "weight", Symmetric())


READ = {
    "weight_norm": torch.nn.utils.weight_norm,
    "spectral_norm": torch.nn.utils.spectral_norm,
    "pruned": lambda module: torch.nn.utils.prune.l1_unstructured(module, "weight", 0.5),
    "parametrised weight_norm": torch.nn.utils.parametrizations.weight_norm,
    "parametrised spectral_norm": torch.nn.utils.parametrizations.spectral_norm,
    "orthogonal": torch.nn.utils.parametrizations.orthogonal,
    "orthogonal by reflections": lambda module: torch.nn.utils.parametrizations.orthogonal(
        module, orthogonal_map="householder"
    ),
    "orthogonal by Cayley": lambda module: torch.nn.utils.parametrizations.orthogonal(module, orthogonal_map="cayley"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READ)
def test_weights_that_are_computed_are_read_with_what_computes_them(name):
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(6, 6)), torch.nn.ReLU())
    READ[name](model[0][0])
    model.eval()
    model(torch.from_numpy(X))
    state = {name: each.clone() for name, each in model.state_dict().items()}
    bundle = read_module(model, torch.from_numpy(X))
    np.testing.assert_allclose(bundle.build()(X), model(torch.from_numpy(X)).detach().numpy(), rtol=1e-5, atol=1e-5)
    assert set(bundle.parameters) <= set(state)
    assert all(torch.equal(each, model.state_dict()[name]) for name, each in state.items())


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_computed_are_told_with_what_makes_them_plain(tmp_path):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 80), np.float32))
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(80, 80)), torch.nn.ReLU())
    # A system of more rows than are said one by one is solved.
    torch.nn.utils.parametrizations.orthogonal(model[0][0], orthogonal_map="cayley")
    model.eval()
    error = refused(tmp_path, model, inputs=x)
    assert len(error.unsupported) == 1
    where, what = error.unsupported[0]
    assert where.startswith("0.0")
    assert "parametrisation (Orthogonal)" in what
    wanted = model(x).detach().numpy()
    eval(re.search(r"torch\.nn\.utils\..*\)(?= makes)", what)[0], {"torch": torch, "model": model})
    ma.save_model(tmp_path / "net.h5", model, inputs=x)
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(x.numpy()), wanted, atol=1e-5)


def test_a_parametrisation_of_one_s_own_is_read(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(6, 6))
    symmetric(model[0])
    ma.save_model(tmp_path / "net.h5", model, inputs=torch.from_numpy(X))
    wanted = model(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), wanted, atol=1e-5)


def test_hooks_and_replaced_forwards_are_read(tmp_path):
    def double(module, inputs, output):
        return output * 2

    model = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.ReLU(), torch.nn.ReLU())
    handle = model[0].register_forward_hook(double)
    model[1].forward = lambda x: x * 3
    net = read_module(model, {"shape": [None, 4, 6]}).build()
    np.testing.assert_allclose(net(X), model(torch.from_numpy(X)).detach().numpy(), atol=1e-6)
    handle.remove()
    del model[1].forward
    model[2].register_full_backward_hook(lambda *given: None)
    ma.save_model(tmp_path / "net.h5", model, inputs={"shape": [None, 6]})


def test_a_parametrisation_that_is_not_the_cause_is_not_told(tmp_path):
    class Counting(torch.nn.Module):
        def forward(self, x):
            return torch.unique(x)

    model = torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(6, 6)), Counting())
    (problem,) = refused(tmp_path, model.eval(), inputs=torch.from_numpy(X)).unsupported
    assert "size depends on values" in problem[1]


def test_weights_of_layers_that_nobody_calls_keep_their_names():
    """They are computed of others, or stand beside what the class has."""

    class Idle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(4, 4)
            self.one = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(2, 3, 3))
            self.two = torch.nn.utils.spectral_norm(torch.nn.Linear(2, 3))
            self.three = torch.nn.BatchNorm2d(3)
            self.three.register_buffer("seen", torch.ones(2))

        def forward(self, x):
            return self.first(x)

    module = Idle().eval()
    bundle = read_module(module, torch.randn(2, 4))
    assert set(bundle.parameters) == set(module.state_dict())
    build_module(bundle).load_state_dict(module.state_dict(), strict=True)
