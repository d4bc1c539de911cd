"""Forwards that branch on values: each way is in the archive, and values choose; what cannot be so is refused."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import Function, X, assert_read

torch = pytest.importorskip("torch")


def both_ways(function, *given, others):
    """A network of a forward gives what it gives, on what it was read on and on inputs that send it another way."""
    net = assert_read(Function(function), *given).build()
    for each in others:
        wanted = function(*(torch.from_numpy(one) for one in each))
        np.testing.assert_allclose(net(*each), wanted, rtol=1e-6)


def _one(x):
    return x * 2 if x.sum() > 0 else -x


def _two(x):
    if (x > 1).any():
        x = x - 1
    if bool((x < 0).all()):
        return x * 3
    return x.exp()


def _equal(x, y):
    return x + y if torch.equal(x, y) else x - y


def _close(x, y):
    return x + 1 if torch.allclose(x, y, atol=0.5) else x - 1


def _item(x):
    return x.clamp(min=0) if torch.isnan(x).any().item() else x


def _mask(x):
    mask = x > 5
    if not mask.any():
        mask = None
    return x if mask is None else x.masked_fill(mask, 0)


ONES = np.ones((2, 4, 6), np.float32)


@pytest.mark.parametrize(
    ("function", "others"),
    [
        (_one, [(ONES,), (-ONES,)]),
        (_two, [(ONES * 3,), (ONES * -3,), (ONES * 0.5,)]),
        (_item, [(ONES * np.nan,), (-ONES,)]),
        (_mask, [(ONES * 9,), (-ONES,)]),
    ],
)
def test_each_way_is_read(function, others):
    both_ways(function, X, others=others)


@pytest.mark.parametrize("function", [_equal, _close])
def test_arrays_that_are_compared_as_a_whole(function):
    both_ways(function, X, X + 1, others=[(ONES, ONES), (ONES, ONES * 4)])


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.one, self.two = (torch.nn.Linear(6, 6) for _ in range(3))
        self.seen = []

    def forward(self, x):
        self.seen.append(x.shape)
        assert len(self.seen) == 1, "a way begins with the module as it was"
        x = self.first(x)
        found = self.one(x) if x.mean() > 0 else self.two(x)
        self.seen.clear()
        return found


def test_what_the_ways_share_is_computed_once_and_each_begins_with_the_module_as_it_was():
    torch.manual_seed(0)
    module = Layers()
    bundle = read_module(module, X)
    assert module.seen == []
    nodes = bundle.architecture["model"]["nodes"]
    assert [each["name"] for each in nodes if "block" in each] == ["first", "one", "two"]
    net = bundle.build()
    for x in (X, X + 5, X - 5):
        np.testing.assert_allclose(net(x), module(torch.from_numpy(x)).detach(), atol=1e-5)


def test_a_check_of_values_is_left_out_with_a_note():
    def checked(x):
        assert (x < 100).all(), "too large"
        if torch.isnan(x).any():
            raise ValueError("not a number")
        return x * 2

    bundle = read_module(Function(checked), X)
    said = "a check of values that raises an error is left out (test_branching.py, line "
    assert sum(said in str(each) for each in bundle.notes) == 2, bundle.notes
    np.testing.assert_array_equal(bundle.build()(X), X * 2)


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = torch.nn.Buffer(torch.zeros(()))

    def forward(self, x):
        self.steps.add_(1)
        return x * self.steps if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Function(lambda x: x[:1] if x.sum() > 0 else x), "of other shapes"),
        (Function(lambda x: x if x.sum() > 0 else (x, x)), "by another way"),
        (Function(lambda x: x if x.sum() > 0 else x.long()), "dtypes"),
        (Function(lambda x: x.add_(1) if x.sum() > 0 else x), "changes its inputs or buffers"),
        (Function(lambda x: sum(x * at for at in range(9) if x.sum() > at)), "more than 8 ways"),
        (Function(lambda x: x[: int(x.max())]), "depends on the values"),
        (Function(lambda x: torch.from_numpy(x.numpy()) if x.sum() > 0 else x), "numpy"),
        (Counting(), "changes its inputs or buffers"),
    ],
)
def test_what_cannot_be_chosen_among_is_refused(module, words):
    with pytest.raises(ma.ConversionError, match=words):
        read_module(module, X)


def test_a_refusal_says_the_line_and_what_to_do():
    with pytest.raises(ma.ConversionError) as caught:
        read_module(Function(lambda x: x[: int(x.max())]), X)
    assert "test_branching.py, line " in str(caught.value)
    assert "torch.where" in str(caught.value)


def test_a_size_that_depends_on_values_is_refused_at_once(monkeypatch):
    gone = []
    export = torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *given, **more: gone.append(1) or export(*given, **more))

    def chosen(x):
        found = x[x > 0]
        return found if found.numel() > 3 else x

    with pytest.raises(ma.ConversionError, match=r"chosen in test_branching.py, line \d+: return found if found.numel"):
        read_module(Function(chosen), X)
    assert len(gone) == 1  # another size of the example, or both ways, would not help
