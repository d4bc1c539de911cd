"""What a module's forward reads of its own beside parameters: a description holds as long as that is as it was."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch

from modelarchive import tensors
from modelarchive.errors import ModelArchiveError
from modelarchive.exchange.bundle import Note

#: Ends the notes of buffers whose values a description holds by itself.
NOW: Final = "the value that there is now"
#: What every module has: no forward decides by it, and `training` is off while a module is described.
_INTERNAL: Final = frozenset(vars(torch.nn.Module()))
#: Containers inside of containers that are looked into, and what is looked at in each.
_DEPTH: Final = 4
_MOST: Final = 10_000
_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_LOCK: Final = threading.Lock()


class Reads:
    """The attributes, and the buffers that no state has, that a module reads while it is watched.

    Args:
        module: The module.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._read: set[tuple[int, str]] = set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Have every module note what is read of it."""
        read = self._read

        def noted(module: torch.nn.Module, name: str) -> Any:
            read.add((id(module), name))
            return object.__getattribute__(module, name)

        with _LOCK:
            torch.nn.Module.__getattribute__ = noted
            try:
                yield
            finally:
                del torch.nn.Module.__getattribute__

    def values(self, notes: Collection[Note]) -> dict[tuple[str, str], Any]:
        """What was read, as it is now; what has no plain value is left out.

        Args:
            notes: Those of the description.
        """
        state = {note.where for note in notes if note.what.endswith(NOW)}
        found: dict[tuple[str, str], Any] = {}
        for path, module in self._module.named_modules():
            for name, value in vars(module).items():
                if name not in _INTERNAL and (id(module), name) in self._read:
                    found[path, name] = _plain(value, _DEPTH)
            for name, value in module._buffers.items():
                is_kept = name not in module._non_persistent_buffers_set
                full = f"{path}.{name}" if path else name
                if full in state if is_kept else (id(module), name) in self._read:
                    found[path, name] = _plain(value, 1)
        return found


def _plain(value: Any, depth: int) -> Any:
    """A value that can be compared with what it is later; None for what is none."""
    if isinstance(value, torch.nn.Parameter | torch.nn.Module) or depth == 0:
        return None
    if isinstance(value, _PLAIN):
        return repr(value)  # in which what is no number equals itself
    if isinstance(value, np.generic | np.ndarray | torch.Tensor):
        return _digest(value)
    if isinstance(value, Mapping):
        return [(repr(key), _plain(each, depth - 1)) for key, each in list(value.items())[:_MOST]]
    if isinstance(value, list | tuple):
        return [_plain(each, depth - 1) for each in value[:_MOST]]
    if callable(value) or not hasattr(value, "__dict__"):
        return None
    # A configuration, say: its own fields, and no objects behind these.
    return {name: _plain(each, 1) for name, each in list(vars(value).items())[:_MOST]}


def _digest(value: Any) -> Any:
    try:
        array = np.ascontiguousarray(tensors.asarray(value))
        data = array.reshape(-1).view(np.uint8)
    except (ModelArchiveError, RuntimeError, TypeError, ValueError):  # on the meta device, of objects
        return None
    return array.dtype.name, array.shape, hashlib.blake2b(data.tobytes()).hexdigest()
