"""docs/exchange.md and its pages say of every format in code what it does, and of none that is not there."""

from __future__ import annotations

import pytest

from modelarchive.formats import FORMATS
from modelarchive.models.rooms import room
from tests.exchange.document import MISTAKES, OVERVIEW, PAGES, SUPPORT, mistaken, overview, page_of, supported


def test_the_overview_has_every_system() -> None:
    text = OVERVIEW.read_text("utf-8")
    assert overview() == text, "run python -m tests.exchange.document"
    for name, known in FORMATS.items():
        if name != "archive":
            assert (PAGES / f"{page_of(known)}.md").exists(), f"docs/exchange/{page_of(known)}.md is to be written"
            assert known.reads, f"the row of {name} says what is read"
            assert known.writes or not hasattr(room(name), "write"), f"the row of {name} says what is written"


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
    assert "| GGML, which llama.cpp had before GGUF |" in text
