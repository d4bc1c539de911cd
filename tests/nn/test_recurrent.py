"""RNN, LSTM and GRU: parameters, states, layouts, what they learn and what they refuse."""

import numpy as np
import pytest

import modelarchive
from modelarchive import nn

TORCH = {"RNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def made(layer, x):
    layer.initialize("normal", seed=0)
    layer(x)
    return layer


@pytest.mark.parametrize("kind", TORCH)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_state_dicts_of_pytorch_fit_as_they_are(kind, bidirectional):
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, kind)(5, 4, 2, bidirectional=bidirectional)
    layer = getattr(nn, kind)(4, 2, bidirectional=bidirectional, input_size=5)
    found = {name: tuple(array.shape) for name, array in module.state_dict().items()}
    assert {name: each.shape for name, each in layer.parameters.items()} == found
    assert list(layer.parameters) == list(found)


def test_positional_arguments_and_defaults_are_gluon_s():
    lstm = nn.LSTM(100, 3, "NTC", 0.2, True, 7)
    assert (lstm.num_layers, lstm.layout, lstm.dropout, lstm.bidirectional, lstm.input_size) == (3, "NTC", 0.2, True, 7)
    assert nn.RNN(4, 2, "tanh", "NTC").activation == "tanh"
    assert nn.GRU(4).config() == {
        "hidden_size": 4,
        "num_layers": 1,
        "layout": "TNC",
        "dropout": 0.0,
        "bidirectional": False,
        "input_size": 0,
        "use_bias": True,
        "return_state": False,
        "linear_before_reset": True,
        "dtype": "float32",
    }
    assert nn.RNN(4).activation == "relu"


def test_the_input_size_is_learned_in_every_direction():
    layer = made(nn.LSTM(4, 2, bidirectional=True, use_bias=False), floats(3, 2, 5))
    assert layer.input_size == layer.config()["input_size"] == 5
    assert {name: each.shape for name, each in layer.parameters.items()} == {
        "weight_ih_l0": (16, 5),
        "weight_hh_l0": (16, 4),
        "weight_ih_l0_reverse": (16, 5),
        "weight_hh_l0_reverse": (16, 4),
        "weight_ih_l1": (16, 8),
        "weight_hh_l1": (16, 4),
        "weight_ih_l1_reverse": (16, 8),
        "weight_hh_l1_reverse": (16, 4),
    }


def test_states_come_one_by_one_or_in_a_list_and_continue_a_sequence():
    x = floats(6, 2, 5)
    layer = made(nn.LSTM(4, 2, return_state=True), x)
    whole, h, c = layer(x)
    assert (whole.shape, h.shape, c.shape) == ((6, 2, 4), (2, 2, 4), (2, 2, 4))
    np.testing.assert_array_equal(h[-1], whole[-1])
    first, *states = layer(x[:4])
    second, *last = layer(x[4:], states)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-6)
    for one, two in zip(last, layer(x[4:], *states)[1:], strict=True):
        np.testing.assert_array_equal(one, two)


def test_layouts_differ_in_the_order_of_axes_only():
    x = floats(6, 3, 5)
    layer = made(nn.GRU(4, 2, bidirectional=True, return_state=True), x)
    other = nn.GRU(4, 2, "NTC", bidirectional=True, return_state=True)
    other.share_parameters(layer.collect_params())
    output, state = layer(x)
    swapped, same = other(x.swapaxes(0, 1))
    np.testing.assert_array_equal(swapped.swapaxes(0, 1), output)
    np.testing.assert_array_equal(same, state)


def test_the_backward_direction_is_a_recurrence_of_the_reversed_sequence():
    x = floats(6, 3, 5)
    layer = made(nn.GRU(4, bidirectional=True), x)
    alone = nn.GRU(4)
    for name, parameter in alone.parameters.items():
        parameter.set_data(layer.parameters[f"{name}_reverse"].data())
    np.testing.assert_allclose(layer(x)[..., 4:], alone(x[::-1])[::-1], rtol=1e-6)


def test_no_steps_leave_the_states():
    layer = made(nn.LSTM(4, return_state=True), floats(3, 2, 5))
    states = [floats(1, 2, 4), floats(1, 2, 4)]
    output, *after = layer(floats(0, 2, 5), states)
    assert output.shape == (0, 2, 4)
    np.testing.assert_array_equal(after, states)


def test_reset_before_or_after_the_product_differ():
    x = floats(3, 2, 5)
    layer = made(nn.GRU(4), x)
    for parameter in layer.parameters.values():
        parameter.set_data(floats(*parameter.shape))
    other = nn.GRU(4, linear_before_reset=False)
    other.share_parameters(layer.collect_params())
    assert np.abs(layer(x) - other(x)).max() > 0.01


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (nn.LSTM(4), [(3, 5)], r"LSTM: expected an input of shape \(time, batch, input_size\), found \(3, 5\)"),
        (nn.GRU(4, layout="NTC"), [(3, 5)], r"GRU: expected an input of shape \(batch, time, input_size\)"),
        (nn.RNN(4, input_size=6), [(3, 2, 5)], "RNN: expected 6 input features, found 5"),
        (nn.RNN(4), [(3, 2, 0)], "RNN: input features: expected an int of at least 1, found 0"),
        (nn.LSTM(4), [(3, 2, 5), (1, 2, 4)], r"LSTM: expected 2 states \(h, c\), found 1"),
        (nn.LSTM(4), [(3, 2, 5), (1, 2, 4), (1, 3, 4)], r"LSTM: expected state c of shape \(1, 2, 4\), found \(1, 3"),
        (nn.GRU(4), [(3, 2, 5), (1, 2, 4), (1, 2, 4)], r"GRU: expected 1 states \(h\), found 2"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(layer, shapes, words):
    layer.initialize(seed=0)
    with pytest.raises(ValueError, match=words):
        layer(*(np.zeros(shape, np.float32) for shape in shapes))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.LSTM(0), "hidden_size"),
        (lambda: nn.LSTM(4, 65), "num_layers: expected at most 64, found 65"),
        (lambda: nn.LSTM(4, layout="CNT"), "layout: expected 'TNC' or 'NTC', found 'CNT'"),
        (lambda: nn.RNN(4, activation="gelu"), "activation: expected 'relu' or 'tanh', found 'gelu'"),
        (lambda: nn.GRU(4, dropout=2), "dropout"),
        (lambda: nn.GRU(4, linear_before_reset=1), "linear_before_reset"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


class Tagger(nn.Block):
    """Reads twice, the second time from where the first reading ended."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 5)
        self.reader = nn.LSTM(4, 2, "NTC", bidirectional=True, return_state=True)
        self.tags = nn.Dense(3, flatten=False)

    def forward(self, x):
        words = self.words(x)
        _, h, c = self.reader(words)
        output, _, _ = self.reader(words, [h, c])
        return self.tags(output), h


def test_networks_with_states_are_described_and_built():
    net = Tagger()
    net.initialize("normal", seed=0)
    x = np.random.default_rng(0).integers(0, 20, (2, 7))
    wanted = net(x)
    architecture = modelarchive.describe(net, [{"shape": [None, None], "dtype": "int64"}])
    again = modelarchive.build(architecture, {name: each.data() for name, each in net.collect_params().items()})
    for one, two in zip(again(x), wanted, strict=True):
        np.testing.assert_array_equal(one, two)
    assert modelarchive.describe(again) == architecture
