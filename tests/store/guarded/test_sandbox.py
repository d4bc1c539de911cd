"""A confined process can read what it has open and answer, and nothing else; each thing is tried for real."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelarchive.store.guarded import sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")

#: Time is plenty: a slow machine must not end what another limit is to end.
LIMITS = sandbox.Limits(memory=64 << 20, seconds=60)


def confined(action: Callable[[], object], limits: sandbox.Limits = LIMITS) -> str:
    """What comes of an action in a confined process: "done", the error's class, or the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            sandbox.confine(limits)
            try:
                action()
                said = "done"
            except BaseException as error:
                said = type(error).__name__
            os.write(writing, said.encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 100).decode()
    os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said if code == 0 else signal.Signals(-code).name


def test_what_it_needs_works(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"hello")
    with path.open("rb") as file:

        def read() -> None:
            assert os.preadv(file.fileno(), [bytearray(5)], 0) == 5
            assert len(bytearray(1 << 20)) == 1 << 20

        assert confined(read) == "done"


def test_no_file_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    assert confined(lambda: open(tmp_path / "secret")) in ("PermissionError", "OSError")  # noqa: PTH123, SIM115
    assert confined(lambda: os.open("/etc/passwd", os.O_RDONLY)) in ("PermissionError", "OSError")
    assert confined(lambda: os.listdir("/")) in ("PermissionError", "OSError")  # noqa: PTH208


def test_nothing_can_be_written_or_removed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb", buffering=0) as file:
        # The file is open for writing, which a job's never is; even so its limit of size is zero.
        assert confined(lambda: os.write(file.fileno(), b"x")) in ("OSError", "SIGXFSZ")
        for action in (
            lambda: os.unlink(path),  # noqa: PTH108
            lambda: os.rename(path, tmp_path / "y"),  # noqa: PTH104
            lambda: os.mkdir(tmp_path / "y"),  # noqa: PTH102
            lambda: os.chmod(path, 0),  # noqa: PTH101
            lambda: os.ftruncate(file.fileno(), 100),
        ):
            assert confined(action) == "PermissionError"
    assert path.read_bytes() == b""


def test_no_network_and_no_other_process() -> None:
    parent = os.getpid()
    for action in (
        socket.socket,
        lambda: socket.socketpair(),
        os.fork,
        lambda: os.execv("/bin/true", ["true"]),
        lambda: os.kill(parent, 0),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, -1),
    ):
        assert confined(action) in ("PermissionError", "OSError"), action
    # By the kernel's filter, and not only because no file can be opened.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)

    def connect() -> None:
        if libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0) >= 0 or ctypes.get_errno() != 1:
            raise AssertionError

    assert confined(connect) == "done"


def test_memory_that_can_be_executed_is_refused() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p

    def map_(protection: int) -> Callable[[], None]:
        def run() -> None:
            found = libc.mmap(None, 4096, protection, 0x22, -1, 0)
            if found == ctypes.c_void_p(-1).value:
                raise PermissionError

        return run

    assert confined(map_(3)) == "done"
    assert confined(map_(7)) == "PermissionError"


def test_memory_ends() -> None:
    def map_() -> None:
        # Not touched, which takes a slow machine seconds; and asked of the system, not of what was freed before.
        mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    assert confined(lambda: bytearray(1 << 30)) == "MemoryError"
    assert confined(map_) == "OSError"
    assert confined(map_, LIMITS._replace(memory=2 << 30)) == "done"


@pytest.mark.slow
def test_time_ends() -> None:
    def loop() -> None:
        while True:
            pass

    assert confined(loop, LIMITS._replace(seconds=1)) == "SIGXCPU"


def test_limits_cannot_be_raised() -> None:
    import resource

    def raise_() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    assert confined(raise_) in ("PermissionError", "ValueError", "OSError")
