"""``repack`` and ``reindex``: write an archive anew, or its index alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command, add_output
from modelarchive.cli.outcome import DONE


def add(commands: Commands) -> None:
    """Add the commands."""
    packed = add_command(commands, "repack", repack, "Write an archive anew: indexed, aligned, without holes")
    packed.add_argument("file", type=Path)
    add_output(packed, required=False, text="the archive to write (default: in place of FILE)")
    indexed = add_command(commands, "reindex", reindex, "Refresh the index after an HDF5 tool changed the file")
    indexed.add_argument("files", nargs="+", type=Path, metavar="FILE")


def repack(chosen: argparse.Namespace) -> int:
    """``modelarchive repack``."""
    from modelarchive import maintenance

    before = chosen.file.stat().st_size
    out: Path = chosen.output or chosen.file
    with output.progress(f"repack {chosen.file.name}", before) as advance:
        left_out = maintenance.repack(chosen.file, out, progress=advance)
    after = out.stat().st_size
    if chosen.json:
        output.as_json({"file": str(out), "bytes_before": before, "bytes": after, "left_out": left_out})
        return DONE
    output.say(f"{out}: {output.size(before)} -> {output.size(after)}")
    for path in left_out:
        output.say(f"  left out, no part of an archive: {path}", style="yellow")
    return DONE


def reindex(chosen: argparse.Namespace) -> int:
    """``modelarchive reindex``."""
    from modelarchive import maintenance

    for path in chosen.files:
        with output.progress(f"reindex {path.name}", path.stat().st_size) as advance:
            maintenance.reindex(path, progress=advance)
        if not chosen.json:
            output.say(f"{path}: indexed")
    if chosen.json:
        output.as_json([{"file": str(path)} for path in chosen.files])
    return DONE
