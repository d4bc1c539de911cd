"""How a command ends: exit codes, and errors as one sentence with a hint."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

from modelarchive import errors
from modelarchive.cli.output import printable

#: Exit codes: done; the answer is no (damaged, different); wrong use; unsafe; cannot read or write.
DONE: Final = 0
NO: Final = 1
WRONG_USE: Final = 2
UNSAFE: Final = 3
CANNOT: Final = 4
#: What a shell expects of a program that was stopped by Ctrl-C.
INTERRUPTED: Final = 130

#: Set, it lets an error that nobody foresaw show where it arose.
TRACEBACK: Final = "MODELARCHIVE_TRACEBACK"


class WrongUseError(Exception):
    """The arguments do not fit each other or the file; `hint` is the next step."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def complain(message: str, *, hint: str | None = None) -> None:
    """One sentence on standard error, and the next step."""
    print(f"modelarchive: {printable(message)}", file=sys.stderr)
    if hint:
        print(f"  hint: {printable(hint)}", file=sys.stderr)


def failed(error: Exception) -> int:
    """Say what went wrong.

    Returns:
        The exit code.
    """
    match error:
        case errors.ModelArchiveError():
            message = str(error) if error.hint is None else str(error).removesuffix(f"\n  hint: {error.hint}")
            complain(message, hint=error.hint)
        case WrongUseError():
            complain(str(error), hint=error.hint)
        case OSError():
            named = "" if error.filename is None else f"{error.filename}: "
            complain(f"{named}{(error.strerror or str(error)).lower()}")
        case MemoryError():
            complain("not enough memory")
        case _:
            if os.environ.get(TRACEBACK):
                traceback.print_exception(error)
            complain(
                f"unexpected {type(error).__name__}: {error}",
                hint=f"this is a bug; {TRACEBACK}=1 in the environment shows where it arose",
            )
    return _code(error)


def _code(error: Exception) -> int:
    match error:
        case errors.UnsafeFileError():
            return UNSAFE
        case errors.IntegrityError():
            return NO
        case WrongUseError() | errors.ParameterError() | errors.UnsupportedDataError():
            return WRONG_USE
    return CANNOT
