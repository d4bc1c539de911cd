"""What the commands print: tables with units, JSON for machines, progress bars on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: Wide enough for any table on a pipe: nothing is cut where a program reads.
_PIPE_WIDTH = 100_000


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand right."""

    title: str
    is_number: bool = False


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a line, or several."""
    from rich.text import Text

    _console(sys.stdout).print(Text(printable(text), style=style or ""), soft_wrap=True)


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print rows under their columns' titles; a cell may be a pair (text, style)."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        shown.add_column(column.title, justify="right" if column.is_number else "left", overflow="fold")
    for row in rows:
        cells = []
        for cell in row:
            content, style = cell if isinstance(cell, tuple) else (cell, "")
            cells.append(Text(printable(str(content)), style=style))
        shown.add_row(*cells)
    _console(sys.stdout).print(shown)


def as_json(value: Any) -> None:
    """Print a value as JSON, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=True))


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while something long runs: on a terminal only.

    Args:
        what: What is being done.
        total: Bytes to do.

    Yields:
        A function to call with each number of bytes done.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(sys.stderr), transient=True) as shown:
        task = shown.add_task(printable(what), total=total)
        yield lambda done: shown.advance(task, done)


def printable(text: str) -> str:
    """The text with control characters escaped: a name in a stranger's file must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape", "surrogatepass").decode()
        for sign in text
    )


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


def shape(lengths: Sequence[int]) -> str:
    """``shape((6, 1, 5, 5))`` is ``"6 x 1 x 5 x 5"``; a scalar's is empty brackets."""
    return " x ".join(map(str, lengths)) if lengths else "()"


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
