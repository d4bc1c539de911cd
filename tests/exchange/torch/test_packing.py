"""Packed sequences: recurrences over them give what PyTorch gives, for lengths that nobody knew when they were read."""

import copy

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import build_module, read_module

torch = pytest.importorskip("torch")
pack, unpack = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence

KINDS = {
    "LSTM": torch.nn.LSTM,
    "GRU": torch.nn.GRU,
    "RNN": torch.nn.RNN,
    "RNN of relu": lambda *sizes, **more: torch.nn.RNN(*sizes, nonlinearity="relu", **more),
}


class Packed(torch.nn.Module):
    """A recurrence over packed sequences: its outputs padded again, and its first state."""

    def __init__(self, layer, *, is_sorted=False, value=0.0, total=None):
        super().__init__()
        self.layer, self.is_sorted, self.value, self.total = layer, is_sorted, value, total

    def forward(self, x, lengths):
        first = self.layer.batch_first
        packed = pack(x, lengths, batch_first=first, enforce_sorted=self.is_sorted)
        found, states = self.layer(packed)
        total = self.total or x.shape[1 if first else 0]
        padded, back = unpack(found, batch_first=first, padding_value=self.value, total_length=total)
        return padded, states[0] if isinstance(states, tuple) else states, back


def assert_same(module, net, x, lengths, limit=1e-5):
    with torch.no_grad():
        wanted = module(x, lengths)
    found = net(x.numpy(), lengths.numpy())
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == tuple(other.shape)
        np.testing.assert_allclose(one, other.numpy(), atol=limit)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_recurrence_of_any_lengths(kind, both, layers):
    torch.manual_seed(0)
    module = Packed(KINDS[kind](3, 4, layers, bidirectional=both, batch_first=True)).eval()
    bundle = read_module(module, (torch.randn(2, 5, 3), torch.tensor([3, 5])))
    net = bundle.build()
    for lengths in ([5, 2], [1, 1], [4, 5, 1], [2]):
        assert_same(module, net, torch.randn(len(lengths), 5, 3), torch.tensor(lengths))
    rebuilt = build_module(bundle).eval()
    other = Packed(KINDS[kind](3, 4, layers, bidirectional=both, batch_first=True)).eval()
    rebuilt.load_state_dict(other.state_dict(), strict=True)
    copy.deepcopy(module).load_state_dict(rebuilt.state_dict(), strict=True)
    x, lengths = torch.randn(2, 5, 3), torch.tensor([2, 5])
    for one, two in zip(rebuilt(x, lengths), other(x, lengths), strict=True):
        np.testing.assert_allclose(one.detach(), two.detach(), atol=1e-5)


@pytest.mark.parametrize("options", [{"is_sorted": True}, {"value": -7.0}, {"total": 7}])
def test_what_may_be_said_of_packing(options):
    torch.manual_seed(0)
    module = Packed(torch.nn.GRU(3, 4), **options).eval()
    net = read_module(module, (torch.randn(5, 2, 3), torch.tensor([5, 3]))).build()
    assert_same(module, net, torch.randn(5, 2, 3), torch.tensor([4, 2]))


class GivenState(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LSTM(3, 4, bidirectional=True)

    def forward(self, x, lengths, h, c):
        return unpack(self.layer(pack(x, lengths, enforce_sorted=False), (h, c))[0], total_length=5)[0]


def test_states_that_are_given():
    torch.manual_seed(0)
    module = GivenState().eval()
    given = torch.randn(5, 3, 3), torch.tensor([3, 5, 1]), torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    found = read_module(module, given).build()(*(each.numpy() for each in given))
    np.testing.assert_allclose(found, module(*given).detach(), atol=1e-5)


class Doing(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer, self.function = torch.nn.LSTM(3, 4, batch_first=True), function

    def forward(self, x, lengths):
        return self.function(self, pack(x, lengths, batch_first=True, enforce_sorted=False), x)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda self, packed, x: unpack(self.layer(packed)[0], batch_first=True)[0], "give it total_length, x.shape"),
        (lambda self, packed, x: self.layer(packed)[1][1], "the cells of an LSTM"),
        (lambda self, packed, x: packed.data.relu(), "choice of elements by truths|depends on"),
        (lambda self, packed, x: self.layer(packed._replace(data=packed.data * 2))[1][0], "data of packed sequences"),
    ],
)
def test_what_depends_on_values_is_refused_with_the_way_out(function, words):
    with pytest.raises(ma.ConversionError, match=words):
        read_module(Doing(function), (torch.randn(2, 5, 3), torch.tensor([3, 5])))


class Ends(torch.nn.Module):
    """The last states of a packed recurrence; its outputs are padded again, and nobody uses them."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.GRU(3, 4, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        found, states = self.layer(pack(x, lengths.cpu().numpy(), batch_first=True, enforce_sorted=False))
        return states, unpack(found, batch_first=True)[1]


@pytest.mark.slow
def test_any_length_with_lengths_from_numpy_and_outputs_that_nobody_uses():
    torch.manual_seed(0)
    module = Ends().eval()
    net = read_module(module, ({"shape": ["batch", "time", 3]}, {"shape": ["batch"], "dtype": "int64"})).build()
    for steps, lengths in ((5, [5, 2]), (1, [1]), (9, [4, 9, 1])):
        assert_same(module, net, torch.randn(len(lengths), steps, 3), torch.tensor(lengths))


@pytest.mark.parametrize("reduce", [lambda data: data.sum(), lambda data: data.mean(0)])
def test_the_steps_of_packed_sequences_are_summed(reduce):
    """How many there are is not known; what is summed of them is."""
    torch.manual_seed(0)
    module = Doing(lambda self, packed, x: (reduce(self.layer(packed)[0].data),)).eval()
    net = read_module(module, (torch.randn(2, 5, 3), torch.tensor([3, 5]))).build()
    for lengths in ([5, 2], [1, 1], [4, 5, 1]):
        assert_same(module, net, torch.randn(len(lengths), 5, 3), torch.tensor(lengths))


def test_packing_is_pytorchs_own_again_afterwards():
    x, lengths = torch.randn(2, 5, 3), torch.tensor([5, 3])
    module = Packed(torch.nn.GRU(3, 4, batch_first=True))
    read_module(module, (x, lengths))
    assert pack(x, lengths, batch_first=True).data.shape == (8, 3)
    assert "lstm" not in vars(torch._VF)
