"""Threads that share the work on one array, for as long as a forward pass lasts.

NumPy lets go of the interpreter while it computes, so they run side by side: each gathers, multiplies and finishes a
part of its own while that is in its cache. BLAS, whose own threads would come together at the end of each small
product, and look for work for milliseconds after it, keeps to one from the first shared work to the end. Every part of
a result is computed by the same steps whoever computes it: the number of threads changes no bit of what these
functions do.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import numpy as np

from modelarchive.ops.blas import hold, let_go, one_thread_here

T = TypeVar("T")

#: More threads than this would wait for memory.
MOST: Final = 8
#: Elements of NumPy's buffer: it copies into it, and back, all rows of which it holds several, where they do not follow
#: one another. A part of an image has rows of some hundred elements, on which it computes four times as fast in place.
BUFFER: Final = 512
#: Bytes: just below what glibc, on 64 bits, always takes from the system and gives back.
LARGE: Final = (1 << 25) - (1 << 16)
#: Elements that one thread works on at a time, so that they stay in its cache, and at most where there are several.
BLOCK: Final = 1 << 18
SHARED: Final = 1 << 20
#: Of what is made where it belongs, from one step to the next.
PIECE: Final = 1 << 17


def allowed() -> int:
    """How many threads a computation may take: as many as ``OMP_NUM_THREADS`` says, or as there are processors."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if given.isdecimal() and int(given):
        return min(int(given), MOST)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(processors or 1, MOST)


class _Team:
    """Threads that begin with the first work and end with the team."""

    def __init__(self) -> None:
        self.size = allowed()
        self._process = os.getpid()
        self._jobs: SimpleQueue[Any] = SimpleQueue()
        self._helpers: list[threading.Thread] = []
        self._holds = False

    def run(self, begin: Callable[[], Callable[[T], object]], items: list[T]) -> None:
        """Let the threads, this one among them, take the items one after another."""
        self.hold_blas()
        if not self._helpers:
            self._helpers = [
                threading.Thread(target=_serve, args=(self._jobs,), name=f"modelarchive_{number}", daemon=True)
                for number in range(self.size - 1)
            ]
            for helper in self._helpers:
                helper.start()
        left = deque(items)

        def work() -> None:
            with one_thread_here():
                do = begin()
                while True:
                    try:
                        item = left.popleft()
                    except IndexError:
                        return
                    do(item)

        ends: SimpleQueue[BaseException | None] = SimpleQueue()
        count = min(self.size, len(items)) - 1
        for _ in range(count):
            # How NumPy treats floating-point errors belongs to the context.
            self._jobs.put((copy_context(), work, ends))
        try:
            work()
        finally:
            left.clear()
            errors = [ends.get() for _ in range(count)]
        for error in errors:
            if error is not None:
                raise error

    def hold_blas(self) -> None:
        """Have BLAS keep to one thread from now on."""
        if self.size > 1 and not self._holds and self.is_here():
            hold()
            self._holds = True

    def is_here(self) -> bool:
        """Whether the threads are of this process: a fork has none of them."""
        return self._process == os.getpid()

    def end(self) -> None:
        """Wait for the threads to end."""
        if not self._holds or not self.is_here():
            return
        try:
            for _ in self._helpers:
                self._jobs.put(None)
            for helper in self._helpers:
                helper.join()
        finally:
            let_go()


def _serve(jobs: SimpleQueue[Any]) -> None:
    """Do one job after another, until there is None; nothing of one is held while the next is waited for."""
    while True:
        job = jobs.get()
        if job is None:
            return
        context, work, ends = job
        try:
            context.run(work)
            error = None
        except BaseException as raised:  # the thread that gave the job raises it
            error = raised
        del job, context, work
        ends.put(error)
        del ends, error


@functools.cache
def _keep_memory() -> None:
    """Have the C library keep memory that is freed, and give it out again, as it does after any large array.

    glibc gives what is free at the end of its heap back to the system as soon as that is twice as large as the largest
    array freed until then, 64 MB at most, and getting it again page by page takes as long as writing it ten times.
    One array just below its limit, of which no page is touched, tells it that there are large ones.
    """
    with suppress(MemoryError):
        np.empty(LARGE, np.uint8)


#: The team of the forward pass that runs in this thread or task.
_TEAM: Final[ContextVar[_Team | None]] = ContextVar("modelarchive_threads", default=None)


_IS_LITTLE: Final[ContextVar[bool]] = ContextVar("modelarchive_is_little", default=True)


@contextmanager
def team() -> Iterator[None]:
    """Threads for the time of a forward pass; none are left behind."""
    _keep_memory()
    found = _Team()
    token = _TEAM.set(found)
    buffer = np.setbufsize(BUFFER)
    try:
        yield
    finally:
        np.setbufsize(buffer)
        _TEAM.reset(token)
        found.end()


@contextmanager
def threads_if(is_worth: bool) -> Iterator[None]:
    """Threads for what is done within, or, where there is too little to share, none.

    Those that make short calls of NumPy wait for the interpreter, and for each other's caches, longer than they work.
    """
    found = _TEAM.get()
    if found is not None:
        found.hold_blas()
    little = _IS_LITTLE.set(not is_worth)
    token = _TEAM.set(found if is_worth else None)
    try:
        yield
    finally:
        _TEAM.reset(token)
        _IS_LITTLE.reset(little)


def has_team() -> bool:
    """Whether there is one already."""
    return _TEAM.get() is not None


def team_size() -> int:
    """How many threads share work now."""
    found = _TEAM.get()
    return 1 if found is None else found.size


def block_of(elements: int) -> int:
    """Elements of buffers to work on at a time, for so many of what stays small beside input and output.

    A call of NumPy that takes 10 microseconds is over before a thread that waits for the interpreter has woken up, so
    threads that make many of them take turns. In pieces that are too large for the cache they work side by side. How
    large they are does not depend on how many threads there are, as the last bits of a product depend on its size.
    """
    return BLOCK if _IS_LITTLE.get() else max(BLOCK, min(SHARED, elements))


def parts() -> int:
    """Into how many parts what is worth threads is cut at least, likewise."""
    return 1 if _IS_LITTLE.get() else 2


def piece_of(elements: int) -> int:
    """How many of so many elements are worked on at a time where that needs no buffers: two pieces for each thread.

    See :func:`block_of`.
    """
    size = team_size()
    return PIECE if size == 1 else max(PIECE, min(SHARED, -(-elements // (2 * size))))


def share(begin: Callable[[], Callable[[T], object]], items: Iterable[T], *, alone: bool = False) -> None:
    """Work on items that do not depend on each other, in threads where there is a team.

    Args:
        begin: Called once in each thread that takes part: it makes the buffers, and returns what works on an item.
        items: The items; they are begun in their order.
        alone: Whether this thread does all of it, because there is too little to share.
    """
    found, waiting = _TEAM.get(), list(items)
    if not alone and found is not None and found.size > 1 and len(waiting) > 1 and found.is_here():
        with threads_if(False):  # work within the work is done where it is
            found.run(begin, waiting)
        return
    do = begin()
    for item in waiting:
        do(item)
