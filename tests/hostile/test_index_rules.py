"""Every number and name in an index is hostile until checked."""

from __future__ import annotations

import json
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open

import modelarchive as ma
from tests.hostile import naive, views
from tests.hostile.index_attacks import ATTACKS, VERSION, entry, forge, gap, member, own, swap, text_of, write_text
from tests.sampling import some
from tests.structures import assert_same

DATA = {
    "a": np.arange(32, dtype="f4"),
    "b": [np.arange(3), 7, "text"],
    "s": np.array(["x", "yy"]),
    "pad": {str(number): np.arange(64, dtype="u1") for number in range(20)},
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "x.h5"
    ma.save(path, DATA, durable=False)
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path))


@pytest.fixture(scope="module")
def honest(original: Path) -> Any:
    """What a naive reader shows before anything is forged: what HDF5 shows."""
    return naive.shown(original)


def refused(path: Path, words: str, error: type[ma.ModelArchiveError] = ma.FormatError) -> None:
    """Loading is refused in words that tell why; quickly, and without memory for what the file claims."""
    for options in ({}, {"mmap": True}, {"verify": True}):
        tracemalloc.start()
        start = time.process_time()
        with pytest.raises(error, match=words) as caught:
            ma.load(path, **options)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert time.process_time() - start < 2
        assert peak < 16 << 20
        assert caught.value.file == str(path)
        assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("name", some(ATTACKS))
def test_refused(path: Path, honest: Any, name: str) -> None:
    change, words, proof = ATTACKS[name]
    forge(path, change)
    naive.prove(path, honest, proof)
    refused(path, words)


def test_forging_nothing_is_accepted(path: Path, honest: Any) -> None:
    """The builder itself breaks nothing: what is refused above is refused for its rule."""
    forge(path, lambda header, own: None)
    assert naive.harm(path, honest) == ""
    assert honest["view"] == {name: [dtype, [*shape], at] for name, (dtype, shape, at) in views.by_h5py(path).items()}
    assert_same(DATA, ma.load(path, verify=True))


def test_an_index_that_was_not_sealed(path: Path, honest: Any) -> None:
    """A bit that flipped in the index changes no content: HDF5 is asked."""
    data = path.read_bytes()
    assert data.count(b'"a":{"dtype":"F32"') == 1
    path.write_bytes(data.replace(b'"a":{"dtype":"F32"', b'"a":{"dtype":"I32"'))
    naive.prove(path, honest, "lie")
    with pytest.warns(ma.StaleIndexWarning, match="its index is damaged"):
        assert_same(DATA, ma.load(path))


@pytest.mark.parametrize("forged", ['{"__metadata__":{"modelarchive":{}}}', '{"__metadata__":[]}', "{}"])
def test_an_index_of_another_program(path: Path, forged: str) -> None:
    write_text(path, forged)
    with pytest.warns(ma.StaleIndexWarning, match="cannot be read"):
        assert_same(DATA, ma.load(path))


def test_newer_format(path: Path, honest: Any) -> None:
    forge(path, own("format_version", 2))
    naive.prove(path, honest, "if it is above 1 the file needs a newer reader, and the error says so")
    refused(path, "format 2.*reads up to 1", ma.UnsupportedVersionError)


