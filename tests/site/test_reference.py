"""What the pages of the reference name is there, under that name."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
DIRECTIVE = re.compile(r"^\.\. (module|currentmodule|auto\w+):: (\S+)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_is_there(page: Path) -> None:
    module = ""
    found = DIRECTIVE.findall(page.read_text("utf-8"))
    assert found
    for directive, name in found:
        if directive in ("module", "currentmodule", "automodule"):
            module = name
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name not in ("torch", "keras", "transformers"):
                    raise
                pytest.skip(f"{module} needs {error.name}")
        else:
            pkgutil.resolve_name(name if name.startswith("modelarchive") else f"{module}.{name}")
