"""Asks the tables of mistakes what a file or folder is; they are imported when the first is asked about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelarchive.errors import FormatError
from modelarchive.formats.content import Content, OnDisk

if TYPE_CHECKING:
    from modelarchive.formats.mistakes import Mistake


def find(content: Content, *, is_known: bool = False) -> FormatError | None:
    """The refusal of a file that was handed over by mistake; None: it is none of these things.

    Ask this only of files that a reader has refused: honest files may look like some of these.

    Args:
        content: The file.
        is_known: Whether it has the sign of a system, so that it is not just any text.
    """
    from modelarchive.formats.mistaken import FILES

    return _first([each for each in FILES if not (is_known and each.is_vague)], content, content.path)


def refusal(content: Content, otherwise: str, hint: str | None = None) -> FormatError:
    """The same; what else is said of a file that is none of these things."""
    return find(content) or FormatError(otherwise, file=content.path, hint=hint)


def find_folder(folder: Path) -> FormatError | None:
    """The refusal of a folder, likewise."""
    from modelarchive.formats.mistaken import FOLDERS

    return _first(FOLDERS, folder, folder)


def any_folder(folder: Path) -> FormatError | None:
    """The refusal of a folder that no reader knows."""
    from modelarchive.formats.mistaken import ANY_FOLDER

    return _first(ANY_FOLDER, folder, folder)


def _first(table: Iterable[Mistake], asked: Any, path: Path) -> FormatError | None:
    for mistake in table:
        if (found := mistake.sign(asked)) is not None:
            return mistake.error(path, found)
    return None


def of_text(path: Path) -> FormatError | None:
    """The refusal of a text that stands for another file, or is the page of a server; None: it may be meant."""
    from modelarchive.formats.mistaken import FILES

    with OnDisk(path) as content:
        return _first([each for each in FILES if each.key in ("lfs", "page")], content, path)
