"""What a forward does with a length, or with the sides of an image, at lengths that are shorter than what it names."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from modelarchive.exchange.torch import read_module  # noqa: E402
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


IMAGES = {
    "generalised mean": lambda x: F.avg_pool2d(x.clamp(min=1e-6) ** 3, x.shape[-2:]) ** (1 / 3),
    "means of rows": lambda x: F.avg_pool2d(x, (1, x.size(3))),
    "largest of windows that are moved": lambda x: F.max_pool2d(x.roll((3, -2), (2, 3)), x.size()[2:]),
    "volumes": lambda x: F.avg_pool3d(x[:, None], (1, x.shape[2], x.shape[3])),
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
