"""The site from docs/, by Sphinx, with warnings as errors."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import modelarchive
from tests import ROOT


def build(folder: Path) -> list[str]:
    """Write the site into a folder, from nothing.

    Returns:
        Sphinx's warnings, one a line; where there is one, CI fails.
    """
    with tempfile.TemporaryDirectory() as between:
        # Standard error has what imported packages say as well.
        said = Path(between, "warnings")
        command = [sys.executable, "-m", "sphinx", "--builder=html", "--fresh-env", "--quiet", "--keep-going"]
        done = subprocess.run(
            [
                *(*command, "--fail-on-warning", f"--warning-file={said}", f"--doctree-dir={between}/doctrees"),
                *(str(ROOT / "docs"), str(folder)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        lines = [line for line in said.read_text("utf-8").splitlines() if line.strip()] if said.exists() else []
    return lines if lines or not done.returncode else [f"sphinx: exit {done.returncode}", *done.stderr.splitlines()]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(modelarchive.__path__[0]).parent), "NO_COLOR": "1"}
