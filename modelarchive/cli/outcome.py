"""How a command ends: exit codes, and errors as one sentence with a hint."""

from __future__ import annotations

import os
import traceback
from typing import Final

from modelarchive import errors
from modelarchive.cli import output

#: Exit codes: done; the answer is no (damaged, different, not verified); wrong use; unsafe; cannot read or write.
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
    output.complain(f"modelarchive: {message}")
    if hint:
        output.complain(f"  hint: {hint}")


def failed(error: Exception, command: str = "") -> int:
    """Say what went wrong.

    Args:
        error: What was raised.
        command: The command that ran: what it calls its options is what the error calls them.

    Returns:
        The exit code.
    """
    match error:
        case errors.ModelArchiveError():
            file = "" if error.file is None else f"{output.one_line(error.file)}: "
            complain(f"{file}{spelled(error.message, command)}", hint=error.hint and spelled(error.hint, command))
        case WrongUseError():
            complain(str(error), hint=error.hint)
        case OSError():
            named = "" if error.filename is None else f"{output.one_line(error.filename)}: "
            complain(f"{named}{(error.strerror or str(error)).lower()}")
        case MemoryError():
            complain("not enough memory")
        case _:
            if os.environ.get(TRACEBACK):
                traceback.print_exception(error)
            complain(
                f"unexpected {type(error).__name__}: {error}",
                hint=f"this is a bug: report it {_tracker()}, with what {TRACEBACK}=1 in the environment shows",
            )
    return _code(error)


def spelled(text: str, command: str) -> str:
    """What the package says, in the options of the command line."""
    from modelarchive.cli.options import COMMANDS, as_options

    return as_options(text, command, COMMANDS)


def _tracker() -> str:
    """Where bugs are reported."""
    from importlib import metadata

    try:
        urls = metadata.metadata("modelarchive").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        urls = []
    found = dict(url.split(", ", 1) for url in urls if ", " in url)
    return f"at {found['Issues']}" if "Issues" in found else "to those you have modelarchive from"


def _code(error: Exception) -> int:
    match error:
        case errors.UnsafeFileError():
            return UNSAFE
        case errors.IntegrityError():
            return NO
        case WrongUseError() | errors.ParameterError() | errors.UnsupportedDataError():
            return WRONG_USE
    return CANNOT
