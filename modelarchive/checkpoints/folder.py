"""The folder of a run: which checkpoints lie in it, who writes in it, and what is removed from it."""

from __future__ import annotations

import contextlib
import errno
import operator
import os
import re
import shutil
import warnings
import weakref
from pathlib import Path
from typing import Final

from modelarchive.errors import CheckpointError, FormatError
from modelarchive.store.shards import INDEX, set_aside

try:
    import fcntl
except ImportError:  # Windows: who writes in a folder is known within one process only
    fcntl = None  # type: ignore[assignment]

_MOST_DIGITS: Final = 18
#: A checkpoint's name: a file, or a folder of shards.
_NAME: Final = re.compile(rf"step-([0-9]{{8,{_MOST_DIGITS}}})(\.h5)?")
#: What a save that was killed leaves behind, and a removal.
_LEFTOVER: Final = re.compile(r"\.step-[0-9]{8,18}(\.h5)?\..*(partial|tmp|old)")
_LOCK: Final = ".writing"
#: How systems say that a disk, or a file system on it, does not give back what was written.
_UNREADABLE: Final = (errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO), errno.ESTALE)
#: Folders that a run of a process writes in, with its number: one that was forked has the set, and not the right.
_WRITING: set[tuple[int, str]] = set()


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint is damaged, and was passed over."""


def whole_number(value: object) -> int | None:
    """A number as Python's own: NumPy has whole numbers, too, and tensors are some; None of anything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def step_of(value: object) -> int:
    """A step as Python's own number.

    Raises:
        ValueError: It is none, negative, or of more digits than names have.
    """
    step = whole_number(value)
    if step is None or not 0 <= step < 10**_MOST_DIGITS:
        raise ValueError(f"step is {value!r}, expected a number from 0 on, of {_MOST_DIGITS} digits at most")
    return step


def file_name(step: int) -> str:
    """The name of a checkpoint that is one file."""
    return f"step-{step:08d}.h5"


def folder_name(step: int) -> str:
    """The name of a checkpoint that is a folder of shards."""
    return f"step-{step:08d}"


def in_other_form(path: Path) -> Path:
    """Where a checkpoint of the same step would lie as a folder of shards, or as a file."""
    return path.with_suffix("") if path.suffix else path.with_name(f"{path.name}.h5")


def checkpoints(folder: Path) -> dict[int, Path]:
    """Step -> the file or folder of each checkpoint, the first step first; whole or not.

    One that was to be replaced when the run was killed counts where it has no successor.
    """
    found: dict[int, Path] = {}
    aside: dict[int, Path] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            before = _NAME.fullmatch(set_aside(entry.name) or "")
            if before is not None and entry.is_dir():
                aside[int(before[1])] = Path(entry.path)
            if match is not None and entry.is_dir() == (match[2] is None):
                step = int(match[1])
                # Of a file and a folder of one step, the one that was written last counts.
                if step not in found or _written(Path(entry.path)) > _written(found[step]):
                    found[step] = Path(entry.path)
    return dict(sorted((aside | found).items()))


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # removed meanwhile, or a link to nothing
        return 0.0


def is_damage(error: Exception) -> bool:
    """Whether an error says that the disk does not give back what was written."""
    return isinstance(error, OSError) and error.errno in _UNREADABLE


def expect_index(path: Path) -> None:
    """Refuse a folder of shards without the index that is written last, which may look like other things then.

    Raises:
        FormatError: It is one.
    """
    if path.is_dir() and not (path / INDEX).exists():
        raise FormatError(f"has no {INDEX}, which is written last: a part of it is gone", file=path)


class Writer:
    """The right to write in a folder: one run at a time has it, until it ends in whatever way.

    The lock is the process's own: those that it has forked, to load data, do not keep it when it is killed.

    Args:
        folder: The folder.

    Raises:
        CheckpointError: Another run writes in it.
    """

    def __init__(self, folder: Path) -> None:
        self._key = (os.getpid(), os.path.realpath(folder))
        self._descriptor = -1
        if self._key in _WRITING:
            raise _refusal(folder, "another Checkpoints of this process")
        if fcntl is not None:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            except OSError as error:
                owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                os.close(descriptor)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise _refusal(folder, f"another process ({owner or 'unknown'})") from None
                # Some file systems have no locks.
                if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
                    raise
            else:
                self._descriptor = descriptor
        _WRITING.add(self._key)

        # A run that nobody closes, in a notebook say, has the right as long as it is there.
        self._give_back = weakref.finalize(self, _give_back, self._key, self._descriptor)

    def close(self) -> None:
        """Give the right back."""
        self._give_back()


def _give_back(key: tuple[int, str], descriptor: int) -> None:
    _WRITING.discard(key)
    if descriptor >= 0:
        os.close(descriptor)


def _refusal(folder: Path, who: str) -> CheckpointError:
    return CheckpointError(
        f"{who} is writing checkpoints here",
        file=folder,
        hint="end it, or give this run a folder of its own; restore() and load() may be used meanwhile",
    )


def clean(folder: Path) -> None:
    """Remove what saves and removals that were killed have left; nobody else may write in the folder."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if _LEFTOVER.fullmatch(entry.name)]
    for entry in found:
        with contextlib.suppress(OSError):
            before = set_aside(entry.name)
            if before is not None and entry.is_dir() and not (folder / before).exists():
                Path(entry.path).rename(folder / before)  # killed before its successor had its name
            elif entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()


def hide(path: Path) -> Path:
    """Take a checkpoint out of sight, as a whole and at once; where it lies until it is removed."""
    hidden = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    path.rename(hidden)  # and no more: after a power cut it may be there again, which harms nobody
    return hidden


def remove(path: Path) -> None:
    """Remove what is out of sight; what cannot be removed now :func:`clean` removes."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def tell(folder: Path, unheard: list[Exception]) -> None:
    """Say what failed last where a program ends, or lets go of the run, without asking."""
    for error in unheard:
        warnings.warn(f"{folder}: the last checkpoint was not written: {error}", RuntimeWarning, stacklevel=2)
