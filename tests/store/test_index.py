"""The index that is written is the one that is read; the attacks on it stand in tests/hostile."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.store import drafting, header, index, strict
from modelarchive.store.contents import Contents, Entry
from tests.hostile.index_attacks import ATTACKS, parts_of
from tests.structures import every_dtype, everything, index_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, everything(), durable=False)
    return path


def test_render_inverts_parse(path: Path) -> None:
    contents = index_of(path)
    assert drafting.framed(contents) == path.read_bytes()[: contents.user_block]


def test_it_is_a_safetensors_header(path: Path) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert data[8:9] == b"{"
    assert header.pop("__metadata__")["format"] == "pt"
    ends = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    assert ends[0][0] == 0
    assert all(left[1] == right[0] for left, right in pairwise(ends))
    assert ends[-1][1] == len(data) - length - 8


@given(st.integers(0, 200_000))
def test_the_user_block_is_the_smallest_that_fits(nbytes: int) -> None:
    size = drafting.user_block_size(nbytes)
    assert index.is_user_block_size(size)
    assert size >= nbytes + 8
    assert size == index.MIN_USER_BLOCK or size // 2 < nbytes + 8


@pytest.mark.parametrize("size", [0, 1, 256, 511, 513, 1000, 1536, 2**20 + 512])
def test_where_no_superblock_may_stand(size: int) -> None:
    assert not index.is_user_block_size(size)


def test_its_own_digest_tells_every_change(path: Path) -> None:
    contents = index_of(path)
    raw = path.read_bytes()[8 : contents.user_block]
    assert index.is_intact(raw, contents)
    for at in (0, 50, len(raw.rstrip()) - 1, len(raw) - 1):
        assert not index.is_intact(raw[:at] + b"~" + raw[at + 1 :], contents)
    assert not index.is_intact(raw, replace(contents, index_digest="0" * 64))


def test_an_index_too_long_for_its_user_block() -> None:
    entry = Entry("uint8", (8,), 512, 8, "0" * 64)
    contents = Contents("arrays", "x" * 400, 512, {"a": entry}, size=520, members={"": "dict", "a": "array"})
    with pytest.raises(ValueError, match="user block has 504"):
        drafting.framed(contents)


def test_arrays_of_no_elements_have_digests_too(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, {"a": np.zeros((0, 3)), "b": np.arange(5), "c": np.zeros(0, "u1")})
    found = index_of(path).arrays
    assert set(found) == {"a", "b", "c"}
    assert found["a"].digest == found["c"].digest != found["b"].digest


#: Archives of every form that has a fast way: a flat dict, nested, compressed, with texts, of nothing.
FORMS: dict[str, Any] = {
    "flat": {"a": np.arange(32, dtype="f4"), "é.b": np.arange(3), "c": np.zeros((0, 3)), "d": np.array(7)},
    "nested": {"a": np.arange(32, dtype="f4"), "b": [np.arange(3), 7, "text"], "s": np.array(["x", "yy"])},
    "compressed": {"a": np.zeros(60_000, "f4"), "b": np.arange(3)},
    "one": np.arange(4),
    "nothing": {},
    "dtypes": {name: array for name, array in every_dtype().items() if not name.startswith("complex")},
}


def raw_of(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def outcome(raw: bytes, size: int) -> Any:
    """What an index is parsed to, orders included; or how it is refused."""
    try:
        found = index.parse(raw, file_size=size)
        return found, [*found.arrays], [*(found.members or ())], found.metadata_ranges()
    except (ma.ModelArchiveError, index.NotAnArchive) as error:
        return type(error), str(error)


def _nothing(raw: bytes) -> None:
    return None


@contextlib.contextmanager
def entry_by_entry() -> Iterator[None]:
    """Nothing is recognised as what archives write."""

    def record(text: str) -> tuple[dict[str, Any], None]:
        return strict.loads(text, what="the archive's part of the index", strict=True), None

    # No mock stands in: it would keep each of many thousand calls.
    with mock.patch.object(header, "_as_written", _nothing), mock.patch.object(index, "_record", record):
        yield


def same_both_ways(several: list[bytes], size: int) -> None:
    """Each index is parsed to the same, or refused alike."""
    fast = [outcome(raw, size) for raw in several]
    with entry_by_entry():
        for raw, found in zip(several, fast, strict=True):
            assert found == outcome(raw, size), raw


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, FORMS[request.param], durable=False, compression="deflate" if request.param == "compressed" else None)
    return path


def test_what_archives_write_is_parsed_the_fast_way(form: Path) -> None:
    raw, size = raw_of(form), form.stat().st_size
    with mock.patch.object(header, "_any_layout", side_effect=AssertionError):
        assert isinstance(outcome(raw, size)[0], Contents)
    same_both_ways([raw], size)


@pytest.mark.slow
def test_both_ways_refuse_the_same(form: Path) -> None:
    """Characters of an index changed, dropped or doubled: the fast way takes nothing that the other refuses.

    Every one of them, but within digests, whose digits are alike, and of a long index, whose entries are.
    """
    raw, size = raw_of(form), form.stat().st_size
    text = raw.rstrip()
    alike = {at for digest in re.finditer(rb"[0-9a-f]{64}", text) for at in range(digest.start() + 2, digest.end() - 2)}
    places = [at for at in range(len(text)) if at not in alike]
    for at in places[:: 1 + len(places) // 1000]:
        same_both_ways([changed.ljust(len(raw)) for changed in changes(text, at)], size)


def changes(text: bytes, at: int) -> Iterator[bytes]:
    for found in (b"", text[at : at + 1] * 2, b'"', b"\\", b"]", b"0", b" ", b"\xff", b"/"):
        yield text[:at] + found + text[at + 1 :]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_that_is_spelt_as_archives_are(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, {"a": np.arange(32, dtype="f4"), "b": [np.arange(3), 7], "s": np.array(["x", "yy"])}, durable=False)
    entries, own = parts_of(path)
    own["members"] = dict(own["members"])
    change = ATTACKS[name][0]
    try:
        change(entries, own)
    except KeyError:
        pytest.skip("it needs another archive")
    if isinstance(own.get("members"), dict):
        own["members"] = list(own["members"].items())
    compact = {"separators": (",", ":"), "ensure_ascii": False}
    entries["__metadata__"]["modelarchive"] = json.dumps(own, **compact)
    raw = json.dumps(entries, **compact).encode("utf-8", "surrogatepass").ljust(4088)
    same_both_ways([raw], path.stat().st_size)


def test_an_index_that_never_ends_costs_no_more_than_its_length() -> None:
    for unit in ('"a":{', '"a":{"dtype":"F32","shape":[1],"data_offsets":[', '"', '"a":{]', "0"):
        raw = b'{"__metadata__":{"format":"pt","modelarchive":"{}"},' + unit.encode() * 200_000
        with pytest.raises(ma.FormatError):
            index.parse(raw, file_size=1 << 30)
