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
        read_module(Of(lambda x: sum(x[:, at] for at in range(x.shape[1]))), {"shape": [None, None, 4]})
    assert "were tried" not in str(caught.value)
