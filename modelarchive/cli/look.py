"""``show``: what is in an archive."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelarchive import errors
from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command
from modelarchive.cli.outcome import DONE, complain
from modelarchive.cli.output import Column

if TYPE_CHECKING:
    import numpy as np

    from modelarchive.archive import Archive
    from modelarchive.store.contents import Entry, Text

#: Characters of one entry of the metadata that are shown.
_LONGEST: Final = 1000


def add(commands: Commands) -> None:
    """Add the command."""
    show = add_command(commands, "show", run, "Show what is in an archive: blocks, shapes, dtypes, sizes, metadata")
    show.add_argument("file", type=Path)
    how = show.add_mutually_exclusive_group()
    how.add_argument("--tree", action="store_true", help="the tree of blocks instead of the table")
    how.add_argument("--stats", action="store_true", help="the values too: least, greatest, mean, deviation, NaNs")


def run(chosen: argparse.Namespace) -> int:
    """``modelarchive show``."""
    import modelarchive

    with modelarchive.open(chosen.file) as archive:
        if chosen.json:
            output.as_json(_record(archive, with_stats=chosen.stats))
            return DONE
        kinds = _kinds(archive)
        _header(archive, kinds)
        if chosen.tree:
            output.say("\n".join(_tree(archive, kinds)))
        elif chosen.stats:
            _stats_table(archive.parameters)
        else:
            _table(archive, kinds)
    return DONE


def _header(archive: Archive, kinds: dict[str, str]) -> None:
    output.say(str(archive.path), style="bold")
    output.say("\n".join(f"  {name:<13}{value}" for name, value in _facts(archive, kinds)))
    output.say()


def _facts(archive: Archive, kinds: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What stands above the table: label and text."""
    from modelarchive.spec import input_texts

    contents = archive.reader.contents
    noun = "parameters" if archive.section == "parameters" else "numbers"
    yield "size", f"{output.size(archive.size)}, {archive.parameter_count:,} {noun}"
    found = sorted({entry.dtype for entry in contents.arrays.values()})
    yield "arrays", f"{len(contents.arrays):,}" + (f", {', '.join(found)}" if found else "")
    if contents.chunks:
        before = sum(contents.arrays[name].nbytes for name in contents.chunks)
        after = sum(chunks.nbytes for chunks in contents.chunks.values())
        yield (
            "compressed",
            f"{errors.counted(len(contents.chunks), 'array')}, {output.size(before)} -> {output.size(after)}",
        )
    yield "written by", contents.generator or "unknown"
    if kinds:
        yield "architecture", f"{kinds['']}, {len(kinds) - 1:,} blocks in it"
        yield from (("input", text) for text in input_texts(archive.architecture))
    for name, words in archive.tokens.items():
        yield "tokens", f"{name}: {len(words):,} words"
    for key, value in archive.metadata.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        # A tokenizer is megabytes of text; --json has all of it.
        more = len(text) - _LONGEST
        yield "metadata", f"{key}: {text[:_LONGEST]}" + (f"... and {more:,} characters more" if more > 0 else "")


def _table(archive: Archive, kinds: dict[str, str]) -> None:
    contents = archive.reader.contents
    rows = []
    for name, leaf in _leaves(archive):
        kind = kinds.get(name.rpartition(".")[0], "")
        canonical = contents.aliases.get(name)
        size = output.size(leaf.nbytes) if canonical is None else f"= {canonical}"
        if name in contents.chunks:
            size = f"{output.size(contents.chunks[name].nbytes)} of {size}"
        is_value = name not in archive.parameters and not leaf.shape
        shape = _shortened(str(archive.reader.text(f"/arrays/{name}"))) if is_value else output.shape(leaf.shape)
        rows.append((name, kind, leaf.dtype, shape, size))
    columns = [Column("name"), Column("kind"), Column("dtype"), Column("shape"), Column("size", is_number=True)]
    shown = [0, 1, 2, 3, 4] if kinds else [0, 2, 3, 4]
    output.table([columns[at] for at in shown], [[row[at] for at in shown] for row in rows])


def _leaves(archive: Archive) -> Iterator[tuple[str, Entry | Text]]:
    """Every array, number and string as it was saved, in order; a shared parameter under each of its names."""
    contents = archive.reader.contents
    if contents.members is None:
        yield from ((name, contents.entry(name)) for name in archive.parameters)
        return
    for path, kind in contents.members.items():
        if path in archive.parameters:
            yield path, contents.entry(path)
        elif kind in ("array", "literal"):
            yield path, contents.texts[f"/arrays/{path}"]


def _shortened(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:37]}..."


