"""``diff``: are two models the same, and where do they differ."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command, add_place
from modelarchive.cli.layout import as_text
from modelarchive.cli.outcome import DONE, NO
from modelarchive.cli.output import Column

if TYPE_CHECKING:
    from modelarchive.compare import Differences
    from modelarchive.models.content import Content

#: Characters of a value that are shown; --json has all of it.
_LONGEST: Final = 80
#: Damaged parts that are named here; verify names all.
_MOST_NAMES: Final = 3


def add(commands: Commands) -> None:
    """Add the command."""
    compared = add_command(commands, "diff", diff, "Compare two models: architecture, parameters, metadata")
    add_place(compared, "first", metavar="A", help="a file, a folder or a URL")
    add_place(compared, "second", metavar="B")


def diff(chosen: argparse.Namespace) -> int:
    """``modelarchive diff``: 1 if anything differs."""
    from modelarchive import compare
    from modelarchive.models.content import opened

    with output.transfers(chosen.first, chosen.second), opened(chosen.first) as first, opened(chosen.second) as second:
        # An archive without an architecture differs from one with it; a format that has none does not tell.
        both = (first, second)
        is_whole = all(each.archive is not None for each in both) or all(each.architecture is not None for each in both)
        found = compare.diff(*(each.side(is_whole=is_whole) for each in both))
    remarks = [remark for each in both for remark in _remarks(each, is_whole=is_whole)]
    remarks += [*_damage(first.path, found.damaged_a), *_damage(second.path, found.damaged_b)]
    code = NO if found or found.damaged_a or found.damaged_b else DONE
    if chosen.json:
        output.as_json({"is_equal": not found, **_record(found), "remarks": remarks})
        return code
    for part in ("architecture", "metadata"):
        changes = getattr(found, part)
        if changes:
            rows = [(change.where or "(whole)", _shown(change.a), _shown(change.b)) for change in changes]
            output.table([Column(part), Column("A"), Column("B")], rows)
            output.say()
    rows = [
        *((name, _state(name, found), _by(greatest)) for name, greatest in found.changed.items()),
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
    return code


def _remarks(content: Content, *, is_whole: bool) -> Iterator[str]:
    """What is to be said of one of the two where not both are archives."""
    if content.archive is None:
        yield f"{content.path}: {content.what}: it has no digests, and was compared as it was read"
    if content.architecture is None and not is_whole:
        why = "its architecture cannot be read" if content.refused else "it holds no architecture"
        yield f"{content.path}: {why}, so that architectures were not compared"


def _damage(path: Any, damaged: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """What is to be said of one of the two whose digests do not hold."""
    if damaged:
        several = ", ".join([*damaged][:_MOST_NAMES]) + (", ..." if len(damaged) > _MOST_NAMES else "")
        yield (
            f"{path}: damaged, and not another version: its digests do not fit {several}; "
            f"`modelarchive verify {shlex.quote(str(path))}` lists all, take it from where it came from again"
        )


def _state(name: str, found: Differences) -> str:
    """Whether an array that differs was changed, or is damaged."""
    sides = [side for side, each in (("A", found.damaged_a), ("B", found.damaged_b)) if name in each]
    return f"damaged in {' and '.join(sides)}" if sides else "changed"


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


def _by(greatest: float | None) -> str:
    if greatest is None:
        return "by its digest"
    return "in NaNs or texts only" if math.isnan(greatest) else f"by at most {greatest:.6g}"


def _record(found: Differences) -> dict[str, Any]:
    from modelarchive.compare import ABSENT

    record = {part: getattr(found, part) for part in ("equal", "changed", "reshaped", "only_a", "only_b")}
    record |= {"damaged_a": found.damaged_a, "damaged_b": found.damaged_b}
    for part in ("architecture", "metadata"):
        changes = [change._asdict() for change in getattr(found, part)]
        record[part] = [{key: each for key, each in change.items() if each is not ABSENT} for change in changes]
    # JSON has no NaN: no number says that only strings, or only NaNs, differ.
    record["changed"] = {name: None if by is None or math.isnan(by) else by for name, by in found.changed.items()}
    return record
