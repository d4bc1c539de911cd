"""Of which system a file or folder is, by what is in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from modelarchive.errors import FormatError
from modelarchive.formats.content import Beginning, Content, Look, OnDisk, opened, zip_members
from modelarchive.formats.signs import Sign, shards_of_archive
from modelarchive.formats.systems import FORMATS, system_inside
from modelarchive.remote import RemoteFile

#: Systems whose files are read where they lie.
ELSEWHERE: Final = ("archive", "safetensors")


def recognise(path: str | os.PathLike[str]) -> str:
    """The name of a file's format, by its content; "archive" where nothing else fits.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is a zip file of a format that is not known.
    """
    if isinstance(path, RemoteFile):
        return _recognised_elsewhere(path)
    place = Path(os.fsdecode(path))
    try:
        found = place.stat()
    except OSError:
        return "archive"  # whose reader says what is wrong with it
    if stat.S_ISDIR(found.st_mode):
        return next((name for name, known in FORMATS.items() if known.folder and known.folder(place)), "archive")
    if not stat.S_ISREG(found.st_mode):
        return "archive"
    with OnDisk(place) as content:
        return recognised(content)


def _recognised_elsewhere(file: RemoteFile) -> str:
    """The same of a remote file.

    Raises:
        RemoteError: It cannot be read.
        FormatError: It is of a format that is read from a disk only.
    """
    if file.is_dir():
        return "archive" if shards_of_archive(file) else "safetensors"
    content = Beginning(file)
    head = Look(content).head
    found = "a zip file" if head.startswith(b"PK") else None
    if found is None:
        if (name := recognised(content)) in ELSEWHERE:
            return name
        found = FORMATS[name].what
    what = f"is {found}: only archives and safetensors files are read from elsewhere"
    raise FormatError(what, file=file, hint="download it first")


def recognised(content: Content) -> str:
    """The same of a file that is open."""
    look = Look(content)
    for which in ("signs", "guesses"):
        for name, known in FORMATS.items():
            if any(sign(look) for sign in getattr(known, which)):
                return name
        if look.head.startswith(b"PK"):
            return _inside_zip(content)
    return "archive"


def is_certain(path: str | os.PathLike[str], name: str) -> bool:
    """Whether a file that has a system's sign says itself that it is one.

    An HDF5 file may be Keras' or an archive that another program has written anew, and only HDF5 can tell.

    Args:
        path: The file.
        name: The system's name.
    """
    return _has(path, FORMATS[name].says, otherwise=True)


def is_bare(path: str | os.PathLike[str], name: str) -> bool:
    """Whether a file of a system holds one array, which has no name there."""
    return _has(path, FORMATS[name].bare, otherwise=False)


def _has(path: str | os.PathLike[str], sign: Sign | None, *, otherwise: bool) -> bool:
    if sign is None or (not isinstance(path, RemoteFile) and Path(os.fsdecode(path)).is_dir()):
        return otherwise
    with opened(path) as content:
        return sign(Look(content))


def _inside_zip(content: Content) -> str:
    from modelarchive.formats.refusing import refusal  # the tables are for files that are refused

    inside = zip_members(content)
    if inside is None:
        raise refusal(content, "is no zip file that can be read")
    if min(inside.values(), default=0):
        raise refusal(content, "holds several zip files one behind the other")
    if any(name.endswith("/constants.pkl") for name in inside):
        raise refusal(content, "is a TorchScript program, which is code")
    if (name := system_inside(inside)) is not None:
        return name
    raise refusal(content, "is a zip file of no format that is known here")
