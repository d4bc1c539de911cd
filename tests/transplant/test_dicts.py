"""Dicts of arrays as targets, casting, and the prefixes that wrappers leave."""

from __future__ import annotations

import json
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.transplant.prefixes import Prefixes

INTEGERS = ["i1", "u1", "i4", "u4", "i8", "u8"]
FLOATS = ["f2", "f4", "f8"]


def test_arrays_are_filled_in_place() -> None:
    weight = np.zeros((2, 3), "f4")
    target = {"weight": weight, "note": "no array", "other": np.ones(1)}
    report = ma.transplant({"weight": np.ones((2, 3), "f4")}, target)
    assert weight.sum() == 6
    assert report.missing == ["other"]


def test_a_read_only_array_is_told_before_anything_changes() -> None:
    fixed, free = np.zeros(2), np.zeros(2)
    fixed.flags.writeable = False
    with pytest.raises(ma.ParameterError, match=r"fixed: .*found a ndarray that cannot be changed"):
        ma.transplant({"free": np.ones(2), "fixed": np.ones(2)}, {"free": free, "fixed": fixed})
    assert free.sum() == 0


def test_an_array_whose_elements_are_one_is_told_before_anything_changes() -> None:
    one, free = np.zeros(1), np.zeros(2)
    expanded = np.lib.stride_tricks.as_strided(one, (3,), (0,))
    with pytest.raises(ma.ParameterError, match=r"x: .*found a ndarray that cannot be changed"):
        ma.transplant({"free": np.ones(2), "x": np.arange(3.0)}, {"free": free, "x": expanded})
    assert free.sum() == one.sum() == 0


def test_freezing_needs_a_network() -> None:
    with pytest.raises(ValueError, match="freeze needs a network"):
        ma.transplant({"a": np.ones(1)}, {"a": np.zeros(1)}, freeze=True)


