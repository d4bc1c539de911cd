"""What the chapters of the demo share: trained parameters, images, a folder, and other readers of a file."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from modelarchive.cli.output import say


class Stage:
    """The trained parameters, the images, the folder of files, and how a chapter is printed.

    Args:
        folder: Where the files are left.
        is_quiet: Whether nothing is printed but the figures.
    """

    def __init__(self, folder: Path, *, is_quiet: bool) -> None:
        self.is_quiet = is_quiet
        self.figures: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        data = files("modelarchive.cli") / "digits"
        self.trained = str(data / "lenet-digits.safetensors")
        with np.load(str(data / "digits-test.npz")) as test:
            self.images, self.labels, self.recorded = test["images"], test["labels"], test["logits"]

    def tell(self, text: str) -> None:
        """Print a line of the story."""
        if not self.is_quiet:
            say(text)

    def chapter(self, title: str) -> None:
        """Print a chapter's title."""
        if not self.is_quiet:
            say(f"\n{title}", style="bold")

    @staticmethod
    def yes(is_so: object) -> str:
        """How a check is printed."""
        return "yes" if is_so else "NO"

    def in_a_new_process(self, code: str, file: Path, out: Path) -> list[str]:
        """Run `code` on the file and the images, with no class of this process; what it prints, word by word."""
        images = self.folder / "images.npy"
        np.save(images, self.images)
        done = subprocess.run(
            [sys.executable, "-c", code, str(file), str(images), str(out)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        return done.stdout.split()

    def show(self, file: Path, *options: str) -> None:
        """What `modelarchive show` prints of a file."""
        if not self.is_quiet:
            from modelarchive.cli import main

            main(["show", *options, str(file)])

    @staticmethod
    def read_elsewhere(file: Path, name: str) -> tuple[Any, Any, list[str]]:
        """A parameter as h5py reads it, as safetensors does, and the names that safetensors sees."""
        import h5py
        from safetensors import safe_open

        with h5py.File(file, "r") as hdf5, safe_open(file, "np") as tensors:
            names = [each for each in tensors.keys() if not each.startswith("__")]  # noqa: SIM118
            return hdf5[f"parameters/{name.replace('.', '/')}"][...], tensors.get_tensor(name), names
