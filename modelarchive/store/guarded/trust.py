"""Whether the author of the files that are read is trusted, so that this process may parse HDF5 itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

#: Set to 1, every file is trusted: for programs that cannot say so themselves.
VARIABLE: Final = "MODELARCHIVE_TRUSTED"

_IS_TRUSTED: ContextVar[bool] = ContextVar("modelarchive_trusted", default=os.environ.get(VARIABLE) == "1")


@contextlib.contextmanager
def trusted() -> Iterator[None]:
    """Read HDF5 in this process, for files whose author you trust: ``with modelarchive.trusted(): ...``.

    All rules of docs/security.md hold, but they are then checked through the parser that they protect from.
    Holds for this thread (in asyncio, for this task).
    """
    token = _IS_TRUSTED.set(True)
    try:
        yield
    finally:
        _IS_TRUSTED.reset(token)


def is_trusted() -> bool:
    """Whether the caller has said so."""
    return _IS_TRUSTED.get()
