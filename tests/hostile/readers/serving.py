"""One process that judges changed files, one after the other, in a folder in memory."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import modelarchive as ma
from modelarchive.store.guarded import boundary
from tests.hostile.readers import judge as judging
from tests.hostile.readers.judge import Verdict
from tests.hostile.readers.samples import Sample
from tests.hostile.readers.watching import Watch

#: Every so many files another program reads it too where that takes a process, and `show` looks at it.
_COMPARED, _SHOWN = 16, 8


class Judge:
    """Judges files, each written into the same folder.

    Args:
        folder: Where to write them; what a file that ended the process was lies there still.
        found: Whole samples, read once before anything is measured: what they import counts for no file.
    """

    def __init__(self, folder: Path, found: dict[str, Sample]) -> None:
        self.folder = folder
        self.count = 0
        self.watch = Watch()
        # Folders of no family that is known here are built by transformers' own classes, whose modules do what they
        # do when they are imported: what reads files here is judged without it.
        sys.modules["transformers"] = None  # type: ignore[assignment]
        boundary.SECONDS = 2  # type: ignore[misc]  # small files, and thousands of them
        with contextlib.suppress(ma.SpecError):
            ma.validate({})
        for sample in found.values():
            with self._there(sample) as path:
                judging.judge(path, sample, self.watch, show=True)

    def begin(self) -> None:
        """Have the process ask for no more memory than it may, from here on."""
        judging.limit_memory()

    def __call__(self, sample: Sample) -> Verdict:
        """What comes of a file."""
        self.count += 1
        compare, show = self.count % _COMPARED == 0, self.count % _SHOWN == 0
        with self._there(sample) as path:
            return judging.judge(path, sample, self.watch, compare=compare, show=show)

    @contextlib.contextmanager
    def _there(self, sample: Sample) -> Iterator[Path]:
        shutil.rmtree(self.folder, ignore_errors=True)
        sample.keep(self.folder)
        inside = self.folder / "files"
        yield inside / sample.path if sample.path else inside