class TestCasting:
    @pytest.mark.parametrize(
        ("value", "found", "expected"),
        [
            (np.inf, "f4", ml_dtypes.float8_e4m3fn),  # which has no infinity
            (2**24 + 1, "i8", "f4"),
            (2**53 + 1, "i8", "f8"),
            (2**63 - 1, "i8", "f8"),
            (257, "i4", ml_dtypes.bfloat16),
            (-1, "i1", "u8"),
            (2**63, "u8", "i8"),
            (300, "i8", "u1"),
            (2**24 + 1, "i8", "c8"),
        ],
    )
    def test_numbers_that_would_be_others(self, value: float, found: str, expected: Any) -> None:
        target = {"a": np.zeros(2, expected)}
        with pytest.raises(ma.ParameterError, match=r"a: expected numbers that .* can hold, found others of"):
            ma.transplant({"a": np.array([0, value], found)}, target, cast_dtype=True)
        assert not target["a"].any()

    @given(st.lists(st.integers(-(2**63), 2**64 - 1)), st.sampled_from(INTEGERS), st.sampled_from([*INTEGERS, *FLOATS]))
    @example([-(2**63)], "i8", "f2")  # becomes -inf, which comes back as the same number
    def test_whole_numbers_stay_what_they_are(self, values: list[int], found: str, expected: str) -> None:
        limits = np.iinfo(found)
        values = [value for value in values if limits.min <= value <= limits.max]
        source, target = np.array(values, found), np.zeros(len(values), expected)
        with np.errstate(over="ignore"):
            wanted = source.astype(expected)
        if [int(each) if np.isfinite(each) else None for each in wanted] == values:
            ma.transplant({"a": source}, {"a": target}, cast_dtype=True)
            assert target.tobytes() == wanted.tobytes()
        else:
            with pytest.raises(ma.ParameterError):
                ma.transplant({"a": source}, {"a": target}, cast_dtype=True)

    def test_into_a_wider_dtype(self) -> None:
        source = {"a": np.array([0.1, -3], np.float16), "b": np.array([0.1], ml_dtypes.bfloat16), "c": np.array([3])}
        target = {"a": np.zeros(2, "f4"), "b": np.zeros(1, "f8"), "c": np.zeros(1, "f4")}
        with pytest.raises(ma.ParameterError, match="cast_dtype=True converts dtypes") as told:
            ma.transplant(source, target)
        assert len(told.value.mismatched) == 3
        report = ma.transplant(source, target, cast_dtype=True)
        assert report.copied["a"] == ("a", "whole, float16 to float32")
        for name, array in source.items():
            np.testing.assert_array_equal(target[name], array.astype(target[name].dtype))

    def test_what_would_become_infinite_is_refused_and_nothing_changes(self) -> None:
        target = {"a": np.zeros(1, "f2"), "b": np.zeros(1, "f2")}
        with pytest.raises(ma.ParameterError, match=r"b: expected numbers that float16 can hold"):
            ma.transplant({"a": np.ones(1, "f4"), "b": np.array([1e30], "f4")}, target, cast_dtype=True)
        assert target["a"][0] == 0
        ma.transplant({"a": np.array([np.inf], "f4")}, target, cast_dtype=True)
        assert np.isinf(target["a"][0])

    @pytest.mark.parametrize(
        ("found", "expected"), [("f4", "i4"), ("c8", "f4"), ("f4", "?"), ("i4", "?"), (ml_dtypes.bfloat16, "i8")]
    )
    def test_what_would_lose_its_kind_is_refused(self, found: str, expected: str) -> None:
        with pytest.raises(ma.ParameterError, match="would lose what it holds") as told:
            ma.transplant({"a": np.ones(1, found)}, {"a": np.zeros(1, expected)}, cast_dtype=True)
        assert "select=" in str(told.value.hint)

    def test_whole_numbers_that_do_not_fit(self) -> None:
        with pytest.raises(ma.ParameterError, match="int8 can hold"):
            ma.transplant({"a": np.array([300])}, {"a": np.zeros(1, np.int8)}, cast_dtype=True)

    def test_with_overlap_and_rows(self) -> None:
        target = {"a": np.zeros((3, 2), "f4"), "words": np.zeros((2, 1), "f4")}
        source = {"a": np.ones((2, 4), "f2"), "words": np.array([[5], [7]], "f2")}
        rows = {"words": (["x", "y"], ["y", "z"])}
        ma.transplant(source, target, cast_dtype=True, mismatch="overlap", rows=rows)
        assert target["a"].tolist() == [[1, 1], [1, 1], [0, 0]]
        assert target["words"].tolist() == [[7], [0]]


#: Names of networks whose parts are called as wrappers call theirs.
NAMES = st.lists(
    st.lists(st.sampled_from(["module", "model", "net", "_orig_mod", "a", "b"]), max_size=3).map(
        lambda parts: ".".join([*parts, "w"])
    ),
    min_size=1,
    max_size=6,
    unique=True,
)
CHAINS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "model.", "net."]),
        st.sampled_from(["", "module.", "_orig_mod.", "module._orig_mod.", "module.module."]),
    ),
)


