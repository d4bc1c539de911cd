"""``verify`` and ``diff``: is a file undamaged, and are two files the same."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelarchive import errors, formats
from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command
from modelarchive.cli.layout import as_text
from modelarchive.cli.outcome import DONE, NO, WrongUseError, failed
from modelarchive.cli.output import Column

if TYPE_CHECKING:
    import numpy as np

    from modelarchive.cli.content import Content
    from modelarchive.compare import Differences, Side

#: Bytes of a page of memory, or less: one value of each is looked at.
_PAGE: Final = 4096
#: Characters of a value that `diff` shows; --json has all of it.
_LONGEST: Final = 80


def add(commands: Commands) -> None:
    """Add the commands."""
    checked = add_command(commands, "verify", verify, "Check every digest, every schema and the index against HDF5")
    checked.add_argument("files", nargs="+", type=Path, metavar="FILE")
    checked.add_argument("--key", type=Path, metavar="KEY", help="a public key: refuse what was not signed with it")
    checked.add_argument("--signature", type=Path, metavar="SIG", help="the signature's file (default: FILE.sig)")
    compared = add_command(commands, "diff", diff, "Compare two models: architecture, parameters, metadata")
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

    record: dict[str, Any] = {"file": str(path), "ok": False}
    try:
        if formats.recognise(path) != "archive":
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
            output.say(f"{path}: damaged", style="bold red")
            for name, (expected, found) in error.damaged.items():
                output.say(f"  {name}: expected {errors.claim(expected)}, found {errors.claim(found)}")
            if error.hint:
                output.say(f"  hint: {error.hint}")
        return NO, record
    except errors.SpecError as error:
        record["problems"] = [{"pointer": p, "rule": r, "message": m} for p, r, m in error.problems]
        failed(error, "verify")
        return NO, record
    except (errors.ModelArchiveError, OSError) as error:
        record["error"] = str(error)
        return failed(error, "verify"), record
    record |= {"ok": True, "bytes": size, "arrays": report.arrays, "architecture": report.has_architecture}
    record["foreign"] = list(report.foreign)
    if not chosen.json:
        model = "architecture and " if report.has_architecture else ""
        signed = "" if chosen.key is None else f", signed with {chosen.key.name}"
        output.say(f"{path}: whole: {model}{report.arrays:,} arrays, {output.size(size)}{signed}", style="green")
        for foreign in report.foreign:
            output.say(f"  holds also, no part of the archive: {foreign}", style="yellow")
    return DONE, record


def _read_foreign(path: Path, chosen: argparse.Namespace, record: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Read all of a file of another system, which has no digests: at most the checksums of a zip file."""
    from modelarchive.cli.content import opened

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
            output.say(f"{path}: damaged", style="bold red")
            output.say(f"  {damaged}: differs from its checksum in the zip file")
            output.say("  hint: take the file from where it came from again")
        return NO, record
    record["reason"] = "it has no digests"
    if not chosen.json:
        output.say(f"{path}: not verified: it is {content.what}, which has no digests", style="bold yellow")
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

    if not path.is_file():
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


def diff(chosen: argparse.Namespace) -> int:
    """``modelarchive diff``: 1 if anything differs."""
    from modelarchive import compare
    from modelarchive.cli.content import opened

    with opened(chosen.first) as first, opened(chosen.second) as second:
        foreign = [each for each in (first, second) if each.archive is None]
        # An archive without an architecture differs from one with it; a format that has none does not tell.
        is_whole = not foreign or all(each.architecture is not None for each in (first, second))
        found = compare.diff(*(_side(each, is_whole=is_whole) for each in (first, second)))
    remarks = list(_remarks(foreign, is_whole=is_whole))
    if chosen.json:
        output.as_json({"is_equal": not found, **_record(found), "remarks": remarks})
        return NO if found else DONE
    for part in ("architecture", "metadata"):
        changes = getattr(found, part)
        if changes:
            rows = [(change.where or "(whole)", _shown(change.a), _shown(change.b)) for change in changes]
            output.table([Column(part), Column("A"), Column("B")], rows)
            output.say()
    rows = [
        *((name, "changed", _by(greatest)) for name, greatest in found.changed.items()),
        *((name, "replaced", f"{a} -> {b}") for name, (a, b) in found.reshaped.items()),
        *((name, "only in A", "") for name in found.only_a),
        *((name, "only in B", "") for name in found.only_b),
    ]
    if rows:
        output.table([Column("array", is_name=True), Column("state"), Column("difference")], rows)
        output.say()
    total = len(found.equal) + len(rows)
    said = "different" if found else "the same"
    output.say(f"{said}: {len(found.equal):,} of {total:,} arrays equal", style="bold")
    for remark in remarks:
        output.say(f"  {remark}", style="yellow")
    return NO if found else DONE


def _side(content: Content, *, is_whole: bool) -> Side:
    from modelarchive import compare

    if content.archive is not None:
        side = compare.of_archive(content.archive)
        return side if is_whole else replace(side, architecture=None)
    leaves = {name: compare.described(leaf.dtype, leaf.shape) for name, leaf in content.leaves.items()}
    architecture = content.architecture if is_whole else None
    return compare.of_parameters(leaves, content.arrays, content.tokens, architecture, content.metadata)


def _remarks(foreign: list[Content], *, is_whole: bool) -> Iterator[str]:
    """What is to be said where not both are archives."""
    for content in foreign:
        yield f"{content.path}: {content.what}: it has no digests, and was compared as it was read"
        if content.architecture is None:
            why = "its architecture cannot be read" if content.refused else "it holds no architecture"
            yield f"{content.path}: {why}, so that architectures were not compared"


def _shown(value: Any) -> str:
    """A value in a line: a block by its kind and what tells most, all else as JSON."""
    from modelarchive.cli.look import described
    from modelarchive.compare import ABSENT

    if value is ABSENT:
        return "absent"
    if isinstance(value, dict):
        name = f"{value['name']}: " if isinstance(value.get("name"), str) else ""
        block = value.get("block", value)
        if isinstance(block, dict) and isinstance(block.get("kind"), str):
            return name + described(block)
        if name and isinstance(value.get("op"), str):
            return f"{name}{value['op']} of {as_text(value.get('inputs'), _LONGEST)}"
        if name and isinstance(value.get("call"), str):
            return f"{name}{value['call']} again"
        if isinstance(value.get("model"), dict):
            return "a whole model"
    return as_text(value, _LONGEST)


def _by(greatest: float) -> str:
    return "in NaNs or texts only" if math.isnan(greatest) else f"by at most {greatest:.6g}"


def _record(found: Differences) -> dict[str, Any]:
    from modelarchive.compare import ABSENT

    record = {part: getattr(found, part) for part in ("equal", "changed", "reshaped", "only_a", "only_b")}
    for part in ("architecture", "metadata"):
        changes = [change._asdict() for change in getattr(found, part)]
        record[part] = [{key: each for key, each in change.items() if each is not ABSENT} for change in changes]
    # JSON has no NaN: no number says that only strings, or only NaNs, differ.
    record["changed"] = {name: None if math.isnan(by) else by for name, by in found.changed.items()}
    return record
