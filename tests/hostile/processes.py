"""Processes that judge numbered files and say a line of JSON for each; one that dies or hangs is started again."""

from __future__ import annotations

import json
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

#: Without an answer for so many seconds a process hangs: far more than all limits together.
PATIENCE: Final = 180.0


def lines(
    positions: list[int],
    count: int,
    step: int,
    start: Callable[[int], subprocess.Popen[bytes]],
    lost: Callable[[int, str, int], dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """What the processes say, as it comes.

    Args:
        positions: The numbers that the processes come to next; kept so.
        count: The number behind the last.
        step: From one number of a process to its next.
        start: Starts a process at a number.
        lost: The line of a number that took its process with it: the number, "hang" or "crash", the exit code.
    """
    running: dict[Any, tuple[subprocess.Popen[bytes], int, float]] = {}

    def run(first: int) -> None:
        process = start(first)
        running[process.stdout] = (process, first, time.monotonic())

    for first in positions:
        if first < count:
            run(first)
    while running:
        ready, _, _ = select.select(list(running), [], [], 5.0)
        for pipe in list(running):
            process, number, since = running[pipe]
            text = pipe.readline() if pipe in ready else b""
            if text:
                number += step
                running[pipe] = (process, number, time.monotonic())
                positions[number % step] = number
                yield json.loads(text)
                continue
            is_late = pipe not in ready and time.monotonic() - since > PATIENCE
            if pipe not in ready and not is_late:
                continue
            del running[pipe]
            process.kill()
            code = process.wait()
            pipe.close()
            if number >= count:
                continue
            line = lost(number, "hang" if is_late else "crash", code)
            number += step
            positions[number % step] = number
            yield line
            if number < count:
                run(number)
