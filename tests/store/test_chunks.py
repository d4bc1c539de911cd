"""How arrays are cut into chunks: every element once, each chunk one stretch of the array's bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelarchive.store import chunks
from modelarchive.store.contents import Chunks, Entry

SHAPES = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


@pytest.mark.slow
@settings(deadline=None)
@given(SHAPES, st.sampled_from([1, 2, 4, 8, 16]), st.integers(1, 400))
def test_every_element_lies_in_one_chunk_and_chunks_follow_each_other(
    shape: tuple[int, ...], itemsize: int, room: int
) -> None:
    before, chunks.CHUNK = chunks.CHUNK, room  # type: ignore[misc]
    try:
        chunk = chunks.chunk_shape(shape, itemsize)
    finally:
        chunks.CHUNK = before  # type: ignore[misc]
    assert math.prod(chunk) * itemsize <= max(room, itemsize)
    assert all(0 < part <= length for part, length in zip(chunk, shape, strict=True))
    numbers = np.arange(math.prod(shape)).reshape(shape)
    cut = list(chunks.pieces(shape, chunk))
    assert [piece.number for piece in cut] == list(range(chunks.count(shape, chunk)))
    assert np.concatenate([numbers[piece.within].reshape(-1) for piece in cut]).tolist() == numbers.reshape(-1).tolist()
    # Nearly one length: at most one element along the axis that is cut is padding, for each chunk.
    assert len(cut) * math.prod(chunk) < 2 * math.prod(shape) + math.prod(chunk)


@pytest.mark.slow
@settings(deadline=None)
@given(SHAPES, st.data())
def test_the_chunks_of_some_rows_are_those_that_hold_them(shape: tuple[int, ...], data: st.DataObject) -> None:
    chunk = tuple(data.draw(st.integers(1, length)) for length in shape)
    start = data.draw(st.integers(0, shape[0] - 1))
    stop = data.draw(st.integers(start + 1, shape[0]))
    found = list(chunks.pieces(shape, chunk, rows=slice(start, stop)))
    every = chunks.pieces(shape, chunk)
    assert found == [each for each in every if each.within[0].start < stop and each.within[0].stop > start]


def test_large_arrays_are_cut_into_about_a_mebibyte() -> None:
    assert chunks.chunk_shape((4096, 1024), 4) == (256, 1024)
    assert chunks.chunk_shape((512, 512, 3, 3), 4) == (52, 512, 3, 3)
    assert chunks.chunk_shape((3, 300_000), 8) == (1, 100_000)
    assert chunks.chunk_shape((7, 5), 8) == (7, 5)


def test_what_nobody_should_inflate() -> None:
    entry = Entry("float32", (8, 4), None, 128, None)
    assert chunks.problem_with(entry, Chunks((4, 4), 10, (60, 60)), begin=10, end=130) is None
    wrong = {
        "outside": [Chunks((4, 4), 9, (60, 60)), Chunks((4, 4), 10, (60, 61)), Chunks((4, 4), 10, (0, 60)),
                    Chunks((4, 4), 10, (-1, 60))],
        "sizes for": [Chunks((4, 4), 10, (60,)), Chunks((4, 4), 10, (10, 10, 10)), Chunks((4, 4), 10, ())],
        "chunks of": [Chunks(shape, 10, (60,)) for shape in ((9, 4), (0, 4), (8,), ())],
    }  # fmt: skip
    for words, several in wrong.items():
        for each in several:
            assert words in str(chunks.problem_with(entry, each, begin=10, end=130)), each
    large, bomb = (Entry("uint8", (length,), None, length, None) for length in (1 << 40, 10_000_000))
    said = chunks.problem_with(large, Chunks(large.shape, 0, (1 << 31,)), begin=0, end=1 << 50)
    assert "HDF5 has at most" in str(said)
    said = chunks.problem_with(bomb, Chunks(bomb.shape, 0, (9000,)), begin=0, end=9000)
    assert "more than deflate" in str(said)
