"""The tables in docs/exchange/ that are made from the code: ``python -m tests.exchange.document`` writes them."""

from __future__ import annotations

import importlib
import itertools
import re
from pathlib import Path

from modelarchive.exchange.rows import Support
from modelarchive.formats import FORMATS, System
from modelarchive.formats.mistaken import ANY_FOLDER, FILES, FOLDERS
from modelarchive.formats.mistakes import Mistake
from tests.conftest import ROOT

PAGES = ROOT / "docs" / "exchange"
#: The page of each system's support table, and that of what people hand over by mistake.
SUPPORT = {
    "keras": PAGES / "keras-layers.md",
    "mxnet": PAGES / "mxnet-operators.md",
    "onnx": PAGES / "onnx-operators.md",
    "torch": PAGES / "pytorch-layers.md",
}
#: As many as a cell of a table has room for.
MOST_NAMES = 24
MISTAKES = PAGES / "mistakes.md"
#: The page that lists the systems.
OVERVIEW = ROOT / "docs" / "exchange.md"
_TABLE = re.compile(r"(<!-- (support|mistakes|systems|round trips) -->\n).*?(<!-- end -->)", re.DOTALL)


def supported(system: str) -> str:
    """The page of a system's support table, with the table made anew."""
    rows = importlib.import_module(f"modelarchive.exchange.{system}").support()
    return filled(SUPPORT[system], table(rows))


def mistaken() -> str:
    """The page of mistakes, with its table made anew."""
    rows = ["| handed over | reported | the way out |", "| --- | --- | --- |"]
    rows += [_row(mistake, "FILE") for mistake in FILES]
    rows += [_row(mistake, "FOLDER") for mistake in (*FOLDERS, *ANY_FOLDER)]
    return filled(MISTAKES, "\n".join([*rows, ""]))


def overview() -> str:
    """The page that lists the systems, with its table made anew."""
    rows = ["| system | suffixes | read | written | module |", "| --- | --- | --- | --- | --- |"]
    for name, known in FORMATS.items():
        if name != "archive":
            suffixes = _code(", ".join(known.suffixes))
            link = f"[{known.called}](exchange/{page_of(known)}.md)"
            rows.append(f"| {link} | {suffixes} | {known.reads} | {known.writes} | `exchange.{name}` |")
    return filled(OVERVIEW, "\n".join([*rows, ""]))


def page_of(system: System) -> str:
    """The page of a system is called as people call it, or as its room is."""
    called = system.called.lower()
    return called if (PAGES / f"{called}.md").exists() else system.name


def filled(page: Path, content: str) -> str:
    """The text of a page with what stands between its two comments replaced."""
    return _TABLE.sub(lambda match: match[1] + content + match[3], page.read_text("utf-8"))


class _Words(dict[str, str]):
    """What messages say of a file, of no file in particular."""

    def __missing__(self, key: str) -> str:
        return "..."


def _row(mistake: Mistake, name: str) -> str:
    words = _Words(name=name, path=name, stem=name, parameters=f"{name}-parameters.pt", program=f"{name}-program.pt2")
    says, way = (each.format_map(words).replace("|", "/") for each in (mistake.says, mistake.way))
    return f"| {mistake.what} | {says} | {way} |"


def table(rows: list[Support]) -> str:
    """Rows as a Markdown table; neighbours that differ in names alone, or in a number of axes, share a line."""
    lines = ["| theirs | here | read | written | changed, lost, refused |", "| --- | --- | --- | --- | --- |"]
    below: list[str] = []
    for (_, read, written, losses), several in itertools.groupby(rows, key=_alike):
        together = list(several)
        theirs, ours = (_cell([getattr(row, which) for row in together], below) for which in ("theirs", "ours"))
        lines.append(f"| {theirs} | {ours} | {'yes' if read else 'no'} | {'yes' if written else 'no'} | {losses} |")
    return "\n".join([*lines, *below, ""])


def _cell(rows: list[str], below: list[str]) -> str:
    """Names as code; those that no cell of a table has room for go below it."""
    names = _code(", ".join(rows))
    number = names.count(", ") + 1
    if number <= MOST_NAMES:
        return names
    below += ["", f"{number} names: {names}."]
    return f"{number} names, below"


def _alike(row: Support) -> tuple[str, bool, bool, str]:
    return re.sub(r"\d", "", row.ours), row.read, row.written, row.losses


def _code(names: str) -> str:
    """Names as code, each once."""
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names.split(", ")) if name)


if __name__ == "__main__":
    for system, page in SUPPORT.items():
        page.write_text(supported(system), "utf-8")
    MISTAKES.write_text(mistaken(), "utf-8")
    OVERVIEW.write_text(overview(), "utf-8")
