"""``extract`` and ``transplant``: a part of a model as a file of its own, or into another model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modelarchive import errors
from modelarchive.cli import output
from modelarchive.cli.arguments import (
    Commands,
    add_archive_output,
    add_command,
    add_patterns,
    add_place,
    children,
    pairs,
    refuse_sources,
)
from modelarchive.cli.outcome import DONE, WrongUseError, spelled
from modelarchive.cli.output import Column
from modelarchive.models.content import refuse_foreign, size_of

_STYLES = {"copied": "green", "frozen": "cyan", "mismatched": "red", "unexpected": "yellow"}


def add(commands: Commands) -> None:
    """Add the commands."""
    cut = add_command(commands, "extract", extract, "Write a part as an archive of its own, reading that part alone")
    add_place(cut, "file", metavar="FILE", help="an archive, or its URL")
    cut.add_argument(
        "block", nargs="?", metavar="BLOCK", help='a dotted path as `show --tree` shows it; "" is the model'
    )
    cut.add_argument(
        "--children", type=children, metavar="A:B", help="only these children of a Sequential: 0:2 is the first two"
    )
    cut.add_argument("--until", metavar="LAYER", help="end with this layer: its output is the new network's")
    cut.add_argument(
        "--from", dest="after", metavar="LAYER", help="begin after this layer: its output is the new network's input"
    )
    add_archive_output(cut, required=True)

    moved = add_command(commands, "transplant", transplant, "Copy parameters of SRC into a copy of DST")
    add_place(moved, "source", metavar="SRC", help="a file, a folder or a URL")
    add_place(moved, "target", metavar="DST", help="an archive, or its URL")
    add_archive_output(moved, required=False)
    add_patterns(moved, "--select", "which parameters of SRC: 'features.*'; again for more (default: all that DST has)")
    moved.add_argument(
        "--rename", action="append", metavar="OLD=NEW", help="where they go in DST: 'features.*=backbone.*'"
    )
    moved.add_argument(
        "--mismatch",
        choices=("error", "skip", "overlap"),
        default="error",
        help="for shapes that differ: refuse, keep DST's values, or copy the common region",
    )
    moved.add_argument(
        "--rows",
        action="append",
        metavar="NAME=WORDS.txt",
        help="match the rows of the parameter NAME of DST by word; WORDS.txt has DST's words, one a line",
    )
    moved.add_argument("--cast-dtype", action="store_true", help="convert what has another dtype in DST")
    moved.add_argument(
        "--resize",
        action="append",
        metavar="PATTERN=METHOD",
        help="fit positions of another length or grid: interpolate, bicubic or linear: '*pos_embed*=interpolate'",
    )
    moved.add_argument("--freeze", action="store_true", help="make what was copied not trainable")
    moved.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")


def extract(chosen: argparse.Namespace) -> int:
    """``modelarchive extract``."""
    import modelarchive
    from modelarchive import maintenance

    block, parts = chosen.block, {"children": chosen.children, "until": chosen.until, "after": chosen.after}
    if block is None and not any(parts.values()):
        raise WrongUseError("BLOCK, --until or --from is needed", hint=f"modelarchive show --tree {chosen.file}")
    refuse_sources(chosen.output, [chosen.file])
    refuse_foreign(chosen.file)
    with modelarchive.open(chosen.file) as archive:
        size = archive.size
    try:
        with output.progress(f"extract {block or chosen.file.name}", size) as advance:
            maintenance.extract(chosen.file, block or "", chosen.output, **parts, progress=advance)
    except errors.SpecError as error:
        if {rule for _, rule, _ in error.problems} != {"path"}:
            raise
        said = "; ".join(message for _, _, message in error.problems)
        hint = error.hint or f"modelarchive show --tree {chosen.file}"
        raise WrongUseError(f"{chosen.file}: {said}", hint=hint) from error
    with modelarchive.open(chosen.output) as archive:
        written = {
            "file": str(archive.path),
            "bytes": archive.size,
            "parameters": list(archive.parameters),
            "parameter_count": archive.parameter_count,
        }
        count = f"{len(archive.parameters):,} arrays, {archive.parameter_count:,} parameters"
        said = f"{archive.path}: {count}, {output.size(archive.size)}"
    if chosen.json:
        output.as_json(written)
    else:
        output.say(said)
    return DONE


def transplant(chosen: argparse.Namespace) -> int:
    """``modelarchive transplant``."""
    from modelarchive.models import transplant_file

    if chosen.output is None and not chosen.dry_run:
        raise WrongUseError("-o OUT is needed", hint="--dry-run prints the plan and writes nothing")
    refuse_sources(chosen.output, [chosen.source])
    refuse_foreign(chosen.target)
    options: dict[str, Any] = {
        "select": chosen.select,
        "rename": pairs(chosen.rename, option="--rename"),
        "mismatch": chosen.mismatch,
        "cast_dtype": chosen.cast_dtype,
        "resize": pairs(chosen.resize, option="--resize"),
        "freeze": chosen.freeze,
        "rows": {name: _words(Path(path)) for name, path in pairs(chosen.rows, option="--rows").items()},
        "dry_run": chosen.dry_run,
    }
    size = size_of(chosen.target)
    try:
        with output.progress(f"write {chosen.output}", 0 if chosen.dry_run else size) as advance:
            out = chosen.target if chosen.output is None else chosen.output
            report = transplant_file(chosen.source, chosen.target, out, progress=advance, **options)
    except errors.ModelArchiveError:
        raise
    except ValueError as error:
        raise WrongUseError(str(error)) from error
    if chosen.json:
        record = {
            part: getattr(report, part)
            for part in ("missing", "unexpected", "mismatched", "frozen", "notes", "dry_run")
        }
        copied = {name: {"source": source, "how": how} for name, (source, how) in report.copied.items()}
        output.as_json({"written": None if chosen.dry_run else str(out), "copied": copied, **record})
        return DONE
    rows = [
        (target or "-", (state, _STYLES.get(state, "")), source, note) for target, state, source, note in report.rows()
    ]
    columns = [Column("target", is_name=True), Column("state"), Column("source", is_name=True), Column("note")]
    output.table(columns, rows)
    verb = "would be copied" if chosen.dry_run else f"copied, written to {out}"
    output.say(f"\n{errors.counted(len(report.copied), 'parameter')} {verb}", style="bold")
    for note in report.notes:
        output.say(f"  {spelled(note, 'transplant')}", style="yellow")
    return DONE


def _words(path: Path) -> list[str]:
    """The lines of a UTF-8 text file."""
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise WrongUseError(f"{path}: is no UTF-8 text", hint="one word a line") from error