def test_a_parameter_that_is_a_block_too(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    net = ma.nn.Sequential(ma.nn.Dense(2, in_units=2))
    net.initialize("ones")
    net.save_parameters(path)
    honest = naive.shown(path)
    forge(path, lambda header, own: header.__setitem__("0", header.pop("0.bias")))
    naive.prove(path, honest, "lie")
    refused(path, "is a parameter and a block")


def test_child_before_its_container(path: Path, honest: Any) -> None:
    def reorder(header: Any, own: Any) -> None:
        own["members"]["late"] = "dict"
        own["members"] = {"": "dict", "late/x": "dict", **own["members"]}

    forge(path, reorder)
    naive.prove(path, honest, "A container stands before its members")
    refused(path, "no container")


def test_two_names_for_one_key(path: Path, honest: Any) -> None:
    def twice(header: Any, own: Any) -> None:
        own["members"]["%61"] = "dict"

    forge(path, twice)
    naive.prove(path, honest, "lie")
    refused(path, "same key")


def test_a_double_slash_is_no_second_name(path: Path, honest: Any) -> None:
    forge(path, member("/a", "dict"))
    naive.prove(path, honest, "lie")
    refused(path, "same key|no container|name")


def test_array_and_text_at_one_path(path: Path, honest: Any) -> None:
    def both(header: Any, own: Any) -> None:
        own["texts"]["/arrays/a"] = own["texts"].pop("/arrays/s")

    forge(path, both)
    naive.prove(path, honest, "A path MUST NOT be both a text's and an array's")
    refused(path, "array and a text|no data")


def test_list_in_another_order(path: Path, honest: Any) -> None:
    def reorder(header: Any, own: Any) -> None:
        members = own["members"]
        found = {key: members.pop(key) for key in ("b/2", "b/1", "b/0")}
        own["members"] = {**members, **found}

    forge(path, reorder)
    naive.prove(path, honest, "lie")
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
        assert json.loads(forged) != json.loads(forged, object_pairs_hook=naive.first_of_equal_keys)
        refused(path, "twice")


def test_a_key_twice_inside(path: Path, honest: Any) -> None:
    original = text_of(path)
    assert ENTRY in original
    for forged in (
        original.replace(ENTRY, '"dtype":"F64",' + ENTRY),
        original.replace('\\"section\\":', '\\"section\\":\\"parameters\\",\\"section\\":'),
    ):
        write_text(path, forged)
        naive.prove(path, honest, "lie")
        refused(path, "twice")


#: Words of docs/format.md.
DEEP = "nested deeper than the parser bears"
INTEGERS = "All integers are written without fraction and exponent and are below 2^63"
NUMBERS = "holds a key twice, `NaN` or `Infinity`"
OBJECT = "the index or the record is not UTF-8, not JSON, no object"
ARCHIVE = "A file whose header has no `modelarchive` is no archive."


@pytest.mark.parametrize(
    ("forged", "words", "rule"),
    [
        ("[" * 3000 + "]" * 3000, "deep|object|list", DEEP),
        ('{"a":' * 1300 + "1" + "}" * 1300, "deep|neither|twice", DEEP),
        ('{"a":' + "9" * 6000 + "}", "digits|neither|limit", INTEGERS),
        ('{"a":NaN}', "NaN is no JSON number", NUMBERS),
        ('{"a":-Infinity}', "Infinity", NUMBERS),
        ("[]", "expected an object", OBJECT),
        ('"text"', "expected an object", OBJECT),
        ("null", "expected an object", OBJECT),
        ('{"a":1', "not JSON", OBJECT),
        ('{"a":1}}', "not JSON", OBJECT),
        ("", "not JSON", OBJECT),
        ('{"__metadata__":{"modelarchive":"{}"}}', "format_version", VERSION),
        ('{"__metadata__":{"modelarchive":"[]"}}', "expected an object", OBJECT),
        ('{"__metadata__":{"modelarchive":{}},"a":1}', "neither", ARCHIVE),
        ('{"__metadata__":[],"a":1}', "neither", ARCHIVE),
        ('{"a":"\ud800"}', "UTF-8", OBJECT),
    ],
)
def test_json_that_is_none(path: Path, honest: Any, forged: str, words: str, rule: str) -> None:
    write_text(path, forged)
    naive.prove(path, honest, rule)
    refused(path, words)


def test_a_length_that_is_none(path: Path, honest: Any) -> None:
    data = path.read_bytes()
    for length in (2**63, 2**64 - 1, 2**64 - 8, 2**40 - 8):
        path.write_bytes(length.to_bytes(8, "little") + data[8:])
        naive.prove(path, honest, "memory")
        with pytest.warns(ma.StaleIndexWarning, match="index cannot be read"):
            assert_same(DATA, ma.load(path))
    path.write_bytes((2**26 - 8).to_bytes(8, "little") + data[8:])
    naive.prove(path, honest, "memory")
    refused(path, "truncated")


def test_a_huge_user_block(tmp_path: Path) -> None:
    """A sparse file that claims gigabytes of index costs no gigabytes."""
    path = tmp_path / "x.h5"
    with path.open("wb") as file:
        file.write(((1 << 33) - 8).to_bytes(8, "little") + b"{")
        file.truncate(1 << 34)
    naive.prove(path, None, "memory")
    refused(path, "not a model archive")


def test_safetensors_refuses_what_it_should(path: Path) -> None:
    """The peer parser agrees where the rule is its own too."""
    for change in (entry(data_offsets=[0, 1 << 40]), swap, gap, entry(shape=[2**62, 2**62, 4])):
        ma.save(path, DATA, durable=False)
        forge(path, change)
        with pytest.raises(SafetensorError), safe_open(path, "np"):
            pass
