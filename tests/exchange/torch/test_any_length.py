"""What a forward does with a length, or with the sides of an image, at lengths that are shorter than what it names."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from torch.utils.checkpoint import checkpoint  # noqa: E402

from modelarchive.exchange.torch import build_module, read_module  # noqa: E402
from tests.exchange.torch.test_free_axes import Of, same  # noqa: E402


def assigned(place, value):
    def changed(x):
        x = x.clone()
        x[:, place] = value(x)
        return x

    return changed


def bordered(x):
    x = x.clone()
    x[:, 0], x[:, -1] = 0, 1
    x[..., -1] -= 2
    return x


LENGTHS = {
    "rolled by more than it is long": lambda x: x.roll(3, 1) + x.roll(-5, 1),
    "rolled by half of it": lambda x: x.roll(x.shape[1] // 2, 1),
    "its middle first": lambda x: torch.fft.fftshift(x, dim=1) * torch.fft.ifftshift(x, dim=1).cos(),
    "rolled by one": lambda x: x.roll((1, -1), (1, 2)),
    "the last one assigned": assigned(-1, lambda x: 0.0),
    "all but the last one assigned": assigned(slice(0, -1), lambda x: x[:, 1:] + 1),
    "the borders assigned": bordered,
    "the largest of all": lambda x: F.max_pool1d(x.transpose(1, 2), x.shape[1]).squeeze(2),
    "the largest of all by name": lambda x: F.max_pool1d(x.transpose(1, 2), kernel_size=x.transpose(1, 2).size(2)),
    "the mean of all": lambda x: F.avg_pool1d(x.transpose(1, 2), x.shape[1]).squeeze(2),
    "the mean of all and of two": lambda x: F.avg_pool2d(x[:, None], (x.shape[1], 2), (1, 1), (0, 1), True, False),
    "the largest of all and of two": lambda x: F.max_pool2d(x[:, None], (x.shape[1], 2), padding=(0, 1)),
    "a layer for this length": lambda x: torch.nn.AvgPool1d(x.shape[1])(x.transpose(1, 2)),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_of_any_size(name):
    module = Of(LENGTHS[name])
    bundle = read_module(module, {"shape": [None, None, 4]})
    for length in (1, 2, 3, 4, 5, 9, 64):
        same(module, bundle, torch.randn(2, length, 4))


def grouped(x):
    return x.view(x.shape[0], 2, -1).softmax(2).view(x.shape)


IMAGES = {
    "generalised mean": lambda x: F.avg_pool2d(x.clamp(min=1e-6) ** 3, x.shape[-2:]) ** (1 / 3),
    "means of rows": lambda x: F.avg_pool2d(x, (1, x.size(3))),
    "largest of windows that are moved": lambda x: F.max_pool2d(x.roll((3, -2), (2, 3)), x.size()[2:]),
    "volumes": lambda x: F.avg_pool3d(x[:, None], (1, x.shape[2], x.shape[3])),
    "groups of channels with what lies beside, and back": lambda x: grouped(x.tile(1, 2, 1, 1)),
    "all but the batch as one, and back": lambda x: x.flatten(1).softmax(1).view(x.shape),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_any_size(name):
    module = Of(IMAGES[name])
    bundle = read_module(module, {"shape": [None, 3, None, None]})
    for sides in ((1, 1), (2, 5), (7, 3), (16, 20)):
        same(module, bundle, torch.randn(2, 3, *sides))


def test_places_of_the_largest_of_all_hold_for_the_length_of_the_example():
    module = Of(lambda x: F.max_pool1d(x, x.shape[2], return_indices=True))
    bundle = read_module(module, torch.randn(2, 4, 6))
    x = torch.randn(3, 4, 6)
    for found, wanted in zip(bundle.build()(x.numpy()), module(x), strict=True):
        np.testing.assert_array_equal(found, wanted)


RECURRENCES = {
    "LSTM": lambda: torch.nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True),
    "GRU": lambda: torch.nn.GRU(4, 3, batch_first=True, bidirectional=True),
    "RNN": lambda: torch.nn.RNN(4, 3, 2, batch_first=True, nonlinearity="relu"),
}


def written(layer, x):
    """Writes through a view, so that PyTorch takes the whole forward apart."""
    found, states = layer(x)
    kept = torch.zeros_like(found)
    kept[:, 1:] = found[:, 1:]
    first = kept[:, 0]
    first += states[0].sum() if isinstance(states, tuple) else states.sum()
    return kept


def in_a_region(layer, x):
    return checkpoint(lambda x: layer(x)[0], x, use_reentrant=False)


@pytest.mark.slow
@pytest.mark.parametrize("around", [written, in_a_region])
@pytest.mark.parametrize("name", RECURRENCES)
def test_recurrences_of_any_length_in_what_is_taken_apart(name, around):
    torch.manual_seed(0)
    module = Of(around, RECURRENCES[name]()).eval()
    bundle = read_module(module, {"shape": ["batch", "time", 4]})
    for batch, length in ((1, 1), (3, 2), (2, 9)):
        same(module, bundle, torch.randn(batch, length, 4))
    build_module(bundle).load_state_dict(module.state_dict(), strict=True)


def test_statistics_of_a_batch_that_a_forward_asks_for_by_itself():
    """As adaptive instance normalisation is written: samples are channels, and running numbers no layer's."""
    layer = torch.nn.Linear(5, 6)

    def forward(layer, x, style):
        batch, channels, height, width = x.shape
        scale, shift = layer(style).chunk(2, 1)
        zeros, ones = torch.zeros(channels).repeat(batch), torch.ones(channels).repeat(batch)
        rows = x.contiguous().view(1, batch * channels, height, width)
        found = F.batch_norm(rows, zeros, ones, scale.reshape(-1), shift.reshape(-1), True, 0.1, 1e-5)
        return found.view(batch, channels, height, width)

    module = Of(forward, layer)
    bundle = read_module(module, ({"shape": ["batch", 3, "height", "width"]}, {"shape": ["batch", 5]}))
    same(module, bundle, torch.randn(4, 3, 5, 2), torch.randn(4, 5))


class Positions(torch.nn.Module):
    """Gives as many rows of a table as what it is given is long."""

    def __init__(self, table, *, persistent):
        super().__init__()
        if persistent is None:
            self.table = table
        else:
            self.register_buffer("table", table, persistent=persistent)

    def forward(self, x):
        return self.table[:, : x.size(1)]


@pytest.mark.parametrize("persistent", [True, False, None])
def test_a_module_that_takes_a_length_alone(persistent):
    torch.manual_seed(0)
    words, table = torch.nn.Embedding(9, 4), torch.randn(1, 128, 4)
    positions = Positions(table, persistent=persistent)
    module = Of(lambda words, positions, ids: words(ids) + positions(ids), words, positions)
    bundle = read_module(module, {"shape": ["batch", "time"], "dtype": "int64"})
    for batch, length in ((1, 1), (3, 5), (2, 128)):
        same(module, bundle, torch.randint(9, (batch, length)))
    build_module(bundle).load_state_dict(module.state_dict(), strict=True)
