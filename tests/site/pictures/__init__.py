"""Pictures in the documents that are drawn from the code: ``python -m tests.site.pictures`` writes them."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ROOT
from tests.site.pictures import file, house

FOLDER = ROOT / "docs" / "pictures"


def drawn() -> dict[Path, str]:
    """Each picture's path, and what the code draws now."""
    return {FOLDER / "file.svg": file.picture(), FOLDER / "house.svg": house.picture()}
