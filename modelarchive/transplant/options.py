"""What a transplant is asked for: where it takes from, and how it is to go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from modelarchive.store.deferred import Deferred
from modelarchive.transplant.resizing import How, resizing

Patterns: TypeAlias = str | Iterable[str] | None
#: Target parameter -> (words of the source's rows, words of the target's rows).
Rows: TypeAlias = Mapping[str, tuple[Sequence[str], Sequence[str]] | Sequence[str]]

POLICIES: Final = ("error", "skip", "overlap")


@dataclass(frozen=True)
class Source:
    """What a transplant takes from.

    Attributes:
        arrays: Name -> array, or one to be read when it is its turn.
        tokens: Name -> the word that each of its rows belongs to.
        notes: What is to be reported of it.
    """

    arrays: Mapping[str, np.ndarray | Deferred]
    tokens: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()


#: Options that are dicts, and what one looks like.
_EXAMPLES: Final = {
    "rename": '{"features.*": "backbone.*"}',
    "rows": '{"words.weight": words}',
    "resize": '{"*position_embeddings*": "interpolate"}',
}


@dataclass(frozen=True)
class Options:
    """How a transplant is to go, see :func:`modelarchive.transplant`."""

    select: Patterns = None
    rename: Mapping[str, str] = field(default_factory=dict)
    mismatch: str = "error"
    rows: Rows = field(default_factory=dict)
    cast_dtype: bool = False
    resize: Mapping[str, How] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no transplant knows."""
        if self.mismatch not in POLICIES:
            raise ValueError(f"mismatch is {self.mismatch!r}, expected one of {', '.join(POLICIES)}")
        for word, example in _EXAMPLES.items():
            value = getattr(self, word)
            if not isinstance(value, Mapping):
                raise TypeError(f"{word} is {type(value).__name__}, expected a dict such as {example}")
        if self.select is not None and not isinstance(self.select, str | list | tuple):
            object.__setattr__(self, "select", several(self.select))  # an iterator gives its patterns once
        texts = [*self.rename.values(), *self.rename, *([] if self.select is None else several(self.select))]
        if wrong := [each for each in texts if not isinstance(each, str)]:
            raise TypeError(f"{wrong[0]!r:.80} is {type(wrong[0]).__name__}, expected a name or pattern as str")
        for how in self.resize.values():
            resizing((1,), (1,), how)


def several(patterns: str | Iterable[str]) -> list[str]:
    """One pattern or several, as a list.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(patterns, str):
        return [patterns]
    if not isinstance(patterns, Iterable):
        raise TypeError(f"{patterns!r:.80} is {type(patterns).__name__}, expected a pattern or several")
    return list(patterns)
