"""The files of ``torch.save``, read without PyTorch: nothing that a file names is imported, and nothing of it runs."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Final

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, Parameters
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.shards import read_one_or_all
from modelarchive.exchange.torch.stored.checkpoints import Found, parameters_in
from modelarchive.exchange.torch.stored.streams import read_stream
from modelarchive.exchange.torch.stored.structure import shape_of
from modelarchive.exchange.torch.stored.stubs import shown
from modelarchive.exchange.torch.stored.tensors import Tensor, Unreadable
from modelarchive.exchange.torch.stored.zips import read_zip
from modelarchive.formats import explain
from modelarchive.store.deferred import Deferred

_REASON: Final = "a state_dict holds parameters only"
_MODULE: Final = "what its pickled module computes is code, which is not in the file (class {})"
#: Arrays may take so many times the bytes of the file, and a little: views may overlap, and strides be 0.
_COPIES: Final = 4
_ROOM: Final = 1 << 20
_HINT: Final = "where the file was made, save them as said, and the file again"


def read(path: str | os.PathLike[str]) -> Bundle:
    """Parameters of a file that ``torch.save`` wrote, see :func:`modelarchive.exchange.torch.read`."""
    return read_one_or_all(Path(os.fsdecode(path)), _read_file, reason=_REASON)


def _read_file(path: Path) -> Bundle:
    file = MappedFile(path)
    try:
        with reading(path, file.size):
            stored = read_zip(file) if file.read(0, 2) == b"PK" else read_stream(file)
            found = parameters_in(stored.value)
            entries = _entries(file, found)
    except FormatError as error:
        raise explain(error, path) from error
    notes = [*found.notes, *stored.notes, *stored.unseen()]
    reason = _MODULE.format(found.module) if found.module else _REASON
    return Bundle(Parameters(entries), reason=reason, metadata=found.metadata, notes=notes)


def _entries(file: MappedFile, found: Found) -> dict[str, Deferred]:
    """The arrays, to be read later; the same one where two are the same memory.

    Raises:
        ConversionError: Some are no arrays in memory, or have one name; lists all of them.
    """
    made: dict[str, Deferred] = {}
    known: dict[Hashable, Deferred] = {}
    problems: list[tuple[str, str]] = []
    room = _COPIES * file.size + _ROOM
    for name, value in found.arrays:
        if name in made:
            problems.append((name, "is the name of two tensors, once the keys of dicts are put together"))
        if shown(name) != name:
            problems.append((shown(name), "has half a character in its name; save it under another"))
            continue
        if isinstance(value, Unreadable) or (isinstance(value, Tensor) and value.problem is not None):
            problems.append((name, value.problem or ""))
            continue
        if isinstance(value, Tensor) and value.kind:
            found.notes.append(Note(name, f"was a {value.kind[:80]}: its values are kept"))
        place = value.place if value.nbytes else (name,)
        if place not in known:
            room -= value.nbytes
            if room < 0:
                # Strides of 0 make a large tensor of a few bytes, and so do many views of the same ones.
                problems.append((name, f"a view of shape {shape_of(value)} that is far larger than what is stored"))
                break
            known[place] = value.in_file(file)
        made[name] = known[place]
    if problems:
        raise ConversionError(problems, hint=_HINT)
    return made
