"""How texts and tables are laid out in so many columns: no number and no name is broken in two."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

#: A line to print: texts and their styles.
Line: TypeAlias = "list[tuple[str, str]]"

#: Characters of a value that are shown; --json has all of it.
LONGEST: Final = 200
#: What a line is broken between: words, and what stands in backquotes, to be copied as a whole.
_WORD: Final = re.compile(r"`[^`]*`\S*|\S+")
#: Where one part of a name ends.
_PART: Final = re.compile("[./]")
#: Names in a table are not made shorter than this; its rows are stacked instead.
_SHORTEST: Final = 24
#: Cuts of names that are tried: the share of a shortened name that is its beginning.
_CUTS: Final = (0.5, 0.4, 0.3, 0.6, 0.2, 0.1, 0.0, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: What stands above it.
        is_number: Numbers stand right.
        is_name: Where the terminal is narrow, names lose their middle; nothing else is shortened.
        is_optional: Where the terminal is narrow, it is left out.
    """

    title: str
    is_number: bool = False
    is_name: bool = False
    is_optional: bool = False


class Signs(NamedTuple):
    """What the terminal can show for the middle of a name, for the line below titles, and for bars from none up."""

    ellipsis: str
    rule: str
    bars: str


UNICODE: Final = Signs("…", "─", " ▁▂▃▄▅▆▇█")
ASCII: Final = Signs("...", "-", " .:-=+*#@")


def folded(line: str, columns: int, *, hang: int | None = None) -> list[str]:
    """A line in pieces of so many columns, broken between words; a longer word stays whole.

    Args:
        line: The line; the pieces after the first stand two columns further in than it.
        columns: How wide the terminal is.
        hang: How far in they stand instead.
    """
    if wide(line) <= columns:
        return [line]
    indent = len(line) - len(line.lstrip(" "))
    further = " " * (indent + 2 if hang is None else hang)
    pieces = [" " * indent]
    end = indent
    for found in _WORD.finditer(line):
        # As many blanks as stand there: columns of a line keep their places.
        gap = "" if found.start() == indent else " " * (found.start() - end)
        if gap and wide(pieces[-1]) + len(gap) + wide(found[0]) > columns:
            pieces.append(further)
            gap = ""
        pieces[-1] += gap + found[0]
        end = found.end()
    return pieces


