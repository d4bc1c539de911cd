"""Parameters that a forward reaches by other ways than their names are parameters all the same."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modelarchive.exchange.torch import aliases as module  # noqa: E402 - it imports PyTorch
from modelarchive.exchange.torch import read_module  # noqa: E402 - it imports PyTorch


class Aliased(torch.nn.Module):
    """A layer whose weight is used through an attribute that `see` makes of it."""

    def __init__(self, see):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8, bias=False)
        self.seen = [see(self.layer.weight)]

    def forward(self, x):
        (seen,) = self.seen
        return x @ (torch.from_numpy(seen) if isinstance(seen, np.ndarray) else seen)


X = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("see", [torch.Tensor.detach, lambda w: w.data, lambda w: w.detach().numpy()])
def test_the_memory_of_a_parameter_is_that_parameter(see):
    module = Aliased(see).eval()
    bundle = read_module(module, X)
    network = bundle.build()
    with torch.no_grad():
        module.layer.weight.copy_(torch.randn(8, 8))
        network.collect_params()["layer.weight"].set_data(module.layer.weight.numpy())
        np.testing.assert_allclose(network(X.numpy()), module(X).numpy(), rtol=0, atol=1e-5)
    assert not bundle.notes


def test_another_view_of_a_parameter_is_told():
    module = Aliased(lambda w: w.data.T).eval()
    bundle = read_module(module, X)
    assert any("another view of its memory" in each.what for each in bundle.notes if each.where == "layer.weight")
    with torch.no_grad():
        np.testing.assert_allclose(bundle.build()(X.numpy()), module(X).numpy(), rtol=0, atol=1e-5)


def test_each_parameter_is_asked_once_where_it_lies(monkeypatch):
    asked = []
    memory = module._memory
    monkeypatch.setattr(module, "_memory", lambda tensor: asked.append(tensor) or memory(tensor))
    state = {f"p{at}": torch.ones(2) for at in range(50)}
    found = module.Aliases(state)
    assert [found.name_of(each.detach()) for each in state.values()] == [*state]
    assert found.name_of(torch.ones(2)) is None
    assert len(asked) == 101
