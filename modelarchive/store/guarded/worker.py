"""The process that reads HDF5 for others: it waits for jobs, and forks a confined process for each.

It is started without the user's memory, environment or open files, and reads no file itself: what a hostile
file does to the process that reads it ends with that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import Any, Final, NoReturn

from modelarchive.errors import ModelArchiveError
from modelarchive.store.guarded import crossing, guard, sandbox
from modelarchive.store.guarded.messages import LENGTH, PIECE, START, framed, receive
from modelarchive.store.guarded.starting import IS_READY
from modelarchive.store.guarded.window import Window

#: Without a job for so many seconds the process ends.
IDLE: Final = 60.0


def main(descriptor: int) -> None:
    """Serve jobs that come in over a socket, until its other end closes.

    Each comes as the seconds it may last, a socket for question and answer, and the file.
    """
    import gc
    import resource  # noqa: F401 - a confined process could not import it

    control = socket.socket(fileno=descriptor)
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(ended, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    guard.rehearse()
    gc.freeze()
    gc.disable()
    control.sendall(IS_READY)
    jobs: dict[int, tuple[socket.socket, float]] = {}
    while True:
        until = min((deadline for _, deadline in jobs.values()), default=time.monotonic() + IDLE)
        ready, _, _ = select.select([control.fileno(), ended], [], [], max(0.0, until - time.monotonic()))
        if ended in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(ended, 4096)
        _collect(jobs)
        if control.fileno() in ready:
            start, descriptors, _, _ = socket.recv_fds(control, START.size, 2)
            if len(start) < START.size or len(descriptors) < 2:
                break
            job, file = socket.socket(fileno=descriptors[0]), descriptors[1]
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                sandbox.die_with_parent()
                for other in (control, *(open_job for open_job, _ in jobs.values())):
                    other.close()
                _work(job, file)
            os.close(file)
            jobs[child] = (job, time.monotonic() + START.unpack(start)[0])
        elif not ready and not jobs:
            break
    for child in jobs:
        os.kill(child, signal.SIGKILL)


def _collect(jobs: dict[int, tuple[socket.socket, float]]) -> None:
    """Say how the jobs ended that have, and end those whose time is up."""
    for child, (job, deadline) in list(jobs.items()):
        found, status = os.waitpid(child, os.WNOHANG)
        late = not found and time.monotonic() >= deadline
        if late:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        elif not found:
            continue
        del jobs[child]
        how = {"ended": "late"} if late else {"ended": os.waitstatus_to_exitcode(status)}
        # Whoever asked may have gone, or have its answer already.
        with contextlib.suppress(OSError):
            job.send(framed(json.dumps(how).encode()), socket.MSG_DONTWAIT)
        job.close()


def _work(job: socket.socket, file: int) -> NoReturn:
    """One job, in a process of its own."""
    code = 1
    try:
        question = json.loads(receive(job, LENGTH.unpack(receive(job, LENGTH.size))[0]))
        size = question["size"]
        window = Window(file, question["offset"], size, question["name"])
        sandbox.confine(sandbox.Limits(question["memory"], question["seconds"]))
        _answer(job, question["function"], window, question["arguments"])
        code = 0
    finally:
        os._exit(code)


def _answer(job: socket.socket, function: str, window: Window, arguments: dict[str, Any]) -> None:
    blobs: list[bytes | memoryview] = []
    try:
        text, blobs = crossing.encode(getattr(guard, function)(window, **arguments))
        head: dict[str, Any] = {"value": text, "blobs": crossing.blob_sizes(blobs)}
    except ModelArchiveError as error:
        head = {"error": type(error).__name__, "message": error.message, "path": error.path, "hint": error.hint}
        head["rule"] = getattr(error, "rule", None)
    except MemoryError:
        head = {"ended": "memory"}
    except Exception as error:
        head = {"ended": f"{type(error).__name__}: {error}"}
    parts = [framed(json.dumps(head).encode()), *blobs]
    for part in parts:
        view = memoryview(part).cast("B") if len(part) else memoryview(b"")
        while view:
            view = view[os.write(job.fileno(), view[:PIECE]) :]
