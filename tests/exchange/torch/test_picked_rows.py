"""Rows that truths choose, picked by their number: where they lie is counted, at any batch."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import flat

torch = pytest.importorskip("torch")

END = 2


class Picking(torch.nn.Module):
    """Gives a function of the rows of words, and of where a text ends."""

    def __init__(self, function, dtype=torch.float32):
        super().__init__()
        self.embed = torch.nn.Embedding(20, 4, dtype=dtype)
        self.function = function

    def forward(self, ids):
        return self.function(self.embed(ids), ids.eq(END))


def _last(x, mask):
    return x[mask, :].view(x.size(0), -1, x.size(-1))[:, -1, :]


def _second(x, mask):
    return 2 * x[mask].reshape(x.shape[0], -1, 4)[:, 1]


def _several(x, mask):
    rows = x[mask].view(x.shape[0], -1, 4)
    return rows[:, 0], rows[:, -2] + rows[:, 1]


def _of_all(x, mask):
    return x[mask][0], x[mask][-3]


def _within(x, mask):
    return x.reshape(-1, 4)[mask.reshape(-1)].view(x.shape[0], -1, 4)[:, -1]


def _words(*rows):
    ids = np.random.default_rng(len(rows)).integers(3, 20, (len(rows), 8))
    for row, ends in zip(ids, rows, strict=True):
        row[list(ends)] = END
    return ids


#: Ends as many in each text, and as many in all as if they were.
EXAMPLE = _words((3, 7), (0, 7))
OTHERS = [_words((0, 1)), _words((0, 7), (2, 5), (6, 7)), _words((1, 2, 3), (4,)), _words((), (0, 1, 2, 3, 4, 5))]


@pytest.mark.parametrize("function", [_last, _second, _several, _of_all, _within])
def test_rows_are_picked_as_pytorch_picks_them(function):
    module = Picking(function)
    bundle = read_module(module, torch.from_numpy(EXAMPLE))
    assert not isinstance(bundle.architecture["inputs"][0]["shape"][0], int)
    net = bundle.build()
    for ids in (EXAMPLE, *OTHERS):
        try:
            wanted = module(torch.from_numpy(ids))
        except IndexError:
            continue
        found = net(ids)
        for one, other in zip(flat(found), flat(wanted), strict=True):
            assert np.array_equal(one, other.detach().numpy())


def test_what_is_not_there_is_no_number():
    net = read_module(Picking(_last), torch.from_numpy(EXAMPLE)).build()
    assert np.isnan(net(_words((), ()))).all()
    assert np.isnan(net(_words((1,), (3, 4)))).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x, mask: x[mask].view(x.shape[0], -1, 4)[:, -1] + x[mask].amax(),
        lambda x, mask: x[mask].view(x.shape[0], -1, 2)[:, -1],
        lambda x, mask: x[mask].view(-1, x.shape[0], 4)[-1],
        lambda x, mask: x[mask].view(x.shape[0], -1, 4)[:, 1:].sum(1),
    ],
)
def test_what_is_done_with_more_of_them_is_refused(function):
    with pytest.raises(ma.ConversionError, match="size depends on values"):
        read_module(Picking(function), torch.from_numpy(EXAMPLE))
