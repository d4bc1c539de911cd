"""Tensors that a forward makes of sizes: a shape that is computed of them is one of sizes, not of values."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import assert_read

torch = pytest.importorskip("torch")

ROWS = np.random.default_rng(0).standard_normal((3, 8, 4)).astype(np.float32)


class Computed(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def _chunks(x):
    """Windows that overlap by half, as Longformer cuts them."""
    windows = torch.div(x.size(1), 4, rounding_mode="trunc")
    x = x.view(x.size(0), windows, 4, x.size(2))
    size, stride = list(x.size()), list(x.stride())
    size[1], stride[1] = size[1] * 2 - 1, stride[1] // 2
    chunks = x.as_strided(size, stride)
    count = torch.div(8, 2, rounding_mode="trunc") - 1
    assert chunks.size(1) == count
    return chunks + x.new_zeros(x.size(0), count, 1, 1)


def _asked(x):
    length = torch.tensor(x.shape[1])
    if length > 4 and not length.eq(9) and int(length) < 10:
        x = x * 2
    for _ in range(length - 6):
        x = x + 1
    return x[:, 2 : length - 1]


def _written(x):
    length = torch.tensor(x.shape[1])
    length -= 2
    length.mul_(2)
    return x * length


def _listed(x):
    sizes = torch.tensor([x.shape[1] // 2, x.shape[2] * 2])
    return x.reshape(-1, sizes[0], sizes[1])


def _beside(x):
    """Lists and truths are no sizes where arrays of them mean something else."""
    sizes, is_long = torch.tensor([x.shape[1] // 8, 2]), torch.tensor(x.shape[1]) > 4
    return x[is_long], x[:, sizes]


def _filled(x):
    length = torch.as_tensor(x.shape[1], dtype=torch.float32)
    return x / length.sqrt() + torch.full((x.shape[1], 1), torch.tensor(x.shape[0]))


def _repeated(x):
    """As Keras repeats on PyTorch: the number is a tensor of 32 bits."""
    batch, length = (torch.as_tensor(size, dtype=torch.int32) for size in x.shape[:2])
    rows = torch.repeat_interleave(x.new_ones(1, 3), batch, dim=0)
    return torch.repeat_interleave(x.sum(2)[:, None, :, None], length, dim=-1), rows


def _chosen(x):
    """A truth about a size is followed either way."""
    size = torch.tensor(x.shape[0], dtype=torch.int32)
    return x * 2 if size > 4 else x + 1


def _true(x):
    """A truth made of a size is 1, and a list of one number without its axis is a number."""
    is_long = torch.tensor(x.shape[1]).to(torch.bool).long()
    length = torch.tensor([x.shape[1] - 3]).squeeze()
    return x[:, int(is_long) : int(length)] * int(is_long)


@pytest.mark.parametrize("function", [_chunks, _asked, _written, _listed, _beside, _filled, _true, _repeated, _chosen])
def test_shapes_are_computed_of_tensors(function):
    bundle = assert_read(Computed(function), ROWS)
    assert not isinstance(bundle.architecture["inputs"][0]["shape"][0], int)


def _halves(x):
    half = torch.div(x.shape[1], 2, rounding_mode="floor")
    return x.view(x.shape[0], half, 2 * x.shape[2])


def _rounded(x):
    return x.reshape(x.shape[0], torch.floor_divide(torch.tensor(x.shape[1] * 2), 4), -1)


def _ranged(x):
    places = torch.arange(x.shape[0], x.shape[0] + x.shape[1]) + torch.arange(0, x.shape[1] * x.shape[0], x.shape[0])
    return x + places[:, None] + torch.full((x.shape[1], 1), x.shape[0]) + torch.full_like(x, x.shape[1])


@pytest.mark.parametrize("function", [_halves, _rounded, _ranged])
def test_they_are_of_any_size(function):
    module = Computed(function)
    bundle = read_module(module, {"shape": [None, None, 4]})
    x = np.random.default_rng(1).standard_normal((5, 14, 4)).astype(np.float32)
    assert np.array_equal(bundle.build()(x), module(torch.from_numpy(x)).numpy())


def test_a_tensor_that_values_are_written_into_is_none_of_sizes():
    def function(x):
        length = torch.tensor(x.shape[1])
        length.copy_(x.sum().long())
        return x.new_zeros(length)

    with pytest.raises(ma.ConversionError, match=r"depends on values|values of an array"):
        read_module(Computed(function), ROWS)
