"""The two walkthroughs of docs/develop.md, followed to the letter in a copy of the repository.

A block whose fence stands under one of these comments is a step:

- ``<!-- FILE -->``: the file, as it is;
- ``<!-- end of FILE -->``: added at its end;
- ``<!-- FILE above LINE -->``, ``<!-- FILE instead of LINE -->``: above the first line that begins so, or in its place;
- ``<!-- not run: ... -->`` above a console: its commands;
- ``<!-- then -->``: a program that must run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "develop.md").read_text("utf-8")
STEP = re.compile(r"^( *)<!-- (.+?) ?-->\n\1```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def steps(heading: str) -> Iterator[tuple[str, str]]:
    """What is to be done with each block of a chapter, and the block."""
    chapter = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for indent, what, _, body in STEP.findall(chapter):
        yield what, "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))


class Copy:
    """A copy of the repository that steps change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("modelarchive", "schemas", "tests", "pyproject.toml"):
            if (ROOT / name).is_dir():
                # What is compiled goes along, and what another process is compiling now does not.
                left_out = shutil.ignore_patterns("*.pyc.*", "data", "hostile", "benchmarks")
                shutil.copytree(ROOT / name, folder / name, ignore=left_out)
            else:
                shutil.copy(ROOT / name, folder / name)
        (folder / "modelarchive" / "schemas").symlink_to(folder / "schemas")

    def follow(self, what: str, body: str) -> None:
        """Take one step."""
        if what == "then":
            self.python("-c", body)
        elif what.startswith("not run"):
            for command in body.splitlines():
                program, *arguments = command.removeprefix("$ ").split()
                assert program == "python"
                self.python(*arguments)
        elif what.startswith("end of "):
            file = self.folder / what.removeprefix("end of ")
            file.write_text(f"{file.read_text('utf-8')}\n\n{body}", "utf-8")
        elif match := re.fullmatch(r"(\S+) (above|instead of) (.+)", what):
            self._insert(self.folder / match[1], match[3], body, is_instead=match[2] != "above")
        else:
            assert not (self.folder / what).exists()
            (self.folder / what).write_text(body, "utf-8")

    def _insert(self, file: Path, begin: str, body: str, *, is_instead: bool) -> None:
        lines = file.read_text("utf-8").splitlines(keepends=True)
        at = next(at for at, line in enumerate(lines) if line.startswith(begin))
        lines[at : at + is_instead] = [body]
        file.write_text("".join(lines), "utf-8")

    def python(self, *arguments: str) -> None:
        """Run the copy."""
        environment = os.environ | {"PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def pytest(self, *arguments: str) -> None:
        """Run tests of the copy, of itself and not of what is installed: it is imported before them."""
        self.python("-m", "pytest", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "modelarchive", *arguments)


@pytest.mark.slow
def test_a_kind_is_added(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for what, body in steps("To add a kind"):
        copy.follow(what, body)
    own = ["tests/architecture/test_vocabulary.py", "tests/cases", "tests/properties/test_models.py"]
    own += ["tests/conformance/test_layers.py"] if importlib.util.find_spec("torch") else []
    copy.pytest(*own, "tests/architecture/test_round_trip.py", "-k", "Shift or shift or list or published")


@pytest.mark.slow
def test_a_system_is_added(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for what, body in steps("To add a system"):
        copy.follow(what, body)
    copy.python("-c", WRONG)
    if importlib.util.find_spec("importlinter"):
        copy.python("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


#: What must not come of a sheet.
WRONG = textwrap.dedent("""
    from pathlib import Path

    import numpy as np
    import modelarchive as ma

    Path("bad.sheet").write_text("sheet 1\\nw 2 2\\n1 2 3\\n")
    try:
        ma.load("bad.sheet")
    except ma.FormatError as error:
        assert "bad.sheet" in str(error) and "damaged sheet" in str(error), error
    else:
        raise SystemExit("a damaged sheet is read")
    ma.save("wide.h5", {"w": np.zeros(3)})
    try:
        ma.convert("wide.h5", "wide.sheet")
    except ma.ConversionError as error:
        assert [where for where, _ in error.unsupported] == ["w"]
    else:
        raise SystemExit("float64 is written")
    assert not Path("wide.sheet").exists()
""")


def test_both_walkthroughs_have_steps() -> None:
    assert [what for what, _ in steps("To add a kind")][-1] == "then"
    assert len(list(steps("To add a kind"))) >= 6
    assert len(list(steps("To add a system"))) >= 4
