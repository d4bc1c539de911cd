"""What a system's tables say of each layer and operator, for the documents; and what is said where one is refused."""

from __future__ import annotations

from dataclasses import dataclass

from modelarchive.errors import SpecError


@dataclass(frozen=True)
class Support:
    """One layer or operator of another system.

    Attributes:
        theirs: Its name there; several, where one row of the table serves them all.
        ours: The kind or op of the vocabulary that it is read as, or written from.
        read: Whether it is read.
        written: Whether it is written.
        losses: What is changed, lost or refused, in one sentence; "" where nothing is.
    """

    theirs: str
    ours: str
    read: bool
    written: bool
    losses: str = ""


def problems_of(error: SpecError) -> list[tuple[str, str]]:
    """The problems of an architecture as a ConversionError lists them."""
    return [(pointer or "(model)", message) for pointer, _, message in error.problems]


def said(error: Exception) -> str:
    """What an error of this package's own layers says of a model: no place in this package, and no block's class."""
    if not isinstance(error, SpecError) or not error.problems:
        return str(error)
    what = error.problems[0][2].removeprefix(f"{error.path}: ")
    return f"{what}: pass inputs= with fixed sizes" if "not fixed" in what else what
