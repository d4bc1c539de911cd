"""What notebooks show: whole HTML, in which nothing of a file is markup."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import markup, nn
from modelarchive.exchange.bundle import Bundle, Note

EVIL = "<script>alert(1)</script>&amp;"


class _Whole(html.parser.HTMLParser):
    """Every element that is opened is closed, in turn; and the texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_an_archive(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {"a": {"w": np.ones((2, 3))}, EVIL: np.arange(2)})
    with ma.open(tmp_path / "x.h5") as archive:
        found = _Whole(archive._repr_html_())
    assert found.tags == {"div", "details", "summary", "b", "ul", "li"}
    assert "w float64 (2, 3)" in found.text
    assert EVIL.replace("/", "%2F") in found.text


def test_a_network() -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Dense(4, in_units=3), nn.Dense(2))

    found = _Whole(Net()._repr_html_())
    assert "features Sequential" in found.text
    assert "weight float32" in found.text


def test_a_bundle_with_notes() -> None:
    bundle = Bundle({EVIL: np.ones(2, np.float16)}, notes=[Note(EVIL, EVIL)])
    found = _Whole(bundle._repr_html_())
    assert found.text.count(EVIL) == 3
    assert "script" not in found.tags


def test_a_report() -> None:
    source, target = nn.Dense(2, in_units=3), nn.Dense(2, in_units=3)
    for each in (source, target):
        each.initialize(seed=0)
    report = ma.transplant(source, target)
    found = _Whole(report._repr_html_())
    assert "2 copied" in found.text
    assert "weight" in found.text


@pytest.mark.parametrize("depth", [1, 3000])
def test_deep_names(depth: int) -> None:
    found = _Whole(markup.tree("x", {".".join("a" * depth): "deep"}))
    assert found.text.count("a") == depth
    assert "deep" in found.text


def test_many_names_are_cut() -> None:
    found = _Whole(markup.tree("x", {f"a.{at}": "" for at in range(markup.MOST + 7)}))
    assert "... and 7 more" in found.text


def test_a_page_is_as_long_as_its_names() -> None:
    name = "a." * 20_000 + "w"
    assert len(markup.tree("x", {name: "deep"})) < 2 * len(name)
