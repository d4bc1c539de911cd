"""Links of a built site that lead nowhere: to pages, to places in them, to pictures, to files of the repository."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests import ROOT

REPOSITORY = "https://github.com/modelarchive/modelarchive/"
_TARGETS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "srcset"}


class Page(HTMLParser):
    """The places in a page, and what it links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.ids.add(value)
            if name == _TARGETS.get(tag) and value is not None:
                self.links.append(value)


def broken(site: Path) -> Iterator[str]:
    """Each link that leads nowhere, with the page that it stands on."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            if why := _wrong(link, path, pages):
                yield f"{path.relative_to(site)}: {link}: {why}"


def _wrong(link: str, path: Path, pages: dict[Path, Page]) -> str:
    if link.startswith(REPOSITORY):
        return _not_in_repository(link.removeprefix(REPOSITORY))
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""  # of others: looked for by nothing here, which works without the network
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return "no such file"
    if not parts.fragment or target not in pages:
        return ""
    return "" if unquote(parts.fragment) in pages[target].ids else "no such place on that page"


def _not_in_repository(rest: str) -> str:
    kind, _, place = rest.partition("/")
    if kind not in ("blob", "tree", "edit"):
        return ""
    file = place.partition("/")[2].partition("#")[0].partition("?")[0]
    return "" if (ROOT / file).exists() else "no such file in the repository"
