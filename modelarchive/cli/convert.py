"""``convert``: from one format into another."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from modelarchive.cli import output
from modelarchive.cli.arguments import (
    Commands,
    add_command,
    add_place,
    add_shard_size,
    choice,
    on_disk,
    refuse_sources,
)
from modelarchive.cli.outcome import DONE, WrongUseError, spelled
from modelarchive.errors import SpecError
from modelarchive.formats.systems import FORMATS, System, listed

_COMPRESSIONS: Final = {"deflate": "deflate", "none": None}


def add(commands: Commands) -> None:
    """Add the command."""
    known = FORMATS.values()
    alone = listed(each.called for each in known if each.alone)
    folders = listed(each.what for each in known if "/" in each.suffixes)
    configured = listed(each.config for each in known if each.config)
    parser = add_command(
        commands, "convert", run, "Convert between formats: IN by its content, OUT by its suffix; says what was lost"
    )
    add_place(parser, "source", metavar="IN", help="a file, a folder or a URL")
    parser.add_argument("target", metavar="OUT", help=f"a name with a format's suffix; DIR/ is {folders}")
    parser.add_argument(
        "--input",
        action="append",
        metavar="NAME:SHAPE:DTYPE",
        help="an input of the model, where IN does not say: x:?,3,224,224:float32, ? for any size, or a name "
        "(x:batch,3,height,width), which is one size in all inputs; of an ONNX model also NAME=NUMBER; "
        "again for each further one",
    )
    parser.add_argument(
        "--parameters-only",
        action="store_true",
        help=f"leave the architecture out; of {alone} so where it cannot be said, too",
    )
    parser.add_argument(
        "--config", type=on_disk, metavar="JSON", help=f"for {configured}: what model.to_json() gave, as a file"
    )
    based = listed(each.base for each in known if each.base)
    parser.add_argument(
        "--base", type=on_disk, metavar="DIR", help=f"for {based}: the model that IN is merged into, a folder"
    )
    ending = listed(each.until for each in known if each.until)
    parser.add_argument(
        "--until",
        action="append",
        metavar="LAYER",
        help=f"for {ending}: a value or a node that the model is to end with, instead of its outputs; again for more",
    )
    varied = listed(each.variant for each in known if each.variant)
    parser.add_argument(
        "--variant", metavar="WORD", help=f"for {varied}: read the parameters of this variant, fp16 say"
    )
    parser.add_argument(
        "--dtype",
        metavar="DTYPE",
        help="; ".join(
            f"where OUT is {each.what}: how its matrices are stored ({', '.join(each.writes_as)}), where IN is one and "
            f"OUT is not: what its floats become ({', '.join(each.reads_as)})"
            for each in known
            if each.writes_as
        ),
    )
    parser.add_argument(
        "--compression",
        action="append",
        metavar="[PATTERN=]CHOICE",
        help="where OUT is an archive: deflate or none (default); with a pattern of names for some, several times",
    )
    add_shard_size(parser)
    parser.add_argument(
        "--plain",
        action="store_true",
        help=f"where OUT is {folders}: no archive too, for programs that refuse arrays they do not know",
    )


def run(chosen: argparse.Namespace) -> int:
    """``modelarchive convert``."""
    from modelarchive import formats, models
    from modelarchive.models import reading
    from modelarchive.models.content import size_of
    from modelarchive.models.converting import format_of_target

    refuse_sources(chosen.target, [chosen.source, chosen.config])
    size = size_of(chosen.source)
    inputs = [_declaration(text) for text in chosen.input] if chosen.input else None
    target = Path(chosen.target)
    try:
        name = format_of_target(chosen.target, chosen.max_shard_size)
    except ValueError as error:
        raise WrongUseError(str(error), hint="the suffix of OUT says into which format") from error
    if chosen.plain and "/" not in formats.FORMATS[name].suffixes:
        raise WrongUseError(f"--plain is for folders, OUT is {formats.FORMATS[name].what}")
    if chosen.compression and name != "archive":
        what = formats.FORMATS[name].what
        raise WrongUseError(f"--compression is for archives, OUT is {what}", hint="name OUT .h5, or leave it out")
    for option in ("config", "base", "until", "variant"):
        if getattr(chosen, option) is not None:
            _refuse_needless(option, formats.FORMATS[reading.format_of_file(chosen.source)])
    if chosen.dtype is not None:
        _check_dtype(chosen.dtype, formats.FORMATS[reading.format_of_file(chosen.source)], formats.FORMATS[name])
    words = chosen.compression
    compression = choice(words, _COMPRESSIONS, option="--compression", without=None) if words else None
    with output.progress(f"convert {chosen.source.name}", size) as advance:
        notes = models.convert(
            chosen.source,
            chosen.target,
            inputs=inputs,
            parameters_only=chosen.parameters_only,
            config=chosen.config,
            base=chosen.base,
            until=chosen.until,
            variant=chosen.variant,
            dtype=chosen.dtype,
            compression=compression,
            max_shard_size=chosen.max_shard_size,
            plain=chosen.plain,
            progress=advance,
        )
    written = size_of(target)
    what = formats.FORMATS[name].what
    if target.is_dir() and not (target / "config.json").exists():
        what = "an archive in shards"
    if chosen.json:
        record = {"file": str(target), "format": name, "bytes": written}
        output.as_json(record | {"notes": [{"where": note.where, "what": note.what} for note in notes]})
        return DONE
    output.say(f"{target}: {what}, {output.size(written)}")
    for note in notes:
        output.say(f"  {spelled(str(note), 'convert')}", style="yellow")
    return DONE


def _refuse_needless(option: str, found: System) -> None:
    """Refuse what the reader of a format does not take."""
    if not getattr(found, option):
        files = listed(taken for each in FORMATS.values() if (taken := getattr(each, option)))
        raise WrongUseError(f"--{option} is for {files}, IN is {found.what}")


def _check_dtype(dtype: str, source: System, target: System) -> None:
    """Refuse a dtype that neither file takes."""
    known = target.writes_as or source.reads_as
    if not known:
        files = listed(each.what for each in FORMATS.values() if each.reads_as or each.writes_as)
        raise WrongUseError(f"--dtype is for {files}, IN is {source.what} and OUT {target.what}")
    if dtype not in known:
        raise WrongUseError(f"--dtype is {dtype!r}, expected {listed(known, last='or')}")


def _declaration(text: str) -> dict[str, Any]:
    from modelarchive.architecture.declarations import declaration

    try:
        return declaration(text)
    except SpecError as error:
        hint = (error.hint or "").replace("write ", "write --input ")
        raise WrongUseError(f"--input {error.problems[0][2]}", hint=hint) from error
