"""Every number and name in an index is hostile until checked."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open

import modelarchive as ma
from tests.hostile.index_attacks import forge, text_of, write_text
from tests.structures import assert_same

HUGE = 10**400
DATA = {
    "a": np.arange(32, dtype="f4"),
    "b": [np.arange(3), 7, "text"],
    "s": np.array(["x", "yy"]),
    "pad": {str(number): np.arange(64, dtype="u1") for number in range(20)},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, DATA, durable=False)
    return path


def refused(path: Path, words: str, error: type[ma.ModelArchiveError] = ma.FormatError) -> None:
    """Loading is refused in words that tell why; quickly, and without memory for what the file claims."""
    for options in ({}, {"mmap": True}, {"verify": True}):
        tracemalloc.start()
        start = time.perf_counter()
        with pytest.raises(error, match=words) as caught:
            ma.load(path, **options)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert time.perf_counter() - start < 2
        assert peak < 16 << 20
        assert caught.value.file == str(path)
        assert len(str(caught.value)) < 2000


def entry(**values: Any) -> Callable[[Any, Any], Any]:
    return lambda header, own: header["a"].update(values)


def own(key: str, value: Any) -> Callable[[Any, Any], Any]:
    return lambda header, own: own.__setitem__(key, value)


def text(**values: Any) -> Callable[[Any, Any], Any]:
    return lambda header, own: own["texts"]["/arrays/s"].update(values)


def member(path: str, kind: Any) -> Callable[[Any, Any], Any]:
    return lambda header, own: own["members"].__setitem__(path, kind)


def swap(header: Any, own: Any) -> None:
    header["a"]["data_offsets"], header["b/0"]["data_offsets"] = (
        header["b/0"]["data_offsets"],
        header["a"]["data_offsets"],
    )


def gap(header: Any, own: Any) -> None:
    end = max(entry["data_offsets"][1] for entry in header.values() if "data_offsets" in entry)
    last = next(e for e in header.values() if e.get("data_offsets", [0, 0])[1] == end)
    last["shape"], last["data_offsets"] = [1], [end - 8, end]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(entry(data_offsets=[0, 1 << 40], shape=[1 << 38]), "claims bytes", id="beyond-the-file"),
        pytest.param(entry(data_offsets=[-128, 0]), "claims bytes", id="before-the-file"),
        pytest.param(entry(data_offsets=[128, 0]), "claims bytes", id="backwards"),
        pytest.param(entry(data_offsets=[0, 128]), "overlaps or has a gap", id="overlap-with-hdf5"),
        pytest.param(swap, "claims bytes", id="swapped"),
        pytest.param(gap, "gap|covers", id="gap"),
        pytest.param(lambda header, own: header.pop("__hdf5__.0"), "gap|begins at", id="undeclared-bytes"),
        pytest.param(entry(shape=[2**62, 2**62, 4]), "claims bytes", id="overflow"),
        pytest.param(entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0]), "memory", id="overflow-of-nothing"),
        pytest.param(entry(shape=[0, 2**70], data_offsets=[0, 0]), "shape of 'a' holds", id="length-overflow"),
        pytest.param(entry(shape=[-4, -8]), "holds -4", id="negative-length"),
        pytest.param(entry(shape=[True, 32]), "holds True", id="boolean-length"),
        pytest.param(entry(shape=[32.0]), "32.0 is no integer", id="float-length"),
        pytest.param(entry(shape=[1] * 40 + [32]), "wrong type|axes", id="rank"),
        pytest.param(entry(shape="32"), "wrong type", id="shape-is-text"),
        pytest.param(entry(data_offsets=[0]), "cannot be read|can be read", id="one-offset"),
        pytest.param(entry(data_offsets={"0": 1, "1": 2}), "wrong type|can be read", id="offsets-are-a-dict"),
        pytest.param(entry(dtype="F128"), "can be read", id="unknown-dtype"),
        pytest.param(entry(dtype=["F32"]), "can be read", id="dtype-is-a-list"),
        pytest.param(lambda header, own: header.__setitem__("a", 3), "can be read", id="entry-is-a-number"),
        pytest.param(own("format_version", 0), "format_version", id="version-0"),
        pytest.param(own("format_version", "1"), "format_version", id="version-is-text"),
        pytest.param(own("format_version", True), "format_version", id="version-is-a-boolean"),
        pytest.param(own("file_size", -1), "file_size", id="negative-size"),
        pytest.param(own("file_size", 10**30), "covers", id="size-beyond-everything"),
        pytest.param(own("section", "weights"), "section", id="section"),
        pytest.param(own("metadata_digest", 5), "metadata_digest", id="digest-is-a-number"),
        pytest.param(own("digests", "0" * 64), "digests of", id="digests-missing"),
        pytest.param(own("digests", "Z" * 64), "hexadecimal", id="digests-no-hex"),
        pytest.param(own("dtypes", {"a": "complex64"}), "is declared", id="complex-of-no-pairs"),
        pytest.param(own("dtypes", {"nothing": "complex64"}), "not there", id="dtype-of-nothing"),
        pytest.param(own("dtypes", [1]), "expected an object", id="dtypes-is-a-list"),
        pytest.param(own("aliases", {"x": "nothing"}), "alias", id="alias-to-nothing"),
        pytest.param(own("aliases", {"a": "b/0"}), "alias", id="alias-of-an-array"),
        pytest.param(own("aliases", {"x": ["a"]}), "alias", id="alias-to-a-list"),
        pytest.param(text(offset=1 << 60), "offset is", id="text-beyond-the-file"),
        pytest.param(text(offset=-8), "offset is", id="text-before-the-file"),
        pytest.param(text(shape=[1 << 40]), "overlap|outside", id="text-longer-than-the-file"),
        pytest.param(text(shape=[2**62, 2**62]), "overlap|outside", id="text-overflow"),
        pytest.param(text(itemsize=0), "itemsize", id="text-of-no-size"),
        pytest.param(text(dtype="pickle"), "dtype 'pickle'", id="text-dtype"),
        pytest.param(text(dtype="U999999999"), "not that long", id="text-wider-than-its-bytes"),
        pytest.param(text(dtype="S1"), "longer than its dtype", id="text-cut-off"),
        pytest.param(text(dtype="int"), "has a shape", id="literal-with-a-shape"),
        pytest.param(text(digest="0"), "digest", id="text-digest"),
        pytest.param(member("x", "array"), "no data", id="member-of-nothing"),
        pytest.param(member("x", "literal"), "no value", id="literal-of-nothing"),
        pytest.param(member("x", "pickle"), "kind 'pickle'", id="member-kind"),
        pytest.param(member("x", ["dict"]), "kind", id="member-kind-is-a-list"),
        pytest.param(member("x/y/z", "dict"), "no container", id="orphan"),
        pytest.param(member("%66%66%FF", "dict"), "percent", id="name-is-no-utf-8"),
        pytest.param(member("", "array"), "no root", id="no-root"),
        pytest.param(lambda header, own: own["members"].pop("a"), "no member", id="array-of-no-member"),
        pytest.param(own("members", []), "no root", id="no-members"),
        pytest.param(own("members", 3), "no list of pairs", id="members-is-a-number"),
        pytest.param(own("members", [["", "dict"], ["a"]]), "no list of pairs", id="half-a-pair"),
        pytest.param(own("members", [["", "dict"], [["a"], "array"]]), "no list of pairs", id="path-is-a-list"),
        pytest.param(own("members", [["", "dict"], ["a", "array"], ["a", "array"]]), "each path once", id="twice"),
    ],
)
def test_refused(path: Path, change: Callable[[Any, Any], Any], words: str) -> None:
    forge(path, change)
    refused(path, words)


def test_forging_nothing_is_accepted(path: Path) -> None:
    """The builder itself breaks nothing: what is refused above is refused for its rule."""
    forge(path, lambda header, own: None)
    assert_same(DATA, ma.load(path, verify=True))


def test_an_index_that_was_not_sealed(path: Path) -> None:
    """A bit that flipped in the index changes no content: HDF5 is asked."""
    data = path.read_bytes()
    assert data.count(b'"a":{"dtype":"F32"') == 1
    path.write_bytes(data.replace(b'"a":{"dtype":"F32"', b'"a":{"dtype":"I32"'))
    with pytest.warns(ma.StaleIndexWarning, match="its index is damaged"):
        assert_same(DATA, ma.load(path))


@pytest.mark.parametrize("forged", ['{"__metadata__":{"modelarchive":{}}}', '{"__metadata__":[]}', "{}"])
def test_an_index_of_another_program(path: Path, forged: str) -> None:
    write_text(path, forged)
    with pytest.warns(ma.StaleIndexWarning, match="cannot be read"):
        assert_same(DATA, ma.load(path))


def test_newer_format(path: Path) -> None:
    forge(path, own("format_version", 2))
    refused(path, "format 2.*reads up to 1", ma.UnsupportedVersionError)


def test_a_parameter_that_is_a_block_too(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    net = ma.nn.Sequential(ma.nn.Dense(2, in_units=2))
    net.initialize("ones")
    net.save_parameters(path)
    forge(path, lambda header, own: header.__setitem__("0", header.pop("0.bias")))
    refused(path, "is a parameter and a block")


def test_child_before_its_container(path: Path) -> None:
    def reorder(header: Any, own: Any) -> None:
        own["members"]["late"] = "dict"
        own["members"] = {"": "dict", "late/x": "dict", **own["members"]}

    forge(path, reorder)
    refused(path, "no container")


def test_two_names_for_one_key(path: Path) -> None:
    def twice(header: Any, own: Any) -> None:
        own["members"]["%61"] = "dict"

    forge(path, twice)
    refused(path, "same key")


def test_a_double_slash_is_no_second_name(path: Path) -> None:
    forge(path, member("/a", "dict"))
    refused(path, "same key|no container|name")


def test_array_and_text_at_one_path(path: Path) -> None:
    def both(header: Any, own: Any) -> None:
        own["texts"]["/arrays/a"] = own["texts"].pop("/arrays/s")

    forge(path, both)
    refused(path, "array and a text|no data")


def test_list_in_another_order(path: Path) -> None:
    def reorder(header: Any, own: Any) -> None:
        members = own["members"]
        found = {key: members.pop(key) for key in ("b/2", "b/1", "b/0")}
        own["members"] = {**members, **found}

    forge(path, reorder)
    refused(path, "order of its number")


ENTRY = '"dtype":"F32","shape":[32],"data_offsets":'


@pytest.mark.parametrize(
    "second",
    [
        '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',
        '"a":{"dtype" :"F32","shape" :[1],"data_offsets" :[0,4]}',
        '"a":{"dtype"\t:"F32","shape"\n:[1],"data_offsets"\r:[0,4]}',
        '"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',
        '"a":{"\\u0064type":"F32","\\u0073hape":[1],"d\\u0061ta_offsets":[0,4]}',
        '"__metadata__":{}',
        '"__met\\u0061data__":{}',
        '"__metadata__" :{}',
    ],
)
def test_a_key_twice(path: Path, second: str) -> None:
    """Two parsers that keep different ones of two equal keys would be shown different files."""
    original = text_of(path)
    for forged in (original.replace("{", "{" + second + ",", 1), original[:-1] + "," + second + "}"):
        write_text(path, forged)
        refused(path, "twice")


def test_a_key_twice_inside(path: Path) -> None:
    original = text_of(path)
    assert ENTRY in original
    write_text(path, original.replace(ENTRY, '"dtype":"F64",' + ENTRY))
    refused(path, "twice")
    write_text(path, original.replace('\\"section\\":', '\\"section\\":\\"parameters\\",\\"section\\":'))
    refused(path, "twice")


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ("[" * 3000 + "]" * 3000, "deep|object|list"),
        ('{"a":' * 1300 + "1" + "}" * 1300, "deep|neither|twice"),
        ('{"a":' + "9" * 6000 + "}", "digits|neither|limit"),
        ('{"a":NaN}', "NaN is no JSON number"),
        ('{"a":-Infinity}', "Infinity"),
        ("[]", "expected an object"),
        ('"text"', "expected an object"),
        ("null", "expected an object"),
        ('{"a":1', "not JSON"),
        ('{"a":1}}', "not JSON"),
        ("", "not JSON"),
        ('{"__metadata__":{"modelarchive":"{}"}}', "format_version"),
        ('{"__metadata__":{"modelarchive":"[]"}}', "expected an object"),
        ('{"__metadata__":{"modelarchive":{}},"a":1}', "neither"),
        ('{"__metadata__":[],"a":1}', "neither"),
        ('{"a":"\ud800"}', "UTF-8"),
    ],
)
def test_json_that_is_none(path: Path, forged: str, words: str) -> None:
    write_text(path, forged)
    refused(path, words)


def test_a_length_that_is_none(path: Path) -> None:
    data = path.read_bytes()
    for length in (2**63, 2**64 - 1, 2**64 - 8, 2**40 - 8):
        path.write_bytes(length.to_bytes(8, "little") + data[8:])
        with pytest.warns(ma.StaleIndexWarning, match="index cannot be read"):
            assert_same(DATA, ma.load(path))
    path.write_bytes((2**26 - 8).to_bytes(8, "little") + data[8:])
    refused(path, "truncated")


def test_a_huge_user_block(tmp_path: Path) -> None:
    """A sparse file that claims gigabytes of index costs no gigabytes."""
    path = tmp_path / "x.h5"
    with path.open("wb") as file:
        file.write(((1 << 33) - 8).to_bytes(8, "little") + b"{")
        file.truncate(1 << 34)
    refused(path, "not a model archive")


def test_safetensors_refuses_what_it_should(path: Path) -> None:
    """The peer parser agrees where the rule is its own too."""
    for change in (entry(data_offsets=[0, 1 << 40]), swap, gap, entry(shape=[2**62, 2**62, 4])):
        ma.save(path, DATA, durable=False)
        forge(path, change)
        with pytest.raises(SafetensorError), safe_open(path, "np"):
            pass
