"""The command-line tools of HDF5, as readers that nobody here wrote."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

#: Tests of h5dump, h5ls and h5repack; without them (hdf5-tools on Debian) they are skipped by name.
needs_hdf5_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("h5dump", "h5ls", "h5repack"))), reason="hdf5-tools are not installed"
)


def run(*command: str | Path) -> str:
    """The output of a tool that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stdout[-500:]} {done.stderr[-500:]}"
    return done.stdout
