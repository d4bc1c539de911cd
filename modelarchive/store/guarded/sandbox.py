"""Take from this process everything that reading one open file does not need; there is no way back."""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Final, NamedTuple

#: System calls that remain, by machine: x86_64's number and aarch64's (None: it has none).
_CALLS: Final[dict[str, tuple[int, int | None]]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "futex": (202, 98),
    "clock_gettime": (228, 113),
    "exit_group": (231, 94),
    "preadv": (295, 69),
    "getrandom": (318, 278),
    "preadv2": (327, 286),
}
#: Of these, the third argument must not ask for memory that can be executed.
_MAPPING: Final = ("mmap", "mprotect")

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_SIGKILL: Final = 9
_PROT_EXEC: Final = 4
#: Offsets in struct seccomp_data: the call's number, the machine, the low half of the third argument.
_NUMBER, _MACHINE, _THIRD = 0, 4, 32
#: Instructions of the classic BPF, and what they return to the kernel.
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction))]


class Limits(NamedTuple):
    """What one job may use."""

    #: Bytes of address space beyond what the process has at the start.
    memory: int
    #: Seconds of processor time.
    seconds: int


def confine(limits: Limits) -> None:
    """Limit memory, time and files, then refuse all system calls but those of reading and answering.

    Holds on every POSIX system: no file or connection can be opened any more, nothing can be written to a file,
    memory and processor time end. On Linux (x86_64, aarch64) the kernel also refuses every other system call.
    """
    import resource

    held = _address_space()
    memory = held + limits.memory if held else resource.RLIM_INFINITY
    for kind, soft, hard in (
        (resource.RLIMIT_AS, memory, memory),
        # The soft limit says why the process ends (SIGXCPU), the hard one ends it for certain.
        (resource.RLIMIT_CPU, limits.seconds, limits.seconds + 1),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        # What is open stays open; nothing can be opened any more.
        (resource.RLIMIT_NOFILE, 0, 0),
    ):
        most = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (_least(soft, most), _least(hard, most)))
    filter_calls()


def filter_calls() -> bool:
    """Have the kernel refuse the system calls that are not listed; False where it cannot."""
    program = _program()
    if program is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    array = (_Instruction * len(program))(*program)
    filter_ = _Program(len(program), array)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0) == 0)


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _program() -> list[_Instruction] | None:
    """The filter: this machine's numbers, those listed, no executable memory; everything else fails with EPERM."""
    machine = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.maxsize < 2**32:
        return None
    audit, column = machine
    allow, refuse = _Instruction(_RETURN, 0, 0, _ALLOW), _Instruction(_RETURN, 0, 0, _REFUSE)
    # A jump's target counts from the next instruction.
    program = [
        _Instruction(_LOAD, 0, 0, _MACHINE),
        _Instruction(_IF_EQUAL, 1, 0, audit),
        refuse,
        _Instruction(_LOAD, 0, 0, _NUMBER),
    ]
    for name, numbers in _CALLS.items():
        number = numbers[column]
        if number is None:
            continue
        if name in _MAPPING:
            program += [
                _Instruction(_IF_EQUAL, 0, 4, number),
                _Instruction(_LOAD, 0, 0, _THIRD),
                _Instruction(_IF_ANY_BIT, 1, 0, _PROT_EXEC),
                allow,
                refuse,
            ]
        else:
            program += [_Instruction(_IF_EQUAL, 0, 1, number), allow]
    return [*program, refuse]


def _least(one: int, other: int) -> int:
    """The lower of two limits, of which -1 is none."""
    return max(one, other) if -1 in (one, other) else min(one, other)


def _address_space() -> int:
    """Bytes of address space that the process has; 0 where the system does not say."""
    import resource
    from pathlib import Path

    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return 0
