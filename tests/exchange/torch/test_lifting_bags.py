"""Bags of rows of a table, of any batch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modelarchive.exchange.torch import read_module  # noqa: E402 - it imports PyTorch


def test_bags_of_one_row():
    module = torch.nn.EmbeddingBag(10, 4, mode="sum").eval()
    network = read_module(module, torch.tensor([[3], [5]])).build()
    given = torch.tensor([[1], [9], [2]])
    np.testing.assert_allclose(network(given.numpy()), module(given).detach().numpy(), rtol=0, atol=1e-6)
