"""README.md is one page, its links lead somewhere, and its figures are those of the documents that it names."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
MAX_LINES = 200
MEASURED = re.findall(r"^\|.*\*\*.*$", README, re.MULTILINE)
#: The documents at the top, whose links the site's own check does not see.
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "findings/README.md")


def test_it_is_one_page() -> None:
    assert len(README.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("row", MEASURED, ids=range(len(MEASURED)))
def test_its_figures_are_those_of_the_document(row: str) -> None:
    page = re.search(r"\((docs/\S+\.md)\)", row)
    assert page
    text = (ROOT / page[1]).read_text("utf-8")
    figures = re.findall(r"\*\*([\d.,e-]+)\*\*", row)
    assert figures
    assert [each for each in figures if not re.search(rf"(?<![\d.]){re.escape(each)}(?![\d.])", text)] == []


@pytest.mark.parametrize("name", TOP)
def test_links_at_the_top_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, link
