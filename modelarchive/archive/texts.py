"""The texts of an archive as they are read: JSON documents, and the words of parameters' rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from modelarchive.errors import FormatError
from modelarchive.formats.signs import shards_of_archive
from modelarchive.store import strict
from modelarchive.store.reader import Reader

#: Where the architecture stands.
ARCHITECTURE: Final = "/architecture/data"


def expect_architecture(reader: Reader) -> None:
    """Refuse what has arrays only.

    Raises:
        FormatError: It has no architecture.
    """
    if ARCHITECTURE not in reader.contents.texts:
        hint = _folder_of(reader) or "save_model() stores one; transplant() fills a network that you have in code"
        raise FormatError("holds no architecture, only arrays", file=reader.source.path, hint=hint)


def expect_arrays(reader: Reader) -> None:
    """Refuse the file of a folder of shards that has all but arrays.

    Raises:
        FormatError: It is such a file.
    """
    if not reader.contents.arrays and (hint := _folder_of(reader)):
        what = "holds what a folder of shards has beside its arrays, and none of these"
        raise FormatError(what, file=reader.source.path, hint=hint)


def _folder_of(reader: Reader) -> str:
    """What leads from one file of a folder of shards to all of it; "": it is none."""
    path = reader.source.path
    is_one = isinstance(path, Path) and path.is_file() and shards_of_archive(path.parent)
    return f"it is one file of an archive in shards: give the folder, {path.parent}" if is_one else ""


def text(reader: Reader, path: str) -> str:
    """One text.

    Raises:
        FormatError: It is none.
    """
    found = reader.text(path)
    if not isinstance(found, str):
        raise FormatError("is no text", file=reader.source.path, path=path)
    return found


def document(reader: Reader, path: str) -> dict[str, Any]:
    """A text as the JSON object that it is.

    Raises:
        FormatError: It is none.
    """
    return parsed(reader, path, text(reader, path))


def parsed(reader: Reader, path: str, content: str) -> dict[str, Any]:
    """A text that was read as the JSON object that it is.

    Raises:
        FormatError: It is none.
    """
    try:
        return strict.loads(content, what="it", strict=True)
    except FormatError as error:
        raise FormatError(error.message, file=reader.source.path, path=path) from error


def tokens(reader: Reader) -> dict[str, list[str]]:
    """Parameter name -> the word that each of its rows belongs to.

    Raises:
        FormatError: Words are no list.
    """
    found = {}
    for path, each in reader.contents.texts.items():
        if not path.startswith("/tokens/"):
            continue
        if len(each.shape) != 1:
            raise FormatError(f"{path} is no list of words", file=reader.source.path, path=path)
        found[path.removeprefix("/tokens/").replace("/", ".")] = reader.text(path).tolist()
    return found
