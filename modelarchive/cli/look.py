"""``show``: what is in an archive, or in a file of another system."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelarchive import errors
from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command, add_place
from modelarchive.cli.layout import as_text, laid_out
from modelarchive.cli.outcome import DONE, complain, spelled
from modelarchive.cli.output import Column
from modelarchive.names import MAX_PARTS

if TYPE_CHECKING:
    from modelarchive.models.content import Content, Leaf

#: Lines of notes that a terminal shows.
_MOST_NOTES: Final = 20
#: Characters of a text that stands in the table.
_LONGEST_VALUE: Final = 40


def add(commands: Commands) -> None:
    """Add the command."""
    show = add_command(
        commands, "show", run, "Show what is in an archive, or in a file of another system, which is not run"
    )
    add_place(show, "file", metavar="FILE", help="a file, a folder or a URL")
    how = show.add_mutually_exclusive_group()
    how.add_argument("--tree", action="store_true", help="the tree of blocks instead of the table")
    how.add_argument(
        "--stats", action="store_true", help="the values too: least, greatest, mean, deviation, histogram, NaNs"
    )


def run(chosen: argparse.Namespace) -> int:
    """``modelarchive show``."""
    from modelarchive.cli import runs
    from modelarchive.models.content import opened

    if found := runs.checkpoints_in(chosen.file):
        return runs.show(chosen.file, found, as_json=chosen.json)
    with ExitStack() as stack:
        with output.transfers(chosen.file):
            content = stack.enter_context(opened(chosen.file))
            record = _record(content, with_stats=chosen.stats) if chosen.json else None
        if record is not None:
            output.as_json(record)
            return DONE
        network = _network(content)
        output.say(output.one_line(content.path), style="bold")
        output.facts(_facts(content, network))
        output.say()
        if chosen.tree:
            _tree(content, network)
        elif chosen.stats:
            _stats_table(content)
        else:
            _table(content, network.kinds)
        if content.archive is None:
            _foreign(content)
    return DONE


def _facts(content: Content, network: Network) -> Iterator[tuple[str, list[str]]]:
    """What stands above the table: label and lines."""
    archive = content.archive
    if archive is None:
        yield "format", [f"{content.what}, not a model archive; nothing in it was run"]
    noun = "parameter" if content.sign == "." else "number"
    yield "size", [f"{output.size(content.size)}, {errors.counted(content.count, noun)}"]
    arrays = {name: leaf for name, leaf in content.leaves.items() if name in content.arrays}
    unique = sum(leaf.shares is None for leaf in arrays.values())
    found = sorted({leaf.dtype for leaf in arrays.values()})
    yield "arrays", [f"{unique:,}" + (f", {', '.join(found)}" if found else "")]
    compressed = [leaf for leaf in arrays.values() if leaf.compressed is not None and leaf.shares is None]
    if compressed:
        before, after = (
            sum(each) for each in zip(*((leaf.nbytes, leaf.compressed) for leaf in compressed), strict=True)
        )
        count = errors.counted(len(compressed), "array")
        yield "compressed", [f"{count}, {output.size(before)} -> {output.size(after)}"]
    if archive is not None:
        yield "written by", [archive.reader.contents.generator or "unknown"]
        from modelarchive.cli.runs import training_lines

        if beside := list(training_lines(archive)):
            yield "training", beside
    else:
        yield "digests", ["none: nothing tells whether it is as it was written"]
    yield from _model(content, network)
    for name, words in content.tokens.items():
        yield "tokens", [f"{name}: {len(words):,} words"]
    if content.metadata:
        yield "metadata", list(laid_out(content.metadata))


def _model(content: Content, network: Network) -> Iterator[tuple[str, list[str]]]:
    if network.kinds:
        yield "architecture", [f"{network.kinds['']}, {len(network.kinds) - 1:,} blocks in it"]
        yield from (("input", [text]) for text in network.inputs)
    elif content.refused:
        count = errors.counted(len(content.refused), "thing")
        yield "architecture", [f"cannot be read: {count} in it that this package has no word for, listed below"]
    elif content.reason:
        yield "architecture", [f"none: {spelled(content.reason, 'show')}"]


def _foreign(content: Content) -> None:
    """What stands below the table of a file that is no archive."""
    for title, found in (
        ("why its architecture cannot be read:", content.refused),
        ("what reading it changes or leaves out:", content.notes),
    ):
        if not found:
            continue
        output.say(f"\n{title}")
        shown = len(found) if output.width(sys.stdout) is None else _MOST_NOTES
        for where, what in found[:shown]:
            output.say(f"  {output.one_line(where)}: {spelled(what, 'show')}", style="yellow")
        if shown < len(found):
            output.say(f"  ... and {len(found) - shown:,} more: --json lists them", style="yellow")
    if content.convert is None:
        output.say(f"\nno archive can be made of it, for none holds {', '.join(content.unheld)}")
    else:
        output.say(f"\nto make an archive of {'its parameters' if content.refused else 'it'}:\n  {content.convert}")


def _table(content: Content, kinds: dict[str, str]) -> None:
    rows = []
    for name, leaf in content.leaves.items():
        kind = kinds.get(name.rpartition(".")[0], "")
        size = output.size(leaf.nbytes) if leaf.shares is None else "shared"
        if leaf.compressed is not None and leaf.shares is None:
            size = f"{output.size(leaf.compressed)} of {size}"
        shape = output.shape(leaf.shape) if leaf.value is None else _shortened(leaf)
        rows.append((name, kind, leaf.dtype, shape, size))
    columns = [Column("name", is_name=True), Column("kind", is_optional=True), Column("dtype"), Column("shape")]
    columns.append(Column("size", is_number=True))
    shown = [0, 1, 2, 3, 4] if kinds else [0, 2, 3, 4]
    output.table([columns[at] for at in shown], [[row[at] for at in shown] for row in rows])
    shares = {name: leaf.shares for name, leaf in content.leaves.items() if leaf.shares is not None}
    if shares:
        output.say("\nshared:")
        pairs = (output.fitting(list(names), indent=4) for names in (shares.keys(), shares.values()))
        for name, other in zip(*pairs, strict=True):
            output.say(f"  {output.one_line(name)} = {output.one_line(other)}")


def _shortened(leaf: Leaf) -> str:
    """A number, or the beginning of a text."""
    text = leaf.value or ""
    is_whole = leaf.dtype != "str" or len(text) <= _LONGEST_VALUE
    return text if is_whole else f"{text[: _LONGEST_VALUE - 3]}..."


def _stats_table(content: Content) -> None:
    names = ["least", "greatest", "mean", "deviation"]
    rows = []
    is_finite = True
    with output.transfers(content.path):
        several = list(content.statistics())
    for name, found in several:
        if found is None:
            continue
        cells = ["" if (value := getattr(found, each)) is None else f"{value:.4g}" for each in names]
        bad = found.not_finite
        is_finite = is_finite and not bad
        drawn = output.bars(found.histogram.counts) if found.histogram else ""
        rows.append((name, *cells, f"{found.zeros:,}", drawn, (f"{bad:,}", "bold red" if bad else "")))
    columns = [Column("name", is_name=True), *(Column(title, is_number=True) for title in [*names, "zeros"])]
    columns.append(Column("histogram", is_optional=True))
    output.table([*columns, Column("not finite", is_number=True, is_optional=is_finite)], rows)


def _tree(content: Content, network: Network) -> None:
    """Blocks and parameters as lines, indented by depth: each block once, its parameters below it."""
    from modelarchive.archive.saving import blocks_of

    blocks = dict(blocks_of(content.architecture)) if network.kinds and content.architecture else {}
    # The parts of a name -> what stands behind the last of them.
    found = {tuple(path.split(".")): f": {described(block)}" for path, block in blocks.items() if path}
    for name, leaf in content.leaves.items():
        parts = tuple(name.split(content.sign, MAX_PARTS - 1))  # deeper ones take the square of their depth
        for depth in range(1, len(parts)):
            found.setdefault(parts[:depth], "")
        found[parts] = f"  {leaf.dtype} {output.shape(leaf.shape) if leaf.value is None else _shortened(leaf)}"
    siblings: dict[tuple[str, ...], list[str]] = {}
    for parts in found:
        siblings.setdefault(parts[:-1], []).append(parts[-1])

    output.say(described(blocks[""]) if blocks else "parameters" if content.sign == "." else "arrays")
    # Depth first, without recursion: a stranger's names may be nested as deep as they like.
    pending: list[tuple[str, ...]] = [()]
    shown: dict[tuple[str, ...], str] = {}
    while pending:
        parts = pending.pop()
        if parts:
            output.say("  " * len(parts) + output.one_line(shown.pop(parts) + found[parts]))
        names = siblings.get(parts, [])
        labels = [(*parts, name) for name in names]
        shown |= zip(labels, output.fitting(names, indent=2 * (len(parts) + 1)), strict=True)
        pending += reversed(labels)


#: What a block holds besides the fields that describe it.
_NO_FIELD: Final = {"kind", "body", "children", "inputs", "nodes", "outputs", "structure", "parameters", "shares"}


def described(block: Mapping[str, Any]) -> str:
    """A block's kind, and the first two of its fields that are set, which tell most."""
    telling = [key for key, value in block.items() if key not in _NO_FIELD and value is not None][:2]
    return " ".join([block["kind"], *(f"{key}={as_text(block[key])}" for key in telling)])


