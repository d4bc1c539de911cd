"""Threads that share reading, writing and hashing; the one that asks for it is one of them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

#: More than a few only contend for memory bandwidth.
THREADS: Final = min(4, os.cpu_count() or 1)

Job = TypeVar("Job")
Result = TypeVar("Result")


def shared(begin: Callable[[], Callable[[Job], Result]], jobs: Sequence[Job], *, alone: bool = False) -> list[Result]:
    """What each job gives, in the order of the jobs, which are begun in that order.

    A pool of :mod:`concurrent.futures` wakes the asking thread after every job, and that one only waits: with two
    processors, hashing 100 MB took a quarter longer, and more of both.

    Args:
        begin: Called once in each thread that takes part: it makes what the jobs need, and returns what does one.
        jobs: What does not depend on each other.
        alone: Whether the asking thread does all of it, because there is too little to share.

    Raises:
        BaseException: What a job raised, the first of those in the order of the jobs; none is begun after one.
    """
    left = deque(enumerate(jobs))
    found: list[Any] = [None] * len(jobs)
    errors: list[tuple[int, BaseException]] = []

    def work() -> None:
        at = -1
        try:
            do = begin()
            while not errors:
                try:
                    at, job = left.popleft()
                except IndexError:
                    return
                found[at] = do(job)
        except BaseException as error:  # the thread that asked raises it
            errors.append((at, error))

    others = []
    for _ in range(0 if alone else min(THREADS, len(jobs)) - 1):
        other = threading.Thread(target=work)
        with suppress(RuntimeError):  # the system gives no more: fewer do the same
            other.start()
            others.append(other)
    try:
        work()
        for other in others:
            other.join()
    except BaseException:  # an interrupt while waiting: what the others have begun ends before the file is closed
        left.clear()
        for other in others:
            other.join()
        raise
    if errors:
        raise min(errors, key=lambda each: each[0])[1]
    return found
