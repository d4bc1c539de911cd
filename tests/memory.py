"""Where tests put files: in memory where there is room, as file systems wait for disks when files are replaced."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
#: What a whole run needs at a time, and as much again and more.
_RUN: Final = 8 << 30


def folder(room: int = 64 << 20) -> Path | None:
    """A folder in memory with so many bytes of room; None: there is none."""
    there = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= room
    return _MEMORY if there else None


def take_temporary_files() -> None:
    """Have temporary files made there from now on, by processes that are started too; TMPDIR says otherwise."""
    if "TMPDIR" not in os.environ and (memory := folder(_RUN)) is not None:
        os.environ["TMPDIR"] = str(memory)
        tempfile.tempdir = None
