"""The glossary has few words, and each is one that the code uses."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "glossary.md").read_text("utf-8")
WORDS = re.findall(r"^\| ([\w ]+) \| [A-Z].*\|$", TEXT, re.MULTILINE)
SOURCE = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "modelarchive").rglob("*.py")))


def test_there_are_few() -> None:
    assert 15 <= len(WORDS) <= 24
    assert len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize("word", [*WORDS, *re.findall(r"`(\w+\.py)`", TEXT)])
def test_the_code_uses_it(word: str) -> None:
    if word.endswith(".py"):
        assert list((ROOT / "modelarchive" / "exchange").rglob(word))
    else:
        assert re.search(rf"\b{word}s?\b", SOURCE, re.IGNORECASE) or re.search(word.title(), SOURCE)
