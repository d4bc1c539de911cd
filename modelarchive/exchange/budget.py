"""What reading one foreign file may cost: steps, elements and bytes, in proportion to what the file has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final

from modelarchive.errors import ModelArchiveError, UnsafeFileError

#: Steps (operators, layers, entries) of any file, and one more for so many of its bytes.
STEPS: Final = 20_000
_BYTES_A_STEP: Final = 16
#: Elements that are computed while reading, and are not in the file.
_ELEMENTS: Final = 1 << 24
#: Bytes that are allocated beside what is mapped or read lazily, and so many times the file.
_BYTES: Final = 64 << 20
_TIMES: Final = 64


@dataclass
class _Budget:
    """What is left.

    Attributes:
        file: The file that is read.
        steps: Operators, layers, entries still to be looked at.
        elements: Elements of arrays that may still be computed.
        nbytes: Bytes that may still be allocated.
    """

    file: str
    steps: int
    elements: int
    nbytes: int

    def grow(self, size: int) -> None:
        """Add what the bytes of a file allow: the file itself, or one beside it that belongs to it.

        Args:
            size: Its bytes.
        """
        self.steps += size // _BYTES_A_STEP
        self.elements += size
        self.nbytes += _TIMES * size

    def spend(self, what: str, *, steps: int = 0, elements: int = 0, nbytes: int = 0) -> None:
        """Take from what is left, before the work is done or the memory asked for.

        Args:
            what: What asks for it, as the message names it.
            steps: Operators, layers, entries.
            elements: Elements of arrays that are computed.
            nbytes: Bytes that are allocated.

        Raises:
            UnsafeFileError: There is less left; rule `budget`.
        """
        self.steps -= steps
        self.elements -= elements
        self.nbytes -= nbytes
        if self.steps < 0 or self.elements < 0 or self.nbytes < 0:
            name = "steps" if self.steps < 0 else "elements" if self.elements < 0 else "bytes"
            more = f"{what} needs more {name} than a file of its size may take"
            raise UnsafeFileError(more, rule="budget", file=self.file)


_CURRENT: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], size: int) -> Iterator[_Budget]:
    """Give what is read inside one budget, and errors that name no file this one.

    A file that is read for another draws on that one's budget.

    Args:
        path: The file.
        size: Its bytes; of a folder or a set of files, those of all that are read.
    """
    outer = _CURRENT.get()
    budget = outer or _Budget(os.fsdecode(path), STEPS, _ELEMENTS, _BYTES)
    if outer is None:
        budget.grow(size)
    token = _CURRENT.set(budget)
    try:
        yield budget
    except ModelArchiveError as error:
        error.file = error.file or os.fsdecode(path)
        raise
    finally:
        _CURRENT.reset(token)


@contextlib.contextmanager
def attempt() -> Iterator[Callable[[], int]]:
    """Read inside of it what may be read again otherwise: where it raises, nothing was spent.

    Yields:
        What tells afterwards how many steps were spent.
    """
    outer = _CURRENT.get()
    if outer is None:
        yield lambda: 0
        return
    inner = replace(outer)
    before = outer.steps
    token = _CURRENT.set(inner)
    try:
        yield lambda: before - inner.steps
        outer.__dict__.update(inner.__dict__)
    finally:
        _CURRENT.reset(token)


def spend(what: str, *, steps: int = 0, elements: int = 0, nbytes: int = 0) -> None:
    """Take from the budget of the file that is being read; outside of any, nothing is counted."""
    if (current := _CURRENT.get()) is not None:
        current.spend(what, steps=steps, elements=elements, nbytes=nbytes)


def grow(size: int) -> None:
    """Add to the budget of the file that is being read what a file beside it brings, once that is opened.

    Args:
        size: The bytes of the file beside it.
    """
    if (current := _CURRENT.get()) is not None:
        current.grow(size)
