"""The process boundary: HDF5 files are parsed in another process, and only plain data comes back.

libhdf5 is C code that was not written for hostile files: it crashes on some and loops on others. What it does
there ends with that process, which can open nothing, write nothing and connect nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import FormatError, ModelArchiveError, UnsafeFileError
from modelarchive.store.chunks import problem_with
from modelarchive.store.contents import Contents, Entry, Text
from modelarchive.store.guarded import crossing, starting
from modelarchive.store.guarded.messages import ERRORS, LENGTH, framed, receive, receive_into
from modelarchive.store.guarded.trust import is_trusted
from modelarchive.store.header import MAX_LENGTH, MAX_RANK
from modelarchive.store.index import TEXT_DTYPE
from modelarchive.store.source import Source

#: Processor time for a file, in seconds, and how many bytes of it give one second more, up to the most.
SECONDS: Final = 10
BYTES_A_SECOND: Final = 4 << 20
MAX_SECONDS: Final = 600
#: Memory for a file, in bytes, and how many times its size may come to that, up to the most.
MEMORY: Final = 512 << 20
MEMORY_TIMES: Final = 8
MAX_MEMORY: Final = 8 << 30
#: A clock that shows so many times the processor's time: the machine is busy, or the process waits for ever.
CLOCK_TIMES: Final = 10
#: What an answer may take: this, and so many times the file.
ANSWER: Final = 64 << 20
ANSWER_TIMES: Final = 16


class Part(NamedTuple):
    """An HDF5 file, which may be a part of another one.

    Attributes:
        descriptor: An open file.
        offset: Where the HDF5 file begins in it.
        size: Its length in bytes.
        name: What errors call it.
    """

    descriptor: int
    offset: int
    size: int
    name: str


@contextlib.contextmanager
def in_memory(data: bytes, name: str) -> Iterator[Part]:
    """An HDF5 file that is nowhere on disk as such: a compressed member of a zip file, say."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("modelarchive")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with open(descriptor, "r+b") as file:  # noqa: PTH123 - a descriptor has no path
        file.write(data)
        file.flush()
        yield Part(descriptor, 0, len(data), name)


def read_contents(source: Source, *, order: dict[str, int] | None = None) -> Contents:
    """Describe an archive through HDF5; see :func:`modelarchive.store.guarded.guard.read_contents`."""
    found: Contents = call(Contents, "read_contents", part_of(source), order=order)
    _check(found, source)
    return found


def read_array(source: Source, hdf5_path: str, entry: Entry) -> np.ndarray:
    """Read an array of an archive through HDF5.

    Args:
        source: The open file.
        hdf5_path: Its path there.
        entry: What it is known to be.
    """
    array: np.ndarray = call(np.ndarray, "read_array", part_of(source), answer=entry.nbytes, hdf5_path=hdf5_path)
    if array.shape != entry.shape or array.dtype.name != entry.dtype:
        raise FormatError("was changed while it was read", file=source.path, path=hdf5_path)
    return array


def read_text(source: Source, hdf5_path: str) -> list[bytes]:
    """Read strings of an archive through HDF5, flat."""
    found: list[bytes] = call(list[bytes], "read_text", part_of(source), hdf5_path=hdf5_path)
    return found


def read_kinds(source: Source, hdf5_path: str) -> dict[str, str]:
    """The kinds of an archive's blocks at and below a group, by HDF5 path."""
    found: dict[str, str] = call(dict[str, str], "read_kinds", part_of(source), hdf5_path=hdf5_path)
    return found


def part_of(source: Source) -> Part:
    """The whole of an open file."""
    return Part(source.descriptor, 0, source.size, str(source.path))


def call(kind: Any, function: str, part: Part, *, answer: int | None = None, **arguments: Any) -> Any:
    """Call a function of the guard on a file, in a process of its own unless the file is trusted.

    Args:
        kind: What it returns, annotated to the last item: ``dict[str, Entry]``.
        function: The function's name.
        part: The file.
        answer: At most so many bytes of arrays and strings are taken back; None: in proportion to the file.
        **arguments: Further arguments, of what JSON can say.

    Raises:
        FormatError: HDF5 cannot read the file, or it is not what the function reads.
        UnsafeFileError: It breaks a rule, crashed the parser, or took more than its share of memory or time.
        OSError: Another program writes the file, or the process cannot be started.
    """
    with _locked(part):
        if is_trusted():
            return _here(function, part, arguments)
        return _there(kind, function, part, answer, arguments)


def _here(function: str, part: Part, arguments: dict[str, Any]) -> Any:
    from modelarchive.store.guarded import guard
    from modelarchive.store.guarded.window import Window

    return getattr(guard, function)(Window(*part), **arguments)