class TestPrefixes:
    @pytest.mark.parametrize(
        ("source", "target"),
        [
            ("module.a.weight", "a.weight"),
            ("_orig_mod.a.weight", "a.weight"),
            ("module._orig_mod.a.weight", "a.weight"),
            ("a._orig_mod.b.weight", "a.b.weight"),
            ("model.a.weight", "a.weight"),
            ("model._orig_mod.a.weight", "a.weight"),
            ("a.weight", "model.a.weight"),
            ("module.a.weight", "_orig_mod.a.weight"),
            ("module.a.weight", "model.a.weight"),
        ],
    )
    def test_what_wrappers_leave(self, source: str, target: str) -> None:
        array = np.zeros(2)
        report = ma.transplant({source: np.ones(2)}, {target: array})
        assert array.sum() == 2
        assert report.notes
        assert str(report).endswith(f"note: {report.notes[-1]}")
        assert ma.transplant({source: np.ones(2)}, {target: array}, select=source).copied
        assert ma.transplant({source: np.ones(2)}, {target: array}, select="*a.*weight").copied

    def test_a_network_that_has_such_names_itself(self) -> None:
        names = ["module.weight", "model.weight", "weight"]
        target = {name: np.zeros(1) for name in names}
        source = {name: np.full(1, number, "f8") for number, name in enumerate(names, 1)}
        report = ma.transplant(source, target)
        assert not report.notes
        assert [float(array[0]) for array in target.values()] == [1, 2, 3]

    def test_the_own_name_comes_first(self) -> None:
        for order in (["module.a", "a"], ["a", "module.a"]):
            target = {"a": np.zeros(1)}
            source = {name: np.full(1, len(name), "f8") for name in order}
            report = ma.transplant(source, target)
            assert target["a"][0] == 1
            assert report.unexpected == ["module.a"]

    def test_only_the_model_at_the_beginning_is_taken_off(self) -> None:
        assert Prefixes(["a.weight"], ["a.model.weight"]).target_of("a.model.weight") == "a.model.weight"
        assert Prefixes(["weight"], ["model.weight"]).target_of("model.weight") == "weight"

    @pytest.mark.slow
    @given(names=NAMES, ours=CHAINS, theirs=CHAINS)
    def test_wrappers_around_networks_that_have_such_names_themselves(
        self, names: list[str], ours: str, theirs: str
    ) -> None:
        """A part may be called "module": each name finds its own place, however the two sides are wrapped."""
        source = {ours + name: np.full(1, number) for number, name in enumerate(names, 1)}
        target = {theirs + name: np.zeros(1, int) for name in names}
        ma.transplant(source, target)
        assert [int(array[0]) for array in target.values()] == [*range(1, len(names) + 1)]

    def test_wrappers_within(self) -> None:
        names = ["encoder.module.module.w", "encoder.module.w", "head.w"]
        target = {name: np.zeros(1) for name in ("encoder.module.w", "encoder.w", "head.w")}
        ma.transplant({name: np.full(1, number, "f8") for number, name in enumerate(names, 1)}, target)
        assert [float(array[0]) for array in target.values()] == [1, 2, 3]

    @pytest.mark.parametrize(
        ("source", "target"),
        [
            (["model.a", "model.b", "net.a", "net.c"], ["a", "b", "c"]),
            (["a"], ["net.a", "model.a"]),
        ],
    )
    def test_two_networks_are_not_mixed(self, source: list[str], target: list[str]) -> None:
        arrays = {name: np.zeros(1) for name in target}
        with pytest.raises(ma.ParameterError, match="no source parameter matches") as told:
            ma.transplant({name: np.ones(1) for name in source}, arrays)
        assert not any(map(np.any, arrays.values()))
        rule = re.search(r"rename=(\{.*?\})", str(told.value.hint))
        assert rule is not None
        assert ma.transplant({name: np.ones(1) for name in source}, arrays, rename=json.loads(rule[1])).copied

    def test_one_of_two_networks_that_fits_better(self) -> None:
        target = {name: np.zeros(1) for name in ("a", "b", "c")}
        source = {name: np.ones(1) for name in ("model.a", "model.b", "model.c", "net.a", "net.d")}
        report = ma.transplant(source, target)
        assert [name for name, _ in report.copied.values()] == ["model.a", "model.b", "model.c"]
        assert report.unexpected == ["net.a", "net.d"]

    def test_a_rule_may_leave_the_prefixes_to_us(self) -> None:
        target = {"_orig_mod.head.w": np.zeros(1)}
        report = ma.transplant({"module.fc.w": np.ones(1)}, target, rename={"fc.*": "head.*"})
        assert report.copied == {"_orig_mod.head.w": ("module.fc.w", "whole")}
        report = ma.transplant({"module.fc.w": np.ones(1)}, {"b.fc.w": np.zeros(1)}, rename={"*": "b.*"})
        assert report.copied == {"b.fc.w": ("module.fc.w", "whole")}

    def test_a_rule_that_keeps_a_name_counts(self) -> None:
        target = {"model.a": np.zeros(1), "x.a": np.zeros(1)}
        report = ma.transplant({"model.a": np.ones(1)}, target, rename={"model.*": "model.*", "*": "x.*"})
        assert report.copied == {"model.a": ("model.a", "whole")}

    def test_the_patterns_see_the_names_without_them(self) -> None:
        target = {"b.weight": np.zeros(1)}
        report = ma.transplant({"module.a.weight": np.ones(1)}, target, select="a.*", rename={"a.*": "b.*"})
        assert report.copied == {"b.weight": ("module.a.weight", "whole")}


