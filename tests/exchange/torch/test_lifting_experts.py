"""Operators of mixtures of experts, as PyTorch has them."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import Function, assert_read

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
CHOSEN = np.array([[3, 0], [2, 2], [0, 3], [3, 3], [-1, 5]])


@pytest.mark.parametrize(("bins", "low", "high"), [(4, 0, 3), (3, 0, 4), (7, -2, 2)])
def test_histograms(bins, low, high):
    assert_read(Function(lambda chosen: torch.histc(chosen.float(), bins=bins, min=low, max=high)), CHOSEN)


def test_histograms_of_unknown_bounds_are_refused():
    with pytest.raises(ma.ConversionError, match="between the smallest and the largest element"):
        read_module(Function(lambda x: torch.histc(x, bins=3)), torch.randn(2, 3))


class Experts(torch.nn.Module):
    """Rows in the order of their experts, times the weights of these, and back."""

    def __init__(self, first=0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0)))
        self.first = first

    def forward(self, x, scores):
        chosen = scores.topk(2, -1)[1].reshape(-1)
        order = torch.sort(chosen)[1]
        rows = x.repeat_interleave(2, 0)[order]
        counts = torch.histc(chosen.float(), bins=4, min=0, max=3)
        offs = counts.cumsum(0, dtype=torch.int32)
        # PyTorch exports it in bfloat16 alone.
        found = torch.nn.functional.grouped_mm(rows.bfloat16(), self.weight.bfloat16(), offs=offs).float()
        return torch.zeros_like(found).index_add(0, order, found).reshape(-1, 2, 8).sum(1)


@pytest.mark.skipif(not hasattr(torch.nn.functional, "grouped_mm"), reason="PyTorch has no grouped_mm before 2.10")
def test_products_by_groups():
    x, scores = RNG.standard_normal((5, 8), np.float32), RNG.standard_normal((5, 4), np.float32)
    scores[:, 1] = -9  # an expert that nobody chooses
    assert_read(Experts(), x, scores, limit=2e-2)
    net = read_module(Experts(), ({"shape": [None, 8]}, {"shape": [None, 4]})).build()
    wanted = Experts()(torch.from_numpy(x[:3]), torch.from_numpy(scores[:3])).detach()
    np.testing.assert_allclose(net(x[:3], scores[:3]), wanted.numpy(), atol=2e-2)
