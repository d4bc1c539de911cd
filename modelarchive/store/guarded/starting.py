"""Start the process that reads HDF5 when it is first needed, and hand it jobs."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelarchive.store.guarded.messages import START

if TYPE_CHECKING:
    import subprocess

#: How a process ends that used up its processor time.
OUT_OF_TIME: Final = (-signal.SIGXCPU,) if hasattr(signal, "SIGXCPU") else ()
#: It must be ready after so many seconds.
READY: Final = 60.0
#: What its first byte says: ready, or why not.
IS_READY: Final = b"+"
#: More seconds than a job may last: then it is the other side that hangs.
_GRACE: Final = 5.0
#: Variables of the environment that a program needs to run at all; no other is passed on.
_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")

#: The package.
_FOLDER: Final = Path(__file__).resolve().parents[2]
#: What it runs. The package's own `__init__` would import networks, which it has no use for.
_PROGRAM: Final = """
import os, sys, types
sys.path[:] = {path!r}
try:
    package = sys.modules["modelarchive"] = types.ModuleType("modelarchive")
    package.__path__ = [{folder!r}]
    from modelarchive.store.guarded.worker import main
except BaseException as error:
    os.write({descriptor}, repr(error).encode())
    raise
main({descriptor})
"""


class _Server(NamedTuple):
    process: subprocess.Popen[bytes]
    control: socket.socket


_server: _Server | None = None
_lock = threading.RLock()


@contextlib.contextmanager
def job(descriptor: int, *, seconds: float) -> Iterator[socket.socket]:
    """A confined process that has a file open and waits for a question.

    Args:
        descriptor: The file.
        seconds: It is ended after so many by the clock.

    Raises:
        OSError: Such a process cannot be started.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            _send(START.pack(seconds), [theirs.fileno(), descriptor])
        ours.settimeout(seconds + _GRACE)
        try:
            yield ours
        except KeyboardInterrupt:
            stop()
            raise


def stop() -> None:
    """End the process, and with it all jobs; the next job starts another."""
    global _server
    with _lock:
        if _server is None:
            return
        process, control = _server
        _server = None
        control.close()
        try:
            process.wait(5)
        except Exception:
            process.kill()
            process.wait()


def _send(data: bytes, descriptors: list[int]) -> None:
    with _lock:
        for _ in range(2):
            server = _running()
            try:
                socket.send_fds(server.control, [data], descriptors)
                return
            except ConnectionError:
                # It had nothing to do and ended.
                stop()
    raise _refusal("it ended at once")


def _running() -> _Server:
    global _server
    if _server is None or _server.process.poll() is not None:
        stop()
        _server = _start()
    return _server


def _start() -> _Server:
    import subprocess

    if not hasattr(os, "fork") or getattr(sys, "frozen", False) or not sys.executable:
        raise _refusal("this system, or this program, cannot start it")
    ours, theirs = socket.socketpair()
    program = _PROGRAM.format(
        path=[entry for entry in sys.path if entry],
        folder=str(_FOLDER),
        descriptor=theirs.fileno(),
    )
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # "::" keeps HDF5 from looking for plug-ins; one thread is enough to move bytes.
    environment |= {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    ours.settimeout(READY)
    try:
        said = ours.recv(1)
        if said != IS_READY:
            said += ours.recv(1000) if said else b""
            raise _refusal(said.decode(errors="replace") or "it ended at once")
    except BaseException:
        ours.close()
        process.kill()
        process.wait()
        raise
    ours.settimeout(None)
    return _Server(process, ours)


def _refusal(reason: str) -> OSError:
    return OSError(
        f"the process that reads HDF5 for this one cannot be started: {reason}; "
        "for a file whose author you trust, `with modelarchive.trusted():` reads it without"
    )


def _forget() -> None:
    """A forked process starts its own: two that talk to one would take each other's turns."""
    global _server, _lock
    _lock = threading.RLock()
    if _server is not None:
        _server.control.close()
        # Not this process's child: its end is for the other to see.
        _server.process.returncode = 0
        _server = None


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
