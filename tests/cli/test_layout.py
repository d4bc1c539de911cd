"""Texts and tables in so many columns: whole numbers, whole names, or names that are still told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelarchive.cli import layout
from modelarchive.cli.layout import ASCII, Column, Grid, folded, laid_out, shortened, wide

WORDS = st.text(st.sampled_from("ab.漢_0-"), min_size=1, max_size=60)


@settings(deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), st.integers(1, 70))
def test_shortened_names_fit_and_are_told_apart(names: list[str], longest: int) -> None:
    short = shortened(names, longest)
    if short is None:
        assert max(map(wide, names)) > longest
        return
    assert all(wide(each) <= longest for each in short)
    for name, each in zip(names, short, strict=True):
        head, sign, tail = each.partition("…")
        assert name.startswith(head)
        assert name.endswith(tail)
        assert bool(sign) == (wide(name) > longest)
    # Equal names stay equal, others differ.
    assert len(set(zip(names, short, strict=True))) == len(set(names)) == len(set(short))


ROWS = st.lists(st.tuples(WORDS, st.floats(allow_nan=False).map(lambda x: f"{x:.4g}"), WORDS), min_size=1, max_size=6)


@pytest.mark.slow
@settings(deadline=None)
@given(ROWS, st.integers(24, 90))
def test_a_table_has_all_its_cells(rows: list[tuple[str, ...]], columns: int) -> None:
    titles = [Column("name", is_name=True), Column("least", is_number=True), Column("source", is_name=True)]
    grid = Grid(titles, rows, [[""] * 3 for _ in rows], ASCII)
    text = ["".join(part for part, _ in line).rstrip() for line in grid.lines(columns)]
    words = "\n".join(text).split()
    for row in rows:
        assert row[1] in words
    if all(wide(cell) <= columns - 10 for row in rows for cell in row):
        assert max(map(wide, text)) <= columns
    wholly = ["".join(part for part, _ in line) for line in grid.lines(None)]
    assert len(wholly) == len(rows) + 2
    assert all(cell in line for row, line in zip(rows, wholly[2:], strict=True) for cell in row)


@settings(deadline=None)
@given(st.lists(st.text("ab`1", min_size=1, max_size=30), min_size=1, max_size=20), st.integers(10, 80))
def test_folding_keeps_words(words: Sequence[str], columns: int) -> None:
    line = "  " + " ".join(words)
    pieces = folded(line, columns)
    assert " ".join(" ".join(pieces).split()) == " ".join(line.split())
    longest = max(map(len, re.findall(r"`[^`]*`\S*|\S+", line)))
    assert max(map(len, pieces)) <= max(columns, longest + 4)


def test_a_command_to_copy_is_not_broken() -> None:
    line = "  hint: `modelarchive convert /a/long/path/of/a/file.pt file.h5` makes one of it"
    assert "`modelarchive convert /a/long/path/of/a/file.pt file.h5`" in "\n".join(folded(line, 40))


def test_metadata_is_laid_out() -> None:
    lines = list(laid_out({"a": {"b": {"c": 1}, "d": []}, "text": "two\nlines", "long": [1] * 500, "none": None}))
    assert lines[:5] == ["a:", "  b:", "    c: 1", "  d: []", "text: two lines"]
    assert re.fullmatch(r"long: \[1, 1, .*, 1, \.\.\. and 1,302 characters more", lines[5])
    assert lines[6] == "none: null"
    many = list(laid_out({str(number): number for number in range(1000)}))
    assert len(many) == 21
    assert many[-1] == "... and 980 more"


def test_a_cut_that_makes_two_names_one_is_given_up_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    middle_out = layout._middle_out

    def counted(*arguments: Any, **options: Any) -> str:
        nonlocal made
        made += 1
        return middle_out(*arguments, **options)

    monkeypatch.setattr(layout, "_middle_out", counted)
    names = [f"encoder.{'x' * 40}.{at}.{'y' * 40}.weight" for at in range(1000)]
    assert layout.shortened(names, 30) is None
    assert made < 100
