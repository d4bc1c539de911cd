"""The commands on a real terminal of some columns: nothing is wider, no number is cut, no name is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
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

#: Runs commands one after another, in one process, which imports what they need once.
PROGRAM = """
import json, sys
from modelarchive.cli import main
for arguments in json.loads(sys.argv[1]):
    print(f"--- {main(arguments)}", flush=True)
"""


def terminal(folder: Path, *commands: list[str], columns: int = 80) -> Iterator[tuple[list[str], int]]:
    """The lines that each command shows on a terminal so wide, and its exit status.

    The lines are without colours and what a progress bar leaves.
    """
    # Python's readline sets COLUMNS where os.environ does not see it, so the environment is given as a whole.
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    environment |= {"TERM": "xterm", "PYTHONPATH": str(Path(modelarchive.__path__[0]).parent)}
    program = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
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
    assert done.wait() == 0, text
    *several, rest = re.split(r"^--- (\d+)\n", text, flags=re.MULTILINE)
    assert rest == ""
    assert len(several) == 2 * len(commands)
    for shown, code in zip(several[::2], several[1::2], strict=True):
        yield [line.rpartition("\r")[2] for line in shown.split("\n")], int(code)


METADATA = {
    "license": "MIT",
    "training": {"optimizer": {"name": "adam", "betas": [0.9, 0.999]}, "epochs": 3},
    "words": " ".join(f"word{number}" for number in range(1000)),
}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with names and numbers as large networks have them, and nested metadata."""
    path = tmp_path_factory.mktemp("deep") / "deep.h5"
    bert(path, METADATA, lambda array: array * np.float32(-1.2345e-5))
    return path


def bert(path: Path, metadata: dict[str, Any], change: Callable[[np.ndarray], np.ndarray]) -> None:
    bundle = models.read(ROOT / "tests/data/foreign/huggingface/bert")
    changed = {name: change(array) for name, array in bundle.parameters.items()}
    save_bundle(path, Bundle(changed, bundle.architecture, metadata=metadata))


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 100])
def test_nothing_is_wider_than_the_terminal_and_no_number_is_cut(deep: Path, columns: int) -> None:
    options = ([], ["--tree"], ["--stats"])
    commands = [*(["show", *each, deep.name] for each in options), ["verify", deep.name]]
    show, tree, stats, verify = terminal(deep.parent, *commands, columns=columns)
    for lines, code in (show, tree, stats, verify):
        assert code == 0
        assert len(lines) > 1
        assert max(map(wide, lines)) <= columns
    shown = set(re.findall(r"-?\d[\d.]*(?:e-\d+)?", "\n".join(stats[0])))
    with ma.open(deep) as archive:
        for array in archive.parameters.values():
            assert {f"{float(array.min()):.4g}", f"{float(array.max()):.4g}"} <= shown
    text = "\n".join(show[0])
    assert len(re.findall(r"^\S*(?:weight|bias)\b", text, re.MULTILINE)) == 43
    assert "            training:\n" in text
    assert "  optimizer:\n" in text
    assert "betas: [0.9, 0.999]" in text
    assert "characters more" in text


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80])
def test_reports_fit_too(deep: Path, tmp_path: Path, columns: int) -> None:
    shutil.copy(deep, tmp_path)
    bert(tmp_path / "other.h5", {"training": {"epochs": 4}}, lambda array: array * np.float32(-1.2346e-5))
    last = list(ma.load(deep))[-1]
    commands = [
        ["diff", deep.name, "other.h5"],
        ["transplant", deep.name, "other.h5", "--dry-run"],
        ["repack", deep.name, "--dtype", "bfloat16"],
    ]
    (diff, is_other), (transplant, failed), (repack, *more) = terminal(tmp_path, *commands, columns=columns)
    assert [is_other, failed, *more] == [1, 0, 0]
    for lines in (diff, transplant, repack):
        assert max(map(wide, lines)) <= columns
    assert any("/training/epochs" in line for line in diff)
    assert not any("{'" in line for line in diff)
    assert any(last in line for line in transplant)


def test_a_pipe_has_no_trailing_blanks(run: Run, deep: Path, tmp_path: Path) -> None:
    ma.save(tmp_path / "a.h5", {"only": np.zeros(2), "both": np.zeros(3)})
    ma.save(tmp_path / "b.h5", {"both": np.zeros(3), "more": np.zeros(1)})
    for arguments in (["show", deep], ["show", "--stats", deep], ["diff", tmp_path / "a.h5", tmp_path / "b.h5"]):
        out = run(*arguments).out
        assert out
        assert [line for line in out.splitlines() if line != line.rstrip()] == []
