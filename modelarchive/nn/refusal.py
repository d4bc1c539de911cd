"""Refusing what cannot be recorded: the class, the file and the line, and what to do instead."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, NoReturn

import numpy as np

from modelarchive.errors import SpecError
from modelarchive.nn.block import Block
from modelarchive.nn.recording import RECORDER

_PACKAGE: Final = Path(__file__).parent.parent
#: Code in these folders is never the user's.
_OURS: Final = tuple(
    str(folder)
    for folder in (*(_PACKAGE / room for room in ("architecture", "exchange", "nn", "ops")), Path(np.__file__).parent)
)
_NOT_THE_USERS: Final = (*_OURS, "<frozen")


def refuse(rule: str, found: str, advice: str) -> NoReturn:
    """Refuse what the user's code does at this moment.

    Args:
        rule: A word for the kind of refusal ("branch", "state", ...).
        found: What the code does, as a sentence without subject.
        advice: What to write instead.

    Raises:
        SpecError: Always.
    """
    error = refusal(rule, found, advice, place(_frames()))
    recorder = RECORDER.get()
    if recorder is not None:
        # Code under recording may catch the exception; the recorder brings it back at the end.
        recorder.refused(error)
    raise error


def refusal(rule: str, found: str, advice: str, where: str) -> SpecError:
    """The error that names `where`; see :func:`refuse`."""
    return SpecError([("", rule, f"{where}: {found}")], path=where, hint=advice)


def place(frames: Iterator[tuple[FrameType, int]], block: Block | None = None) -> str:
    """``MLP.forward (mlp.py, line 12)`` for the innermost frame of the user's code, else for the class."""
    for frame, line in frames:
        code = frame.f_code
        if code.co_filename.startswith(_NOT_THE_USERS):
            continue
        owner = frame.f_locals.get("self")
        name = f"{type(owner).__name__}.{code.co_name}" if isinstance(owner, Block) else code.co_name
        if code.co_name == "forward" or not isinstance(owner, Block):
            name = _owner(frame, name)
        return f"{name} ({code.co_filename}, line {line})"
    return "(model)" if block is None else class_place(block)


def _owner(frame: FrameType, name: str) -> str:
    """For a lambda or helper function: the class whose method called it."""
    outer: FrameType | None = frame
    while outer is not None:
        owner = outer.f_locals.get("self")
        if isinstance(owner, Block) and not outer.f_code.co_filename.startswith(_OURS):
            method = f"{type(owner).__name__}.{outer.f_code.co_name}"
            return method if outer is frame else f"{method} in {name}"
        outer = outer.f_back
    return name


def class_place(block: Block) -> str:
    """``MLP.forward (mlp.py, line 10)``: where the forward of `block` is defined."""
    forward = type(block).forward
    try:
        line = inspect.getsourcelines(forward)[1]
        return f"{type(block).__name__}.forward ({inspect.getsourcefile(forward)}, line {line})"
    except (OSError, TypeError):
        return f"{type(block).__name__}.forward"


def here() -> str:
    """The place in the user's code that runs now."""
    return place(_frames())


def _frames() -> Iterator[tuple[FrameType, int]]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def raised_at(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of a traceback, innermost first."""
    frames: list[tuple[FrameType, int]] = []
    while traceback is not None:
        frames.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return iter(reversed(frames))
