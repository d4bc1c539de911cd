"""Ranges of a file that are read at once: neighbours by one request, long ones in parts, several requests together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

#: Longer ranges are read in parts of half of this to this, several at once.
PART: Final = 16 << 20
#: Requests at once.
THREADS: Final = 8
#: Ranges with at most so many bytes between them are read by one request.
JOINED: Final = 1 << 14

#: A range to be read, and where to.
Job = tuple[int, memoryview]


def run(function: Callable[[Any], object], jobs: Sequence[Any]) -> None:
    """Do jobs at once, as many as may be; the first that fails ends all that have not begun."""
    if len(jobs) < 2:
        for job in jobs:
            function(job)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for _ in pool.map(function, jobs):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


def requests(jobs: Iterator[Job]) -> Iterator[list[Job]]:
    """What is read by one request each: neighbours together, a long range in parts."""
    together: list[Job] = []
    begin = end = 0
    for offset, buffer in sorted(jobs, key=lambda job: job[0]):
        stop = offset + len(buffer)
        if together and (offset - end > JOINED or max(end, stop) - begin > PART):
            yield together
            together = []
        if len(buffer) > PART:
            for start, length in parts(offset, len(buffer), PART):
                yield [(start, buffer[start - offset : start - offset + length])]
            continue
        if not together:
            begin = end = offset
        together.append((offset, buffer))
        end = max(end, stop)
    if together:
        yield together


def parts(offset: int, nbytes: int, most: int) -> Iterator[tuple[int, int]]:
    """A range in parts of nearly one length, none longer than `most`."""
    count = -(-nbytes // most)
    edges = [offset + nbytes * at // count for at in range(count + 1)]
    for start, stop in pairwise(edges):
        yield start, stop - start
