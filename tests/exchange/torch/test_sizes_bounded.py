"""Sizes that are the smaller or the larger of two: below, at and above where the bound begins to count."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modelarchive.exchange.torch import read_module  # noqa: E402 - only where PyTorch is
from tests.exchange.torch.comparison import Function  # noqa: E402
from tests.sampling import some  # noqa: E402

KERNEL = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


def filtered(x):
    """By a kernel of at most eight elements, as state spaces are."""
    length = x.size(-1)
    taken = min(length, 8)
    spectrum = torch.fft.rfft(KERNEL[:, :taken], n=length + taken) * torch.fft.rfft(x, n=length + taken)
    return torch.fft.irfft(spectrum, n=length + taken)[..., :length]


FORWARDS = {
    "a kernel": filtered,
    "the first": lambda x: x[..., : min(x.shape[-1], 5)].sum(-1),
    "the last, and their number": lambda x: x[..., -min(6, x.shape[-1]) :].sum(-1) * min(x.shape[-1], 6),
    "behind the first": lambda x: x[..., max(x.shape[-1] - 3, 0) :].mean(-1),
    "half of them": lambda x: x[..., : min([x.shape[-1] // 2, 7])] * 2,
    "filled up": lambda x: torch.nn.functional.pad(x, (0, max(10 - x.shape[-1], 0))),
    "filled up or cut": lambda x: torch.nn.functional.pad(x, (0, max(0, 9 - x.shape[-1])))[..., :9],
    "new ones": lambda x: x.new_ones(len(x), max(x.shape[-1], 6)) * x.sum((1, 2))[:, None],
    "the largest": lambda x: torch.topk(x, min(4, x.shape[-1]), -1).values,
    "resized": lambda x: torch.nn.functional.interpolate(x, size=min(x.shape[-1], 16)),
    "a number": lambda x: x / max(x.shape[-1], 10),
}


@pytest.mark.parametrize("name", some(FORWARDS))
def test_bounds_of_a_free_length(name):
    module = Function(FORWARDS[name])
    bundle = read_module(module, ({"name": "x", "shape": ["batch", 4, "length"], "dtype": "float32"},))
    assert not bundle.notes
    network = bundle.build()
    for length in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 40):
        x = torch.randn(3, 4, length, generator=torch.Generator().manual_seed(length))
        np.testing.assert_allclose(network(x.numpy()), module(x), atol=1e-5, rtol=1e-5)
