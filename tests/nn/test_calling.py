"""A call is remembered, and an error in it says where it happened and what was given."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.nn.calling import last_inputs


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


class Head(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(3)
        self.words = nn.Embedding(5, 3)

    def forward(self, x: Any, words: Any = None) -> Any:
        y = self.dense(x)
        return y if words is None else ops.add(y, self.words(words))


class Net(nn.Block):
    """A network whose third layer takes 16 channels."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2D(8, 3, in_channels=3), nn.MaxPool2D(2), nn.Conv2D(4, 3, in_channels=channels), nn.Flatten()
        )
        self.head = Head()

    def forward(self, x: Any, words: Any = None) -> Any:
        return self.head(self.features(x), words)


def net(channels: int = 8) -> nn.Block:
    found = Net(channels)
    found.initialize(seed=0)
    return found


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("made", "inputs", "kind", "said"),
    [
        (
            lambda: net(16),
            [zeros(2, 3, 28, 28)],
            ValueError,
            "features.2 (Conv2D): expected 16 input channels, found 8 in shape (2, 8, 13, 13); "
            "the network was given x (2, 3, 28, 28)",
        ),
        (
            net,
            [zeros(2, 1, 28, 28)],
            ValueError,
            "features.0 (Conv2D): expected 3 input channels, found 1 in shape (2, 1, 28, 28); "
            "the network was given x (2, 1, 28, 28)",
        ),
        (
            net,
            [zeros(2, 28, dtype="float64")],
            ValueError,
            "features.0 (Conv2D): expected an input of shape (batch, channels, height, width), found (2, 28); "
            "the network was given x float64 (2, 28)",
        ),
        (
            net,
            [zeros(2, 3, 8, 8), zeros(2)],
            TypeError,
            "head.words (Embedding): expected integer indices, found float32; "
            "the network was given x (2, 3, 8, 8), words (2,)",
        ),
        (net, [], TypeError, "expected the inputs (x, words=), found 0 inputs; the network was given nothing"),
    ],
)
def test_an_error_names_the_block_and_what_was_given(
    made: Callable[[], nn.Block], inputs: list[np.ndarray], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        made()(*inputs)
    assert str(caught.value) == said
    assert type(caught.value) is kind


def test_by_keyword_too() -> None:
    with pytest.raises(TypeError, match=r"found 0 inputs and y by name; the network was given y \(2,\)"):
        net()(y=zeros(2))
    with pytest.raises(ValueError, match=r"the network was given x \(2, 1, 8, 8\), words int64 \(2,\)"):
        net()(x=zeros(2, 1, 8, 8), words=zeros(2, dtype="int64"))


def test_a_layer_by_itself_says_it_once() -> None:
    layer = nn.Dense(2, in_units=3)
    layer.initialize()
    with pytest.raises(ValueError, match=r"^Dense: expected 3 input features, found 4 in shape \(2, 4\)$"):
        layer(zeros(2, 4))
    with pytest.raises(TypeError, match=r"^Dense: expected the inputs \(x\), found 2 inputs$"):
        layer(zeros(2, 3), zeros(2, 3))


def test_a_block_that_stands_at_two_places() -> None:
    shared = nn.Dense(2, in_units=3)
    both = nn.Sequential(nn.Sequential(shared), nn.Sequential(shared))
    both.initialize()
    with pytest.raises(ValueError, match=r"^1\.0 \(Dense\): expected 3 input features, found 2"):
        both(zeros(2, 3))


def test_errors_of_others_keep_their_words_and_classes() -> None:
    class OwnError(ValueError):
        pass

    class Raises(nn.Block):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

        def forward(self, x: Any) -> Any:
            raise self.error

    for error in (OwnError("no"), KeyError("key"), ma.SpecError([("", "a", "b")]), ValueError(1, 2), RuntimeError("x")):
        before = (type(error), error.args)
        with pytest.raises(type(error)) as caught:
            nn.Sequential(Raises(error))(zeros(1))
        assert caught.value is error
        assert (type(error), error.args) == before
    with pytest.raises(ValueError, match=r"^0 \(Raises\): negative; the network was given x \(1,\)$"):
        nn.Sequential(Raises(ValueError("negative")))(zeros(1))


def test_an_error_that_is_caught_inside_leaves_no_trace() -> None:
    class Tries(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Dense(2, in_units=3)
            self.second = nn.Dense(2, in_units=4)

        def forward(self, x: Any) -> Any:
            try:
                return self.first(x)
            except ValueError:
                return self.second(x)

    tries = Tries()
    tries.initialize()
    assert tries(zeros(1, 4)).shape == (1, 2)
    with pytest.raises(ValueError, match=r"^second \(Dense\): expected 4 input features, found 5"):
        tries(zeros(1, 5))


def test_a_summary_says_it_too() -> None:
    with pytest.raises(ValueError, match=r"^features\.0 \(Conv2D\): .*; the network was given x \(2, 1, 8, 8\)"):
        net().summary(zeros(2, 1, 8, 8))


class Sum(nn.Block):
    def forward(self, x: Any, y: Any) -> Any:
        return ops.matmul(x, x.swapaxes(1, 2)) + y


class Outer(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.inner = Sum()

    def forward(self, ids: Any, y: Any) -> Any:
        return self.inner(self.words(ids), y)


@pytest.fixture
def rebuilt(tmp_path: Path) -> nn.Block:
    outer = Outer()
    outer.initialize(seed=0)
    declared = [{"shape": [None, 3], "dtype": "int64"}, {"shape": [None, 3, 3]}]
    ma.save_model(tmp_path / "x.h5", outer, inputs=declared)
    return ma.load_model(tmp_path / "x.h5")


IDS = zeros(2, 3, dtype="int64")


@pytest.mark.parametrize(
    ("inputs", "kind", "said"),
    [
        (
            [IDS, zeros(2, 3, 2)],
            ValueError,
            "input y: expected float32 (batch, 3, 3), found float32 (2, 3, 2); "
            "load it with inputs={'y': (None, 3, None)} for other sizes",
        ),
        (
            [zeros(2, 3), zeros(2, 3, 3)],
            TypeError,
            "input ids: expected int64 (batch, 3), found float32 (2, 3); "
            "words (Embedding): expected integer indices, found float32",
        ),
        (
            [IDS[0], zeros(2, 3, 3)],
            ValueError,
            "input ids: expected int64 (batch, 3), found int64 (3,)",
        ),
        (
            [IDS + 9, zeros(2, 3, 3)],
            ValueError,
            "words (Embedding): expected indices from 0 to 4, found 9 to 9; "
            "the network was given ids int64 (2, 3), y (2, 3, 3)",
        ),
        ([IDS], TypeError, "the input 'y' is missing: the network takes ids, y"),
        ([IDS] * 3, TypeError, "expected 2 inputs (ids, y), found 3"),
    ],
)
def test_what_is_rebuilt_compares_with_what_it_declares(
    rebuilt: nn.Block, inputs: list[np.ndarray], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        rebuilt(*inputs)
    assert said in str(caught.value)


def test_what_is_rebuilt_knows_its_inputs_by_name(rebuilt: nn.Block) -> None:
    with pytest.raises(TypeError, match="there is no input 'mask': the network takes ids, y"):
        rebuilt(IDS, mask=zeros(1))
    with pytest.raises(TypeError, match="the input 'ids' is given twice"):
        rebuilt(IDS, ids=IDS)


def test_other_sizes_than_the_declared_ones_are_refused_and_can_be_declared(rebuilt: nn.Block, tmp_path: Path) -> None:
    ids, y = zeros(2, 7, dtype="int32"), zeros(2, 7, 7, dtype="float64")
    with pytest.raises(ValueError, match=r"input ids: expected int64 \(batch, 3\), found int32 \(2, 7\)"):
        rebuilt(ids, y)
    other = ma.load_model(tmp_path / "x.h5", inputs={"ids": ("batch", "n"), "y": ("batch", "n", "n")})
    assert other(ids, y).shape == (2, 7, 7)
    assert rebuilt(zeros(2, 3, dtype="int32"), zeros(2, 3, 3, dtype="float64")).shape == (2, 3, 3)


def initialized(network: nn.Block) -> nn.Block:
    network.initialize(seed=0)
    return network


class Doubled(nn.Block):
    """What `forward` does depends on a size, which is decided once it is recorded."""

    def forward(self, x: Any) -> Any:
        return ops.concatenate(x, x, axis=1) if x.shape[1] > 4 else x


def test_what_a_size_has_decided_is_never_another_network(tmp_path: Path) -> None:
    ma.save_model(tmp_path / "x.h5", Doubled(), inputs=zeros(2, 3))
    built = ma.load_model(tmp_path / "x.h5")
    for network in (built, copy.deepcopy(built), pickle.loads(pickle.dumps(built))):
        assert network(zeros(5, 3)).shape == (5, 3)
        with pytest.raises(ValueError, match=r"input x: expected float32 \(batch, 3\), found float32 \(2, 6\)"):
            network(zeros(2, 6))
        with pytest.raises(ValueError, match=r"found float32 \(3,\)$"):
            network(zeros(3))


class Two(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1D(4, 1), nn.Conv1D(2, 1)

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x))


def test_what_is_changed_takes_what_its_layers_do(tmp_path: Path) -> None:
    ma.save_model(tmp_path / "x.h5", initialized(Two()), inputs=zeros(2, 3, 5))
    network = ma.load_model(tmp_path / "x.h5")
    with pytest.raises(ValueError, match="for other sizes"):
        network(zeros(2, 3, 7))
    network.first = nn.Conv1D(4, 1, in_channels=1)
    network.first.initialize(seed=0)
    assert network(zeros(2, 1, 7)).shape == (2, 2, 7)


def test_layers_alone_are_the_same_at_every_size(tmp_path: Path) -> None:
    ma.save_model(tmp_path / "x.h5", initialized(nn.Sequential(nn.Conv1D(4, 1))), inputs=zeros(2, 3, 5))
    assert ma.load_model(tmp_path / "x.h5")(zeros(1, 3, 9)).shape == (1, 4, 9)


def test_a_block_alone_takes_what_its_layers_do(tmp_path: Path) -> None:
    ma.save_model(
        tmp_path / "x.h5", initialized(nn.Sequential(nn.Conv2D(4, 3), nn.MaxPool2D(2))), inputs=zeros(2, 3, 8, 8)
    )
    alone = ma.load_model(tmp_path / "x.h5", block="0")
    assert alone(zeros(1, 3, 9, 9)).shape == (1, 4, 7, 7)
    ma.describe(alone)  # which finds out what it is given in the whole
    assert alone(zeros(1, 3, 9, 9)).shape == (1, 4, 7, 7)


# ---------------------------------------------------------------------- memory


def test_the_last_call_is_remembered_by_every_block() -> None:
    network = net()
    assert last_inputs(network) is None
    network(zeros(2, 3, 8, 8), words=zeros(2, dtype="int64"))
    network(zeros(4, 3, 8, 8))
    assert last_inputs(network) == [((4, 3, 8, 8), np.dtype("float32"))]
    assert last_inputs(network.features[2]) == [((4, 8, 3, 3), np.dtype("float32"))]
    assert last_inputs(network.head.words) == [((2,), np.dtype("int64"))]


def test_no_array_is_kept_alive() -> None:
    import weakref

    class Watched(np.ndarray):
        pass

    network = nn.Sequential(nn.Identity())
    array = zeros(3, 3).view(Watched)
    watch = weakref.ref(array)
    network(array)
    del array
    assert watch() is None
    assert last_inputs(network) == [((3, 3), np.dtype("float32"))]


def test_copies_and_pickles_remember() -> None:
    network = net()
    network(zeros(2, 3, 8, 8))
    for other in (copy.copy(network), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert last_inputs(other) == [((2, 3, 8, 8), np.dtype("float32"))]


def test_symbols_and_failed_calls_do_not_count() -> None:
    network = net()
    ma.describe(network, zeros(2, 3, 8, 8))
    assert last_inputs(network) is None
    assert last_inputs(network.features) is None
    network(zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="channels"):
        network(zeros(2, 1, 8, 8))
    assert last_inputs(network) == [((2, 3, 8, 8), np.dtype("float32"))]


def test_a_block_that_is_no_child_goes_by_its_class() -> None:
    hidden = nn.Dense(2, in_units=3)
    hidden.initialize()

    class Uses(nn.Block):
        def forward(self, x: Any) -> Any:
            return hidden(x)

    with pytest.raises(ValueError, match=r"^0\.Dense \(Dense\): expected 3 input features, found 4"):
        nn.Sequential(Uses())(zeros(2, 4))


def test_blocks_that_contain_themselves() -> None:
    class Round(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Dense(2, in_units=3)
            self.other = nn.Sequential()
            self.other.add(back=self)

        def forward(self, x: Any) -> Any:
            return nn.Dense(2, in_units=3)(x)

    with pytest.raises(ValueError, match="expected 3 input features, found 4"):
        Round()(zeros(2, 4))
