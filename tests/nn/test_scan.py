"""Scan runs its body step by step, as a loop written out does, and as recurrent layers do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import ConversionError, SpecError, nn, ops

FREE = [{"name": "x", "shape": ["batch", "time", 3], "dtype": "float32"}]


class Cell(nn.Block):
    """A cell like that of ``torch.nn.RNN``."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Dense(4, in_units=3)
        self.hidden = nn.Dense(4, in_units=4)

    def forward(self, state, x, scale):
        state = ops.tanh(self.input(x) + self.hidden(state)) * scale
        return state, state + 1


class Net(nn.Block):
    """What a user builds around it."""

    def __init__(self) -> None:
        super().__init__()
        self.scan = nn.Scan(Cell(), states=1, axes=[1], output_axes=[1])
        self.first = nn.Dense(4, in_units=3)

    def forward(self, x):
        last, outputs = self.scan(self.first(x[:, 0]), x, np.full(4, 0.5, "float32"))
        return outputs, last


@pytest.fixture(scope="module")
def net() -> Net:
    made = Net()
    made.initialize(seed=1)
    return made


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def by_hand(net: Net, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    state, outputs = net.first(x[:, 0]), []
    for step in range(x.shape[1]):
        state = np.tanh(net.scan.body.input(x[:, step]) + net.scan.body.hidden(state)) * np.float32(0.5)
        outputs.append(state + np.float32(1))
    return np.stack(outputs, 1), state


@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 1, 3), (4, 33, 3)])
def test_the_steps_are_those_of_a_loop(net: Net, shape: tuple[int, ...]) -> None:
    x = numbers(*shape)
    for found, expected in zip(net(x), by_hand(net, x), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_an_archive_of_any_length(net: Net, tmp_path) -> None:
    path = tmp_path / "net.h5"
    ma.save_model(path, net, inputs=FREE)
    with ma.open(path) as archive:
        archive.verify()
        body = archive.architecture["model"]["nodes"]
        assert "scan.body.hidden.weight" in archive
    assert [each["block"]["kind"] for each in body if "block" in each] == ["Dense", "Scan"]
    again = ma.load_model(path)
    for length in (1, 2, 40):
        x = numbers(3, length, 3)
        for found, expected in zip(again(x), net(x), strict=True):
            np.testing.assert_array_equal(found, expected)
    part = ma.load_model(path, block="scan.body")
    np.testing.assert_array_equal(part.input.weight.value(), net.scan.body.input.weight.value())


def test_without_steps_the_states_stay(net: Net) -> None:
    state = numbers(2, 4)
    last, outputs = net.scan(state, np.zeros((2, 0, 3), "float32"), np.ones(4, "float32"))
    np.testing.assert_array_equal(last, state)
    assert outputs.shape == (2, 0, 4)
    assert outputs.dtype == np.float32


class Sums(nn.Block):
    """Sums so far of two sequences, of any shapes and dtypes."""

    def forward(self, total, one, two):
        total = total + one
        return total, total * two, ops.cast(two, dtype="int64")


@settings(max_examples=100)
@given(data=st.data())
def test_axes_stand_where_they_are_said_to(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 3), max_size=3)))
    count = data.draw(st.integers(1, 4))
    axes = [data.draw(st.integers(0, len(shape))) for _ in range(4)]
    dtype = data.draw(st.sampled_from(["float32", "float64", "int32"]))
    values = np.random.default_rng(0).integers(-3, 4, (2, count, *shape)).astype(dtype)
    one, two = (np.moveaxis(each, 0, axis) for each, axis in zip(values, axes[:2], strict=True))
    first = np.ones(shape, dtype)
    scan = nn.Scan(Sums(), states=1, axes=axes[:2], output_axes=axes[2:])
    last, products, whole = scan(first, one, two)
    sums = np.cumsum(values[0], axis=0, dtype=dtype) + first
    np.testing.assert_array_equal(last, sums[-1])
    np.testing.assert_array_equal(products, np.moveaxis(sums * values[1], 0, axes[2]))
    np.testing.assert_array_equal(whole, np.moveaxis(values[1].astype("int64"), 0, axes[3]))
    pairs = zip("abc", (first, one, two), strict=True)
    declared = [{"name": name, "shape": list(each.shape), "dtype": dtype} for name, each in pairs]
    built = ma.build(ma.describe(scan, declared))
    for found, expected in zip(built(first, one, two), (last, products, whole), strict=True):
        np.testing.assert_array_equal(found, expected)


class Growing(nn.Block):
    """Hands on another shape than it was given."""

    def forward(self, state, x):
        return ops.concatenate([state, x], axis=0)


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (lambda: nn.Scan(Growing(), 1, [], []), (), "one sequence or more"),
        (lambda: nn.Scan(Growing(), 0, [0], []), (), "a state or an output"),
        (lambda: nn.Scan(Growing(), 1, [-1], []), (), "axes: expected an int of at least 0"),
        (lambda: nn.Scan(Growing(), 1, [64], []), (), "axes below 64"),
        (lambda: nn.Scan(Growing(), 1, [0], []), (numbers(2), numbers(3, 2)), "expected state 0 to stay"),
        (lambda: nn.Scan(Growing(), 1, [0], [0]), (numbers(2), numbers(3, 2)), "found 1 arrays"),
        (lambda: nn.Scan(Growing(), 1, [3], []), (numbers(2), numbers(3, 2)), "an axis 3"),
        (lambda: nn.Scan(Growing(), 1, [0], []), (numbers(2),), "found 1 inputs"),
        (lambda: nn.Scan(Sums(), 1, [0, 0], [0, 0]), (numbers(2), numbers(3, 2), numbers(4, 2)), r"found \[3, 4\]"),
    ],
)
def test_what_does_not_fit_is_told(make, given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()(*given)


def test_a_file_is_checked_as_well(net: Net) -> None:
    architecture = ma.describe(net, FREE)
    scan = next(each["block"] for each in architecture["model"]["nodes"] if each["name"] == "scan")
    for field, value, message in (
        ("axes", [5], "axis 5"),
        ("axes", [], "axes"),
        ("output_axes", [7], "7 axes or more"),
        ("states", 2, "axis 1, found shape"),
        ("body", {"kind": "Nothing"}, "Nothing"),
    ):
        kept, scan[field] = scan[field], value
        with pytest.raises(SpecError, match=message):
            ma.validate(architecture)
        scan[field] = kept
    ma.validate(architecture)


def test_systems_without_loops_get_the_steps_written_out(net: Net, tmp_path) -> None:
    path = tmp_path / "net.h5"
    ma.save_model(path, net, inputs=FREE)
    with pytest.raises(ConversionError, match="any number of steps is not supported in MXNet"):
        ma.convert(path, tmp_path / "net-symbol.json")
    ma.save_model(path, net, inputs=numbers(2, 4, 3))
    ma.convert(path, tmp_path / "net-symbol.json")
    back = ma.load_model(tmp_path / "net-symbol.json")
    for found, expected in zip(back(numbers(2, 4, 3)), net(numbers(2, 4, 3)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
