"""How much work something is, counted and not timed: a busy machine changes nothing in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def calls(function: Callable[[], Any]) -> int:
    """How many functions it calls, Python's and those in C, in this thread."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def growth(work: Callable[[int], Callable[[], Any]], size: int) -> float:
    """How many times the work of something twice as large is: 2 where it grows with the size, 4 with its square.

    Args:
        work: Makes what is to be counted, of a size.
        size: The smaller one.
    """
    small, large = (work(each) for each in (size, 2 * size))
    for each in (small, large):
        each()  # what is done once and kept is not counted
    return calls(large) / calls(small)
