"""The commands on a real terminal of some columns: nothing is wider, no number is cut, no name is lost."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive
import modelarchive as ma
from modelarchive import models
from modelarchive.cli.layout import wide
from modelarchive.exchange import Bundle
from modelarchive.exchange.bundle import save_bundle
from tests.cli.conftest import Run
from tests.conftest import ROOT

if sys.platform == "win32":
    pytest.skip("terminals are otherwise there", allow_module_level=True)

import fcntl
import pty
import termios


def terminal(folder: Path, *arguments: object, columns: int = 80, code: int = 0) -> list[str]:
    """The lines that a command shows on a terminal so wide, without colours and what a progress bar leaves."""
    # Python's readline sets COLUMNS where os.environ does not see it, so the environment is given as a whole.
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    environment |= {"TERM": "xterm", "PYTHONPATH": str(Path(modelarchive.__path__[0]).parent)}
    program = [sys.executable, "-m", "modelarchive", *map(str, arguments)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    done = subprocess.Popen(program, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    raw = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux says so that the other end is closed
            break
        if not part:
            break
        raw += part
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.decode().replace("\r\n", "\n"))
    assert done.wait() == code, text
    return [line.rpartition("\r")[2] for line in text.split("\n")]


METADATA = {
    "license": "MIT",
    "training": {"optimizer": {"name": "adam", "betas": [0.9, 0.999]}, "epochs": 3},
    "words": " ".join(f"word{number}" for number in range(1000)),
}


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """An archive with names and numbers as large networks have them, and nested metadata."""
    path = tmp_path / "deep.h5"
    bert(path, METADATA, lambda array: array * np.float32(-1.2345e-5))
    return path


def bert(path: Path, metadata: dict[str, Any], change: Callable[[np.ndarray], np.ndarray]) -> None:
    bundle = models.read(ROOT / "tests/data/foreign/huggingface/bert")
    changed = {name: change(array) for name, array in bundle.parameters.items()}
    save_bundle(path, Bundle(changed, bundle.architecture, metadata=metadata))


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize(
    "arguments", [["show"], ["show", "--tree"], ["show", "--stats"], ["verify"]], ids=lambda each: "-".join(each)
)
def test_nothing_is_wider_than_the_terminal_and_no_number_is_cut(
    deep: Path, arguments: list[str], columns: int
) -> None:
    lines = terminal(deep.parent, *arguments, deep.name, columns=columns)
    assert max(map(wide, lines)) <= columns
    if arguments == ["show", "--stats"]:
        shown = set(re.findall(r"-?\d[\d.]*(?:e-\d+)?", "\n".join(lines)))
        with ma.open(deep) as archive:
            for array in archive.parameters.values():
                assert {f"{float(array.min()):.4g}", f"{float(array.max()):.4g}"} <= shown
    if arguments == ["show"]:
        text = "\n".join(lines)
        assert len(re.findall(r"^\S*(?:weight|bias)\b", text, re.MULTILINE)) == 43
        assert "            training:\n" in text
        assert "  optimizer:\n" in text
        assert "betas: [0.9, 0.999]" in text
        assert "characters more" in text


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80])
def test_reports_fit_too(deep: Path, columns: int) -> None:
    folder = deep.parent
    bert(folder / "other.h5", {"training": {"epochs": 4}}, lambda array: array * np.float32(-1.2346e-5))
    last = list(ma.load(deep))[-1]
    lines = terminal(folder, "diff", deep.name, "other.h5", columns=columns, code=1)
    assert max(map(wide, lines)) <= columns
    assert any("/training/epochs" in line for line in lines)
    assert not any("{'" in line for line in lines)
    lines = terminal(folder, "transplant", deep.name, "other.h5", "--dry-run", columns=columns)
    assert max(map(wide, lines)) <= columns
    assert any(last in line for line in lines)
    lines = terminal(folder, "repack", deep.name, "--dtype", "bfloat16", columns=columns)
    assert max(map(wide, lines)) <= columns


def test_a_pipe_has_no_trailing_blanks(run: Run, deep: Path) -> None:
    ma.save(deep.parent / "a.h5", {"only": np.zeros(2), "both": np.zeros(3)})
    ma.save(deep.parent / "b.h5", {"both": np.zeros(3), "more": np.zeros(1)})
    for arguments in (["show", deep], ["show", "--stats", deep], ["diff", deep.parent / "a.h5", deep.parent / "b.h5"]):
        out = run(*arguments).out
        assert out
        assert [line for line in out.splitlines() if line != line.rstrip()] == []
