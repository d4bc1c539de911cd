"""Modules through torch.export: what is free and what is fixed, what is compared, what stays as it was."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import Function, Holder, X, assert_read

torch = pytest.importorskip("torch")

from modelarchive.exchange.torch import lifting  # noqa: E402 - it imports PyTorch


def test_an_example_of_one_leaves_the_batch_free():
    bundle = assert_read(torch.nn.Linear(6, 2), X[:1])
    assert bundle.architecture["inputs"][0]["shape"] == [None, 4, 6]


def test_a_state_as_an_input_has_the_batch_of_the_first():
    module = Holder(torch.nn.GRU(6, 5, batch_first=True), lambda held, x, state: held(x, state))
    bundle = assert_read(module, X, np.zeros((1, 2, 5), np.float32))
    assert [each["shape"] for each in bundle.architecture["inputs"]] == [["batch", 4, 6], [1, "batch", 5]]
    assert not bundle.notes


def test_a_matrix_beside_the_batch_keeps_its_own_size():
    module = Function(lambda x, mask: (x @ x.transpose(1, 2)).masked_fill(mask, -1e9).softmax(-1))
    bundle = assert_read(module, X, np.triu(np.ones((4, 4), bool), 1))
    assert [each["shape"] for each in bundle.architecture["inputs"]] == [[None, 4, 6], [4, 4]]


def test_a_scalar_input_stays_one():
    bundle = assert_read(Function(lambda x, t: x / t), X, np.float32(2))
    assert bundle.architecture["inputs"][1]["shape"] == []


def test_what_differs_is_refused_with_its_size(monkeypatch):
    monkeypatch.setitem(lifting.ROWS, "sinh", lambda context, x: x)
    with pytest.raises(ma.ConversionError, match=r"differs from the module's on the example input: by up to \d"):
        read_module(Function(torch.sinh), torch.from_numpy(X))


def test_declared_inputs_are_compared_too(monkeypatch):
    monkeypatch.setitem(lifting.ROWS, "sinh", lambda context, x: x)
    with pytest.raises(ma.ConversionError, match="differs from the module's on inputs of the shapes"):
        read_module(Function(torch.sinh), {"shape": [None, 6]})


def test_free_axes_are_those_that_are_declared():
    module = Function(lambda x: (x @ x.transpose(1, 2)).softmax(-1) @ x)
    net = read_module(module, {"shape": [None, None, 6]}).build()
    for length in (1, 3, 7):
        x = np.random.default_rng(0).standard_normal((2, length, 6), np.float32)
        np.testing.assert_allclose(net(x), module(torch.from_numpy(x)).numpy(), atol=1e-6)


def test_a_causal_mask_over_a_free_length_is_computed():
    def attention(x):
        length = x.shape[1]
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        return (x @ x.transpose(1, 2)).masked_fill(mask, -1e9).softmax(-1)

    net = read_module(Function(attention), {"shape": [None, None, 6]}).build()
    for length in (2, 5):
        x = np.random.default_rng(0).standard_normal((2, length, 6), np.float32)
        np.testing.assert_allclose(net(x), attention(torch.from_numpy(x)).numpy(), atol=1e-6)


def test_buffers_that_change_are_told_and_put_back():
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    module = Counting()
    bundle = read_module(module, torch.from_numpy(X))
    assert int(module.calls) == 0
    assert any(note.where == "calls" and "changed by each call" in note.what for note in bundle.notes)


def test_autocast_around_is_told():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        notes = read_module(torch.nn.Linear(6, 2), torch.from_numpy(X)).notes
    assert any("autocast" in note.what for note in notes)


def test_what_could_not_be_compared_says_so():
    def forward(x):
        if not torch.compiler.is_exporting():
            raise RuntimeError("runs where it is exported only")
        return x * 2

    bundle = read_module(Function(forward), [{"shape": [None, 4], "dtype": "float32"}])
    assert [note.what for note in bundle.notes if "not compared" in note.what]
    compared = read_module(Function(lambda x: x * 2), [{"shape": [None, 4], "dtype": "float32"}])
    assert not [note.what for note in compared.notes if "not compared" in note.what]


def test_autocast_within_is_compared_as_closely_as_it_rounds():
    linear = torch.nn.Linear(256, 64)

    def forward(held, x):
        with torch.autocast("cpu", torch.bfloat16):
            found = held(x)
        return found.float()

    module, x = Holder(linear, forward), np.random.default_rng(0).standard_normal((3, 256), np.float32)
    bundle = read_module(module, torch.from_numpy(x))
    found, wanted = bundle.build()(x), module(torch.from_numpy(x)).detach().numpy()
    assert found.dtype == wanted.dtype == np.float32
    assert np.abs(found - wanted).max() < 2**-7 * np.abs(wanted).max()
    assert "bfloat16" in str(bundle.architecture)