class TestHints:
    """Each hint is followed, and works."""

    SOURCE = {  # noqa: RUF012
        "bert.layer.0.weight": np.ones((2, 2)),
        "bert.layer.0.bias": np.ones(2),
        "bert.layer.1.weight": np.ones((2, 2)),
        "head.weight": np.ones((3, 2)),
    }

    def test_a_prefix_that_the_target_lacks(self) -> None:
        target = {
            name.removeprefix("bert."): np.zeros_like(each) for name, each in self.SOURCE.items() if "bert" in name
        }
        with pytest.raises(ma.ParameterError) as told:
            ma.transplant(self.SOURCE, target)
        assert 'rename={"bert.*": "*"}' in str(told.value.hint)
        assert len(ma.transplant(self.SOURCE, target, rename={"bert.*": "*"}).copied) == 3

    def test_another_name(self) -> None:
        target = {
            name.replace("bert.layer", "encoder.blocks"): np.zeros_like(each) for name, each in self.SOURCE.items()
        }
        with pytest.raises(ma.ParameterError) as told:
            ma.transplant(self.SOURCE, target, select="bert.*")
        rule = {"bert.layer.*": "encoder.blocks.*"}
        assert 'rename={"bert.layer.*": "encoder.blocks.*"}' in str(told.value.hint)
        assert len(ma.transplant(self.SOURCE, target, select="bert.*", rename=rule).copied) == 3

    def test_a_transposed_matrix(self) -> None:
        kernel = np.arange(6.0).reshape(2, 3)
        target = {"dense.weight": np.zeros((3, 2))}
        with pytest.raises(ma.ParameterError, match=r"dense\.weight is transposed"):
            ma.transplant({"dense.weight": kernel}, target)
        ma.transplant({"dense.weight": kernel.T}, target)
        assert np.array_equal(target["dense.weight"], kernel.T)

    def test_positions(self) -> None:
        target = {"embeddings.position_embeddings.weight": np.zeros((8, 2))}
        source = {"embeddings.position_embeddings.weight": np.ones((5, 2))}
        with pytest.raises(ma.ParameterError, match='"interpolate"} fits positions') as told:
            ma.transplant(source, target)
        assert 'resize={"embeddings.position_embeddings.weight": "interpolate"}' in str(told.value.hint)
        ma.transplant(source, target, resize={"embeddings.position_embeddings.weight": "interpolate"})
        assert np.allclose(next(iter(target.values())), 1)

    def test_a_pattern_that_matches_nothing(self) -> None:
        with pytest.raises(ma.ParameterError, match=r"did you mean 'bert\.layer\.\*'") as told:
            ma.transplant(self.SOURCE, {"a": np.zeros(1)}, select="bert.layers.*")
        assert "select='bert.layers.*'" in str(told.value)

    def test_nothing_on_one_side(self) -> None:
        with pytest.raises(ma.ParameterError, match="the source has no parameters"):
            ma.transplant({}, {"a": np.zeros(1)})
        with pytest.raises(ma.ParameterError, match="the target has no parameters yet"):
            ma.transplant({"a": np.zeros(1)}, {})
