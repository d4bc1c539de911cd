"""Networks of any size that fill axes up, cut them, and scan them: at sizes that nothing divides, against PyTorch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import sympy  # noqa: E402 - comes with PyTorch
from torch.nn import functional as F  # noqa: E402, N812
from torch.utils._sympy.functions import CeilToInt, FloorDiv, IntTrueDiv, Mod, PythonMod  # noqa: E402

import modelarchive as ma  # noqa: E402
from modelarchive.exchange.torch.calculating import normal, without_differences  # noqa: E402
from tests.sampling import some  # noqa: E402


class Called(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def windows(size):
    """Attention in windows of an image that is filled up, as Swin's, and cut again."""

    def attend(x):
        batch, channels, height, width = x.shape
        x = F.pad(x, (0, (size - width % size) % size, 0, (size - height % size) % size))
        tall, wide = x.shape[2:]
        x = x.view(batch, channels, tall // size, size, wide // size, size).permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(-1, size * size, channels)
        x = torch.softmax(x @ x.transpose(1, 2), -1) @ x
        x = x.view(batch, tall // size, wide // size, size, size, channels).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(batch, channels, tall, wide)[:, :, :height, :width]

    return attend


def unfolded(x):
    """Patches of two by two of an image that is resized to be even, as MobileViT's."""
    batch, channels, height, width = x.shape
    tall, wide = -(-height // 2), -(-width // 2)
    x = F.interpolate(x, size=(2 * tall, 2 * wide), mode="bilinear")
    x = x.reshape(batch * channels * tall, 2, wide, 2).transpose(1, 2).reshape(batch, channels, tall * wide, 4)
    x = torch.softmax(x.transpose(1, 3), 2).transpose(1, 3)
    return x.reshape(batch * channels * tall, wide, 2, 2).transpose(1, 2).reshape(batch, channels, 2 * tall, 2 * wide)


def cropped(x):
    """A pyramid whose floors are put back by what they lack, as in the U-Net that most people have."""
    skips = []
    for _ in range(2):
        skips.append(x)
        x = F.max_pool2d(x, 2)
    for skip in reversed(skips):
        up = F.interpolate(x, scale_factor=2)
        rows, columns = skip.shape[2] - up.shape[2], skip.shape[3] - up.shape[3]
        x = skip + F.pad(up, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    return x


def cut(x):
    """A pyramid that is rounded up, and cut."""
    skips = []
    for _ in range(3):
        skips.append(x)
        x = F.max_pool2d(x, 2, ceil_mode=True)
    for skip in reversed(skips):
        x = F.interpolate(x, scale_factor=2)[:, :, : skip.shape[2], : skip.shape[3]] + skip
    return x


def shortened(x):
    """Of rows that are halved and doubled, as much as both have."""
    x, skips = x.transpose(1, 2), []
    for _ in range(2):
        skips.append(x)
        x = F.avg_pool1d(x, 2)
    for skip in reversed(skips):
        x = F.interpolate(x, scale_factor=2)
        x = x[..., : skip.shape[-1]] + skip[..., : x.shape[-1]]
    return x


TURN = torch.tensor([[1, 0.1, 0], [-0.1, 0.9, 0.05]])
IMAGES = {
    "windows of 4": windows(4), "patches of two": unfolded, "put back": cropped, "cut": cut,
    "filled up to 8": lambda x: F.pad(x, (0, -x.shape[-1] % 8, 0, -x.shape[-2] % 8), value=1),
    "filled up where it is needed": lambda x: F.pad(x, (0, -x.shape[-1] % 8)) if x.shape[-1] % 8 else x,
    "mirrored": lambda x: F.pad(x, (0, -x.shape[-1] % 4, -x.shape[-2] % 4, 0), mode="reflect"),
    "repeated": lambda x: F.pad(x, (0, -x.shape[-1] % 4, 0, 1), mode="replicate"),
    "round": lambda x: F.pad(x, (-x.shape[-1] % 4, 0, 0, 0), mode="circular"),
    "made even": lambda x: F.pixel_unshuffle(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)), 2),
    "patches put together": lambda x: F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1),
    "adaptive to half": lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, -(-x.shape[3] // 2))),
    "the largest of thirds": lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    "smoothed to half": lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
    "smoothed by cubes": lambda x: F.interpolate(x, scale_factor=0.4, mode="bicubic", antialias=True),
    "made larger and smoothed": lambda x: F.interpolate(x, size=(2 * x.shape[2], 5), mode="bicubic", antialias=True),
    "frequencies": lambda x: torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho") * 2, s=x.shape[-2:], norm="ortho"),
    "turned": lambda x: F.grid_sample(x, F.affine_grid(TURN.expand(len(x), 2, 3), x.shape)),
}  # fmt: skip
ROWS = {
    "parts of five": lambda x: F.pad(x, (0, 0, 0, -x.shape[1] % 5)).view(len(x), -1, 5, 4).softmax(2).flatten(1, 2),
    "halved and doubled": shortened,
    "a third": lambda x: x[:, : max(1, x.shape[1] // 3)], "the second half": lambda x: x[:, x.shape[1] // 2 :],
    "after a third": lambda x: x[:, -(-x.shape[1] // 3) :], "halves": lambda x: x.chunk(2, 1)[1] + 1,
    "convolved by frequencies": lambda x: torch.fft.irfft(torch.fft.rfft(x, 2 * x.shape[1], 1) ** 2, dim=1),
    "product": lambda x: x.prod(1), "products": lambda x: x.cumprod(1), "largest": lambda x: x.cummax(1),
    "smallest": lambda x: x.round().cummin(1), "logarithms of sums": lambda x: (90 * x).logcumsumexp(1),
    "median": lambda x: x.median(1),
}  # fmt: skip


def _is_pytorchs(function, shape, sizes, folder, *, by_onnxruntime=False):
    module = Called(function)
    ma.save_model(folder / "model.h5", module, inputs={"x": {"shape": shape, "dtype": "float32"}})
    networks = [ma.load_model(folder / "model.h5")]
    with ma.open(folder / "model.h5") as opened:
        assert opened.architecture["inputs"][0]["shape"] == shape
    if by_onnxruntime:
        networks.append(ma.load_model(folder / "model.h5", backend="onnxruntime"))
    for size in sizes:
        x = torch.randn(size, generator=torch.Generator().manual_seed(len(size)))
        wanted = module(x)
        for network in networks:
            found = network(x.numpy())
            both = ((each if isinstance(each, tuple) else (each,)) for each in (found, wanted))
            for one, other in zip(*both, strict=True):
                assert one.shape == tuple(other.shape)
                limit = 1e-4 * max(1, float(other.abs().max()))
                np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=limit)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", some(IMAGES, slow=["windows of 4", "patches of two", "frequencies"]))
def test_images_of_any_size_are_filled_up_and_cut_as_pytorchs(name, tmp_path):
    sizes = [(2, 4, 6, 8), (1, 4, 9, 7), (3, 4, 13, 30), (1, 4, 16, 16)]
    in_both = name in ("windows of 4", "smoothed to half")
    _is_pytorchs(IMAGES[name], ["batch", 4, "height", "width"], sizes, tmp_path, by_onnxruntime=in_both)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", some(ROWS, slow=["parts of five"]))
def test_rows_of_any_length_are_cut_and_scanned_as_pytorchs(name, tmp_path):
    sizes = [(2, 6, 4), (1, 1, 4), (3, 13, 4), (2, 64, 4)]
    if name in ("the second half", "halves", "after a third", "halved and doubled"):
        sizes.remove((1, 1, 4))
    in_both = name in ("largest", "parts of five")
    _is_pytorchs(ROWS[name], ["batch", "length", 4], sizes, tmp_path, by_onnxruntime=in_both)


def test_one_form_says_what_all_forms_of_a_size_say():
    s, t = (sympy.Symbol(name, integer=True, positive=True) for name in "st")
    expressions = (
        s + PythonMod(-s, 8), s + Mod(7 - Mod(s, 7), 7), -FloorDiv(-s, 3), CeilToInt(IntTrueDiv(s, 3)), s + Mod(s, 2),
        s - FloorDiv(s, 2), s - FloorDiv(s + 1, 2), FloorDiv(FloorDiv(s + 1, 2) + 1, 2), 2 * s - FloorDiv(s, 3),
        (s + PythonMod(-s, 8)) * (t + PythonMod(-t, 4)), FloorDiv(s - 3, 2) + 1, Mod(s, 5),
        sympy.floor((2 * s + 3) / 4), FloorDiv(3 * s - 5 * t + 1, 4), FloorDiv(-3 * s - 7, 2),
        s - 3 * FloorDiv(s, 4),
    )  # fmt: skip
    for expression in expressions:
        said = [normal(expression)]
        said += [without_differences(said[0]), without_differences(without_differences(said[0]))]
        for sizes in [(1, 1), (7, 2), (8, 3), (9, 40), (64, 5), (101, 99)]:
            values = dict(zip((s, t), map(sympy.Integer, sizes), strict=True))
            assert {each.xreplace(values) for each in said} == {expression.xreplace(values)}, expression
    assert normal(s + PythonMod(-s, 8)) == 8 * FloorDiv(s + 7, 8)
