"""The grammar of names, against plain readings of what it says."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelarchive import names
from tests.properties.strategies import keys, numbers

WORDS = st.lists(st.sampled_from(["a", "b", "weight", "layer", "0", "10"]), min_size=1, max_size=4).map(".".join)


@given(keys | numbers)
def test_keys_survive_and_are_links_that_hdf5_holds(key: str | int) -> None:
    link = names.encode_key(key)
    assert names.decode_key(link) == key
    assert link not in ("", ".", "..")
    assert "/" not in link
    assert "\0" not in link
    assert not link.startswith(names.RESERVED)
    link.encode()


@given(keys | numbers | numbers.map(str), keys | numbers)
def test_different_keys_have_different_links(left: str | int, right: str | int) -> None:
    assert (names.encode_key(left) == names.encode_key(right)) == (left == right)


@pytest.mark.parametrize("key", ["layers.0.weight", "größe", "a b", "__init__", "...", "-"])
def test_ordinary_keys_stay_as_they_are(key: str) -> None:
    assert names.encode_key(key) == key


@pytest.mark.parametrize("name", ["a", "a.b", "0.weight", "A-b_9", "x" * 128, ".".join("a" * 64)])
def test_parameter_names(name: str) -> None:
    assert names.problem_with_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "ä",
        "a/b",
        "x" * 129,
        ".".join("a" * 65),
        "a\n",
        "__metadata__",
        "b.__hdf5__x",
    ],
)
def test_what_is_no_parameter_name(name: str) -> None:
    assert names.problem_with_name(name)


@given(WORDS, st.text("ab*?.", max_size=6))
def test_select_agrees_with_fnmatch(name: str, pattern: str) -> None:
    assert bool(names.select([name], pattern)) == fnmatch.fnmatchcase(name, pattern)


def test_select_keeps_the_order_and_takes_several() -> None:
    found = ["b.0", "a.1", "a.0", "c[0]"]
    assert names.select(found, None) == found
    assert names.select(found, "a.*") == ["a.1", "a.0"]
    assert names.select(found, ["a.?", "b.*"]) == ["b.0", "a.1", "a.0"]
    assert names.select(found, "c[0]") == ["c[0]"], "brackets stand for themselves"
    assert names.select(found, []) == []
    assert names.select(["a\nb"], "a*b") == ["a\nb"]


def test_rename() -> None:
    assert names.rename("features.0.weight", {"features.*": "backbone.*"}) == "backbone.0.weight"
    assert names.rename("a.1.x", {"a.*.*": "b.*.y.*"}) == "b.1.y.x"
    assert names.rename("a.1", {"a.?": "b.?"}) == "b.1"
    assert names.rename("a.1", {"a.*": "one"}) == "one"
    assert names.rename("a", {"b": "c"}) == "a"
    assert names.rename("a", {"a": "b", "*": "c"}) == "b", "the first rule that matches counts"
    assert names.rename(r"a.\1", {"a.*": r"\g<0>.*"}) == r"\g<0>.\1"
    with pytest.raises(ValueError, match="more wildcards"):
        names.rename("a", {"a": "*"})


@given(st.lists(st.text("a10.", max_size=6), max_size=6))
def test_natural_order(found: list[str]) -> None:
    def by_numbers(name: str) -> list[tuple[int, int, str]]:
        return [(0, int(run), "") if run.isdigit() else (1, 0, run) for run in re.findall(r"\d+|\D+", name)]

    assert sorted(found, key=names.natural_key) == sorted(found, key=by_numbers)


def test_natural_order_of_more_digits_than_an_int_takes() -> None:
    assert names.natural_key("9" * 5000) < names.natural_key("1" + "0" * 5000)
    assert names.natural_key("²") != names.natural_key("2")


def test_near() -> None:
    assert names.near("features.0.wieght", ["features.0.weight", "output.bias"]) == "features.0.weight"
    assert names.near("something", ["else"]) is None
    many = [f"block.{number}.weight" for number in range(5000)]
    assert names.near("block.77.weight", many)
