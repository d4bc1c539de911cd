"""Structures taken apart and put together: what the paths are, and what is refused where."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import enum
from collections import OrderedDict, namedtuple
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings

import modelarchive as ma
from modelarchive.archive.structure import MAX_DEPTH, place, put_together, take_apart
from tests.properties.strategies import structures
from tests.structures import assert_same

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Settings:
    lr: float = 0.1


#: Numbers that are wider than float64 on this machine, if it has such.
WIDE = [
    (np.zeros(2, code), f"cannot be stored; save .astype('{name}'), which rounds it")
    for code, name in (("g", "float64"), ("G", "complex128"))
    if np.dtype(code) != np.dtype(name)
]


class Colour(enum.Enum):
    RED = 1


def join(members: Any) -> Any:
    def leaf(path: str) -> Any:
        for found in (members.arrays, members.strings):
            if path in found:
                return found[path]
        return members.literals[path]

    return put_together(members.kinds, leaf)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(structures)
def test_parents_come_first_and_every_leaf_has_one_place(data: Any) -> None:
    members = take_apart(data)
    seen: set[str] = set()
    for path, kind in members.kinds.items():
        assert path == "" or path.rpartition("/")[0] in seen
        seen.add(path)
        found = [path in part for part in (members.arrays, members.strings, members.literals)]
        assert sum(found) == (kind in ("array", "literal"))
    # An empty NumPy array and None have their own ways back; the kinds of containers are what is looked at here.
    assert type(join(members)) is type(data) or not isinstance(data, dict | list | tuple)


def test_paths() -> None:
    members = take_apart({"a": [np.zeros(1), {"b/c": (1,)}], "": None})
    assert members.kinds == {
        "": "dict",
        "a": "list",
        "a/0": "array",
        "a/1": "dict",
        "a/1/b%2Fc": "tuple",
        "a/1/b%2Fc/0": "literal",
        "%": "literal",
    }
    assert place(members.kinds, "a/1/b%2Fc/0") == "data['a'][1]['b/c'][0]"
    assert place(members.kinds, "%") == "data['']"
    assert place(take_apart(3).kinds, "array") == "data"


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Point(1, "y"), (1, "y")),
        (np.float32(2), np.array(2, "f4")),
        (np.bool_(True), np.array(True)),
        (np.bytes_(b"x"), np.array(b"x")),
        (np.str_("x"), "x"),
        (True, True),
        (np.zeros((0,)), np.zeros((0,))),
    ],
)
def test_relatives_of_containers_and_numbers(tmp_path: Any, given_: Any, expected: Any) -> None:
    ma.save(tmp_path / "x.h5", [given_])
    assert_same([expected], ma.load(tmp_path / "x.h5"))


def test_the_same_array_twice_comes_back_twice(tmp_path: Any) -> None:
    x = np.arange(3)
    ma.save(tmp_path / "x.h5", [x, x, {"again": x}])
    assert_same([x, x, {"again": x}], ma.load(tmp_path / "x.h5"))


def problems(data: Any) -> list[tuple[str, str]]:
    with pytest.raises(ma.UnsupportedDataError) as caught:
        take_apart(data)
    return caught.value.problems


def test_every_problem_is_named_by_its_place() -> None:
    inner: list[Any] = []
    inner.append(inner)
    found = problems(
        {"o": np.array([None]), "k": {1.5: 2, ("a",): 3}, "m": np.ma.array([1], mask=[1]), "l": [{1}], "i": inner}
    )
    assert dict(found).keys() == {
        "data['o']",
        "data['k'][1.5]",
        "data['k'][('a',)]",
        "data['m']",
        "data['l'][0]",
        "data['i'][0]",
    }
    assert dict(found)["data['i'][0]"] == "the structure contains itself"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"x", "np.frombuffer"),
        ({1, 2}, "sorted list"),
        (object(), "builtins.object is no array"),
        (np.array([object()]), "astype"),
        (np.zeros(2, "M8[s]"), "datetime64[s] cannot be stored; save .astype('int64')"),
        (np.zeros(2, [("a", "f4")]), "cannot be stored; save a dict of its fields"),
        (np.zeros(2, ml_dtypes.int4), "dtype int4 cannot be stored; convert it with .astype()"),
        *WIDE,
        (np.zeros((1,) * 33), "33 axes"),
        (np.zeros(1, np.longdouble), "float128"),
        pytest.param(10**5000, "more digits", id="int"),
        (range(3), "builtins.range is no array, number, string, None, list, tuple or dict; use a list of it"),
        (Path("x"), "use str(value)"),
        (argparse.Namespace(lr=0.1), "use vars(value)"),
        (Settings(), "use dataclasses.asdict(value)"),
        (Colour.RED, "use value.value"),
        (datetime.datetime(2020, 1, 1), "use value.isoformat()"),
        (np.dtype("f4"), "use str(value)"),
        (Settings, "it is a class"),
    ],
)
def test_refused_with_advice(value: Any, words: str) -> None:
    [(path, message)] = problems([value])
    assert path == "data[0]"
    assert words in message


def test_depth() -> None:
    def nested(depth: int) -> Any:
        data: Any = 1
        for _ in range(depth):
            data = [data]
        return data

    assert take_apart(nested(MAX_DEPTH)).literals
    assert "nested deeper" in problems(nested(MAX_DEPTH + 1))[0][1]
    assert "nested deeper" in problems(nested(5000))[0][1]


@pytest.mark.parametrize(
    "kinds",
    [
        {},
        {"": "array"},
        {"": "dict", "a/b": "array"},
        {"": "dict", "a/b": "array", "a": "dict"},
        {"": "single"},
        {"": "single", "a": "array", "b": "array"},
        {"": "dict", "a": "array", "%61": "array"},
        {"": "dict", "%FF": "array"},
        {"": "dict", "a": "array", "/a": "array"},
    ],
)
def test_members_that_form_no_structure(kinds: dict[str, str]) -> None:
    with pytest.raises(ma.FormatError):
        put_together(kinds, lambda path: path)


@pytest.mark.parametrize("key", [0, 7, -3, 10**18, 2**63 - 1])
def test_integers_are_keys_and_stay_apart_from_their_digits(tmp_path: Path, key: int) -> None:
    data = {key: np.arange(2), str(key): {key: 1, f"%i{key}": "x"}}
    ma.save(tmp_path / "x.h5", data)
    found = ma.load(tmp_path / "x.h5", verify=True)
    assert list(found) == [key, str(key)]
    assert found[str(key)] == {key: 1, f"%i{key}": "x"}
    assert found[key].tolist() == [0, 1]


@pytest.mark.parametrize("key", [True, 1.0, None, 2**63, -(2**63), np.int64(1)])
def test_other_keys_are_refused(key: Any) -> None:
    ((_, what),) = problems({"a": {key: 1}})
    assert what.startswith("the key is ")


def test_what_goes_into_other_formats_has_names_of_text(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {0: np.arange(2)})
    with pytest.raises(ma.ConversionError, match="0: is a number, expected a name"):
        ma.convert(tmp_path / "x.h5", tmp_path / "x.safetensors")
