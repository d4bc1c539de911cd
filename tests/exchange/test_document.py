"""docs/exchange.md and its pages say of every format in code what it does, and of none that is not there."""

from __future__ import annotations

import re

import pytest

from modelarchive.formats import FORMATS
from tests.conftest import ROOT
from tests.exchange.document import MISTAKES, PAGES, SUPPORT, mistaken, supported

OVERVIEW = (ROOT / "docs" / "exchange.md").read_text("utf-8")


def test_the_overview_has_every_format() -> None:
    rows = re.findall(
        r"^\| \[[^]]+\]\(exchange/([\w-]+)\.md\) \| ([^|]+) \|.*`exchange\.(\w+)` \|$", OVERVIEW, re.MULTILINE
    )
    written = {module: set(re.findall(r"`([^`]+)`", suffixes)) for _, suffixes, module in rows}
    assert written == {name: set(known.suffixes) for name, known in FORMATS.items() if name != "archive"}
    assert {page for page, _, _ in rows} <= {path.stem for path in PAGES.glob("*.md")}


@pytest.mark.parametrize("system", SUPPORT)
def test_the_support_tables_are_those_of_the_code(system: str) -> None:
    if system == "torch":
        pytest.importorskip("torch")
    text = SUPPORT[system].read_text("utf-8")
    assert "| theirs | here |" in text
    assert supported(system) == text, "run python -m tests.exchange.document"


def test_the_table_of_mistakes_is_that_of_the_code() -> None:
    text = MISTAKES.read_text("utf-8")
    assert mistaken() == text, "run python -m tests.exchange.document"
    assert "| GGUF, and GGML before it (llama.cpp) |" in text
