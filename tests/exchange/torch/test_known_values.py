"""Tensors that are no state decide what a forward does, as lists of numbers would; parameters do so with a note."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import X, assert_read

torch = pytest.importorskip("torch")

ROWS = X[:, 0].copy()
MASK = torch.tensor([True, False, True, True, False, True])
WAYS = torch.tensor([True, False, True])


class Deciding(torch.nn.Module):
    """Two layers, a tensor, and what is made of them."""

    def __init__(self, forward, tensor=None, *, keep=None):
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
        if keep is None:
            self.t = tensor
        elif keep == "parameter":
            self.t = torch.nn.Parameter(tensor)
        else:
            self.register_buffer("t", tensor, persistent=keep == "state")
        self.function = forward

    def forward(self, x):
        return self.function(self, x)


def columns(net, x):
    one, other = net.a(x), net.b(x)
    return torch.cat([(one if first else other)[:, at : at + 1] for at, first in enumerate(net.t)], 1)


def of_strides(net, x):
    return torch.cat([net.a(x)[:, :: int(each)] for each in net.t], 1)


def of_a_list(net, x):
    return torch.cat([each.sum(1, keepdim=True) for each in net.a(x).split(net.t.tolist(), 1)], 1)


def of_places(net, x):
    return sum(x[:, at : at + 1] * net.a(x) for at in net.t.nonzero().flatten())


def of_where(net, x):
    return sum(x[:, at : at + 1] * net.a(x) for at in torch.where(net.t)[0].tolist())


def of_several(net, x):
    for at in range(3):
        if net.t[at] > 0.4:
            x = net.a(x) * net.t[at]
    if net.t.sum() > 1 and torch.any(net.t < 0.3):
        x = x + 1
    return x[:, : int(net.t.argmax()) + 1]


def in_order(net, x):
    functions = [net.a, net.b, torch.tanh]
    for at in torch.argsort(net.t):
        x = functions[at](x)
    return x


def of_unique(net, x):
    found = torch.unique(net.t)
    return torch.cat([x[:, int(at) : int(at) + 1] for at in found], 1) + net.a(x)[:, : found.numel()]


def counted_down(net, x):
    number = net.t.clone()
    while number > 0:
        x = net.a(x)
        number -= 1
    return x


def of_numpy(net, x):
    for each in torch.from_numpy(np.array([True, False])):
        x = net.a(x) if each else net.b(x)
    return x


def of_the_module_of_python(net, x):
    for each in WAYS:
        x = net.a(x) if each else torch.relu(net.b(x))
    return x


CONSTANTS = {
    "truths": (columns, MASK),
    "a truth": (lambda net, x: net.a(x) if net.t else net.b(x), torch.tensor(True)),
    "strides": (of_strides, torch.tensor([1, 2])),
    "items": (lambda net, x: net.a(x)[:, :: net.t[1].item()], torch.tensor([1, 2])),
    "a list": (of_a_list, torch.tensor([2, 4])),
    "a list of other integers": (of_a_list, torch.tensor([2, 4], dtype=torch.uint8)),
    "places": (of_places, MASK),
    "where": (of_where, MASK),
    "several": (of_several, torch.tensor([0.2, 0.8, 0.5])),
    "an order": (in_order, torch.tensor([2, 0, 1])),
    "unique": (of_unique, torch.tensor([0, 1, 1, 4])),
    "of what is chosen": (lambda net, x: net.a(x)[:, torch.arange(6)[net.t]] + net.t.sum(), MASK),
    "copies": (
        lambda net, x: torch.repeat_interleave(net.a(x), net.t, dim=1) * len(net.t),
        torch.tensor([1, 2, 1, 1, 2, 0]),
    ),
    "copies of all": (lambda net, x: torch.repeat_interleave(net.a(x)[0], net.t), torch.tensor([1, 2, 1, 1, 2, 0])),
    "a loop": (counted_down, torch.tensor([3.0])),
    "a shape": (lambda net, x: net.a(x) @ torch.tril(torch.ones(net.t, net.t)), torch.tensor(6)),
    "the largest": (lambda net, x: net.a(x)[:, : net.t.max()], torch.tensor([2, 4, 3])),
    "equal": (lambda net, x: net.a(x) if torch.equal(net.t, torch.ones(6)) else net.b(x), torch.ones(6)),
    "no number": (lambda net, x: net.a(x) if torch.isnan(net.t).all() else net.b(x), torch.full((6,), float("nan"))),
}


@pytest.mark.parametrize("keep", [None, "beside the state"])
@pytest.mark.parametrize("name", CONSTANTS)
def test_what_is_no_state_decides(name, keep):
    forward, tensor = CONSTANTS[name]
    module = Deciding(forward, tensor.clone(), keep=keep)
    bundle = assert_read(module, ROWS)
    assert not [each for each in bundle.notes if "decides" in str(each)]
    assert torch.equal(module.t, tensor) or name == "no number"
    if name != "copies of all":
        of_any_batch(module, bundle)


def to_numpy(net, x):
    for each in WAYS.numpy():
        x = net.a(x) if each else net.b(x)
    return x[:, np.flatnonzero(np.asarray(WAYS))] * float(WAYS.numpy().sum())


@pytest.mark.parametrize("forward", [of_numpy, of_the_module_of_python, to_numpy])
def test_tensors_that_the_code_names(forward):
    module = Deciding(forward)
    of_any_batch(module, assert_read(module, ROWS))


def of_any_batch(module, bundle):
    net = bundle.build()
    for size in (1, 5):
        x = np.random.default_rng(size).standard_normal((size, 6), np.float32)
        np.testing.assert_allclose(net(x), module(torch.from_numpy(x)).detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("forward", "tensor", "keep"),
    [
        (columns, MASK, "state"),
        (of_strides, torch.tensor([1, 2]), "state"),
        (of_a_list, torch.tensor([2, 4]), "state"),
        (lambda net, x: [net.a, net.b][int(net.t.argmax())](x), torch.tensor([0.3, 0.7]), "parameter"),
    ],
)
def test_what_is_state_decides_with_a_note(forward, tensor, keep):
    bundle = assert_read(Deciding(forward, tensor.clone(), keep=keep), ROWS)
    assert [each.where for each in bundle.notes if "decides what the forward does" in each.what] == ["t"]


def coupled(net, x):
    y = x.clone()
    y[:, net.t] = torch.nn.functional.linear(x[:, ~net.t], net.a.weight[:4, :2])
    return net.b(y)


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.a(x)[:, net.t],
        pytest.param(
            lambda net, x: net.a(x)[:, net.t.byte()], marks=pytest.mark.filterwarnings("ignore:indexing with")
        ),
        lambda net, x: net.a.weight[net.t].sum() + x.masked_select(net.t).reshape(-1, 4),
        lambda net, x: torch.masked_select(net.a.weight, net.t)[3] * x,
        lambda net, x: x[:, net.t.nonzero()[:, 0]] + torch.bincount(net.t.long()).max(),
        lambda net, x: x.reshape(-1, 2, 3)[:, net.t.reshape(2, 3)],
        coupled,
    ],
)
def test_masks_in_the_state_choose_as_many_elements_as_they_do_now(forward):
    module = Deciding(forward, MASK.clone(), keep="state")
    bundle = assert_read(module, ROWS)
    of_any_batch(module, bundle)
    assert [each.where for each in bundle.notes if "decides what the forward does" in each.what] == ["t"]


@pytest.mark.parametrize("keep", ["state", "parameter"])
def test_of_two_ways_both_are_read(keep):
    """A state that is loaded may send it the other way."""
    module = Deciding(lambda net, x: net.a(x) if (net.t > 0).any() else net.b(x), torch.ones(3), keep=keep)
    bundle = assert_read(module, ROWS)
    assert not bundle.notes
    other = {**bundle.parameters, "t": -bundle.parameters["t"]}
    net = ma.build(bundle.architecture, other)
    with torch.no_grad():
        np.testing.assert_allclose(net(ROWS), module.b(torch.from_numpy(ROWS)), atol=1e-6)


def written(net, x):
    found = net.t.clone()
    found.add_(x.mean(0).abs() + 1)
    return net.a(x) if found[0] > 0.5 else net.b(x)


def written_through_a_view(net, x):
    found = net.t.clone()
    found[:3][0] = x.abs().sum() + 1
    return net.a(x) if found[0] > 0.5 else net.b(x)


def written_as_the_output(net, x):
    found = net.t.clone()
    torch.add(net.t, x[0].abs() + 1, out=found)
    return net.a(x) if found[0] > 0.5 else net.b(x)


def written_over(net, x):
    found = torch.zeros(6) + net.t
    found[:] = x[0].abs() + 1
    return net.a(x) if (found > 0.5).all() else net.b(x)


def written_through_a_view_of_an_unknown_shape(net, x):
    found = net.t.clone()
    view = found.view_as(x[0])
    view += x.abs().sum() + 1
    return net.a(x) if found[0] > 0.5 else net.b(x)


def numbers_written_through_such_a_view(net, x):
    found = net.t.clone()
    view = found.view_as(x[0])
    view += 1
    return net.a(x) if found[0] > 0.5 else net.b(x)


@pytest.mark.parametrize(
    "forward",
    [
        written,
        written_through_a_view,
        written_as_the_output,
        written_over,
        written_through_a_view_of_an_unknown_shape,
        numbers_written_through_such_a_view,
    ],
)
def test_what_inputs_are_written_into_is_known_no_more(forward):
    module = Deciding(forward, torch.zeros(6))
    bundle = assert_read(module, ROWS)
    net = bundle.build()
    for x in (np.zeros((2, 6), np.float32), ROWS * 100, np.full((1, 6), -0.1, np.float32)):
        np.testing.assert_allclose(net(x), module(torch.from_numpy(x)).detach(), atol=1e-4)


def test_what_flags_are_written_into_is_theirs():
    def forward(net, x):
        found = torch.zeros(2, dtype=torch.int64)
        found[0] = net.t
        if x.sum() > 100:  # so that values are asked for
            x = net.b(x)
        return [net.a, net.b, torch.tanh][found[0].item()](x)

    bundle = assert_read(Deciding(forward, torch.tensor(1), keep="state"), ROWS)
    assert [each.where for each in bundle.notes if "decides what the forward does" in each.what] == ["t"]


def test_what_is_drawn_of_a_constant_is_not_known():
    module = Deciding(lambda net, x: net.a(x) if torch.bernoulli(net.t) > 0 else net.b(x), torch.full((1,), 0.5))
    with pytest.raises(ma.ConversionError, match="random numbers"):
        read_module(module, ROWS)
