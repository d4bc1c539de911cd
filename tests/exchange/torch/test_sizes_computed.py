"""What is computed from free sizes: ranges that begin at one, Fourier transforms along one."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modelarchive.exchange.torch import read_module  # noqa: E402 - only where PyTorch is


class Ranges(torch.nn.Module):
    """Distances from the end, and places behind the words."""

    def forward(self, x):
        length = x.shape[1]
        return (
            x * torch.arange(1 - length, 1),
            x + torch.arange(length, 2 * length),
            x - torch.arange(length - 1, -1, -1),
        )


class Waves(torch.nn.Module):
    """FNet's mixing, and transforms there and back along a free axis."""

    def forward(self, x):
        mixed = torch.fft.fft2(x.to(torch.complex64))
        back = torch.fft.ifft(mixed, dim=1, norm="forward").real
        return mixed.real, torch.fft.fft(x, dim=1, norm="forward").imag, torch.fft.ifft(mixed, dim=1).real, back


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("module", "width"), [(Ranges(), None), (Waves(), 6)], ids=["ranges", "waves"])
def test_what_is_computed_from_free_sizes_is_pytorchs(module, width):
    shape = [None, None, width] if width else [None, None]
    bundle = read_module(module, ({"name": "x", "shape": shape, "dtype": "float32"},))
    assert not any(isinstance(axis, int) for axis in bundle.architecture["inputs"][0]["shape"][:2])
    network = bundle.build()
    for length in (1, 4, 61, 128):
        x = torch.randn(2, length, *([width] if width else []), generator=torch.Generator().manual_seed(length))
        for found, wanted in zip(network(x.numpy()), module(x), strict=True):
            limit = 1e-5 * max(1, float(wanted.abs().max()))
            np.testing.assert_allclose(found, wanted.numpy(), atol=limit, rtol=0)


class Scaled(torch.nn.Module):
    """A convolution divided by a number."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x, by):
        return self.conv(x) / by


class Twice(torch.nn.Module):
    """One module called with numbers of sizes, as blocks that warp images are."""

    def __init__(self, more):
        super().__init__()
        self.scaled, self.more = Scaled(), more

    def forward(self, x):
        middle = (x.shape[-1] - 1.0) / 2.0
        return self.scaled(self.scaled(x, middle), middle + self.more)


@pytest.mark.parametrize("more", [0.0, 1.5])
def test_a_module_that_is_given_numbers_of_sizes_twice(more):
    module = Twice(more)
    network = read_module(module, ({"name": "x", "shape": ["batch", 2, "length"], "dtype": "float32"},)).build()
    for length in (3, 8, 21):
        x = torch.randn(2, 2, length, generator=torch.Generator().manual_seed(length))
        np.testing.assert_allclose(network(x.numpy()), module(x).detach(), atol=1e-6)


class Normalised(torch.nn.Module):
    """With the logarithm of how it changes volumes, which counts pixels, and places from one edge to the other."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.linspace(0.5, 1.5, 12).reshape(1, 12, 1, 1))

    def forward(self, x):
        height, width = x.shape[2:]
        return x * self.scale, height * width * torch.log(self.scale).sum(), x / ((width - 1.0) / 2.0)


class Folded(torch.nn.Module):
    """Flows are of halves of an image: no array in these has the image's size."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Normalised(), Normalised()

    def forward(self, x):
        batch, channels, height, width = x.shape
        x = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        x, one, places = self.first(x.reshape(batch, channels * 4, height // 2, width // 2))
        x, two, others = self.second(x)
        return x, one + two, places + others


def test_numbers_of_sizes_that_arrays_outside_of_a_block_have():
    module = Folded()
    shape = ["batch", 3, "height", "width"]
    network = read_module(module, ({"name": "x", "shape": shape, "dtype": "float32"},)).build()
    for side in (4, 8, 22):
        x = torch.randn(2, 3, side, side + 2, generator=torch.Generator().manual_seed(side))
        for found, wanted in zip(network(x.numpy()), module(x), strict=True):
            np.testing.assert_allclose(found, wanted.detach(), rtol=1e-5)


class Overlapping(torch.nn.Module):
    """A sequence taken apart into chunks, and put together again: what no chunk has at the end is zeros."""

    def __init__(self, size, step, around):
        super().__init__()
        self.how = {"kernel_size": (size, 1), "stride": (step, 1), "padding": (around, 0)}

    def forward(self, x):
        chunks = torch.nn.functional.unfold(x.unsqueeze(-1), **self.how)
        return torch.nn.functional.fold(2 * chunks, (x.shape[-1], 1), **self.how).squeeze(-1)


@pytest.mark.parametrize("how", [(8, 4, 8), (5, 5, 0), (1, 4, 0)])
def test_chunks_of_any_length_are_put_together(how):
    module = Overlapping(*how)
    network = read_module(module, ({"name": "x", "shape": ["batch", 4, "length"], "dtype": "float32"},)).build()
    for length in (8, 9, 13, 15, 16, 67):
        x = torch.randn(2, 4, length, generator=torch.Generator().manual_seed(length))
        np.testing.assert_allclose(network(x.numpy()), module(x), atol=1e-5)
