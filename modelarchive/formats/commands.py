"""The command that makes an archive of a file, to copy into a terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

from modelarchive.formats.systems import FORMATS
from modelarchive.remote import RemoteFile


def convert_line(path: Path | RemoteFile, *, parameters_only: bool = False) -> str:
    """The command that makes an archive of a file: beside nothing that is there already."""
    name = path.name if isinstance(path, RemoteFile) else path.resolve().name
    endings = [suffix for known in FORMATS.values() for suffix in known.suffixes]
    ending = max((each for each in endings if name.lower().endswith(each)), key=len, default="")
    stem = name[: len(name) - len(ending)] or name
    target = f"{stem}.h5"
    number = 1
    while Path(target).exists():
        number += 1
        target = f"{stem}-{number}.h5"
    only = ["--parameters-only"] if parameters_only else []
    return shlex.join(["modelarchive", "convert", *only, *map(_no_option, (str(path), target))])


def _no_option(path: str) -> str:
    return f"./{path}" if path.startswith("-") else path
