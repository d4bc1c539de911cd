"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence


class Table(str):
    """Text that a prompt shows as it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        """The text itself."""
        return str(self)


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """The rows as lines, their cells below each other.

    Args:
        rows: Cells; all rows have as many.
        right: Columns that end at the same place instead of beginning there: numbers.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
