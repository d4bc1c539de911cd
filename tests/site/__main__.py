"""Builds the documents as a site and looks them over: ``python -m tests.site FOLDER [--browser chromium]``.

Fails on Sphinx's warnings, on links that lead nowhere, on public names without a description, and where the search
does not find what it should. With a browser (Chromium) pages are also laid out as on a phone, and searched as people
search; ``--pictures FOLDER`` keeps what it saw.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.site import browsing, building, links, names, searching


def main() -> int:
    """Build, check, say what is wrong; 1 where something is."""
    parser = argparse.ArgumentParser(prog="python -m tests.site", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the site goes")
    parser.add_argument("--browser", help="the program of a Chromium, to lay the pages out and search with")
    parser.add_argument("--pictures", type=Path, help="with --browser: keep pictures of the pages here")
    options = parser.parse_args()
    problems = building.build(options.folder)
    if not (options.folder / "index.html").is_file():
        print("\n".join(problems), file=sys.stderr)
        return 1
    problems += links.broken(options.folder)
    problems += [f"the reference lacks {name}" for name in names.missing(options.folder)]
    problems += searching.unanswered(options.folder)
    if options.browser:
        problems += browsing.problems(options.folder, options.browser)
        if options.pictures:
            browsing.photograph(options.folder, options.browser, options.pictures)
    for problem in problems:
        print(problem, file=sys.stderr)
    pages = sum(1 for _ in options.folder.rglob("*.html"))
    print(f"{options.folder}: {pages} pages, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
