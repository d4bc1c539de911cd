"""The index that is written is the one that is read; the attacks on it stand in tests/hostile."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.store import index
from modelarchive.store.contents import Contents, Entry
from tests.structures import everything, index_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, everything(), durable=False)
    return path


def test_render_inverts_parse(path: Path) -> None:
    contents = index_of(path)
    assert index.framed(contents) == path.read_bytes()[: contents.user_block]


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
    size = index.user_block_size(nbytes)
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
        index.framed(contents)


def test_arrays_of_no_elements_have_digests_too(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, {"a": np.zeros((0, 3)), "b": np.arange(5), "c": np.zeros(0, "u1")})
    found = index_of(path).arrays
    assert set(found) == {"a", "b", "c"}
    assert found["a"].digest == found["c"].digest != found["b"].digest
