"""Pictures in the documents that are drawn from the code: ``python -m tests.site.pictures`` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests import ROOT
from tests.site.pictures import file, house

FOLDER = ROOT / "docs" / "pictures"
#: Each picture's path, and what draws it.
PICTURES: dict[Path, Callable[[], str]] = {FOLDER / "file.svg": file.picture, FOLDER / "house.svg": house.picture}
