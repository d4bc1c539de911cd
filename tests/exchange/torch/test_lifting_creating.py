"""New arrays, ranges and parts of sizes that no array has: calculated of those that arrays have, at any size."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module

torch = pytest.importorskip("torch")


class Computed(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def _half(x):
    return x[:, : x.shape[1] // 2 + 1]


def _thirds(x):
    return torch.zeros(x.shape[1] // 3, 2) + x[0, 0, 0]


def _relative(x):
    length = x.shape[1]
    places = torch.arange(length)
    return torch.arange(2 * length - 1)[places[:, None] - places + length - 1] + x[:, :, :1]


def _backwards(x):
    return x + torch.arange(x.shape[1] - 1, -1, -1)[:, None]


def _all_words(x):
    flat = torch.zeros(x.shape[0] * x.shape[1] * 3)
    return flat.scatter_add(0, torch.arange(x.shape[1]) * x.shape[0], x[0, :, 0])


def _affine(x):
    return torch.ones(3 * x.shape[1] + 2) * x.sum(), x * torch.full((1,), 2 * x.shape[1] - 1)


def _squared(x):
    return torch.zeros(x.shape[1] ** 2, dtype=torch.int64) + torch.arange(x.shape[0] + x.shape[1]).sum()


@pytest.mark.parametrize("function", [_half, _thirds, _relative, _backwards, _all_words, _affine, _squared])
def test_arrays_are_of_calculated_sizes(function):
    module = Computed(function)
    net = read_module(module, {"shape": [None, None, 4]}).build()
    for shape in [(2, 8, 4), (3, 13, 4), (1, 7, 4), (5, 3, 4)]:
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        for one, other in zip(_row(net(x)), _row(module(torch.from_numpy(x))), strict=True):
            assert one.shape == tuple(other.shape)
            assert np.allclose(one, other.numpy(), atol=1e-5)


def test_what_is_calculated_in_another_way_is_refused():
    with pytest.raises(ma.ConversionError, match="a size that is not fixed"):
        read_module(Computed(lambda x: torch.zeros(x.shape[1] % 5 + 1) + x.sum()), {"shape": [2, None, 4]})


def _row(found):
    return found if isinstance(found, tuple) else (found,)
