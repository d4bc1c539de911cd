"""Which arrays are compressed, and that their chunks do not depend on how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from modelarchive.store import chunks, compressing
from modelarchive.store.deferred import Deferred
from modelarchive.store.fill import pieces
from modelarchive.store.hdf5.chunk_tree import tree_bytes

NOISE = (np.random.default_rng(1).standard_normal((300, 70)) * 0.02).astype("f4")
CODES = np.random.default_rng(2).integers(0, 256, (300, 280), dtype="u1")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 1 << 13)


def made(array: Any) -> list[tuple[tuple[int, ...], bytes, bytes]]:
    return [(chunk.start, bytes(chunk.content), chunk.data) for _, chunk in compressing.packed({"a": array}, {})]


def shrinks(array: Any) -> bool:
    return "a" in compressing.tried({"a": array})


def test_what_shrinks_and_what_does_not() -> None:
    assert shrinks(NOISE)
    assert shrinks(np.zeros((300, 300), "u1"))
    assert not shrinks(CODES)
    assert not shrinks(NOISE[:10])
    assert not shrinks(np.zeros((0, 300)))
    assert not shrinks(np.float64(3.0).reshape(()))


def test_what_is_compressed_is_smaller_even_when_only_what_is_tried_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array made to deceive: the chunks that are tried shrink just enough, all others are noise."""
    every, size = 66, 1 << 18
    monkeypatch.setattr(chunks, "CHUNK", size)
    array = np.random.default_rng(3).integers(0, 256, (every, size), dtype="u1")
    for at in (16, 49):
        array[at] &= 0x7F
    assert shrinks(array)
    stored = sum(len(data) for _, _, data in made(array))
    assert stored + tree_bytes(every, 2) < array.nbytes


@pytest.mark.parametrize("dtype", ["f4", ">f4", "i8", "c16", "?"])
@pytest.mark.parametrize("layout", ["C", "F", "strided"])
def test_one_content_gives_one_sequence_of_chunks(dtype: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.ascontiguousarray(NOISE[:201, :64] * 100).astype(dtype)
    array = {"C": plain, "F": np.asfortranarray(plain), "strided": np.repeat(plain, 2, axis=0)[::2]}[layout]
    little = plain.astype(plain.dtype.newbyteorder("<"))
    found = made(array)
    assert b"".join(content for _, content, _ in found) == little.tobytes()
    assert found == made(little)

    def odd_pieces() -> Iterator[memoryview]:
        raw = memoryview(little.tobytes())
        for start in range(0, len(raw), 999):
            yield raw[start : start + 999]

    assert made(Deferred(array.shape, little.dtype, lambda: little, None, odd_pieces)) == found
    assert made(Deferred(array.shape, little.dtype, lambda: little)) == found
    monkeypatch.setattr(compressing, "THREADS", 1)
    assert made(array) == found


def test_what_was_tried_is_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"a": NOISE, "b": CODES, "c": np.zeros((200, 200)), "d": Deferred(NOISE.shape, NOISE.dtype, NOISE.copy)}
    made = compressing.tried(arrays)
    assert {name: len(each) for name, each in made.items()} == {"a": 1, "c": 1, "d": 1}
    found = list(compressing.packed(arrays, made))
    assert [name for name, _ in found] == sorted(name for name, _ in found)
    assert found == list(compressing.packed(arrays, {}))
    for name, each in made.items():
        chunks_of = [chunk.data for other, chunk in found if other == name]
        assert all(chunks_of[number] == data for number, data in each.items())
    monkeypatch.setattr(compressing, "_KEPT", sum(map(len, made["a"].values())))
    assert {name: len(each) for name, each in compressing.tried(arrays).items()} == {"a": 1, "c": 0, "d": 0}


@pytest.mark.parametrize("change", [-1, 1])
def test_a_stream_of_another_length_than_announced_is_refused(change: int) -> None:
    array = np.zeros((100 + change, 100))
    with pytest.raises(ValueError, match="were announced"):
        made(Deferred((100, 100), array.dtype, lambda: array, None, lambda: pieces(array)))
