"""The rows of a system's two tables, what is read and what is written, and the table of support that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lifting:
    """A row of what is read: what a layer or operator of another system is here.

    A system whose layers come with more than that, variables for one, has a subclass.

    Attributes:
        theirs: Its name there; several, separated by spaces, where they are lifted alike.
        ours: The kinds and ops that it becomes, separated by commas, or what else it becomes in a few words.
        lift: Makes what it becomes: the context of one use -> the reference to its result, or one for each.
        losses: What is changed, lost or refused, in one short sentence; "" where nothing is.
    """

    theirs: str
    ours: str
    lift: Callable[[Any], Any]
    losses: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Each of its names there."""
        return tuple(self.theirs.split())


@dataclass(frozen=True)
class Lowering:
    """A row of what is written: what a kind or an op of the vocabulary is in another system.

    A system whose operators ask for more of their inputs has a subclass.

    Attributes:
        theirs: The layers or operators that it becomes, separated by spaces.
        lower: Makes them: the context, the layer or the op's arguments, the inputs -> the result, or all in a tuple.
        losses: What is changed, lost or refused, in one short sentence; "" where nothing is.
    """

    theirs: str
    lower: Callable[[Any, Any, list[Any]], Any]
    losses: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Each layer or operator."""
        return tuple(self.theirs.split())


@dataclass(frozen=True)
class Support:
    """One line of the table of support, for people.

    Attributes:
        theirs: Names of the other system, separated by commas.
        ours: The kinds and ops of the vocabulary that they are read as, or written from.
        read: Whether they are read.
        written: Whether they are written.
        losses: What is changed, lost or refused, in one sentence; "" where nothing is.
    """

    theirs: str
    ours: str
    read: bool
    written: bool
    losses: str = ""


def support(lifted: Iterable[Lifting], lowered: Mapping[str, Lowering]) -> list[Support]:
    """What is read, in the order of its rows, and whether it is written; then what is written otherwise.

    Args:
        lifted: The rows of what is read.
        lowered: Kind or op of the vocabulary -> its row. One that loses nothing and whose operators are all read as
            it needs no line of its own.
    """
    rows = list(lifted)
    made = {name for row in lowered.values() for name in row.names}
    both_ways = {(name, word) for row in rows for name in row.names for word in row.ours.split(", ")}
    return [
        *(Support(", ".join(row.names), row.ours, True, not made.isdisjoint(row.names), row.losses) for row in rows),
        *(
            Support(", ".join(row.names), word, False, True, row.losses)
            for word, row in lowered.items()
            if row.losses or any((name, word) not in both_ways for name in row.names)
        ),
    ]
