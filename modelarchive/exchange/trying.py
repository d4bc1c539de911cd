"""Models of other systems, read at sizes of their free axes that fit them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from modelarchive.errors import ConversionError, UnsafeFileError
from modelarchive.exchange import budget
from modelarchive.nn.axes import Inputs, groups_of
from modelarchive.nn.trials import NoFit, Trial, advice, finest, fitting, last_resort, merged

T = TypeVar("T")

#: Steps of the budget that are spent in search of sizes, beside those of reading the model once.
_STEPS: Final = 10 * budget.STEPS


class _SpentError(Exception):
    """The model is too large to be read that often."""


def read_fitting(inputs: Inputs, read: Callable[[Trial], T]) -> T:
    """Read a model at the first sizes of its free axes that fit.

    Axes that are not told to be one may be one where the model needs it, and have one name then if one has a name.

    Args:
        inputs: What it takes, as an architecture declares it; the shape of one may be None, not known.
        read: Reads it at some sizes; raises ConversionError where something is not supported, or does not fit.

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
        raise error
    if found is not search.last:
        search.attempt(found)
    return search.results[-1]


class _Search(Generic[T]):
    """Reads a model again and again.

    Args:
        read: Reads it at some sizes.

    Attributes:
        last: The last trial that fitted.
        results: What was read then; the last one only.
        errors: What was raised at others.
    """

    def __init__(self, read: Callable[[Trial], T]) -> None:
        self._read = read
        self._left = _STEPS
        self.last: Trial | None = None
        self.results: list[T] = []
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
