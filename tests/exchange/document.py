"""The support tables of docs/exchange.md, from the tables in code: ``python -m tests.exchange.document``."""

from __future__ import annotations

import importlib
import itertools
import re

from modelarchive.exchange.rows import Support
from modelarchive.formats.mistake import Mistake
from modelarchive.formats.mistaken import FILES, FOLDERS
from tests.conftest import ROOT

DOCUMENT = ROOT / "docs" / "exchange.md"
_MISTAKES = re.compile(r"(<!-- mistakes -->\n).*?(<!-- end -->)", re.DOTALL)
_TABLE = re.compile(r"(<!-- support: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def systems(text: str) -> list[str]:
    """The systems that have a table in the document."""
    return [match[2] for match in _TABLE.finditer(text)]


def filled(text: str, system: str) -> str:
    """The document with one system's table made anew."""
    rows = importlib.import_module(f"modelarchive.exchange.{system}").support()
    return _TABLE.sub(lambda match: match[1] + table(rows) + match[3] if match[2] == system else match[0], text)


def told(text: str) -> str:
    """The document with the table of mistakes made anew."""
    rows = ["| handed over | told | the way out |", "| --- | --- | --- |"]
    rows += [_row(mistake, "FOLDER" if mistake in FOLDERS else "FILE") for mistake in (*FILES, *FOLDERS)]
    return _MISTAKES.sub(lambda match: match[1] + "\n".join([*rows, ""]) + match[2], text)


class _Words(dict[str, str]):
    """What messages say of a file, of no file in particular."""

    def __missing__(self, key: str) -> str:
        return "..."


def _row(mistake: Mistake, name: str) -> str:
    words = _Words(name=name, stem=name)
    says, way = (each.format_map(words).replace("|", "/") for each in (mistake.says, mistake.way))
    return f"| {mistake.what} | {says} | {way} |"


def table(rows: list[Support]) -> str:
    """Rows as a Markdown table; neighbours that differ in names alone, or in a number of axes, share a line."""
    lines = ["| theirs | here | read | written | changed, lost, refused |", "| --- | --- | --- | --- | --- |"]
    for (_, read, written, losses), several in itertools.groupby(rows, key=_alike):
        together = list(several)
        theirs, ours = (_code(", ".join(getattr(row, which) for row in together)) for which in ("theirs", "ours"))
        lines.append(f"| {theirs} | {ours} | {'yes' if read else 'no'} | {'yes' if written else 'no'} | {losses} |")
    return "\n".join([*lines, ""])


def _alike(row: Support) -> tuple[str, bool, bool, str]:
    return re.sub(r"\d", "", row.ours), row.read, row.written, row.losses


def _code(names: str) -> str:
    """Names as code, each once."""
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names.split(", ")) if name)


if __name__ == "__main__":
    text = DOCUMENT.read_text("utf-8")
    for each in systems(text):
        text = filled(text, each)
    DOCUMENT.write_text(told(text), "utf-8")
