"""BLAS, and its threads, which stand still while the threads of a forward pass share its work."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final


@functools.cache
def _libraries() -> tuple[list[Any], list[Any]]:
    """The BLAS libraries whose number of threads belongs to the process, and those where each thread has its own."""
    from threadpoolctl import ThreadpoolController  # takes long to import

    process: list[Any] = []
    thread: list[Any] = []
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        of_thread = library.internal_api == "mkl" or getattr(library, "threading_layer", None) == "openmp"
        (thread if of_thread else process).append(library)
    return process, thread


def openblas() -> list[Any]:
    """The OpenBLAS libraries that are loaded, as :mod:`ctypes` has them."""
    return [each.dynlib for each in itertools.chain(*_libraries()) if each.internal_api == "openblas"]


def _set(library: Any, number: int) -> None:
    """Set a number of the process from any thread; from 3.8 on threadpoolctl lets the first one only."""
    clear = getattr(library, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)
    library.set_num_threads(number)
    if clear is not None:
        clear(force=True)


class _Limit:
    """The number of the process: how many hold it at one, and what it was before the first of them."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before: list[int] = []

    def take(self) -> None:
        """Set it to one, unless somebody has done so."""
        with self._lock:
            if not self._holders:
                self._before = [library.get_num_threads() for library in _libraries()[0]]
                for library in _libraries()[0]:
                    _set(library, 1)
            self._holders += 1

    def give_back(self) -> None:
        """Set it to what it was, unless somebody holds it still."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._restore()

    def after_fork(self) -> None:
        """None of the threads that hold the number is in a fork."""
        if self._holders:
            self._restore()
        self._begin()

    def _restore(self) -> None:
        for library, number in zip(_libraries()[0], self._before, strict=True):
            _set(library, number)


_LIMIT: Final = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIMIT.after_fork)


def hold() -> None:
    """Have BLAS keep to one thread until :func:`let_go`, where the number is that of the process.

    Its own threads look for work for a while after each product before they sleep, and whoever else needs the
    processors waits for them.
    """
    _LIMIT.take()


def let_go() -> None:
    """The end of what :func:`hold` began; in the same process."""
    _LIMIT.give_back()


@contextmanager
def one_thread_here() -> Iterator[None]:
    """The same for this thread, where each thread has a number of its own."""
    own = [(library, library.get_num_threads()) for library in _libraries()[1]]
    try:
        for library, _ in own:
            library.set_num_threads(1)
        yield
    finally:
        for library, number in own:
            library.set_num_threads(number)
