"""The site from docs/, by Sphinx, with warnings as errors."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import modelarchive
from tests.conftest import ROOT


def build(folder: Path) -> list[str]:
    """Write the site into a folder, from nothing.

    Returns:
        Sphinx's warnings, one a line; where there is one, CI fails.
    """
    with tempfile.TemporaryDirectory() as between:
        command = [sys.executable, "-m", "sphinx", "--builder=html", "--fresh-env", "--quiet", "--keep-going"]
        done = subprocess.run(
            [*command, "--fail-on-warning", f"--doctree-dir={between}", str(ROOT / "docs"), str(folder)],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines if lines or not done.returncode else [f"sphinx: exit {done.returncode}"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(modelarchive.__path__[0]).parent), "NO_COLOR": "1"}
