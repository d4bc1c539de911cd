"""Flags and counters in buffers: what a forward decides by them is decided as they are, with a note."""

import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import X, assert_read

torch = pytest.importorskip("torch")

ROWS = X[:, 0].copy()


class Codes(torch.nn.Module):
    """Takes its first batch as its weights, as vector quantisers do."""

    def __init__(self, *, ready):
        super().__init__()
        self.register_buffer("ready", torch.tensor([ready]))
        self.codes = torch.nn.Linear(6, 6)

    def _begin(self, x):
        if self.ready:
            return
        self.codes.weight.copy_(x[torch.randint(0, len(x), (6,))])
        self.ready.fill_(True)

    def forward(self, x):
        self._begin(x)
        return self.codes(x)


def test_what_is_done_once_is_not_done_again():
    bundle = assert_read(Codes(ready=True), ROWS)
    assert [each["kind"] for each in _blocks(bundle)] == ["Dense"]
    assert any("ready: decides what the forward does" in str(each) for each in bundle.notes)


def test_what_is_still_to_be_done_is_refused_with_its_line():
    module = Codes(ready=False)
    with pytest.raises(ma.ConversionError, match=r"random numbers.*test_flags\.py, line "):
        read_module(module, ROWS)
    assert not module.ready


class Counter(torch.nn.Module):
    """Counts in a buffer, through views and items, and decides by it."""

    def __init__(self, steps):
        super().__init__()
        self.register_buffer("steps", torch.tensor(steps))
        self.register_buffer("open", torch.tensor([True, False])[:1].clone())

    def forward(self, x):
        self.open[0] = False
        self.steps.view(1).add_(1)
        if self.open or self.steps.item() > 3:
            return x * 2
        return x * (int(self.steps) + float(self.steps)) if self.steps == 3 else -x


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_what_is_written_into_flags_meanwhile_counts(steps):
    module = Counter(steps)
    assert_read(module, ROWS)
    assert int(module.steps) == steps


class Overwritten(Counter):
    def forward(self, x):
        self.steps.copy_(x.sum().long())
        return x * 2 if self.steps > 3 else -x


def test_a_flag_that_the_input_is_written_into_is_none():
    with pytest.raises(ma.ConversionError, match="depends on the values of an array, and changes"):
        read_module(Overwritten(0), ROWS)


def _blocks(bundle):
    return [each["block"] for each in bundle.architecture["model"]["nodes"] if "block" in each]
