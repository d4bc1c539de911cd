"""Recurrences that no layer says, step by step: projected states, computed weights."""

import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import Holder, X, assert_read

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")
weight_norm = torch.nn.utils.parametrizations.weight_norm


def _states(layers, *sizes):
    return tuple(torch.randn(layers, 2, size, generator=torch.Generator().manual_seed(size)) for size in sizes)


LAYERS = {
    "projections": lambda: torch.nn.LSTM(6, 5, batch_first=True, proj_size=3),
    "projections in layers, both ways": lambda: torch.nn.LSTM(
        6, 5, 2, batch_first=True, proj_size=3, bidirectional=True, bias=False
    ),
    "an LSTM of computed weights": lambda: weight_norm(torch.nn.LSTM(6, 5, batch_first=True), "weight_hh_l0"),
    "a GRU of computed weights": lambda: weight_norm(
        torch.nn.GRU(6, 5, 2, batch_first=True, bidirectional=True), "weight_ih_l1"
    ),
    "an RNN of computed weights": lambda: weight_norm(torch.nn.RNN(6, 5, batch_first=True), "weight_hh_l0"),
    "an RNN of ReLU": lambda: weight_norm(
        torch.nn.RNN(6, 5, batch_first=True, nonlinearity="relu", bias=False), "weight_hh_l0"
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_recurrences_are_said_step_by_step(name):
    torch.manual_seed(0)
    bundle = assert_read(Holder(LAYERS[name](), lambda layer, x: layer(x)), X)
    assert bundle.architecture["inputs"][0]["shape"] == [None, 4, 6]


def test_states_are_inputs():
    torch.manual_seed(0)
    module = Holder(LAYERS["projections"](), lambda layer, x, h, c: layer(x, (h, c)))
    assert_read(module, X, *_states(1, 3, 5))


def test_what_is_first_may_be_time(tmp_path):
    torch.manual_seed(0)
    module = Holder(torch.nn.LSTM(6, 5, proj_size=3), lambda layer, x: layer(x)[0])
    bundle = read_module(module, {"shape": [4, None, 6]})
    assert bundle.architecture["inputs"][0]["shape"] == [4, None, 6]


def test_any_number_of_steps_is_refused_with_what_to_do():
    module = Holder(LAYERS["projections"](), lambda layer, x: layer(x)[0])
    with pytest.raises(ma.ConversionError, match="any number of them: give it a fixed number"):
        read_module(module, {"shape": [None, "steps", 6]})


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["GRUCell", "LSTMCell", "RNNCell"])
def test_cells_are_taken_apart_in_one_pass(cell, monkeypatch):
    """Each pass through a program takes longer than exporting it."""
    from modelarchive.exchange.torch import decomposing

    passes = []
    decomposed = decomposing._decomposed
    monkeypatch.setattr(decomposing, "_decomposed", lambda *given: passes.append(given) or decomposed(*given))
    torch.manual_seed(0)

    def steps(layer, x):
        state = None
        for each in x.unbind(1):
            state = layer(each, state)
        return state

    assert_read(Holder(getattr(torch.nn, cell)(6, 5), steps), X)
    assert len(passes) == 1
