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


def _levels(x):
    """Shapes of several levels in one array, by which what stands in a row is cut, as in Deformable DETR."""
    shapes = torch.as_tensor([(x.shape[0], 2), (x.shape[1], x.shape[2])])
    flat = torch.cat([x[:, 0, :2].flatten(), x[0].flatten()])
    one, other = flat.split([height * width for height, width in shapes])
    places = torch.arange(0, shapes[1, 0], dtype=x.dtype) / shapes[1][0]
    return one.view(*shapes[0]), other.view(shapes[1:, 0], -1) + places[:, None], x * shapes[:, 1].sum()


@pytest.mark.parametrize("function", [_halves, _rounded, _ranged, _levels])
def test_they_are_of_any_size(function):
    module = Computed(function)
    bundle = read_module(module, {"shape": [None, None, 4]})
    x = np.random.default_rng(1).standard_normal((5, 14, 4)).astype(np.float32)
    found, wanted = bundle.build()(x), module(torch.from_numpy(x))
    for one, other in zip(*((each if isinstance(each, tuple) else (each,)) for each in (found, wanted)), strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-6)


def test_a_tensor_that_values_are_written_into_is_none_of_sizes():
    def function(x):
        length = torch.tensor(x.shape[1])
        length.copy_(x.sum().long())
        return x.new_zeros(length)

    with pytest.raises(ma.ConversionError, match=r"depends on values|values of an array"):
        read_module(Computed(function), ROWS)


class Padded(torch.nn.Module):
    """A convolution that fills its steps up, as EnCodec does: with numbers that it keeps in buffers and attributes."""

    def __init__(self, width, stride, mode):
        super().__init__()
        self.layer, self.mode = torch.nn.Conv1d(3, 3, width, stride), mode
        self.stride = torch.nn.Buffer(torch.tensor(stride), persistent=False)
        self.width = torch.nn.Buffer(torch.tensor(width), persistent=False)
        self.before = torch.tensor(width) - stride

    def forward(self, x):
        length = x.shape[-1]
        steps = torch.ceil((length - self.width + self.before) / self.stride + 1).to(torch.int64) - 1
        more = steps * self.stride + self.width - self.before - length
        return self.layer(torch.nn.functional.pad(x, (self.before, more), self.mode))


@pytest.mark.parametrize("mode", ["constant", "replicate"])
def test_steps_are_filled_up_by_numbers_in_buffers(mode):
    torch.manual_seed(0)
    module = torch.nn.Sequential(Padded(4, 2, mode), torch.nn.ELU(), Padded(8, 4, mode), Padded(3, 1, mode)).eval()
    read = read_module(module, {"shape": [None, 3, "length"]}).build()
    for length in range(8, 36):
        x = torch.randn(2, 3, length)
        np.testing.assert_allclose(read(x.numpy()), module(x).detach().numpy(), atol=1e-5)


def test_a_quotient_that_is_no_whole_number_is_rounded_as_pytorch_does():
    def function(x):
        length = torch.tensor(x.shape[1])
        rows = [
            (length / 3).floor(),
            (length / -3).ceil().abs(),
            ((length * 2).float() / 3).to(torch.int32),
            -length / 5,
        ]
        return x[:, : rows[0].long()].sum(1), sum(rows) + x, x[:, : rows[2]].amax(1)

    module = Computed(function)
    declared = {"shape": [None, "length", 4]}
    read = read_module(module, declared).build()
    for length in (6, 7, 8, 13, 22):
        x = torch.randn(2, length, 4)
        for one, other in zip(read(x.numpy()), module(x), strict=True):
            np.testing.assert_allclose(one, other.numpy(), atol=1e-5)
    with pytest.raises(ma.ConversionError, match="depends on values"):  # (7 / 6) * 6 may be 6.9999995
        read_module(Computed(lambda x: x[:, : (torch.tensor(x.shape[1]) / 6 * 6).long()]), declared)
