"""Runs the examples of a Markdown document: one temporary folder and one Python namespace a document.

Fenced blocks of two languages are examples:

- ``python``: executed in the document's namespace; with ``>>>`` prompts, the output is compared as doctest
  does.
- ``console``: each line that starts with ``$ `` is a command for bash (a trailing backslash continues it), or, where
  it is `modelarchive` alone, for this process; the lines under it are its output, standard error included. No lines:
  the output is not compared. ``...`` stands for any text. A command that exits other than 0 fails, unless the line
  says what it exits with: ``$ command  # exit 1``.

An HTML comment right above a fence changes that: ``<!-- needs: torch -->`` leaves the block out where the
module or program is not installed, ``<!-- not run: reason -->`` always; ``<!-- file: use.py -->`` writes the block
into that file, for the commands below it.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- *(needs|not run|file): *([^>]+?) *-->\s*\Z")
#: A command of ours that nothing stands around: no pipe, no pattern, no variable that a shell would put in.
ALONE = re.compile(r"""modelarchive( +('[^']*'|"[^"$`\\\\]*"|[\w./:=,-]+))*( +# exit \d+)?""")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TIME_LIMIT_S = 300


@dataclass
class Example:
    """One fenced block."""

    document: Path
    line: int
    language: str
    text: str
    needs: list[str] = field(default_factory=list)
    file: str = ""

    @property
    def missing(self) -> list[str]:
        return [need for need in self.needs if importlib.util.find_spec(need) is None and not shutil.which(need)]


def examples(document: Path) -> Iterator[Example]:
    """The examples of a document that are to be run, in order."""
    text = document.read_text("utf-8")
    for fence in FENCE.finditer(text):
        indent, language, body = fence.groups()
        if language not in ("python", "console"):
            continue
        comment = COMMENT.search(text[: fence.start()])
        if comment and comment[1] == "not run":
            continue
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        said = {comment[1]: comment[2]} if comment else {}
        needs = re.split(r"[,\s]+", said["needs"]) if "needs" in said else []
        line = text.count("\n", 0, fence.start()) + 2
        yield Example(document, line, language, "\n".join(lines) + "\n", needs, said.get("file", ""))


class Runner:
    """Runs examples one after another in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.environment = _environment(folder.parent / f"{folder.name}-bin")

    def run(self, example: Example) -> None:
        """Run one example; the process must already be in `folder`.

        Raises:
            AssertionError: The output is not what the document says.
            Exception: Whatever a Python example raises.
        """
        if example.file:
            (self.folder / example.file).write_text(example.text, "utf-8")
        elif example.language == "console":
            self._console(example)
        elif ">>>" in example.text:
            self._prompts(example)
        else:
            code = compile("\n" * (example.line - 1) + example.text, str(example.document), "exec")
            exec(code, self.namespace)

    def _prompts(self, example: Example) -> None:
        parsed = doctest.DocTestParser().get_doctest(
            example.text, {}, example.document.name, str(example.document), example.line - 1
        )
        parsed.globs = self.namespace
        said: list[str] = []
        failed, _ = doctest.DocTestRunner(optionflags=OPTIONS).run(parsed, out=said.append, clear_globs=False)
        assert not failed, "".join(said)

    def _console(self, example: Example) -> None:
        for line, command, expected in _commands(example):
            wanted = re.search(r"# exit (\d+)\s*$", command)
            code, said = self._here(command) if ALONE.fullmatch(command) else self._in_a_shell(command)
            where = f"{example.document.name}:{line}: $ {command}\n"
            promised = int(wanted[1]) if wanted else 0
            assert code == promised, f"{where}exit {code}, not {promised}\n{said}"
            if expected:
                fits = doctest.OutputChecker().check_output(expected, said, OPTIONS)
                assert fits, f"{where}--- expected\n{expected}--- got\n{said}"

    def _here(self, command: str) -> tuple[int, str]:
        """Exit code and output of a command of ours, in this process: a new one imports everything again."""
        from modelarchive.cli import main

        said = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        with (
            mock.patch.dict(os.environ, self.environment),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            code = main(shlex.split(command, comments=True)[1:])
        return code, said.buffer.getvalue().decode()  # type: ignore[attr-defined]

    def _in_a_shell(self, command: str) -> tuple[int, str]:
        """Exit code and output of any command."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
        return done.returncode, done.stdout


def _commands(example: Example) -> Iterator[tuple[int, str, str]]:
    """Line number, command and expected output of each command."""
    lines = example.text.splitlines()
    at = 0
    while at < len(lines):
        assert lines[at].startswith("$ "), f"{example.document.name}:{example.line + at}: no '$ command'"
        first, command = at, lines[at][2:]
        while command.endswith("\\"):
            at += 1
            command = command[:-1] + lines[at].removeprefix("> ").lstrip()
        at += 1
        output = []
        while at < len(lines) and not lines[at].startswith("$ "):
            output.append(lines[at] + "\n")
            at += 1
        yield example.line + first, command, "".join(output)


def _environment(programs: Path) -> dict[str, str]:
    """An environment whose `python` and `modelarchive` are those under test; plain output, 100 columns."""
    import modelarchive

    programs.mkdir()
    for name, arguments in {"python": "", "modelarchive": "-m modelarchive "}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(Path(modelarchive.__path__[0]).parent),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONWARNINGS": "error",
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
