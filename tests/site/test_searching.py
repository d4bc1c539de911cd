"""Questions are asked of the index as the site's own search asks them, and what is missing is told."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from tests.site import names, searching

#: As Sphinx writes it: words brought to their stems, the number of one page or of several.
INDEX = {
    "docnames": ["parts", "other"],
    "terms": {"load": [0, 1], "part": 0, "save": 1},
    "titleterms": {"model": [0, 1]},
    "objects": {"modelarchive.nn": [[1, 0, 1, "", "LayerNorm"]]},
}


def test_a_page_has_every_word_of_the_question() -> None:
    pytest.importorskip("sphinx")
    assert searching.pages(INDEX, "load part of a model") == ["parts"]
    assert searching.pages(INDEX, "loading the models") == ["parts", "other"]
    assert searching.pages(INDEX, "layernorm") == ["other"]
    assert searching.pages(INDEX, "load nothing") == []


def test_questions_without_an_answer_are_told(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    (tmp_path / "searchindex.js").write_text(f"Search.setIndex({json.dumps(INDEX)})")
    told = searching.unanswered(tmp_path)
    assert len(told) == len(searching.QUESTIONS)
    assert "searching for 'load part of a model' does not find tutorials/part-of-a-model" in told


def test_public_names_that_are_not_described_are_told(tmp_path: Path) -> None:
    head = b"# Sphinx inventory version 2\n# Project: x\n# Version: 1\n# The remainder is compressed using zlib.\n"
    listed = "\n".join(f"{name} py:function 1 page.html#$ -" for name in names.public() if name != "modelarchive.save")
    (tmp_path / "objects.inv").write_bytes(head + zlib.compress(listed.encode()))
    assert names.missing(tmp_path) == ["modelarchive.save"]
    assert {"modelarchive.nn.Dense", "modelarchive.Archive.verify", "modelarchive.exchange.onnx.read"} <= set(
        names.public()
    )
