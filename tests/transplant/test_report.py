"""The report prints as a table."""

from __future__ import annotations

from modelarchive.transplant.report import Transplant

REPORT = Transplant(
    copied={"b.weight": ("a.weight", "whole"), "c": ("c", "overlap (2, 3) of (4, 3)")},
    missing=["d", "e"],
    unexpected=["z"],
    mismatched={"e": ("shape (1,)", "shape (2,)")},
    frozen=["b.weight"],
)


def test_rows_tell_everything_once() -> None:
    assert REPORT.rows() == [
        ("b.weight", "frozen", "a.weight", "whole"),
        ("c", "copied", "c", "overlap (2, 3) of (4, 3)"),
        ("e", "mismatched", "", "expected shape (1,), found shape (2,)"),
        ("d", "kept", "", "nothing selected for it"),
        ("", "unexpected", "z", "the target has no such parameter"),
    ]


def test_prints_as_a_table() -> None:
    lines = str(REPORT).splitlines()
    assert lines[0].split() == ["target", "state", "source", "note"]
    column = lines[0].index("state")
    assert [line[column:].split()[0] for line in lines[1:-1]] == [row[1] for row in REPORT.rows()]
    assert lines[-1] == "2 copied, 1 frozen, 1 mismatched, 2 kept, 1 unexpected"
    assert "2 would be copied" in str(Transplant(copied=REPORT.copied, dry_run=True))
    assert str(Transplant()).endswith("0 unexpected")
