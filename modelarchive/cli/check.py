"""``verify`` and ``diff``: is a file undamaged, and are two files the same."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelarchive import errors
from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command
from modelarchive.cli.outcome import DONE, NO, WrongUseError, failed
from modelarchive.cli.output import Column
from modelarchive.store.digest import HEX_LENGTH

if TYPE_CHECKING:
    from modelarchive.compare import Differences


def add(commands: Commands) -> None:
    """Add the commands."""
    checked = add_command(commands, "verify", verify, "Check every digest, every schema and the index against HDF5")
    checked.add_argument("files", nargs="+", type=Path, metavar="FILE")
    checked.add_argument("--key", type=Path, metavar="KEY", help="a public key: refuse what was not signed with it")
    checked.add_argument("--signature", type=Path, metavar="SIG", help="the signature's file (default: FILE.sig)")
    compared = add_command(commands, "diff", diff, "Compare two archives: architecture, parameters, metadata")
    compared.add_argument("first", type=Path, metavar="A")
    compared.add_argument("second", type=Path, metavar="B")


def verify(chosen: argparse.Namespace) -> int:
    """``modelarchive verify``: the worst of the files' exit codes."""
    if chosen.signature and (chosen.key is None or len(chosen.files) > 1):
        raise WrongUseError("--signature is for one FILE and a --key")
    records = []
    worst = DONE
    for path in chosen.files:
        code, record = _verify_one(path, chosen)
        records.append(record)
        worst = max(worst, code)
    if chosen.json:
        output.as_json(records)
    return worst


def _verify_one(path: Path, chosen: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    import modelarchive

    quiet = chosen.json

    record: dict[str, Any] = {"file": str(path), "ok": False}
    try:
        with modelarchive.open(path) as archive, output.progress(f"verify {path.name}", archive.size) as advance:
            if chosen.key is None:
                report = archive.verify(progress=advance)
            else:
                from modelarchive import signing

                report = signing.check(archive, chosen.key, signature=chosen.signature, progress=advance)
            size = archive.size
    except errors.IntegrityError as error:
        record["damaged"] = {name: {"expected": e, "found": f} for name, (e, f) in error.damaged.items()}
        if not quiet:
            output.say(f"{path}: damaged", style="bold red")
            for name, (expected, found) in error.damaged.items():
                output.say(f"  {name}: expected {_short(expected)}, found {_short(found)}")
            if error.hint:
                output.say(f"  hint: {error.hint}")
        return NO, record
    except errors.SpecError as error:
        record["problems"] = [{"pointer": p, "rule": r, "message": m} for p, r, m in error.problems]
        failed(error)
        return NO, record
    except (errors.ModelArchiveError, OSError) as error:
        record["error"] = str(error)
        return failed(error), record
    record |= {"ok": True, "bytes": size, "arrays": report.arrays, "architecture": report.has_architecture}
    record["foreign"] = list(report.foreign)
    if not quiet:
        model = "architecture and " if report.has_architecture else ""
        signed = "" if chosen.key is None else f", signed with {chosen.key.name}"
        output.say(f"{path}: whole: {model}{report.arrays:,} arrays, {output.size(size)}{signed}", style="green")
        for foreign in report.foreign:
            output.say(f"  holds also, no part of the archive: {foreign}", style="yellow")
    return DONE, record


def _short(claim: str) -> str:
    """The beginning of a digest; other claims whole."""
    return f"{claim[:16]}..." if len(claim) == HEX_LENGTH and " " not in claim else claim


def diff(chosen: argparse.Namespace) -> int:
    """``modelarchive diff``: 1 if anything differs."""
    from modelarchive import compare

    found = compare.diff(chosen.first, chosen.second)
    if chosen.json:
        output.as_json({"is_equal": not found, **_record(found)})
        return NO if found else DONE
    for part in ("architecture", "metadata"):
        changes = getattr(found, part)
        if changes:
            output.table([Column(part), Column("A"), Column("B")], changes)
            output.say()
    rows = [
        *((name, "changed", f"by at most {greatest:.6g}") for name, greatest in found.changed.items()),
        *((name, "replaced", f"{a} -> {b}") for name, (a, b) in found.reshaped.items()),
        *((name, "only in A", "") for name in found.only_a),
        *((name, "only in B", "") for name in found.only_b),
    ]
    if rows:
        output.table([Column("array"), Column("state"), Column("difference")], rows)
        output.say()
    total = len(found.equal) + len(rows)
    said = "different" if found else "the same"
    output.say(f"{said}: {len(found.equal):,} of {total:,} arrays equal", style="bold")
    return NO if found else DONE


def _record(found: Differences) -> dict[str, Any]:
    record = asdict(found)
    for part in ("architecture", "metadata"):
        record[part] = [change._asdict() for change in getattr(found, part)]
    # JSON has no NaN: no number says that only strings, or only NaNs, differ.
    record["changed"] = {name: None if math.isnan(by) else by for name, by in found.changed.items()}
    return record
