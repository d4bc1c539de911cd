"""``verify``: is a file undamaged."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelarchive import errors, formats
from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command, add_place, on_disk
from modelarchive.cli.outcome import DONE, NO, WrongUseError, failed, spelled
from modelarchive.remote import RemoteFile

if TYPE_CHECKING:
    import numpy as np


#: Bytes of a page of memory, or less: one value of each is looked at.
_PAGE: Final = 4096


def add(commands: Commands) -> None:
    """Add the command."""
    checked = add_command(commands, "verify", verify, "Check every digest, every schema and the index against HDF5")
    add_place(checked, "files", nargs="+", metavar="FILE", help="a file, a folder or a URL")
    checked.add_argument("--key", type=on_disk, metavar="KEY", help="a public key: refuse what was not signed with it")
    checked.add_argument("--signature", type=on_disk, metavar="SIG", help="the signature's file (default: FILE.sig)")


def verify(chosen: argparse.Namespace) -> int:
    """``modelarchive verify``: the worst of the files' exit codes."""
    if chosen.signature and (chosen.key is None or len(chosen.files) > 1):
        raise WrongUseError("--signature is for one FILE and a --key")
    if chosen.key and not chosen.signature and any(isinstance(file, RemoteFile) for file in chosen.files):
        raise WrongUseError("the signature of a URL is not looked for there", hint="--signature SIG, a file on a disk")
    records = []
    worst = DONE
    from modelarchive.cli.runs import checkpoints_in

    for file in chosen.files:
        several = checkpoints_in(file)
        for path in several.values() or [file]:
            code, record = _verify_one(path, chosen, of_run=bool(several))
            if record is None:
                continue
            records.append(record)
            worst = max(worst, code)
    if chosen.json:
        output.as_json(records)
    return worst


def _verify_one(path: Path, chosen: argparse.Namespace, *, of_run: bool) -> tuple[int, dict[str, Any] | None]:
    """Verify one file; nothing is said of a checkpoint that the run which goes on has removed meanwhile."""
    import modelarchive
    from modelarchive.checkpoints import expect_index
    from modelarchive.cli.runs import is_there

    record: dict[str, Any] = {"file": str(path), "ok": False}
    try:
        if of_run:
            expect_index(path)
        elif formats.recognise(path) != "archive":
            return _read_foreign(path, chosen, record)
        with modelarchive.open(path) as archive, output.progress(f"verify {path.name}", archive.size) as advance:
            if chosen.key is None:
                report = archive.verify(progress=advance)
            else:
                from modelarchive import signing

                report = signing.check(archive, chosen.key, signature=chosen.signature, progress=advance)
            size = archive.size
    except errors.IntegrityError as error:
        record["damaged"] = {name: {"expected": e, "found": f} for name, (e, f) in error.damaged.items()}
        if not chosen.json:
            output.say(f"{output.one_line(path)}: damaged", style="bold red")
            for name, (expected, found) in error.damaged.items():
                output.say(f"  {output.one_line(name)}: expected {errors.claim(expected)}, found {errors.claim(found)}")
            if error.hint:
                output.say(f"  hint: {error.hint}")
        return NO, record
    except errors.SpecError as error:
        record["problems"] = [{"pointer": p, "rule": r, "message": m} for p, r, m in error.problems]
        failed(error, "verify")
        return NO, record
    except (errors.ModelArchiveError, OSError) as error:
        if of_run and not is_there(path):
            return DONE, None
        record["error"] = spelled(str(error), "verify")
        return failed(error, "verify"), record
    record |= {"ok": True, "bytes": size, "arrays": report.arrays, "architecture": report.has_architecture}
    record["foreign"] = list(report.foreign)
    if not chosen.json:
        model = "architecture and " if report.has_architecture else ""
        signed = "" if chosen.key is None else f", signed with {chosen.key.name}"
        output.say(
            f"{output.one_line(path)}: whole: {model}{report.arrays:,} arrays, {output.size(size)}{signed}",
            style="green",
        )
        for foreign in report.foreign:
            output.say(f"  holds also, no part of the archive: {output.one_line(foreign)}", style="yellow")
    return DONE, record


def _read_foreign(path: Path, chosen: argparse.Namespace, record: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Read all of a file of another system, which has no digests: at most the checksums of a zip file."""
    from modelarchive.models.content import opened

    with opened(path) as content:
        arrays = {name: leaf for name, leaf in content.leaves.items() if leaf.shares is None}
        total = sum(leaf.nbytes for leaf in arrays.values())
        with output.progress(f"read {path.name}", total) as advance:
            for name, leaf in arrays.items():
                touch(content.arrays[name])
                advance(leaf.nbytes)
    record |= {"format": content.format, "bytes": content.size, "arrays": len(arrays), "convert": content.convert}
    if damaged := damaged_member(path):
        record["damaged"] = {damaged: {"expected": "the checksum in the zip file", "found": "another"}}
        if not chosen.json:
            output.say(f"{output.one_line(path)}: damaged", style="bold red")
            output.say(f"  {output.one_line(damaged)}: differs from its checksum in the zip file")
            output.say("  hint: take the file from where it came from again")
        return NO, record
    record["reason"] = "it has no digests"
    if not chosen.json:
        output.say(
            f"{output.one_line(path)}: not verified: it is {content.what}, which has no digests", style="bold yellow"
        )
        count = errors.counted(len(arrays), "array")
        output.say(
            f"  {count} read, {output.size(total)}, and nothing in it was run; whether it was changed, nothing tells"
        )
        if content.convert:
            output.say(f"  hint: `{content.convert}` makes an archive, whose digests tell of changes from then on")
    return NO, record


def damaged_member(path: Path) -> str | None:
    """The first member of a zip file whose checksum, which is CRC-32, differs; None for other files, too."""
    import struct
    import zipfile
    import zlib

    if isinstance(path, RemoteFile) or not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return None
    with zipfile.ZipFile(path) as opened:
        for member in opened.infolist():
            try:
                with opened.open(member) as stream:
                    while stream.read(1 << 20):
                        pass
            except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError):
                return member.filename
    return None


def touch(array: np.ndarray) -> None:
    """Read every page of an array, which may be a view of a mapped file."""
    flat = array.reshape(-1)
    step = max(1, _PAGE // max(1, flat.itemsize))
    for start in range(0, flat.size, step << 10):
        flat[start : start + (step << 10) : step].tobytes()
