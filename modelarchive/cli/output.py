"""What the commands print: lines that fit the terminal, JSON for machines, progress bars on a terminal."""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import IO, TYPE_CHECKING, Any, Final

from modelarchive.cli.layout import ASCII, UNICODE, Grid, Line, Signs, folded, shortened
from modelarchive.cli.layout import Column as Column
from modelarchive.remote import RemoteFile

if TYPE_CHECKING:
    from rich.console import Console

#: Wide enough for anything on a pipe: nothing is cut where a program reads.
_PIPE_WIDTH: Final = 100_000
#: Columns that the labels of facts take.
_LABEL: Final = 13
#: Lines that are given to the terminal at once.
_TOGETHER: Final = 500


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a line, or several; on a terminal they are broken between words only, and go on below their beginning."""
    columns = width(sys.stdout)
    lines = printable(text).split("\n")
    if columns is not None:
        lines = [part for line in lines for part in folded(line, columns)]
    print_lines([[(line, style or "")] for line in lines])


def facts(found: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Print labels, each with the lines of its text beside it."""
    columns = width(sys.stdout)
    for label, lines in found:
        for at, line in enumerate(lines):
            text = printable(line.replace("\n", " "))
            indent = len(text) - len(text.lstrip(" "))
            start = f"  {label if at == 0 else '':<{_LABEL - 1}} {text}"
            hang = _LABEL + 2 + indent + 2 * (at > 0 or len(lines) > 1)
            print_lines([[(part, "")] for part in ([start] if columns is None else folded(start, columns, hang=hang))])


def complain(text: str) -> None:
    """Print a line, or several, on standard error."""
    columns = width(sys.stderr)
    for line in printable(text).split("\n"):
        for part in [line] if columns is None else folded(line, columns):
            print(part, file=sys.stderr)


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their columns' titles; a cell may be a pair (text, style)."""
    cells = [[cell if isinstance(cell, tuple) else (cell, "") for cell in row] for row in rows]
    texts = [[one_line(text) for text, _ in row] for row in cells]
    titled = [replace(column, title=one_line(column.title)) for column in columns]
    grid = Grid(titled, texts, [[style for _, style in row] for row in cells], signs(sys.stdout))
    print_lines(grid.lines(width(sys.stdout)))


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines as they are, without blanks at their ends."""
    if not sys.stdout.isatty():
        for line in lines:
            print("".join(text for text, _ in line).rstrip())
        return
    from rich.segment import Segment, Segments

    console = _console(sys.stdout)
    left = iter(lines)
    while several := list(islice(left, _TOGETHER)):
        parts = [part for line in several for part in (*_stripped(line), ("\n", ""))]
        runs = [(style, "".join(text for text, _ in run)) for style, run in groupby(parts, key=itemgetter(1))]
        # What rich makes of a text takes longer than the text: it is measured, split and wrapped.
        console.print(
            Segments([Segment(text, console.get_style(style)) for style, text in runs]), soft_wrap=True, end=""
        )


def _stripped(line: Line) -> Line:
    """A line without the blanks at its end."""
    kept = list(line)
    while kept:
        text, style = kept.pop()
        if text := text.rstrip():
            return [*kept, (text, style)]
    return kept


def fitting(names: Sequence[str], *, indent: int) -> list[str]:
    """Names that are listed together, so far in: on a terminal, those too long for a line lose their middle."""
    columns = width(sys.stdout)
    names = [one_line(name) for name in names]
    short = None if columns is None else shortened(names, columns - indent, signs(sys.stdout))
    return names if short is None else short


def as_json(value: Any) -> None:
    """Print a value as JSON, indented; a number that JSON has no word for is null."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=not _has_unicode(sys.stdout), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=2, ensure_ascii=not _has_unicode(sys.stdout), allow_nan=False)
    # The same JSON, without the signs that steer a terminal.
    print(_UNPRINTABLE.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text))


#: What may be no printable sign: nothing of ASCII, in JSON that :mod:`json` has laid out, but DEL.
_UNPRINTABLE: Final = re.compile(r"[^\n -~]")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while something long runs: on a terminal only.

    Args:
        what: What is being done.
        total: Bytes to do; of none there is no bar.

    Yields:
        A function to call with each number of bytes done.
    """
    if total == 0 or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(sys.stderr), transient=True) as shown:
        task = shown.add_task(printable(what), total=total)
        yield lambda done: shown.advance(task, done)


@contextmanager
def transfers(*files: object) -> Iterator[None]:
    """Bytes that come and their rate, on standard error, for those of the files that lie elsewhere: on a terminal only.

    Nothing may be printed meanwhile.
    """
    remote = [file for file in files if isinstance(file, RemoteFile)]
    if not remote or not sys.stderr.isatty():
        yield
        return
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    console = _console(sys.stderr)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as shown:
        for file in remote:
            task = shown.add_task(printable(file.name), total=None)
            file.advance = functools.partial(shown.advance, task)
        try:
            yield
        finally:
            for file in remote:
                file.advance = lambda nbytes: None


def printable(text: str) -> str:
    """The text with control characters escaped: a name in a stranger's file must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape", "surrogatepass").decode()
        for sign in text
    )


def one_line(found: object) -> str:
    """The same of what has to stay on its line: the name of a file or array must not pass for a line of ours."""
    return printable(str(found)).replace("\n", r"\n")


def size(nbytes: int) -> str:
    """``size(57_344)`` is ``"56.0 KiB"``."""
    if nbytes < 1024:
        return f"{nbytes} B"
    amount = float(nbytes)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def shape(lengths: Sequence[object]) -> str:
    """``shape((6, 1, 5, 5))`` is ``"6 x 1 x 5 x 5"``; a scalar's is empty brackets."""
    return " x ".join(map(str, lengths)) if lengths else "()"


def bars(counts: Sequence[int], columns: int = 16) -> str:
    """Counts as a row of bars, neighbours taken together; a bar is there wherever anything is."""
    steps = UNICODE.bars if _has_unicode(sys.stdout) else ASCII.bars
    edges = [round(at * len(counts) / columns) for at in range(columns + 1)]
    sums = [sum(counts[start:stop]) for start, stop in pairwise(edges)]
    most = max(max(sums), 1)
    return "".join(steps[-(-each * (len(steps) - 1) // most)] for each in sums)


def width(stream: IO[str]) -> int | None:
    """Columns of the terminal; None on a pipe, where nothing is cut."""
    return _console(stream).width if stream.isatty() else None


def signs(stream: IO[str]) -> Signs:
    """What can be shown there."""
    return UNICODE if _has_unicode(stream) else ASCII


def _has_unicode(stream: IO[str]) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def _console(stream: IO[str]) -> Console:
    from rich.console import Console

    return Console(
        file=stream,
        width=None if stream.isatty() else _PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        stderr=stream is sys.stderr,
    )
