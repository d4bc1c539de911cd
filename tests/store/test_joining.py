"""Pieces of one array: whether they cover it, told in time that grows with them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelarchive.errors import FormatError
from modelarchive.store.contents import Entry, Piece
from modelarchive.store.joining import Part, joined


class _Shard:
    """A shard that holds one piece."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.contents = self
        self.arrays = {"w": Entry("float32", shape, 0, 0, None)}


def whole(shape: tuple[int, ...], boxes: list[tuple[tuple[int, int], ...]]) -> bool:
    """Whether boxes of (start, stop) for each axis make the whole."""
    parts = []
    for box in boxes:
        own = tuple(stop - start for start, stop in box)
        shard: Any = _Shard(own)
        parts.append(Part(shard, "w", Piece(tuple(start for start, _ in box), shape), own))
    try:
        found = joined("w", parts, "folder")  # type: ignore[arg-type]
    except FormatError:
        return False
    return found.shape == shape


@st.composite
def covers(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[tuple[int, int], ...]]]:
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    spans = [[(a, b) for a in range(size) for b in range(a + 1, size + 1)] for size in shape]
    box = st.tuples(*map(st.sampled_from, spans))
    if draw(st.booleans()):
        return shape, draw(st.lists(box, min_size=1, max_size=6))
    cuts = [sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=2))}) for size in shape]
    grid = [*itertools.product(*(list(itertools.pairwise(cut)) for cut in cuts))]
    return shape, draw(st.permutations(grid))


@pytest.mark.slow
@given(covers())
def test_each_place_is_covered_once(case: tuple[tuple[int, ...], list[tuple[tuple[int, int], ...]]]) -> None:
    shape, boxes = case
    places = [place for box in boxes for place in itertools.product(*(range(*span) for span in box))]
    expected = sorted(places) == sorted(itertools.product(*map(range, shape)))
    assert whole(shape, boxes) == expected


@pytest.mark.parametrize("at", [0, 1])
def test_thousands_of_pieces_of_two_axes(at: int) -> None:
    boxes = [((i, i + 1), (j, j + 1)) for i in range(60) for j in range(60)]
    boxes[17] = boxes[17 + at]
    assert whole((60, 60), boxes) == (at == 0)
