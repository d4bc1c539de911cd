"""Models of other systems, read at sizes of their free axes that fit them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from modelarchive.errors import ConversionError, UnsafeFileError
from modelarchive.exchange import budget
from modelarchive.nn.axes import Axis, Inputs, groups_of
from modelarchive.nn.trials import (
    NoFit,
    Trial,
    advice,
    finest,
    fitting,
    fixed_at,
    last_resort,
    merged,
    usual_trials,
)

_T = TypeVar("_T")

#: Steps of the budget that are spent in search of sizes, beside those of reading the model once.
_STEPS: Final = 10 * budget.STEPS
#: How often a model is read in search of the one size of an axis that it is made for.
_FIXED: Final = 64
#: Sizes that models are made for whose files let an axis be of any.
_MADE_FOR: Final = (48, 512, 224, 32, 64, 128, 256, 16)
#: Sizes of images with which all axes but the batch are tried at once.
_IMAGES: Final = (640, 224, 320, 512)


#: Words of JSON that Python has others for, and the texts between them.
_JSON: Final = re.compile(r"(?<=[ \[])(?:null|true|false)(?=[],}])")


class _SpentError(Exception):
    """The model is too large to be read that often."""


def read_fitting(
    inputs: Inputs,
    read: Callable[[Trial], _T],
    *,
    sizes: Callable[[], Sequence[int]] | None = None,
    given: Sequence[Mapping[str, Any]] = (),
) -> _T:
    """Read a model at the first sizes of its free axes that fit.

    Axes that are not told to be one may be one where the model needs it, and have one name then if one has a name.

    Args:
        inputs: What it takes, as an architecture declares it; the shape of one may be None, not known.
        read: Reads it at some sizes; raises ConversionError where something is not supported, or does not fit.
        sizes: Tells sizes that one axis may have to have, as numbers in the file say, before usual ones. Where just one
            of all fits, the model is read with it; where several do, the error names one. None: none is tried.
        given: What is declared besides, for that next step.

    Returns:
        What `read` returns.

    Raises:
        ConversionError: What `read` raised at the usual sizes, with the next step where an axis is free.
    """
    search = _Search(read)
    several = merged(inputs)
    found: Trial | None = None
    by_size = False
    try:
        found = fitting(inputs, search.attempt, several)
        if len(found.groups) < len(groups_of(inputs)):
            found = finest(found, lambda trial: not search.attempt(trial))
    except NoFit as none:
        by_size = none.by_size
    except _SpentError:
        found = search.last
    if found is None:
        with contextlib.suppress(_SpentError):
            search.attempt(last_resort(inputs))
        error = search.errors[-1]
        if by_size:
            error.hint = advice(inputs)
        if sizes is not None and (by_size or any("inputs=" in what for _, what in error.unsupported)):
            fits, is_only = search.fixing(inputs, (*sizes(), *_MADE_FOR))
            if fits is not None and is_only and search.attempted(fits):
                return search.results[-1]
            if fits is not None:
                error.hint = f"it can be read with, for example, {as_argument([*given, *_changed(inputs, fits)])}"
        raise error
    if found is not search.last:
        search.attempt(found)
    return search.results[-1]


def _changed(inputs: Inputs, fixed: Inputs) -> list[dict[str, Any]]:
    """The declarations that differ, each name of an axis once; None for what stays as it is."""
    found, said = [], set[str]()
    for old, new in zip(inputs, fixed, strict=True):
        now = {one for one, two in zip(old["shape"] or (), new["shape"] or (), strict=True) if one != two} - said
        if now:
            shape = [size if isinstance(size, int) else None for size in new["shape"]]
            found.append({"name": new["name"], "shape": shape})
            said |= {each for each in now if isinstance(each, str)}
    return found


def as_argument(given: Sequence[Mapping[str, Any]]) -> str:
    """Declarations as they are passed in Python."""
    each = ", ".join(json.dumps(one, ensure_ascii=False) for one in given)
    return f"inputs=[{_JSON.sub(lambda word: word[0].title().replace('Null', 'None'), each)}]"


class _Search(Generic[_T]):
    """Reads a model again and again.

    Args:
        read: Reads it at some sizes.

    Attributes:
        last: The last trial that fitted.
        results: What was read then; the last one only.
        errors: What was raised at others.
    """

    def __init__(self, read: Callable[[Trial], _T]) -> None:
        self._read = read
        self._left = _STEPS
        self.last: Trial | None = None
        self.results: list[_T] = []
        self.errors: list[ConversionError] = []

    def attempt(self, trial: Trial) -> list[str]:
        """What does not fit at some sizes."""
        if self._left < 0:
            raise _SpentError
        try:
            with budget.attempt() as spent:
                self.results[:] = [self._read(trial)]
        except ConversionError as error:
            self._left -= spent()
            self.errors.append(error)
            return [f"{where}: {what}" for where, what in error.unsupported]
        except UnsafeFileError:
            if not self.errors:
                raise
            raise _SpentError from None
        self._left -= spent()
        self.last = trial
        return []

    def attempted(self, inputs: Inputs) -> bool:
        """Whether the model can be read at the usual sizes, in one of the ways in which axes may be one."""
        return any(not self.attempt(trial) for trial in usual_trials(inputs))

    def fixing(self, inputs: Inputs, sizes: Sequence[int]) -> tuple[Inputs | None, bool]:
        """The first declarations with one axis fixed with which the model can be read; and whether no others fit.

        Not even one more or one less: a table of so many rows takes shorter rows as well. Where one is not enough, all
        axes but the batch at once.
        """
        left = _FIXED
        found: Inputs | None = None
        only = 0
        with contextlib.suppress(_SpentError):
            # The batch last: a model that is made for one length may fit one batch by accident.
            for group in sorted(groups_of(inputs), key=lambda group: (min(group)[1] == 0, min(group))):
                for size in dict.fromkeys(sizes):
                    left -= 1
                    if left < 0:
                        return found, False
                    changed = fixed_at(inputs, group, size)
                    if self.attempted(changed):
                        if found is not None:
                            return found, False
                        found, only = changed, size
                if found is not None:
                    near = (fixed_at(inputs, group, size) for size in (only - 1, only + 1) if size > 0)
                    return found, not any(map(self.attempted, near))
            sides = set[Axis]().union(*(group for group in groups_of(inputs) if min(group)[1]))
            for size in _IMAGES if sides else ():
                changed = fixed_at(inputs, sides, size)
                if self.attempted(changed):
                    return changed, False
        return found, False
