"""Parameters into files of ``torch.save``: a ``state_dict`` that PyTorch's weights-only loader reads."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any, BinaryIO, Final

import numpy as np
import torch

from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Bundle, Note, Parameters, deferred, shared_names
from modelarchive.exchange.torch.tensors import tensor_of
from modelarchive.store.replace import replacing

#: Arrays of so many bytes are not gathered in memory.
_SPOOLED: Final = 1 << 20


def write(bundle: Bundle, path: str | os.PathLike[str], *, durable: bool = True) -> list[Note]:
    """Write a ``state_dict``, see :func:`modelarchive.exchange.torch.write`."""
    first = shared_names(bundle.parameters)
    state: dict[str, torch.Tensor] = {}
    problems = []
    with replacing(path, durable=durable) as temporary, tempfile.TemporaryFile(dir=temporary.parent) as spool:
        for name in deferred(bundle.parameters):
            try:
                state[name] = state[first[name]] if name in first else _compact(bundle, name, spool)
            except (ValueError, TypeError) as error:
                problems.append((name, str(error)))
        if problems:
            raise ConversionError(problems, hint="nothing was written")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    notes = []
    if bundle.architecture is not None:
        notes.append(Note("(architecture)", "is left out: a state_dict holds parameters only"))
    notes += [Note(f"metadata {key!r}", "is left out") for key in bundle.metadata]
    notes += [Note(name, "its words (tokens) are left out") for name in bundle.tokens]
    return notes


def _compact(bundle: Bundle, name: str, spool: BinaryIO) -> torch.Tensor:
    """A parameter as a tensor of its own: one that is a part of another drags all of it into the file."""
    found = bundle.parameters[name]
    array = np.ascontiguousarray(found).reshape(found.shape)
    # PyTorch writes all tensors at once: what was read for this is kept in a file, not in memory.
    is_read = isinstance(bundle.parameters, Parameters) and not _is_mapped(array)
    return tensor_of(_spooled(array, spool) if is_read and array.nbytes >= _SPOOLED else array)


def _is_mapped(array: Any) -> bool:
    """Whether an array is a view of a mapped file."""
    while isinstance(array, np.ndarray | memoryview):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return isinstance(array, mmap.mmap)


def _spooled(array: np.ndarray, spool: BinaryIO) -> np.ndarray:
    begin = spool.seek(0, os.SEEK_END)
    spool.truncate(begin + array.nbytes)
    place = np.memmap(spool, array.dtype, "r+", begin, array.shape)
    place[...] = array
    return np.asarray(place)
