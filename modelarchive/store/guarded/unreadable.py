"""What is said of a file that HDF5 cannot read, or whose writer did not come to its end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.formats.content import OnDisk
from modelarchive.store.guarded.window import Window
from modelarchive.store.hdf5.superblock import is_left_open


def unreadable(error: Exception, path: Any) -> FormatError | UnsafeFileError:
    """The error that says why HDF5 cannot read a file."""
    reason = str(error)
    if isinstance(error, MemoryError) or "allocation failed" in reason:
        return UnsafeFileError("reading it takes more memory than there is", rule="memory", file=path)
    if _is_left_open(path):
        return _left_open(f"and HDF5 cannot read it as it is: {reason.strip() or type(error).__name__}", path)
    if "truncated file" in reason:
        return FormatError("the file is truncated: it ends before its HDF5 data does", file=path)
    return FormatError(
        f"HDF5 cannot read it: {reason.strip() or type(error).__name__}",
        file=path,
        hint="the file is damaged; take it from where it came from again",
    )


def refuse_left_open(file: Any) -> None:
    """Refuse a file that a program was writing when it was ended, as HDF5 itself does where it opens files.

    Raises:
        FormatError: It is such a file.
    """
    if _is_left_open(file):
        raise _left_open("so what it holds may be a part", file)


def _is_left_open(file: Any) -> bool:
    if isinstance(file, Window):
        return is_left_open(file)
    with OnDisk(file) as content:
        return is_left_open(content)


def _left_open(what: str, path: Any) -> FormatError:
    return FormatError(
        f"a program that had it open for writing was ended before it closed it, {what}",
        file=path,
        hint=f"`h5clear -s --increment=0 {shlex.quote(Path(str(path)).name)}` (of hdf5-tools) marks it as closed; "
        "what that program still had in memory is lost",
    )
