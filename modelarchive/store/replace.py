"""Replace a file as a whole: a temporary file beside it, fsync, rename; the old file or the new one remains."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from modelarchive.errors import RemoteError
from modelarchive.remote.address import is_url, shown
from modelarchive.store.writeback import writeback

try:
    import fcntl
except ImportError:  # Windows: no advisory locks, and files left by a killed save stay until removed by hand
    fcntl = None  # type: ignore[assignment]

_SUFFIX: Final = ".partial"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, durable: bool, size: int | None = None) -> Iterator[Path]:
    """Yield a new empty file beside `path`; on success it takes the place of `path`, else it is removed.

    Args:
        path: The target; a symbolic link is followed, so that the link stays. Its mode is kept.
        durable: fsync the file before and the folder after the rename.
        size: About how many bytes will be written, where that is known.

    Raises:
        TypeError: It is no path.
        RemoteError: It is a URL.
        OSError: The target is a directory or a device, its folder is missing or read-only, the disk is full.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        expected = "expected str or os.PathLike: it comes first, as in save(path, data)"
        raise TypeError(f"the path is {type(path).__name__}, {expected}")
    expect_on_disk(path)
    target = Path(os.path.realpath(os.fsdecode(path)))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a directory, expected a file name", os.fsdecode(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder to save in does not exist", str(target.parent))
    if target.exists() and not target.is_file():
        # A rename would put a plain file in the place of /dev/null, say.
        raise OSError(errno.EINVAL, "is no regular file", os.fsdecode(path))
    _remove_abandoned(target)
    try:
        temporary, descriptor = _locked(target)
    except OSError as error:
        raise _about(error, path) from error
    try:
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        with writeback(descriptor, size) if durable else contextlib.nullcontext():
            yield temporary
        if durable:
            os.fsync(descriptor)
        temporary.replace(target)
    except BaseException as error:
        # A disk that takes nothing any more may not let go of anything either: the next save removes it.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, RemoteError):
            raise  # it tells of what was read
        if isinstance(error, OSError) and error.filename in (None, str(temporary), os.fsencode(temporary)):
            raise _about(error, path) from error
        raise
    finally:
        os.close(descriptor)
    if durable:
        try:
            sync_folder(target.parent)
        except OSError as error:
            words = f"{error.strerror} while syncing the folder; the new file is there, a power cut may undo that"
            raise OSError(error.errno, words, os.fsdecode(path)) from error


def expect_on_disk(path: object) -> None:
    """Refuse a URL where something shall be written.

    Raises:
        RemoteError: It is one.
    """
    if is_url(path):
        is_here = str(path).startswith("file://")
        hint = "give it as a path, without file://" if is_here else "save it on a disk, and upload it from there"
        raise RemoteError("URLs are read and not written", url=shown(str(path)), hint=hint)


#: How file systems say that they have no locks: some of Lustre, NFS and FUSE.
_NO_LOCKS: Final = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


def _locked(target: Path) -> tuple[Path, int]:
    """A new file beside the target, open and locked: a lock tells it from what a killed save has left."""
    while True:
        temporary = target.with_name(f".{_stem(target)}.{os.urandom(6).hex()}{_SUFFIX}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(temporary, flags, 0o666)
        if fcntl is None:
            return temporary, descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            # Nor can another save lock it, and without a lock none takes it for abandoned.
            return temporary, descriptor
        # Before the lock was there another save may have taken the file for abandoned.
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)


def _about(error: OSError, path: str | os.PathLike[str]) -> OSError:
    """The same refusal, naming the file that the user asked for."""
    number = error.errno or errno.EIO
    words = os.strerror(number) if error.errno else str(error)
    return OSError(number, f"{words} while saving; nothing was changed", os.fsdecode(path))


def _stem(target: Path) -> str:
    """The target's name, short enough that the temporary name stays within 255 bytes."""
    return os.fsdecode(os.fsencode(target.name)[:200])


def _remove_abandoned(target: Path) -> None:
    """Remove what killed saves of this target have left: partial files that nobody holds a lock on."""
    if fcntl is None:
        return
    stem = f".{_stem(target)}."
    found = []
    # A folder that may be written but not listed takes new files all the same.
    with contextlib.suppress(PermissionError), os.scandir(target.parent) as entries:
        found = [e.path for e in entries if e.name.startswith(stem) and e.name.endswith(_SUFFIX)]
    for name in found:
        with contextlib.suppress(OSError):
            descriptor = os.open(name, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(name).unlink()
            finally:
                os.close(descriptor)


#: Linux' renameat2: paths are as in any other call; the two change places.
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NO_EXCHANGE: Final = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)


def exchange(one: Path, other: Path) -> bool:
    """Have two files or folders change places, in one step; False where the system has no such step.

    Raises:
        OSError: One is not there, or the folder is read-only.
    """
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    call = getattr(library, "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder that is being written, which tells it from what a killed save has left."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Where the file system has no locks, nobody takes the folder for abandoned either.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def is_abandoned(folder: Path) -> bool:
    """Whether nobody holds the lock of a folder that was being written."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def sync_files(paths: Sequence[Path]) -> None:
    """Have the system put files on the disk, all at once: it waits for the disk once, not for each."""

    def sync(path: Path) -> None:
        with path.open("rb+") as file:
            os.fsync(file.fileno())

    with ThreadPoolExecutor(max(1, min(8, len(paths)))) as pool:
        list(pool.map(sync, paths))


def sync_folder(folder: Path) -> None:
    """Have the system put a folder's names on the disk, where it can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    # Some file systems cannot sync a folder, and one that may not be listed cannot be opened for it.
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)
