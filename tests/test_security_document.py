"""docs/security.md lists the rules that files are refused by, all of them and no others."""

from __future__ import annotations

import re

from modelarchive.store.guarded import boundary, guard, sandbox
from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "security.md").read_text("utf-8")


def test_the_table_has_every_rule() -> None:
    enforced: set[str] = set()
    for source in sorted((ROOT / "modelarchive").rglob("*.py")):
        enforced |= set(re.findall(r"_refuse\(\s*\"([^\"]+)\"", source.read_text("utf-8")))
        enforced |= set(re.findall(r"\brule=\"([^\"]+)\"", source.read_text("utf-8")))
        enforced |= set(re.findall(r"_broken\(part, \"([^\"]+)\"", source.read_text("utf-8")))
    assert set(re.findall(r"^\| `([^`]+)` \|", DOCUMENT, re.MULTILINE)) == enforced


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"more than {boundary.MEMORY >> 20} MiB and {boundary.MEMORY_TIMES} times the file" in DOCUMENT
    assert f"(at most {boundary.MAX_MEMORY >> 30} GiB)" in DOCUMENT
    assert f"more than {boundary.SECONDS} seconds of processor time" in DOCUMENT
    assert f"a second for each {boundary.BYTES_A_SECOND >> 20} MiB (at most {boundary.MAX_SECONDS})" in DOCUMENT
    assert f"more than {guard.MAX_UNSTORED >> 20} MiB declared" in DOCUMENT
    assert f"beyond {guard.MAX_INFLATION} times" in DOCUMENT
    assert f"groups deeper than {guard.MAX_DEPTH}" in DOCUMENT
    assert f"more than {guard.MAX_OBJECTS:,} objects" in DOCUMENT
    assert len(sandbox._CALLS) == 25
    assert "except twenty-five that" in DOCUMENT
