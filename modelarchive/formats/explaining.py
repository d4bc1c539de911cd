"""What a refused file is instead: the reader's error, or the one that names the mistake."""

from __future__ import annotations

import os
from pathlib import Path

from modelarchive.errors import FormatError, UnsupportedVersionError
from modelarchive.formats.commands import convert_line
from modelarchive.formats.content import Content, OnDisk
from modelarchive.formats.recognising import recognise, recognised
from modelarchive.formats.systems import FORMATS
from modelarchive.remote import RemoteFile


def explain(error: FormatError, path: str | os.PathLike[str]) -> FormatError:
    """A reader's refusal, or the one that says what the file is instead.

    Args:
        error: What the reader says; its file may be another than was asked for, one of several shards say.
        path: What was asked for, file or folder.
    """
    if isinstance(error, UnsupportedVersionError) or isinstance(path, RemoteFile):
        return error
    from modelarchive.formats import refusing

    place = Path(os.fsdecode(path) if error.file is None else error.file)
    try:
        if not place.is_dir() and not place.is_file():
            return error  # a pipe would be waited for
        if place.is_dir():
            found = refusing.find_folder(place)
        else:
            with OnDisk(place) as content:
                found = refusing.find(content, is_known=_is_known(content))
    except OSError:
        return error  # which is more than that the file cannot be read any more
    return error if found is None else found


def _is_known(content: Content) -> bool:
    """Whether a file has the sign of another system; one that is recognised by a guess may be anything."""
    try:
        name = recognised(content)
    except FormatError:
        return False
    return name != "archive" and bool(FORMATS[name].signs)


def is_not_an_archive(content: Content) -> FormatError:
    """The refusal of a file that has no index and is no HDF5 file."""
    from modelarchive.formats import refusing

    path = content.path
    try:
        name = recognised(content)
    except FormatError as error:
        return error
    if name != "archive":
        # PyTorch's shards are known by their index; a safetensors header that is cut is reported as such. What is
        # recognised by a guess alone may look like some of these, and be meant.
        hint = f"`{convert_line(path)}` makes one of it, and load() reads it as it is"
        mistake = refusing.find(content, is_known=True) if FORMATS[name].signs else None
        return mistake or FormatError(f"is {FORMATS[name].what}, not a model archive", file=path, hint=hint)
    known = ", ".join(each.what for each in FORMATS.values())
    return refusing.refusal(content, "is not a model archive", f"by its content it is none of these: {known}")


def is_a_folder(folder: Path) -> FormatError | None:
    """The refusal of a folder where an archive is expected; None: it cannot be looked into."""
    from modelarchive.formats import refusing

    try:
        if (mistake := refusing.find_folder(folder)) is not None:
            return mistake
        if (name := recognise(folder)) == "archive":
            return refusing.any_folder(folder)
    except OSError:
        return None
    hint = f"`{convert_line(folder)}` makes one of it, and load_model() reads it as it is"
    return FormatError(f"is {FORMATS[name].what}, not a model archive", file=folder, hint=hint)
