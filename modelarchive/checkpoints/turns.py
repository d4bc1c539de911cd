"""One thing after another on a run: what a signal handler asks for in the middle of a save is done right behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

from modelarchive.errors import CheckpointError

#: What a save is done right behind: none of it changes the state that is saved.
_BEFORE_A_SAVE: Final = ("save", "wait", "close")

_R = TypeVar("_R")


class Turns:
    """Whose turn it is.

    A signal handler runs on the thread that it interrupts, wherever that is: it can neither wait for what is under
    way there, nor change what that works on. Other threads wait until it is their turn.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._doing = ""
        self._owner = 0
        self._later: list[tuple[_Promise, Callable[[], Future[Path]]]] = []

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        """To another process goes who has turns to take, and nothing that is under way here."""
        return Turns, ()

    def do(self, what: str, act: Callable[[], _R]) -> _R:
        """Do something, and the saves that were asked for meanwhile behind it.

        Raises:
            CheckpointError: It is asked for in the middle of something else.
        """
        with self._lock:
            self.refuse_in_the_middle(what)
            # No context manager of our own: what interrupts one on its way in or out leaves it as it is.
            try:
                try:
                    self._doing, self._owner = what, threading.get_ident()
                    return act()
                finally:
                    self._doing, self._owner = "", 0
            finally:
                # Again, as a handler that ends the program may have come in the line before.
                self._doing, self._owner = "", 0
                while self._later:
                    self._keep(*self._later.pop(0))

    def save(self, act: Callable[[], Future[Path]]) -> Future[Path]:
        """Do a save; one that is asked for in the middle of another is promised.

        Raises:
            CheckpointError: It is asked for in the middle of what changes the state.
        """
        with self._lock:
            if self._doing in _BEFORE_A_SAVE:
                promise = _Promise(self)
                self._later.append((promise, act))
                return promise
            return self.do("save", act)

    def refuse_in_the_middle(self, what: str) -> None:
        """Refuse what cannot be done where a signal handler has interrupted something else on this thread.

        Raises:
            CheckpointError: It has.
        """
        if self._doing and self._owner == threading.get_ident():
            raise CheckpointError(
                f"a signal handler called {what}() in the middle of {self._doing}(), where it cannot be done",
                hint="have the handler set a flag, and look at it after each step; a save() that is called in the "
                "middle of another is done right behind it, also where the handler ends the program by sys.exit()",
            )

    def _keep(self, promise: _Promise, act: Callable[[], Future[Path]]) -> None:
        try:
            handle = self.do("save", act)
        except BaseException as error:
            promise.set_exception(error)
            raise
        handle.add_done_callback(promise.follow)


class _Promise(Future[Path]):
    """The handle of a save that has not begun."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    def follow(self, handle: Future[Path]) -> None:
        if (error := handle.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(handle.result())

    def result(self, timeout: float | None = None) -> Path:
        if not self.done():
            self._turns.refuse_in_the_middle("result")
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if not self.done():
            self._turns.refuse_in_the_middle("exception")
        return super().exception(timeout)
