"""Free axes of PyTorch's modules: states, masks and matrices beside the batch, by name or as the module says."""

import numpy as np
import pytest

import modelarchive as ma

torch = pytest.importorskip("torch")

from modelarchive.exchange.torch import read_module  # noqa: E402


class Of(torch.nn.Module):
    """A module of one function."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, *inputs):
        return self.function(*self.layers, *inputs)


def shapes(bundle):
    return [each["shape"] for each in bundle.architecture["inputs"]]


def same(module, bundle, *given):
    with torch.no_grad():
        wanted = module(*given)
    found = bundle.build()(*[each.numpy() for each in given])
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5)


def test_a_mask_of_two_equal_axes():
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    module = Of(lambda layer, x, mask: layer(x, x, x, attn_mask=mask, need_weights=False)[0], attention).eval()
    declared = ({"shape": ["batch", "length", 8]}, {"shape": ["length", "length"]})
    bundle = read_module(module, declared)
    assert shapes(bundle) == [each["shape"] for each in declared]
    same(module, bundle, torch.randn(3, 7, 8), torch.randn(7, 7))
    with pytest.raises(ValueError, match=r"'length' has one size in all inputs, found 7 in .* and 1 in"):
        bundle.build()(np.ones((3, 7, 8), "f4"), np.ones((1, 1), "f4"))


def test_a_matrix_beside_nodes():
    module = Of(lambda layer, x, adjacency: adjacency @ layer(x), torch.nn.Linear(8, 4)).eval()
    named = ({"shape": ["nodes", 8]}, {"shape": ["nodes", "nodes"]})
    assert shapes(read_module(module, named)) == [["nodes", 8], ["nodes", "nodes"]]
    bundle = read_module(module, (torch.randn(5, 8), torch.randn(5, 5)))
    assert shapes(bundle)[0] == ["batch", 8]
    assert shapes(bundle)[1][1] == "batch"
    same(module, bundle, torch.randn(5, 8), torch.randn(5, 5))


def test_axes_that_must_be_one_and_are_declared_without_a_name_get_one():
    module = Of(lambda layer, x, h: layer(x, h)[0], torch.nn.GRU(8, 4, batch_first=True)).eval()
    bundle = read_module(module, ({"shape": [None, 5, 8]}, {"shape": [1, None, 4]}))
    assert shapes(bundle) == [["batch", 5, 8], [1, "batch", 4]]
    same(module, bundle, torch.randn(3, 5, 8), torch.randn(1, 3, 4))


def test_a_batch_of_one_with_its_state():
    module = Of(lambda layer, x, h: layer(x, h)[0], torch.nn.GRU(8, 4, batch_first=True)).eval()
    bundle = read_module(module, (torch.randn(1, 5, 8), torch.randn(1, 1, 4)))
    assert shapes(bundle) == [["batch", 5, 8], [1, "batch", 4]]


def test_axes_that_need_not_be_one_keep_their_own():
    module = Of(lambda x, y: x.sum(1) * 2 + y.sum() * 0)
    assert shapes(read_module(module, (torch.randn(2, 5), torch.randn(2, 3)))) == [[None, 5], [None, 3]]


def test_multiples_are_tried_where_the_module_needs_them():
    module = Of(lambda x: x.reshape(x.shape[0], 3, x.shape[2] // 32, 32, x.shape[3]).sum(3))
    bundle = read_module(module, {"shape": ["batch", 3, "height", "width"]})
    assert shapes(bundle) == [["batch", 3, "height", "width"]]
    same(module, bundle, torch.randn(2, 3, 96, 5))


def test_long_windows():
    module = Of(lambda layer, x: layer(x), torch.nn.Conv1d(3, 2, 101)).eval()
    bundle = read_module(module, {"shape": [None, 3, None]})
    same(module, bundle, torch.randn(1, 3, 117))


def test_two_names_for_one_size_are_refused():
    module = Of(lambda x: x + x.transpose(1, 2))
    with pytest.raises(ma.ConversionError):
        read_module(module, {"shape": ["batch", "rows", "columns"]})
    assert shapes(read_module(module, {"shape": ["batch", "rows", "rows"]})) == [["batch", "rows", "rows"]]


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
@pytest.mark.parametrize("both", [False, True])
def test_recurrences_of_any_length(kind, both):
    module = Of(lambda layer, x: layer(x)[0], kind(8, 4, 2, batch_first=True, bidirectional=both)).eval()
    bundle = read_module(module, {"shape": ["batch", "time", 8]})
    assert shapes(bundle) == [["batch", "time", 8]]
    same(module, bundle, torch.randn(3, 11, 8))
    with torch.no_grad():  # PyTorch's own is as it was
        assert module(torch.randn(3, 2, 8)).shape == (3, 2, 8 if both else 4)


def test_a_recurrence_with_its_states_time_first():
    module = Of(lambda layer, x, h, c: layer(x, (h, c))[0], torch.nn.LSTM(8, 4, 2)).eval()
    declared = [{"shape": ["time", "batch", 8]}, {"shape": [2, "batch", 4]}, {"shape": [2, "batch", 4]}]
    bundle = read_module(module, tuple(declared))
    assert shapes(bundle) == [each["shape"] for each in declared]
    same(module, bundle, torch.randn(5, 3, 8), torch.randn(2, 3, 4), torch.randn(2, 3, 4))


def test_an_axis_that_two_sizes_fix_is_tried_at_no_others():
    with pytest.raises(ma.ConversionError, match=r"axis 1 .* the module decides by it; declare it as") as caught:
        read_module(Of(lambda x: x[:, [*range(int(x.shape[1]))][-1]]), {"shape": [None, None, 4]})
    assert "were tried" not in str(caught.value)


functional = torch.nn.functional
#: Name -> an array of (batch, channels, length) in another length.
RESIZED = {
    "nearest, as long as before": lambda x: functional.interpolate(x[:, :, ::3], size=x.shape[2]) + x,
    "nearest, half": lambda x: functional.interpolate(x, scale_factor=0.5),
    "nearest, exact": lambda x: functional.interpolate(x, scale_factor=1.5, mode="nearest-exact"),
    "nearest, exact, of a fixed size": lambda x: functional.interpolate(x, size=7, mode="nearest-exact"),
    "linear, as long as before": lambda x: functional.interpolate(x[:, :, ::3], size=x.shape[2], mode="linear") + x,
    "nearest, by a small factor": lambda x: torch.cat(
        [functional.interpolate(x, scale_factor=1.25), functional.interpolate(x[:, None], scale_factor=(1, 1.25))[:, 0]]
    ),
    "bilinear and bicubic, by a small factor": lambda x: sum(
        functional.interpolate(x[:, :, None] / 9, scale_factor=(1, 1.25), mode=mode, antialias=smooths)
        for mode in ("bilinear", "bicubic")
        for smooths in (False, True)
    ),
    "linear, by a factor": lambda x: functional.interpolate(x, scale_factor=1.25, mode="linear"),
    "linear, whose factor is computed": lambda x: functional.interpolate(
        x, scale_factor=1.25, mode="linear", recompute_scale_factor=True
    ),
    "linear, corners": lambda x: functional.interpolate(
        functional.max_pool1d(x, 2), size=x.shape[2], mode="linear", align_corners=True
    ),
    "cubic": lambda x: functional.interpolate(x[:, :, None], size=(2, x.shape[2] + 3), mode="bicubic"),
    "cubic, corners": lambda x: functional.interpolate(
        x[:, :, None], scale_factor=(2, 0.5), mode="bicubic", align_corners=True
    ),
    "trilinear": lambda x: functional.interpolate(x[:, :, None, None], scale_factor=(1, 2, 0.75), mode="trilinear"),
}


@pytest.mark.parametrize("function", RESIZED.values(), ids=RESIZED)
def test_any_length_is_resized(function):
    module = Of(function)
    bundle = read_module(module, {"shape": ["batch", 2, "length"]})
    assert shapes(bundle) == [["batch", 2, "length"]]
    for batch, length in ((1, 8), (3, 15), (2, 100), (2, 31), (2, 3), (1, 2)):
        same(module, bundle, torch.randn(batch, 2, length))


#: Name -> windows of an array of (batch, channels, length).
WINDOWS = {
    "every one": lambda x: x.unfold(2, 4, 1).mean(-1),
    "apart": lambda x: x.unfold(-1, 3, 5),
    "of an image": lambda x: functional.unfold(x[..., None] * torch.ones(3), (3, 2), padding=1, dilation=(2, 1)),
    "of an image, apart": lambda x: functional.unfold(x[..., None] * torch.ones(4), 3, stride=2),
    "a spectrum": lambda x: torch.stft(x[:, 0], 16, 4, window=torch.hann_window(16), return_complex=True).abs(),
}


@pytest.mark.parametrize("function", WINDOWS.values(), ids=WINDOWS)
def test_windows_of_any_length(function):
    module = Of(function)
    bundle = read_module(module, {"shape": ["batch", 2, "length"]})
    assert shapes(bundle) == [["batch", 2, "length"]]
    for batch, length in ((1, 16), (3, 21), (2, 100)):
        same(module, bundle, torch.randn(batch, 2, length))


@pytest.mark.parametrize("layer", [
    torch.nn.MaxPool1d(3, 2, ceil_mode=True), torch.nn.MaxPool1d(2, padding=1), torch.nn.Sequential(
        torch.nn.Unflatten(1, (2, 1)), torch.nn.AdaptiveAvgPool2d((1, None))
    ),
], ids=["largest", "largest, padded", "mean"])  # fmt: skip
def test_any_length_is_pooled(layer):
    bundle = read_module(layer, {"shape": ["batch", 2, "length"]})
    assert shapes(bundle) == [["batch", 2, "length"]]
    for batch, length in ((1, 8), (3, 15), (2, 100)):
        same(layer, bundle, torch.randn(batch, 2, length))
