"""Recurrences that no kind says, whose steps are written out: what ONNX Runtime gives, whatever makes them special."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx.test_reading_live import compared, make, onnx, session

helper = onnx.helper
RNG = np.random.default_rng(0)
STEPS, BATCH, SIZE, HIDDEN = 5, 3, 4, 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
COUNTS = {"forward": 1, "reverse": 1, "bidirectional": 2}
X = RNG.standard_normal((STEPS, BATCH, SIZE)).astype(np.float32)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def file(tmp_path, kind, direction, *, lengths=None, peepholes=False, states=True, steps=STEPS, computed=(), **options):
    """A model of one recurrence, its parameters stored, or computed of stored ones."""
    count, rows = COUNTS[direction], GATES[kind] * HIDDEN
    stored = {"w": normal(count, rows, SIZE) / 3, "r": normal(count, rows, HIDDEN) / 3, "b": normal(count, 2 * rows)}
    if lengths is not None:
        stored["l"] = np.asarray(lengths, np.int32)
    if states:
        stored["h"] = normal(count, BATCH, HIDDEN)
    if states and kind == "LSTM":
        stored["c"] = normal(count, BATCH, HIDDEN)
    if peepholes:
        stored["p"] = normal(count, 3 * HIDDEN)
    inputs = [name if name in stored or name == "x" else "" for name in "xwrblhcp"]
    nodes = []
    for name in computed:
        nodes.append(helper.make_node("Mul", [name, "one"], [f"{name}_computed"]))
        inputs[inputs.index(name)] = f"{name}_computed"
    while not inputs[-1]:
        inputs.pop()
    outputs = ["y", "y_h", "y_c"][: 3 if kind == "LSTM" else 2]
    nodes.append(helper.make_node(kind, inputs, outputs, direction=direction, hidden_size=HIDDEN, **options))
    given = {"x": ([steps, BATCH, SIZE], "f")} | ({"one": ([1], "f")} if computed else {})
    return make(tmp_path, nodes, given, dict.fromkeys(outputs, (None, "f")), stored)


def same(path, *inputs):
    bundle = compared(path, *inputs)
    again = path.with_name("again.onnx")
    exchange.write(bundle, again)
    running, other = session(path), session(again)
    wanted = running.run(None, dict(zip([each.name for each in running.get_inputs()], inputs, strict=True)))
    found = other.run(None, dict(zip([each.name for each in other.get_inputs()], inputs, strict=True)))
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)
    return bundle


EVERY = pytest.mark.parametrize(("kind", "direction"), [(kind, direction) for kind in GATES for direction in COUNTS])


@EVERY
@pytest.mark.parametrize("states", [True, False])
def test_sequences_of_different_lengths(kind, direction, states, tmp_path):
    same(file(tmp_path, kind, direction, lengths=[5, 2, 3], states=states), X)


@EVERY
def test_lengths_that_are_all_whole_are_the_kind_s(kind, direction, tmp_path):
    bundle = same(file(tmp_path, kind, direction, lengths=[STEPS] * 3), X)
    assert "written out" not in str(bundle.notes)


@EVERY
def test_gates_that_are_held_down(kind, direction, tmp_path):
    same(file(tmp_path, kind, direction, clip=0.4), X)


@pytest.mark.parametrize("direction", COUNTS)
@pytest.mark.parametrize("coupled", [0, 1])
def test_gates_that_see_the_cell(direction, coupled, tmp_path):
    same(file(tmp_path, "LSTM", direction, peepholes=True, input_forget=coupled), X)


@EVERY
@pytest.mark.parametrize(
    ("gate", "state", "numbers"),
    [
        ("HardSigmoid", "Relu", {"activation_alpha": [0.3], "activation_beta": [0.4]}),
        ("Sigmoid", "Softsign", {}),
        ("Affine", "Elu", {"activation_alpha": [0.2, 0.5], "activation_beta": [0.1]}),
        ("Sigmoid", "LeakyRelu", {"activation_alpha": [0.3]}),
        ("Tanh", "Softplus", {}),
        ("Sigmoid", "ThresholdedRelu", {"activation_alpha": [0.2]}),
        ("ScaledTanh", "Tanh", {"activation_alpha": [0.6], "activation_beta": [0.7]}),
    ],
)
def test_other_activations(kind, direction, gate, state, numbers, tmp_path):
    names = {"RNN": [gate], "GRU": [gate, "Tanh"], "LSTM": [gate, "Tanh", state]}[kind]
    if kind != "LSTM":
        numbers = {name: each[:1] for name, each in numbers.items() if gate in ("HardSigmoid", "Affine", "ScaledTanh")}
    count = COUNTS[direction]
    numbers = {name: each * count for name, each in numbers.items()}
    same(file(tmp_path, kind, direction, activations=names * count, **numbers), X)


def test_a_cell_that_is_not_held_down_keeps_its_numbers(tmp_path):
    names, alpha = ["Sigmoid", "Elu", "LeakyRelu"], [0.3, 0.7]
    same(file(tmp_path, "LSTM", "reverse", clip=0.4, activations=names, activation_alpha=alpha), X)


@EVERY
@pytest.mark.parametrize("linear", [0, 1])
def test_weights_that_are_computed(kind, direction, linear, tmp_path):
    options = {"linear_before_reset": linear} if kind == "GRU" else {}
    bundle = same(file(tmp_path, kind, direction, computed="wrb", **options), X, np.array([0.75], np.float32))
    assert "its steps are written out" in str([str(each) for each in bundle.notes])


def test_a_free_number_of_steps_is_refused_with_the_way_out(tmp_path):
    path = file(tmp_path, "GRU", "forward", clip=0.4, steps="time")
    with pytest.raises(ma.ConversionError, match=r"GRU over a free number of steps .* pass inputs=") as caught:
        exchange.read(path)
    assert caught.value.hint.startswith('it can be read with, for example, inputs=[{"name": "x", "shape": [')
    compared(path, X, inputs={"x": [STEPS, BATCH, SIZE]})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"activations": ["Mine", "Tanh", "Tanh"]}, "the activation 'Mine'"),
        ({"activations": ["Sigmoid", "Tanh"]}, "2 activations in 1 directions"),
        ({"activations": ["Affine", "Tanh", "Tanh"]}, "the activation 'Affine' without its numbers"),
    ],
)
def test_what_is_not_known_is_refused_by_name(options, said, tmp_path):
    with pytest.raises(ma.ConversionError, match=said):
        exchange.read(file(tmp_path, "LSTM", "forward", **options))