def _stats_table(arrays: Mapping[str, np.ndarray]) -> None:
    names = ["least", "greatest", "mean", "deviation"]
    columns = [Column("name"), *(Column(name, is_number=True) for name in [*names, "zeros", "not finite"])]
    rows = []
    for name, array in arrays.items():
        found = stats(array)
        cells = ["" if found[each] is None else f"{found[each]:.4g}" for each in names]
        bad = found["not_finite"]
        rows.append((name, *cells, f"{found['zeros']:,}", (f"{bad:,}", "bold red" if bad else "")))
    output.table(columns, rows)


def stats(array: np.ndarray) -> dict[str, Any]:
    """Least, greatest, mean and deviation of the finite values, and counts of zeros and of values not finite.

    The four are None where there is no finite value, and for complex numbers.
    """
    import numpy as np

    flat = array.reshape(-1)
    found: dict[str, Any] = dict.fromkeys(("least", "greatest", "mean", "deviation"))
    wide = flat if flat.dtype.kind == "c" else flat.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    found |= {"zeros": int(np.count_nonzero(wide == 0)), "not_finite": int(wide.size - finite.size)}
    if finite.size and flat.dtype.kind != "c":
        found |= {
            "least": float(finite.min()),
            "greatest": float(finite.max()),
            "mean": float(finite.mean()),
            "deviation": float(finite.std()),
        }
    return found


def _tree(archive: Archive, kinds: dict[str, str]) -> Iterator[str]:
    """Blocks and parameters as lines, indented by depth: each block once, its parameters below it."""
    from modelarchive.archive.saving import blocks_of

    sign = "." if archive.section == "parameters" else "/"
    blocks = dict(blocks_of(archive.architecture)) if kinds else {}
    lines = {tuple(filter(None, path.split("."))): _described(path, block) for path, block in blocks.items()}
    lines.setdefault((), archive.section)
    for name, leaf in _leaves(archive):
        parts = tuple(name.split(sign))
        for depth in range(1, len(parts)):
            lines.setdefault(parts[:depth], parts[depth - 1])
        lines[parts] = f"{parts[-1]}  {leaf.dtype} {output.shape(leaf.shape)}"
    place = {parts: at for at, parts in enumerate(lines)}
    for parts in sorted(lines, key=lambda parts: [place[parts[:depth]] for depth in range(len(parts) + 1)]):
        yield "  " * len(parts) + lines[parts]


#: What a block holds besides the fields that describe it.
_NO_FIELD: Final = {"kind", "children", "inputs", "nodes", "outputs", "structure", "parameters", "shares"}


def _described(path: str, block: Mapping[str, Any]) -> str:
    """A block's name and kind, and the first two of its fields that are set, which tell most."""
    telling = [key for key, value in block.items() if key not in _NO_FIELD and value is not None][:2]
    fields = [f"{key}={json.dumps(block[key])}" for key in telling]
    name = path.rpartition(".")[2]
    return " ".join([f"{name}: {block['kind']}" if name else block["kind"], *fields])


def _kinds(archive: Archive) -> dict[str, str]:
    """Block path -> kind, the model first; empty without a valid architecture."""
    if not archive.has_architecture:
        return {}
    from modelarchive import spec
    from modelarchive.archive.saving import kinds_of

    try:
        spec.validate(archive.architecture)
    except errors.SpecError as error:
        said = errors.counted(len(error.problems), "problem")
        complain(f"warning: {archive.path}: the architecture is invalid ({said}) and not shown",
                 hint=f"modelarchive verify {archive.path}")  # fmt: skip
        return {}
    return kinds_of(archive.architecture)


def _record(archive: Archive, *, with_stats: bool) -> dict[str, Any]:
    contents = archive.reader.contents
    arrays: dict[str, dict[str, Any]] = {}
    for name, leaf in _leaves(archive):
        canonical = contents.aliases.get(name, name)
        arrays[name] = {
            "dtype": leaf.dtype,
            "shape": list(leaf.shape),
            "bytes": leaf.nbytes,
            "compressed": contents.chunks[canonical].nbytes if canonical in contents.chunks else None,
            "digest": leaf.digest,
            "shares": contents.aliases.get(name),
        }
        if with_stats and name in archive.parameters:
            arrays[name]["stats"] = stats(archive.parameters[name])
    return {
        "file": str(archive.path),
        "bytes": archive.size,
        "section": archive.section,
        "generator": contents.generator,
        "index": "stale" if archive.is_stale else "valid",
        "parameter_count": archive.parameter_count,
        "metadata": archive.metadata,
        "architecture": archive.architecture if archive.has_architecture else None,
        "tokens": {name: len(words) for name, words in archive.tokens.items()},
        "arrays": arrays,
    }
