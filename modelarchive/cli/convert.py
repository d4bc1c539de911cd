"""``convert``: from one format into another."""

from __future__ import annotations

import argparse
from pathlib import Path

from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command
from modelarchive.cli.outcome import DONE, WrongUseError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "convert", run, "Convert between formats: IN by its content, OUT by its suffix; says what was lost"
    )
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")


def run(chosen: argparse.Namespace) -> int:
    """``modelarchive convert``."""
    from modelarchive import formats, models

    size = chosen.source.stat().st_size
    try:
        name = formats.format_of_name(chosen.target)
    except ValueError as error:
        raise WrongUseError(str(error), hint="the suffix of OUT says into which format") from error
    with output.progress(f"convert {chosen.source.name}", size) as advance:
        notes = models.convert(chosen.source, chosen.target, progress=advance)
    written = chosen.target.stat().st_size
    if chosen.json:
        record = {"file": str(chosen.target), "format": name, "bytes": written}
        output.as_json(record | {"notes": [{"where": note.where, "what": note.what} for note in notes]})
        return DONE
    output.say(f"{chosen.target}: {formats.FORMATS[name].what}, {output.size(written)}")
    for note in notes:
        output.say(f"  {note}", style="yellow")
    return DONE
