"""Operators that put elements in order or write to computed places, as PyTorch has them, with free axes."""

import numpy as np
import pytest

from modelarchive.errors import ConversionError
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import Function, assert_read

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
#: Several of a size among them.
X = RNG.integers(-3, 4, (3, 20)).astype(np.float32)
PLACES = np.array([[3, 0, 3, 1], [2, 2, 0, 4], [1, 0, 0, 3]])


def _put(x, places, *, accumulate):
    rows = torch.arange(x.shape[0])[:, None]
    return x.clone().index_put((rows, places), x[:, :4] * 2 + 1, accumulate=accumulate)


FUNCTIONS = {
    "sort": lambda x, places: torch.sort(x, dim=-1, stable=True),
    "sort downwards along the batch": lambda x, places: torch.sort(x, dim=0, stable=True, descending=True),
    "argsort": lambda x, places: torch.argsort(x, dim=1, stable=True),
    "many of the largest": lambda x, places: torch.topk(x + torch.arange(20.0) / 64, 18)[0],
    "the smallest": lambda x, places: torch.topk(x + torch.arange(20.0) / 64, 18, largest=False),
    "index_put": lambda x, places: _put(x, places % 4 + torch.tensor([0, 4, 8, 12]), accumulate=False),
    "index_put that adds": lambda x, places: _put(x, places, accumulate=True),
    "index_put of one number": lambda x, places: x.clone().index_put(
        (torch.arange(x.shape[0]), places[:, 1] - 1), torch.tensor(7.0)
    ),
    "index_put of rows": lambda x, places: torch.zeros(5, 20).index_put((places[:, 0],), x, accumulate=True),
    "the inverse of an order": lambda x, places: _inverse(x),
    "index_add": lambda x, places: torch.zeros(5, 20).index_add(0, places[:, 0], x, alpha=2),
    "index_add along the last axis": lambda x, places: x.index_add(1, places[0], x[:, :4]),
    "index_add to one axis": lambda x, places: torch.zeros(5).index_add(0, places[:, 0], x[:, 1]),
    "masked_scatter": lambda x, places: x.masked_scatter(x > 0, x * 2),
    "bucketize": lambda x, places: torch.bucketize(x, torch.tensor([-2.0, 0.0, 1.0])),
    "bucketize from the right": lambda x, places: torch.bucketize(x, torch.tensor([-2.0, 0.0, 1.0]), right=True),
    "searchsorted": lambda x, places: torch.searchsorted(x.sort(-1)[0], x * 2 + 0.5),
    "searchsorted from the right": lambda x, places: torch.searchsorted(
        x.sort(-1)[0], x * 2, side="right", out_int32=True
    ),
    "searchsorted of what is in no order": lambda x, places: torch.searchsorted(x, x * 2, sorter=x.argsort(-1)),
    "searchsorted in one row": lambda x, places: torch.searchsorted(torch.tensor([-2.0, 0.0, 1.0]), x),
    "indices into both axes": lambda x, places: x[torch.arange(x.shape[0])[:, None], places - 1],
    "a grid of indices": lambda x, places: x[torch.arange(x.shape[0])[:, None, None], torch.tensor([3, -1])],
    "one place in each row": lambda x, places: x[torch.arange(x.shape[0]), (places > 1).int().argmax(-1)],
}


def _inverse(x):
    order = torch.argsort(x[:, 0], stable=True)
    found = torch.empty_like(order)
    found[order] = torch.arange(order.shape[0])
    return x[order][found]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operators_of_order(name):
    assert_read(Function(FUNCTIONS[name]), X, PLACES)


def test_order_and_indices_over_axes_of_any_size():
    def network(x, places):
        values, order = torch.sort(x, dim=1, stable=True)
        mask = places[torch.arange(x.shape[0])[:, None, None], torch.arange(x.shape[1])[None, None, :]]
        return values, order, mask, x[torch.arange(x.shape[0])[:, None], places - 1]

    declared = ({"shape": [None, None]}, {"shape": [None, None], "dtype": "int64"})
    net = read_module(Function(network), declared).build()
    for batch, length in ((1, 5), (3, 7)):
        x, places = RNG.standard_normal((batch, length), np.float32), RNG.integers(0, length, (batch, length))
        wanted = network(torch.from_numpy(x), torch.from_numpy(places))
        for one, other in zip(net(x, places), wanted, strict=True):
            np.testing.assert_array_equal(one, other.numpy())


def test_one_axis_becomes_two_of_any_size():
    module = Function(lambda x: (x.reshape(-1, 6) * 2).reshape(x.shape[0], x.shape[1], 2, 3))
    net = read_module(module, {"shape": [None, None, 6]}).build()
    for batch, length in ((1, 4), (3, 2)):
        x = RNG.standard_normal((batch, length, 6), np.float32)
        np.testing.assert_array_equal(net(x), (x * 2).reshape(batch, length, 2, 3))


@pytest.mark.parametrize("take", [torch.topk, torch.kthvalue])
def test_which_of_equal_elements_is_taken_is_no_fault_of_ours(take):
    places = Function(lambda x: take(x, 9)[1])
    with pytest.raises(ConversionError, match="which of equal elements") as caught:
        read_module(places, (torch.from_numpy(X),))
    assert "report" not in caught.value.hint
    assert_read(places, (torch.from_numpy(np.argsort(RNG.standard_normal((3, 20)), -1).astype(np.float32)),))
