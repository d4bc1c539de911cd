"""``repack`` and ``reindex``: write an archive anew, or its index alone."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_archive_output, add_command, add_shard_size, choice, on_disk
from modelarchive.cli.outcome import DONE
from modelarchive.cli.output import Column

if TYPE_CHECKING:
    from modelarchive.archive.converting import Conversion

_COMPRESSIONS: Final = {"deflate": "deflate", "none": None, "keep": "keep"}
_DTYPES: Final = {"bfloat16": "bfloat16", "float16": "float16", "float32": "float32", "float64": "float64",
                  "keep": None}  # fmt: skip


def add(commands: Commands) -> None:
    """Add the commands."""
    packed = add_command(commands, "repack", repack, "Write an archive anew: indexed, aligned, without holes")
    packed.add_argument("file", type=on_disk, metavar="FILE")
    add_archive_output(packed, required=False, text="the archive to write (default: in place of FILE)")
    packed.add_argument(
        "--compression",
        action="append",
        metavar="[PATTERN=]CHOICE",
        help=f"{', '.join(_COMPRESSIONS)} (default: keep); with a pattern of names for some arrays, several times",
    )
    packed.add_argument(
        "--dtype",
        action="append",
        metavar="[PATTERN=]CHOICE",
        help=f"convert floating-point arrays: {', '.join(_DTYPES)}; with a pattern for some, several times",
    )
    add_shard_size(packed)
    indexed = add_command(commands, "reindex", reindex, "Refresh the index after an HDF5 tool changed the file")
    indexed.add_argument("files", nargs="+", type=on_disk, metavar="FILE")


def repack(chosen: argparse.Namespace) -> int:
    """``modelarchive repack``."""
    from modelarchive import maintenance
    from modelarchive.models.content import refuse_foreign, size_of

    refuse_foreign(chosen.file)
    before = size_of(chosen.file)
    out: Path | str = chosen.output or chosen.file
    compression = choice(chosen.compression or ["keep"], _COMPRESSIONS, option="--compression", without="keep")
    dtype = choice(chosen.dtype, _DTYPES, option="--dtype", without=None) if chosen.dtype else None
    with output.progress(f"repack {chosen.file.name}", before) as advance:
        done = maintenance.repack(
            chosen.file,
            out,
            compression=compression,
            dtype=dtype,
            max_shard_size=chosen.max_shard_size,
            progress=advance,
        )
    after = size_of(Path(out))
    if chosen.json:
        record = {"file": str(out), "bytes_before": before, "bytes": after, "left_out": done.left_out}
        output.as_json(record | {"converted": [asdict(each) for each in done.converted]})
        return DONE
    if done.converted:
        _conversions(done.converted)
    output.say(f"{out}: {output.size(before)} -> {output.size(after)}")
    for path in done.left_out:
        output.say(f"  left out, no part of an archive: {output.one_line(path)}", style="yellow")
    return DONE


def _conversions(converted: list[Conversion]) -> None:
    columns = [Column("array", is_name=True), Column("from"), Column("to")]
    columns += [Column(name, is_number=True) for name in ("largest error", "relative")]
    columns.append(Column("became zero", is_number=True, is_optional=not any(each.zeroed for each in converted)))
    rows = [
        (
            each.name,
            each.before,
            each.after,
            f"{each.largest_error:.3g}",
            f"{each.relative_error:.3g}",
            (f"{each.zeroed:,}", "yellow" if each.zeroed else ""),
        )
        for each in converted
    ]
    output.table(columns, rows)
    worst = max(converted, key=lambda each: each.largest_error)
    output.say(f"largest error: {worst.largest_error:.3g}, in {worst.name}", style="bold")


def reindex(chosen: argparse.Namespace) -> int:
    """``modelarchive reindex``."""
    from modelarchive import maintenance
    from modelarchive.models.content import refuse_foreign

    for path in chosen.files:
        refuse_foreign(path)
        with output.progress(f"reindex {path.name}", path.stat().st_size) as advance:
            maintenance.reindex(path, progress=advance)
        if not chosen.json:
            output.say(f"{output.one_line(path)}: indexed")
    if chosen.json:
        output.as_json([{"file": str(path)} for path in chosen.files])
    return DONE
