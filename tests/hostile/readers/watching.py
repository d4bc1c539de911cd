"""The interpreter's own audit events while a file is read: what reaches outside of it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import modelarchive

#: Events that reach nothing outside. All others count: files, processes, the network, code.
_HARMLESS: Final = frozenset(
    (
        *("builtins.id", "array.__new__", "mmap.__new__", "fcntl.flock", "object.__getattr__", "object.__setattr__"),
        *("object.__delattr__", "sys._getframe", "code.__new__", "function.__new__"),
        *("gc.get_objects", "marshal.loads", "signal.setitimer"),
    )
)
#: Where the program itself lies: it imports a part of itself when that is needed first.
_PROGRAM: Final = tuple(
    {os.path.realpath(each) for each in (sys.prefix, sys.base_prefix, *filter(None, sys.path), *modelarchive.__path__)}
)
#: Libraries that readers themselves name, and import where they are installed.
_LIBRARIES: Final = frozenset(("gguf",))
#: Flags of open(2) with which a file is changed.
_CHANGING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Hears every event from now on, and keeps what happens while it is told to and is not the file's own affair."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._seen: dict[str, None] = {}
        sys.addaudithook(self._heard)

    @contextlib.contextmanager
    def over(self, folder: Path) -> Iterator[dict[str, None]]:
        """Watch; what may be read is this folder alone.

        Returns:
            What reached outside, as it happens.
        """
        self._seen = {}
        self._folder = os.path.realpath(folder)
        try:
            yield self._seen
        finally:
            self._folder = None

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None or event in _HARMLESS:
            return
        allowed = _ALLOWED.get(event)
        folder, self._folder = self._folder, None  # looking at it may cause events
        try:
            if allowed is None or not allowed(self, folder, arguments):
                self._seen[f"{event} {str(arguments)[:200]}"] = None
        finally:
            self._folder = folder

    def _opened(self, folder: str, arguments: tuple[Any, ...]) -> bool:
        path, mode, flags = arguments
        if isinstance(path, int):
            return True  # open already
        place = os.path.realpath(os.fsdecode(path))
        is_read = not set(str(mode or "r")) & set("wax+") and not (flags or 0) & _CHANGING
        # The process that parses HDF5 gets /dev/null for its input and output when it is started again.
        return place == os.devnull or (is_read and (_is_in(place, (folder,)) or _is_in(place, _PROGRAM)))

    def _listed(self, folder: str, arguments: tuple[Any, ...]) -> bool:
        path = arguments[0]
        return isinstance(path, int) or _is_in(os.path.realpath(os.fsdecode(path or ".")), (folder, *_PROGRAM))

    def _imported(self, folder: str, arguments: tuple[Any, ...]) -> bool:
        # A part of something that is there already; a file that could name a module would name another.
        name = str(arguments[0]).partition(".")[0]
        return name in sys.modules or name in _LIBRARIES

    def _run(self, folder: str, arguments: tuple[Any, ...]) -> bool:
        name = getattr(arguments[0], "co_filename", "")
        return name.startswith("<frozen ") or (name.startswith(os.sep) and _is_in(os.path.realpath(name), _PROGRAM))

    def _compiled(self, folder: str, arguments: tuple[Any, ...]) -> bool:
        # A literal becomes a tree, which is not run: the event of what is run is another.
        return True

    def _socket(self, folder: str, arguments: tuple[Any, ...]) -> bool:
        # A pair of sockets leads to the process that parses HDF5.
        return (arguments[0].family or arguments[1]) == socket.AF_UNIX

    def _process(self, folder: str, arguments: tuple[Any, ...]) -> bool:
        """It is that process, started again after a file ended it."""
        command = arguments[1]
        return list(command[:3]) == [sys.executable, "-I", "-c"] and "modelarchive.store.guarded.worker" in command[3]


def _is_in(place: str, folders: tuple[str, ...]) -> bool:
    return any(place == each or place.startswith(each + os.sep) for each in folders)


_ALLOWED: Final[dict[str, Callable[[Watch, str, tuple[Any, ...]], bool]]] = {
    "open": Watch._opened,
    "os.listdir": Watch._listed,
    "os.scandir": Watch._listed,
    "pathlib.Path.glob": Watch._listed,
    "pathlib.Path.rglob": Watch._listed,
    "import": Watch._imported,
    "exec": Watch._run,
    "compile": Watch._compiled,
    "socket.__new__": Watch._socket,
    "socket.sendmsg": Watch._socket,
    "subprocess.Popen": Watch._process,
}
