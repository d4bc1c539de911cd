"""The table of readers in docs/viewers.md: drawn, written, and compared with what readers find today."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.viewers.readers import TITLES

DOCUMENT = Path(__file__).parents[2] / "docs" / "viewers.md"
_TABLE = re.compile(r"(?<=<!-- python -m tests.viewers --write -->\n)(?:\|.*\n)*")


class Row(NamedTuple):
    """What one reader makes of every case."""

    version: str
    words: dict[str, str]


def drawn(rows: dict[str, Row]) -> str:
    """The table as Markdown."""
    names = list(next(iter(rows.values())).words)
    lines = [["reader", "version", *names], ["---"] * (len(names) + 2)]
    lines += [[TITLES.get(reader, reader), row.version, *row.words.values()] for reader, row in rows.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(rows: dict[str, Row]) -> None:
    """Put the table into the document, in the place of the one that is there."""
    text = DOCUMENT.read_text("utf-8")
    DOCUMENT.write_text(_TABLE.sub(lambda _: drawn(rows), text), "utf-8")


def recorded() -> dict[str, Row]:
    """What the document's table says: title of each reader -> its row."""
    found = _TABLE.search(DOCUMENT.read_text("utf-8"))
    assert found is not None
    head, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines())
    return {line[0]: Row(line[1], dict(zip(head[2:], line[2:], strict=True))) for line in lines}


def differences(rows: dict[str, Row]) -> list[str]:
    """Where readers find something else than the table says: a sentence each."""
    before = recorded()
    return [
        f"{reader} {row.version}: {case} is {word}, the table says {then} (of {before[title].version})"
        for reader, row in rows.items()
        for title in [TITLES.get(reader, reader)]
        for case, word in row.words.items()
        if (then := before[title].words.get(case)) != word
    ]
