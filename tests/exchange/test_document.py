"""docs/exchange.md says of every format in code what it does, and of none that is not there."""

from __future__ import annotations

import re

import pytest

from modelarchive.formats import FORMATS
from tests.conftest import ROOT
from tests.exchange.document import filled, systems, told

DOCUMENT = (ROOT / "docs" / "exchange.md").read_text("utf-8")


def test_the_overview_has_every_format() -> None:
    rows = re.findall(r"^\| \[[^]]+\]\(#([\w-]+)\) \| ([^|]+) \|.*`exchange\.(\w+)` \|$", DOCUMENT, re.MULTILINE)
    written = {module: set(re.findall(r"`([^`]+)`", suffixes)) for _, suffixes, module in rows}
    assert written == {name: set(known.suffixes) for name, known in FORMATS.items() if name != "archive"}
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE)}
    assert {anchor for anchor, _, _ in rows} <= headings


@pytest.mark.parametrize("system", systems(DOCUMENT))
def test_the_support_tables_are_those_of_the_code(system: str) -> None:
    if system == "torch":
        pytest.importorskip("torch")
    assert filled(DOCUMENT, system) == DOCUMENT, "run python -m tests.exchange.document"


def test_every_system_with_layers_has_a_table() -> None:
    assert set(systems(DOCUMENT)) == {"keras", "mxnet", "onnx", "torch"}


def test_the_table_of_mistakes_is_that_of_the_code() -> None:
    assert told(DOCUMENT) == DOCUMENT, "run python -m tests.exchange.document"
    assert "| GGUF, and GGML before it (llama.cpp) |" in DOCUMENT
