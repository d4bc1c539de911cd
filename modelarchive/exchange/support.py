"""What a system's tables say of each layer and operator, for the documents."""

from __future__ import annotations

from dataclasses import dataclass


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
