"""The texts of an archive as they are read: JSON documents, and the words of parameters' rows."""

from __future__ import annotations

from typing import Any

from modelarchive.errors import FormatError
from modelarchive.store import strict
from modelarchive.store.reader import Reader


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
