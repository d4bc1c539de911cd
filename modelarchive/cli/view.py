"""``view``: a file, a run, or what changed between two files, as one HTML page."""

from __future__ import annotations

import argparse
import tempfile
import webbrowser
from pathlib import Path

from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command, add_output, add_place, refuse_sources
from modelarchive.cli.outcome import DONE, WrongUseError


def add(commands: Commands) -> None:
    """Add the command."""
    view = add_command(commands, "view", run, "Look at a file, a run, or what changed between two files, in a browser")
    add_place(view, "file", metavar="FILE", help="a file, a folder or a URL; all of it is read")
    add_place(view, "other", metavar="OTHER", nargs="?", help="a second file, compared with the first")
    add_output(view, required=False, text="the HTML file to write; without it the browser opens one")


def run(chosen: argparse.Namespace) -> int:
    """``modelarchive view``."""
    from modelarchive import page
    from modelarchive.models.content import size_of

    refuse_sources(chosen.output, [chosen.file, chosen.other])
    if chosen.output is not None and chosen.output.is_file() and not _is_page(chosen.output):
        raise WrongUseError(
            f"{chosen.output} is no page, and would be written over", hint="-o PAGE.html; OTHER stands before -o"
        )
    target = chosen.output or Path(tempfile.mkdtemp(prefix="modelarchive-")) / f"{chosen.file.name}.html"
    files = [chosen.file] if chosen.other is None else [chosen.file, chosen.other]
    with output.progress("looking", sum(map(size_of, files))) as progress:
        page.write(chosen.file, target, other=chosen.other, progress=progress)
    opened = chosen.output is None and webbrowser.open(target.absolute().as_uri())
    if chosen.json:
        output.as_json({"page": str(target), "bytes": target.stat().st_size, "opened": opened})
    else:
        how = "opened in the browser" if opened else "open it in any browser"
        output.say(f"{target}: {output.size(target.stat().st_size)}, {how}")
    return DONE


def _is_page(path: Path) -> bool:
    """Whether it is HTML, or empty."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    return not start or start.startswith((b"<!doctype html", b"<html"))
