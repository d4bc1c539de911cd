"""Ordinary Python in a forward: sizes that it asks numbers of, batches that are as long as something else."""

import builtins
import contextlib
import functools
import math
import sys
from math import sqrt as root

import numpy as np
import pytest

torch = pytest.importorskip("torch")
scaled_dot_product_attention = torch.nn.functional.scaled_dot_product_attention

from modelarchive.exchange.torch import read_module  # noqa: E402
from modelarchive.exchange.torch.looping import Loops  # noqa: E402
from modelarchive.exchange.torch.ordinary import Numbers, ordinary_python  # noqa: E402
from tests.exchange.torch.test_free_axes import Of, same, shapes  # noqa: E402

#: Numbers that are computed of a length, and one that PyTorch makes of it.
NUMBERS = {
    "a root": lambda x: x / math.sqrt(x.shape[1]),
    "a root by its own name": lambda x: x / root(x.shape[1]),
    "a power": lambda x: x * x.shape[1] ** -0.5,
    "a logarithm": lambda x: x * math.log(x.shape[1] + 1),
    "a logarithm to a base": lambda x: x * math.log(x.shape[1], 512) + math.log2(x.shape[1]) - math.log10(x.shape[1]),
    "an exponential": lambda x: x * math.exp(-x.shape[1] / 10) + math.pow(x.shape[1], -0.25),
    "an angle": lambda x: x * math.cos(math.pi / x.shape[1]) + math.sin(1 / x.shape[1]),
    "NumPy's functions": lambda x: x * np.sqrt(x.shape[1]) + np.log(x.shape[1]) - np.ceil(x.shape[1] / 3),
    "NumPy's functions of arrays": lambda x: x * float(np.exp(np.ones(3), dtype=np.float32).sum()) + np.log(x.shape[1]),
    "a float": lambda x: x * (1 / float(x.shape[1])),
    "an int": lambda x: x * (int(x.shape[1]) + int(isinstance(x.shape[-1], int))),
    "a rounded one": lambda x: x * round(x.shape[1] / 4) + abs(x.shape[1] - 5) - divmod(x.shape[1], 3)[1],
    "a reciprocal": lambda x: x.pow(1 / x.shape[1]) if x.dtype == torch.int64 else x * (1.0 / x.shape[1]),
    "a factor of what is added": lambda x: torch.add(x, x, alpha=1 / x.shape[1]),
    "a bound": lambda x: x.clamp(max=1 / x.shape[1]) + (x > 1 / x.shape[1]),
    "a filled row": lambda x: x + torch.full((3,), 1 / x.shape[1]),
    "a number of elements": lambda x: x * (0.5 / (x.shape[1] * x.shape[0] + 1)),
    "a weight": lambda x: torch.lerp(x, 2 * x, 1 / x.shape[1]),
    "a half": lambda x: x * (1.5 * (x.shape[1] // 2)),
    "points of a line": lambda x: x + torch.linspace(-1, 1, x.shape[1])[:, None],
    "points of a line down": lambda x: x * torch.linspace(3.5, -1.25, x.shape[1], dtype=x.dtype)[:, None],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_a_free_length(name):
    module = Of(NUMBERS[name])
    bundle = read_module(module, {"shape": [None, None, 3]})
    for length in (1, 2, 11):
        same(module, bundle, torch.randn(2, length, 3))


@pytest.mark.parametrize("share", [0.5, 0.25, 0.75])
def test_a_share_of_a_free_length(share):
    module = Of(lambda x: x[:, : int(x.shape[1] * share) + 1])
    bundle = read_module(module, {"shape": [None, None, 3]})
    for length in (1, 2, 7, 64, 67):
        same(module, bundle, torch.randn(2, length, 3))


@functools.lru_cache
def remembered(length):
    return torch.arange(length)[:, None] / 8


class Remembering(torch.nn.Module):
    @functools.cache  # noqa: B019
    def places(self, length):
        return torch.arange(length)[:, None] / 3

    def forward(self, x):
        return x + self.places(x.shape[1]) + remembered(x.shape[1])


def test_what_is_remembered_for_a_length_is_there_for_others():
    module = Remembering()
    before = remembered, Remembering.places
    module(torch.ones(1, 5, 3))
    bundle = read_module(module, {"shape": [None, None, 3]})
    for length in (1, 5, 9):
        same(module, bundle, torch.randn(2, length, 3))
    assert before == (remembered, Remembering.places)


def test_code_that_compares_types_stays_as_it_is():
    """Where ``int`` is no longer what it was, the module is read with the size that it had."""
    for function in (
        lambda x: x * int(x.shape[1]) if type(int("3")) is int else x,
        lambda x: x.to(float) * int(x.shape[1]),
    ):
        module = Of(function)
        bundle = read_module(module, torch.randn(2, 4, 3))
        same(module, bundle, torch.randn(5, 4, 3))


def test_the_length_of_a_tensor_is_the_batch():
    module = Of(lambda layer, x: layer(x).reshape(len(x), -1) / len(x), torch.nn.Conv1d(3, 4, 3)).eval()
    bundle = read_module(module, torch.randn(2, 3, 8))
    assert shapes(bundle) == [[None, 3, 8]]
    same(module, bundle, torch.randn(5, 3, 8))


def test_a_batch_that_is_as_long_as_something_else():
    def states(layer, x):  # two directions, which PyTorch compares with the batch
        found = layer(x)[0][:, -1:]
        return found.reshape(found.shape[1] * 2, found.shape[0], 4) * 2

    module = Of(states, torch.nn.GRU(6, 4, bidirectional=True, batch_first=True)).eval()
    bundle = read_module(module, torch.randn(2, 5, 6))
    assert shapes(bundle) == [[None, 5, 6]]
    same(module, bundle, torch.randn(3, 5, 6))


def test_what_stands_beside_a_batch_has_its_own_length():
    def positions(layer, x, memory, places, others):
        return layer(torch.cat([x, memory], 1)) + torch.cat([places, others])

    module = Of(positions, torch.nn.Linear(4, 2)).eval()
    given = torch.randn(3, 6, 4), torch.randn(3, 5, 4), torch.randn(6, 2), torch.randn(5, 2)
    bundle = read_module(module, given)
    assert shapes(bundle) == [["batch", 6, 4], ["batch", 5, 4], [6, 2], [5, 2]]
    assert any("input 2 [6, 2], input 3 [5, 2]" in each.what for each in bundle.notes)
    same(module, bundle, torch.randn(4, 6, 4), torch.randn(4, 5, 4), *given[2:])


class _Choosy(torch.nn.Module):
    def forward(self, x, more=None):
        if more is None:
            raise TypeError("needs more")
        return x


class _Tries(torch.nn.Module):
    """Gives each part what it takes, as it finds by trying."""

    def __init__(self):
        super().__init__()
        self.parts = torch.nn.ModuleList([_Choosy(), torch.nn.Linear(4, 4), _Choosy()])

    def forward(self, x):
        for part in self.parts:
            try:
                x = part(x)
            except TypeError:
                x = part(x, more=1) + 1
        return x


def test_errors_that_a_forward_catches():
    module = _Tries().eval()
    bundle = read_module(module, torch.randn(2, 4))
    same(module, bundle, torch.randn(3, 4))
    assert bundle.parameters.keys() == module.state_dict().keys()


def test_python_is_as_it_was():
    module = Of(lambda x: x)
    before = dict(globals()), torch.fx.Tracer.call_module
    with ordinary_python(module, Numbers(), Loops()):
        assert globals().keys() - before[0].keys() == {"len", "divmod", "min", "max", "range", "enumerate", "reversed"}
        assert [len([1, 2]), len(torch.zeros(3)), math.sqrt(4), root(9)] == [2, 3, 2, 3]  # sizes that are numbers
        with pytest.raises(TypeError, match="len"):
            len(torch.zeros(()))
        assert list(range(1, 7, 2)) == [1, 3, 5]
        assert isinstance(range(3), range)
        assert isinstance(enumerate("ab"), enumerate)
        assert list(enumerate("ab", start=1)) == [(1, "a"), (2, "b")]
        assert list(reversed("ab")) == ["b", "a"]
        assert isinstance(reversed("ab"), reversed)
        assert not isinstance([], range)
        assert builtins.len is not len
        assert math.pi == 3.141592653589793
    assert (dict(globals()), torch.fx.Tracer.call_module) == before
    assert math is sys.modules["math"]


def test_functions_that_pytorch_compiles_see_their_own():
    module = Of(lambda x: torch.cond(x.sum() > 0, lambda x: x / len(x), lambda x: x * math.sqrt(4), (x,)))
    bundle = read_module(module, {"shape": [3, 4]})
    same(module, bundle, torch.ones(3, 4))
    same(module, bundle, -torch.ones(3, 4))


def test_bytes_are_compared_as_those_of_the_example():
    module = Of(lambda layer, x: layer(x.float() / 255).argmax(-1), torch.nn.Linear(16, 3)).eval()
    torch.nn.init.orthogonal_(module.layers[0].weight, 1e-4)
    bundle = read_module(module, torch.arange(32, dtype=torch.uint8).reshape(2, 16) * 7)
    given = torch.arange(48, dtype=torch.uint8).reshape(3, 16) * 5
    np.testing.assert_array_equal(bundle.build()(given.numpy()), module(given).numpy())


class Shared(torch.nn.Module):
    """A row of layers that have one activation, which is what has PyTorch give stand-ins for modules."""

    def __init__(self, row, run):
        super().__init__()
        activation = torch.nn.SiLU()
        layers = [torch.nn.Sequential(torch.nn.Linear(3, 3), activation) for _ in range(4)]
        self.layers = row(layers) if row is torch.nn.ModuleList else row(*layers)
        self.scales = torch.nn.ParameterList([torch.randn(3) for _ in range(3)])
        self.run = run

    def forward(self, x):
        return self.run(self, x)


def after_one_another(layers, x):
    for layer in layers:
        x = layer(x)
    return x


ROWS = {
    "but the last": lambda self, x: self.layers[-1](after_one_another(self.layers[:-1], x) * 2),
    "every second": lambda self, x: after_one_another(self.layers[1::2], after_one_another(self.layers[::2], x)),
    "a slice of a slice": lambda self, x: after_one_another(self.layers[1:][1:], x),
    "two slices": lambda self, x: after_one_another(self.layers[:1] + self.layers[2:], x),
    "of parameters": lambda self, x: sum(x * scale for scale in self.scales[1:]),
    "backwards": lambda self, x: after_one_another(reversed(self.layers), x),
    "by class": lambda self, x: after_one_another(
        [layer[0] for layer in self.layers if type(layer) is torch.nn.Sequential], x
    ),
}


@pytest.mark.parametrize("row", [torch.nn.ModuleList, torch.nn.Sequential])
@pytest.mark.parametrize("name", ROWS)
def test_slices_of_rows_in_which_a_module_stands_twice(name, row):
    module = Shared(row, ROWS[name]).eval()
    bundle = read_module(module, torch.randn(2, 3))
    same(module, bundle, torch.randn(5, 3))
    assert bundle.parameters.keys() <= module.state_dict().keys()


def test_a_slice_is_called_as_a_whole():
    module = Shared(torch.nn.Sequential, lambda self, x: self.layers[-1](self.layers[:-1](x))).eval()
    same(module, read_module(module, torch.randn(2, 3)), torch.randn(5, 3))


MOVED = {
    "to the device": lambda self, x: self.layer.to(x.device)(x),
    "to the dtype": lambda self, x: self.layer.to(x.dtype)(x),
    "the whole": lambda self, x: self.cpu().layer(x),
    "as floats": lambda self, x: self.layer.float()(x),
}


@pytest.mark.parametrize("name", MOVED)
def test_modules_that_a_forward_moves_to_where_they_are(name):
    class Moved(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))

        def forward(self, x):
            return MOVED[name](self, x)

    module = Moved().eval()
    same(module, read_module(module, torch.randn(2, 3)), torch.randn(5, 3))
    assert module.layer[0].weight.dtype == torch.float32


def test_nothing_stays_replaced():
    def methods():
        tracer = torch.fx.experimental.proxy_tensor._ModuleStackTracer
        return torch.fx.Tracer.call_module, torch.nn.Module._apply, tracer.__init__

    before = methods()
    with contextlib.suppress(KeyError), ordinary_python(torch.nn.Linear(1, 1), Numbers(), Loops()):
        assert not set(before) & set(methods())
        raise KeyError
    assert methods() == before


def test_attention_that_is_causal_where_there_is_more_than_one_word():
    module = Of(lambda x: scaled_dot_product_attention(x, x, x, is_causal=x.shape[1] > 1))
    network = read_module(module, ({"name": "x", "shape": ["b", "t", 4], "dtype": "float32"},)).build()
    for length in (1, 2, 7):
        x = torch.randn(2, length, 4, generator=torch.Generator().manual_seed(length))
        np.testing.assert_allclose(network(x.numpy()), module(x), rtol=1e-5, atol=1e-6)