class Network(NamedTuple):
    """What is said of a valid architecture; empty without one.

    Attributes:
        kinds: Block path -> kind, the model first.
        inputs: Each input in words.
    """

    kinds: dict[str, str]
    inputs: list[str]


def _network(content: Content) -> Network:
    if content.architecture is None:
        return Network({}, [])
    from modelarchive.architecture import input_texts
    from modelarchive.archive.saving import kinds_of

    try:
        inputs = input_texts(content.architecture)
    except errors.SpecError as error:
        said = errors.counted(len(error.problems), "problem")
        complain(f"warning: {content.path}: the architecture is invalid ({said}) and not shown",
                 hint=f"modelarchive verify {content.path}")  # fmt: skip
        return Network({}, [])
    return Network(kinds_of(content.architecture), inputs)


def _record(content: Content, *, with_stats: bool) -> dict[str, Any]:
    archive = content.archive
    arrays: dict[str, dict[str, Any]] = {}
    for name, leaf in content.leaves.items():
        arrays[name] = {
            "dtype": leaf.dtype,
            "shape": list(leaf.shape),
            "bytes": leaf.nbytes,
            "compressed": leaf.compressed,
            "digest": leaf.digest,
            "shares": leaf.shares,
        }
    if with_stats:
        for name, found in content.statistics():
            arrays[name]["stats"] = None if found is None else found.as_json() | {"not_finite": found.not_finite}
    record = {
        "file": str(content.path),
        "format": content.format,
        "bytes": content.size,
        "section": "parameters" if content.sign == "." else "arrays",
        "generator": None if archive is None else archive.reader.contents.generator,
        "index": None if archive is None else "stale" if archive.is_stale else "valid",
        "parameter_count": content.count,
        "metadata": content.metadata,
        "architecture": content.architecture,
        "tokens": {name: len(words) for name, words in content.tokens.items()},
        "arrays": arrays,
    }
    if archive is None:
        record |= {
            "reason": content.reason,
            "refused": [{"where": where, "what": what} for where, what in content.refused],
            "notes": [{"where": where, "what": what} for where, what in content.notes],
            "convert": content.convert,
        }
    return record
