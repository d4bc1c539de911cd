"""A kind of thing that people hand over by mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelarchive.errors import FormatError


@dataclass(frozen=True)
class Mistake:
    """A kind of thing that is no model that is read here.

    Attributes:
        key: Its name in this table.
        what: What it is, in words, for the documents.
        sign: Tells it, and finds what the message says of it; takes an open file, or the path of a folder.
        says: The message: what it is, and why that is no model.
        way: The way out. ``{name}`` is the file's own name, ``{stem}`` the same without suffix.
    """

    key: str
    what: str
    sign: Callable[[Any], dict[str, Any] | None]
    says: str
    way: str

    def error(self, path: Path, found: dict[str, Any]) -> FormatError:
        """The refusal of a file or folder."""
        words = {"name": path.name or str(path), "stem": path.stem, **found}
        return FormatError(self.says.format(**words), file=path, hint=self.way.format(**words))
