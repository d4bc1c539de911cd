"""Where in somebody's own code something is done: what an error was raised by, and what a call of a program was."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Final

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch

#: Where the code of PyTorch lies, and what it calls.
PYTORCH: Final = (str(Path(torch.__file__).parent), str(Path(sympy.__file__).parent), "<")
_OURS: Final = str(Path(__file__).parent)
#: A line of a traceback as text: file, number, function, code.
_FRAME: Final = re.compile(r'File "([^"]*)", line (\d+), in (\S+)\n *([^\n]*)')
#: A line as it is told here.
_TOLD: Final = re.compile(r"\(\S+ in \S+, line \d+[:)]")
#: Letters of a line of code that are quoted.
_MOST: Final = 120


def line_of(error: BaseException) -> str:
    """Where an error was raised: " (function in file, line, code)"; "" where that is nobody's own code."""
    own = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(PYTORCH)]
    begin = next((at for at, each in enumerate(own) if each.filename.startswith(_OURS)), 0)
    theirs = [each for each in own[begin:] if not each.filename.startswith(_OURS)]
    if not theirs:
        return ""
    last = theirs[-1]
    return _text(last.name, last.filename, last.lineno, last.line)


def line_here() -> str:
    """Where somebody's own code is that runs now, in the same words."""
    own = [each for each in traceback.extract_stack() if not each.filename.startswith((*PYTORCH, _OURS))]
    return _text(own[-1].name, own[-1].filename, own[-1].lineno, own[-1].line) if own else ""


def modules_inside(error: BaseException) -> frozenset[int]:
    """``id`` of the modules whose methods an error has ended."""
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frozenset(id(each) for each in owners if isinstance(each, torch.nn.Module))


def line_of_call(node: torch.fx.Node) -> str:
    """Where the line is that a call of a program comes from, in the same words; "" where it does not say."""
    found = [each for each in _FRAME.findall(node.meta.get("stack_trace") or "") if not each[0].startswith(PYTORCH)]
    if not found:
        return ""
    file, number, function, code = found[-1]
    return _text(function, file, number, code)


def has_line(text: str) -> bool:
    """Whether a text tells a line of somebody's own code."""
    return _TOLD.search(text) is not None


def _text(function: str, file: str, number: int | str | None, code: str | None) -> str:
    return f" ({function} in {Path(file).name}, line {number}{f': {code}'[:_MOST] if code else ''})"