def _there(kind: Any, function: str, part: Part, answer: int | None, arguments: dict[str, Any]) -> Any:
    most = ANSWER + ANSWER_TIMES * part.size if answer is None else answer
    seconds = min(MAX_SECONDS, SECONDS + (part.size + (answer or 0)) // BYTES_A_SECOND)
    memory = min(MAX_MEMORY, MEMORY + MEMORY_TIMES * part.size) + 2 * (answer or 0)
    question = {
        "function": function,
        "arguments": arguments,
        **part._asdict(),
        "memory": memory,
        "seconds": seconds,
    }
    for _ in range(2):
        with starting.job(part.descriptor, seconds=CLOCK_TIMES * seconds) as connection:
            try:
                connection.sendall(framed(json.dumps(question).encode()))
                head = _head(connection, ANSWER + ANSWER_TIMES * part.size)
                if "value" in head:
                    return crossing.decode(kind, head["value"], _blobs(connection, head["blobs"], most))
            except EOFError:
                # The process was about to end because it had nothing to do, or was ended by someone.
                continue
            except TimeoutError:
                starting.stop()
                raise _broken(part, "time", "reading it does not end") from None
            except (crossing.NotPlainError, KeyError, TypeError) as error:
                raise _nonsense(part, str(error)) from error
        raise _error(part, head, seconds, memory)
    raise _broken(part, "crash", "the process that read it is gone")


def _head(connection: socket.socket, most: int) -> dict[str, Any]:
    """What the answer is: a value, an error, or how the process ended."""
    length = LENGTH.unpack(receive(connection, LENGTH.size))[0]
    if length > most:
        raise crossing.NotPlainError(f"an answer of {length} bytes, expected at most {most}")
    try:
        head = json.loads(receive(connection, length))
    except (ValueError, RecursionError) as error:
        raise crossing.NotPlainError(f"no JSON: {error}") from error
    if not isinstance(head, dict):
        raise crossing.NotPlainError("no object")
    return head


def _blobs(connection: socket.socket, sizes: list[int], most: int) -> Iterator[np.ndarray]:
    if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) > most:
        raise crossing.NotPlainError(f"{sum(sizes)} bytes, expected at most {most}")
    for size in sizes:
        buffer = np.empty(size, np.uint8)
        receive_into(connection, buffer.data)
        yield buffer


def _error(part: Part, head: dict[str, Any], seconds: int, memory: int) -> ModelArchiveError:
    """The error that the other process met, or that its end is."""
    kind = ERRORS.get(str(head.get("error")))
    if kind is not None:
        path, hint = head.get("path"), head.get("hint")
        where: dict[str, Any] = {"file": part.name, "path": path and str(path), "hint": hint and str(hint)}
        if kind is UnsafeFileError:
            where["rule"] = str(head.get("rule"))
        error: ModelArchiveError = kind(str(head.get("message")), **where)
        return error
    ended = head.get("ended")
    if ended == "memory":
        return _broken(part, "memory", f"reading it takes more than {memory >> 20:,} MiB of memory")
    if ended == "late" or ended in starting.OUT_OF_TIME:
        return _broken(part, "time", f"reading it takes more than {seconds} seconds")
    return _broken(part, "crash", f"HDF5's parser crashed on it (it ended with {ended})")


def _nonsense(part: Part, about: str) -> UnsafeFileError:
    return _broken(part, "plain data", f"the process that read it answered nonsense about {about:.200}")


def _broken(part: Part, rule: str, message: str) -> UnsafeFileError:
    hint = "the file is not opened; see docs/security.md"
    return UnsafeFileError(message, rule=rule, file=part.name, hint=hint)


@contextlib.contextmanager
def _locked(part: Part) -> Iterator[None]:
    """HDF5's own lock, which its programs hold on what they write; taken here, as the other process must not.

    Raises:
        BlockingIOError: Another program has the file open for writing.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    if os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() in ("FALSE", "0"):
        yield
        return
    try:
        fcntl.flock(part.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(errno.EAGAIN, "another program has the file open for writing", part.name) from error
    except OSError:  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(part.descriptor, fcntl.LOCK_UN)


def _check(contents: Contents, source: Source) -> None:
    """Hold what came across against the file, as an index is held against it."""
    for name, entry in contents.arrays.items():
        dtype = dtypes.DENSE.get(entry.dtype)
        if dtype is None or entry.nbytes != dtype.itemsize * math.prod(entry.shape) or not _fits(entry, source):
            raise _nonsense(part_of(source), repr(name))
    for name, chunks in contents.chunks.items():
        packed = contents.arrays.get(name)
        if packed is None or problem_with(packed, chunks, begin=contents.user_block, end=source.size) is not None:
            raise _nonsense(part_of(source), repr(name))
    for path, text in contents.texts.items():
        if not TEXT_DTYPE.fullmatch(text.dtype) or text.itemsize < 1 or not _fits(text, source):
            raise _nonsense(part_of(source), repr(path))
    if contents.size != source.size or not contents.arrays.keys() >= {*contents.aliases.values()}:
        raise _nonsense(part_of(source), "the file")


def _fits(part: Entry | Text, source: Source) -> bool:
    if len(part.shape) > MAX_RANK or not all(0 <= axis <= MAX_LENGTH for axis in part.shape):
        return False
    return part.offset is None or 0 <= part.offset <= part.offset + part.nbytes <= source.size
