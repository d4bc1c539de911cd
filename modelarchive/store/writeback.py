"""Have the disk begin with a file's bytes while more is being written, so that fsync has little left to wait for.

Nothing is durable by this alone, and an error of the disk is fsync's to tell, which comes afterwards.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

#: Linux' sync_file_range: begin to write what is changed and not on its way yet, and wait for nothing.
_SYNC_FILE_RANGE_WRITE: Final = 2
#: Seconds between two looks: some tens of megabytes at the pace of memory.
_INTERVAL: Final = 0.01
#: Fewer bytes are written before the first look; to start a thread for them takes longer than to write them.
_WORTH_LOOKING: Final = 8 << 20


def begin_writeback(descriptor: int) -> bool:
    """Have the disk begin with what was written into an open file; False where the system has no such call."""
    call = _sync_file_range()
    return call is not None and call(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE) == 0


@contextlib.contextmanager
def writeback(descriptor: int, size: int | None = None) -> Iterator[None]:
    """Keep what the block writes into an open file on its way to the disk; where that cannot be, do nothing.

    Args:
        descriptor: Of the file.
        size: About how many bytes the block writes, where that is known.
    """
    if size is not None and size < _WORTH_LOOKING:
        yield
        return
    finished = threading.Event()

    def look() -> None:
        while not finished.wait(_INTERVAL) and begin_writeback(descriptor):
            pass

    thread = threading.Thread(target=look, name="writeback", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


@functools.cache
def _sync_file_range() -> Any:
    """Linux' call, or None."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    call = getattr(library, "sync_file_range", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call
