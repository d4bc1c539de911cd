"""Links that lead nowhere are found, and no others."""

from __future__ import annotations

from pathlib import Path

from tests.site import links

PAGE = """<html><body><h1 id="top">Title</h1>
<a href="other.html#here">good</a> <a href="#top">good</a> <a href="folder/">good</a>
<a href="https://example.org/not-asked">good</a>
<a href="https://github.com/modelarchive/modelarchive/blob/main/README.md#models">good</a>
<a href="https://github.com/modelarchive/modelarchive/issues">good</a>
%s</body></html>"""


def broken(folder: Path, more: str) -> list[str]:
    (folder / "index.html").write_text(PAGE % more)
    (folder / "other.html").write_text('<p id="here">text</p>')
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "folder" / "index.html").write_text("<p>text</p>")
    return list(links.broken(folder))


def test_good_links_are_good(tmp_path: Path) -> None:
    assert broken(tmp_path, "") == []


def test_each_kind_of_broken_link_is_found(tmp_path: Path) -> None:
    wrong = {
        '<a href="nothing.html">': "nothing.html: no such file",
        '<a href="other.html#there">': "other.html#there: no such place on that page",
        '<a href="#bottom">': "#bottom: no such place on that page",
        '<img src="picture.svg">': "picture.svg: no such file",
        '<a href="https://github.com/modelarchive/modelarchive/blob/main/docs/nothing.md">': (
            "https://github.com/modelarchive/modelarchive/blob/main/docs/nothing.md: no such file in the repository"
        ),
    }
    for tag, why in wrong.items():
        assert broken(tmp_path, tag) == [f"index.html: {why}"]
