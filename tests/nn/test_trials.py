"""Sizes that stand for free axes: distinct ones, and such that fit the network."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.architecture import check
from modelarchive.nn.axes import axis_names, groups_of, is_axis_name, unequal
from modelarchive.nn.trials import SCALES, NoFit, advice, finest, first_trial, fitting, groupings, merged, pairs_of

NAMES = st.sampled_from([None, "batch", "length", "height", 3, 5])
INPUTS = st.lists(st.lists(NAMES, max_size=4), min_size=1, max_size=4).map(
    lambda shapes: [{"name": f"x{at}", "shape": shape, "dtype": "float32"} for at, shape in enumerate(shapes)]
)


def declared(*shapes: list[Any]) -> list[dict[str, Any]]:
    return [{"name": f"x{at}", "shape": shape, "dtype": "float32"} for at, shape in enumerate(shapes)]


@given(inputs=INPUTS)
def test_axes_have_one_pair_of_sizes_just_where_they_have_one_name(inputs: list[dict[str, Any]]) -> None:
    trial = first_trial(inputs)
    for one, other in combinations(trial.sizes, 2):
        names = [inputs[number]["shape"][axis] for number, axis in (one, other)]
        are_one = names[0] is not None and names[0] == names[1]
        assert (trial.sizes[one] == trial.sizes[other]) == are_one
        # Not by accident in one of the two either.
        assert are_one or not set(trial.sizes[one]) & set(trial.sizes[other])


@pytest.mark.parametrize("scale", SCALES)
def test_no_axis_is_another_one_moved_or_scaled(scale: Any) -> None:
    groups = [{(0, axis)} for axis in range(1, 9)]
    pairs = [pair for _, pair in pairs_of(groups, scale)]
    for (one, two), (three, four) in combinations(pairs, 2):
        assert one - three != two - four
        assert one * four != two * three


@given(inputs=INPUTS)
def test_groupings_keep_what_is_declared(inputs: list[dict[str, Any]]) -> None:
    own = groups_of(inputs)
    for several in (groupings(inputs), merged(inputs)):
        assert several[0] == own
        for groups in several:
            assert all(any(each <= group for group in groups) for each in own)
            assert sorted(at for group in groups for at in group) == sorted(at for group in own for at in group)
    named = {at for group in own for at in group if inputs[at[0]]["shape"][at[1]] is not None}
    for groups in groupings(inputs):  # what has a name is one with nothing of another
        assert all(len({inputs[n]["shape"][a] for n, a in group}) == 1 for group in groups if group & named)


def test_the_search_stops_where_sizes_do_not_matter() -> None:
    tried = []
    with pytest.raises(NoFit) as caught:
        fitting(declared([None, 3]), lambda trial: tried.append(trial) or ["expected 4 features, found 3"])
    assert not caught.value.by_size
    assert len(tried) == 2


def test_the_search_goes_on_where_they_do() -> None:
    needed = 10_001

    def attempt(trial: Any) -> list[str]:
        sizes = trial.sizes[0, 1]
        return [] if min(sizes) >= needed else [f"expected {needed}, found {min(sizes)}"]

    assert min(fitting(declared([None, None]), attempt).sizes[0, 1]) >= needed
    with pytest.raises(NoFit) as caught:
        fitting(declared([None, None]), lambda trial: [f"{trial.sizes[0, 1][0] - 1} is too small"])
    assert caught.value.by_size


def test_axes_are_told_apart_in_threes_and_pairs() -> None:
    inputs = declared(*[[None, 4]] * 7)

    def fits(trial: Any) -> bool:
        sizes = [trial.sizes[at, 0] for at in range(7)]
        return len(set(sizes[:3])) == 1 and sizes[3] == sizes[4]

    found = finest(_all_one(inputs), fits)
    groups = sorted(sorted(number for number, _ in group) for group in found.groups)
    assert groups == [[0, 1, 2], [3, 4], [5], [6]]


def _all_one(inputs: list[dict[str, Any]]) -> Any:
    def attempt(trial: Any) -> list[str]:
        return [] if len(trial.groups) == 1 else [f"{trial.sizes[0, 0]}"]

    return fitting(inputs, attempt)


def test_the_advice_names_axes_what_was_tried_and_the_declaration() -> None:
    text = str(advice(declared([None, 3, None, None])))
    assert "batch with 12" in text
    assert "height, width with 64, 256" in text
    assert '"shape": [None, 3, 224, 224]' in text
    assert '"shape": ["batch", 3, "height", "width"]' in text
    assert advice(declared([2, 3])) is None


@pytest.mark.parametrize(
    ("name", "is_one"), [("batch", True), ("_x9", True), ("9x", False), ("a b", False), ("", False)]
)
def test_names_of_axes(name: str, is_one: bool) -> None:
    assert is_axis_name(name) is is_one


def test_names_that_are_made_are_free() -> None:
    assert axis_names(declared(["length", None], [None, None])) == [["length", "length_2"], ["batch", "length_2"]]


def test_sizes_that_differ_are_told_with_both() -> None:
    inputs = declared(["batch", 3], [2, "batch"])
    (problem,) = unequal(inputs, ["x", "h"], [(4, 3), (2, 5)])
    assert problem == "the axis 'batch' has one size in all inputs, found 4 in x (4, 3) and 5 in h (2, 5)"
    assert not list(unequal(inputs, ["x", "h"], [(4, 3), (2, 4)]))
    assert not list(unequal(inputs, ["x", "h"], [(4, 3), None]))


# ---------------------------------------------------------------------- whole networks


class Attention(nn.Block):
    """Queries on keys, with a mask of both lengths, and a row for each query beside."""

    def forward(self, q: Any, k: Any, mask: Any, beside: Any) -> Any:
        scores = ops.matmul(q, k.swapaxes(1, 2)) + mask
        return ops.concatenate([ops.matmul(ops.softmax(scores, axis=-1), k), beside], axis=2)


ATTENTION = [
    {"shape": ["batch", "queries", 4], "dtype": "float32"},
    {"shape": ["batch", "keys", 4], "dtype": "float32"},
    {"shape": ["queries", "keys"], "dtype": "float32"},
    {"shape": ["batch", "queries", 2], "dtype": "float32"},
]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(sizes=st.fixed_dictionaries({name: st.integers(1, 9) for name in ("batch", "queries", "keys")}))
def test_shapes_inferred_with_names_are_those_that_run(sizes: dict[str, int]) -> None:
    net = ma.build(ma.describe(Attention(), ATTENTION))
    shapes = [[sizes.get(size, size) for size in each["shape"]] for each in ATTENTION]
    fixed = ma.describe(Attention(), [{**each, "shape": shape} for each, shape in zip(ATTENTION, shapes, strict=True)])
    found = net(*[np.ones(shape, np.float32) for shape in shapes])
    assert found.shape == (sizes["batch"], sizes["queries"], 6)
    assert ma.build(fixed)(*[np.ones(shape, np.float32) for shape in shapes]).shape == found.shape


@settings(max_examples=25, deadline=None)
@given(wrong=st.integers(1, 9).filter(lambda size: size != 3), place=st.sampled_from([(0, 0), (1, 1), (2, 0), (3, 1)]))
def test_one_axis_of_a_name_with_another_size_is_refused(wrong: int, place: tuple[int, int]) -> None:
    net = ma.build(ma.describe(Attention(), ATTENTION))
    shapes = [[3 if isinstance(size, str) else size for size in each["shape"]] for each in ATTENTION]
    shapes[place[0]][place[1]] = wrong
    with pytest.raises(ValueError, match="has one size in all inputs, found"):
        net(*[np.ones(shape, np.float32) for shape in shapes])


def test_a_name_stands_for_what_null_does_not() -> None:
    with pytest.raises(ma.SpecError):
        ma.describe(Attention(), [ATTENTION[0], ATTENTION[1], {"shape": ["keys", "queries"]}, ATTENTION[3]])


@pytest.mark.parametrize(
    ("net", "shape", "runs"),
    [
        (lambda: nn.Conv1D(2, 101, in_channels=3), [None, 3, None], (1, 3, 700)),
        (lambda: nn.Conv1D(1, 10_001, in_channels=4), ["batch", 4, "length"], (1, 4, 10_100)),
        (lambda: nn.PositionalEmbedding("learned", 20, 8), [None, None, 8], (2, 20, 8)),
        (lambda: nn.Conv1D(1, 400, in_channels=1, layout="NWC"), [None, None, 1], (1, 500, 1)),
    ],
)
def test_networks_that_need_certain_sizes(net: Any, shape: list[Any], runs: tuple[int, ...], tmp_path: Any) -> None:
    network = net()
    network.initialize(seed=0)
    ma.save_model(tmp_path / "net.h5", network, inputs={"shape": shape})
    x = np.random.default_rng(0).random(runs, np.float32)
    again = ma.load_model(tmp_path / "net.h5")
    assert again(x).tobytes() == network(x).tobytes()
    with ma.open(tmp_path / "net.h5") as archive:
        assert archive.architecture["inputs"][0]["shape"] == shape


def test_what_no_size_fits_says_what_was_tried_and_how_to_fix_it() -> None:
    class Window(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1D(1, 100_001, in_channels=1)

        def forward(self, x: Any) -> Any:
            return self.conv(x)

    with pytest.raises(ma.SpecError) as caught:
        ma.describe(Window(), {"shape": [None, 1, None]})
    assert "length with 64, 256" in str(caught.value.hint)
    assert 'inputs={"name": "x", "shape": [None, 1, 128]}' in str(caught.value.hint)


@given(inputs=INPUTS)
def test_what_is_given_has_the_words_of_its_declaration(inputs: list[dict[str, Any]]) -> None:
    trial = first_trial(inputs)
    assert [trial.words(value) for value in trial.values] == axis_names(inputs, trial.groups)


def test_axes_within_a_network_are_told_in_terms_of_the_inputs_own() -> None:
    net = nn.Sequential(
        nn.Conv2D(8, 3, strides=2, padding=1),
        nn.Conv2D(8, 1, strides=2),
        nn.Upsample([8, 4]),
        nn.Conv2D(4, 3),
        nn.Conv2D(4, 3, strides=2, padding=1),
        nn.Flatten(),
    )
    net.initialize(seed=0)
    net(np.zeros((1, 3, 64, 64), np.float32))
    architecture = ma.describe(net, inputs=np.zeros((1, 3, 64, 64), np.float32))
    architecture["inputs"][0]["shape"] = ["batch", 3, "height", "width"]
    checked = check(architecture)
    found = [checked.trial.words(checked.returned[id(each)]) for each in checked.block]
    assert [each[0] for each in found] == ["batch"] * len(found)
    assert [each[-1] for each in found[:4]] == ["width / 2", "width / 4", "width", "width - 2"]
    assert [each[2] for each in found[:4]] == ["height / 2", "height / 4", "2 height", "·"]
    assert found[-1][1] == "·"  # an area