def cut(text: str, longest: int = LONGEST) -> str:
    """A text of at most so many characters, and how many more there are."""
    if len(text) <= longest:
        return text
    # Not within a word: half a number is another number.
    end = text.rfind(" ", longest // 2, longest + 1)
    kept = text[: longest if end < 0 else end].rstrip()
    return f"{kept} ... and {len(text) - len(kept):,} characters more"


def as_text(found: Any, longest: int = LONGEST) -> str:
    """A value as JSON in one line; a long one is cut, with its length."""
    return cut(json.dumps(found, ensure_ascii=False, default=str), longest)


def laid_out(found: Any, longest: int = LONGEST, most: int = 20) -> Iterator[str]:
    """Nested values as lines ``key: value``, indented by depth; what is long is cut, with its length.

    Args:
        found: What JSON can say; objects below objects become lines of their own.
        longest: Characters of a value that are shown.
        most: Entries of an object that are shown.
    """
    entries = list(found.items())
    for key, each in entries[:most]:
        if isinstance(each, dict) and each:
            yield f"{key}:"
            yield from (f"  {line}" for line in laid_out(each, longest, most))
        else:
            # A text stands as it is, in one line.
            text = cut(" ".join(each.split()), longest) if isinstance(each, str) else as_text(each, longest)
            yield f"{key}: {text}"
    if len(entries) > most:
        yield f"... and {len(entries) - most:,} more"


def wide(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@dataclass(frozen=True)
class Grid:
    """A table to be laid out.

    Attributes:
        columns: Its columns.
        rows: Rows of cells.
        styles: The styles of the cells.
        signs: What can be shown.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    styles: Sequence[Sequence[str]]
    signs: Signs = UNICODE

    def lines(self, columns: int | None) -> Iterable[Line]:
        """The lines of the table, for so many columns of a terminal; None: as wide as it is."""
        if columns is None:
            return self._side_by_side(self.rows, 3)
        smaller = self._without_optional()
        # Whole names are worth more than a column that can be spared.
        for fit in (Grid._whole, Grid._fitted):
            for grid in (self, smaller):
                for gap in (3, 2):
                    rows = fit(grid, columns - gap * (len(grid.columns) - 1))
                    if rows is not None:
                        return grid._side_by_side(rows, gap)
        return smaller._stacked(columns)

    def _without_optional(self) -> Grid:
        kept = [at for at, column in enumerate(self.columns) if not column.is_optional]
        rows, styles = ([[row[at] for at in kept] for row in each] for each in (self.rows, self.styles))
        return Grid([self.columns[at] for at in kept], rows, styles, self.signs)

    def _widths(self, rows: Sequence[Sequence[str]]) -> list[int]:
        titles = [column.title for column in self.columns]
        return [max(wide(row[at]) for row in [titles, *rows]) for at in range(len(titles))]

    def _whole(self, room: int) -> Sequence[Sequence[str]] | None:
        """The rows, if all columns can stand side by side."""
        return self.rows if sum(self._widths(self.rows)) <= room else None

    def _fitted(self, room: int) -> Sequence[Sequence[str]] | None:
        """The rows with names short enough for all columns to stand side by side; None if that cannot be."""
        natural = self._widths(self.rows)
        names = [at for at, column in enumerate(self.columns) if column.is_name]
        left = room - sum(size for at, size in enumerate(natural) if at not in names)
        rows = [list(row) for row in self.rows]
        # The narrower ones first: what they leave is for the others.
        for count, at in enumerate(sorted(names, key=natural.__getitem__)):
            size = min(natural[at], left // (len(names) - count))
            if size < min(natural[at], _SHORTEST):
                return None
            short = shortened([row[at] for row in rows], size, self.signs)
            if short is None:
                return None
            for row, text in zip(rows, short, strict=True):
                row[at] = text
            left -= size
        return rows if names else None

    def _side_by_side(self, rows: Sequence[Sequence[str]], gap: int) -> Iterator[Line]:
        widths = self._widths(rows)

        def line(row: Sequence[str], styles: Sequence[str]) -> Line:
            parts: Line = []
            for at, (column, text, style) in enumerate(zip(self.columns, row, styles, strict=True)):
                blank = (" " * (widths[at] - wide(text)), "")
                parts += [blank, (text, style)] if column.is_number else [(text, style), blank]
                parts.append((" " * gap, ""))
            return parts

        yield line([column.title for column in self.columns], ["bold"] * len(self.columns))
        yield [(self.signs.rule * (sum(widths) + gap * (len(widths) - 1)), "")]
        yield from map(line, rows, self.styles)

    def _stacked(self, columns: int) -> Iterator[Line]:
        """Each row as its first cell, and below it the others with their titles, as many on a line as it holds."""
        widest = [max((wide(row[at]) for row in self.rows), default=0) for at in range(len(self.columns))]
        rows = [list(row) for row in self.rows]
        for at, column in enumerate(self.columns):
            room = columns - (2 + wide(column.title) + 1 if at else 0)
            short = shortened([row[at] for row in rows], room, self.signs) if column.is_name else None
            for row, text in zip(rows, short or [], strict=False):
                row[at] = text
        yield [(self.columns[0].title, "bold")]
        yield [(self.signs.rule * columns, "")]
        for row, styles in zip(rows, self.styles, strict=True):
            yield [(row[0], styles[0] or "bold")]
            line: Line = []
            used = 0
            for at, column in enumerate(self.columns[1:], 1):
                # Numbers of a column stand below each other, unless something longer went before.
                text = row[at].rjust(widest[at]) if column.is_number else row[at]
                size = 2 + wide(column.title) + 1 + wide(text)
                if line and used + size > columns:
                    yield line
                    line, used = [], 0
                if size > columns:
                    yield from ([(part, styles[at])] for part in folded(f"  {column.title} {text}", columns, hang=4))
                elif text:
                    line += [(f"  {column.title} ", "dim"), (text, styles[at])]
                    used += size
            if line:
                yield line


def shortened(names: Sequence[str], longest: int, signs: Signs = UNICODE) -> list[str] | None:
    """The names at most so wide, without their middle where they are longer, each still unlike all others.

    Returns:
        The names in order; None if no cut keeps them apart.
    """
    if max(map(wide, names), default=0) <= longest:
        return list(names)
    room = longest - wide(signs.ellipsis)
    if room < 1:
        return None
    different = dict.fromkeys(names)
    for between in (True, False):
        for share in _CUTS:
            head = int(room * share)
            found: dict[str, str] = {}
            for name in different:
                cut = name if wide(name) <= longest else _middle_out(name, head, room - head, signs, between=between)
                if found.setdefault(cut, name) != name:
                    break
            else:
                made = {name: cut for cut, name in found.items()}
                return [made[name] for name in names]
    return None


def _middle_out(name: str, head: int, tail: int, signs: Signs, *, between: bool) -> str:
    """The beginning and the end of a name, each so wide at most; `between`: cut between its parts."""
    start, end = _beginning(name, head), _beginning(name[::-1], tail)[::-1]
    if between:
        start = start[: max(start.rfind(".") + 1, start.rfind("/") + 1)]
        found = _PART.search(end)
        end = end[found.end() :] if found and len(name) > len(end) and name[-len(end) - 1] not in "./" else end
    return start + signs.ellipsis + end


def _beginning(name: str, columns: int) -> str:
    """The beginning of a name, so wide at most."""
    if name.isascii():
        return name[:columns]
    start = ""
    # Some signs are two columns wide.
    for sign in name:
        if wide(start + sign) > columns:
            break
        start += sign
    return start
