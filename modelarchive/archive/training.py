"""What training goes on from, beside a network's parameters: optimizer state, random states, plain values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from modelarchive.archive.structure import encoded, put_together, take_apart
from modelarchive.errors import FormatError
from modelarchive.store.contents import TRAINING
from modelarchive.store.deferred import Deferred
from modelarchive.store.reader import Reader
from modelarchive.store.text import EncodedText


class Training(NamedTuple):
    """A training structure as a file holds it.

    Attributes:
        members: Its members, as in an index.
        arrays: Name in the archive, ``training/<path>`` -> array.
        aliases: Such a name -> that of the tensor before it that is the same memory.
        texts: HDF5 path -> encoded text.
    """

    members: dict[str, str]
    arrays: dict[str, np.ndarray | Deferred]
    aliases: dict[str, str]
    texts: dict[str, EncodedText]

    @property
    def order(self) -> list[str]:
        """The names of its arrays in the order of the structure."""
        names = [TRAINING + path for path in self.members]
        return [name for name in names if name in self.arrays or name in self.aliases]


def training_of(data: object) -> Training:
    """Take apart what shall lie beside parameters: whatever :func:`modelarchive.save` takes.

    Raises:
        UnsupportedDataError: Something in it cannot be stored; all such places are listed.
    """
    members = take_apart(data, where="training")
    return Training(
        members.kinds,
        {TRAINING + path: array for path, array in members.arrays.items()},
        {TRAINING + path: TRAINING + first for path, first in members.aliases.items()},
        encoded(members, f"/{TRAINING}", where="training"),
    )


def load_training(reader: Reader, *, mmap: bool = True, verify: bool = False) -> Any:
    """The training structure of an open file as it was saved; None where there is none.

    Args:
        reader: The file.
        mmap: Give views of the mapped file, copy-on-write, instead of reading it.
        verify: Compare each array with its digest while reading it; not of views.

    Raises:
        FormatError: The structure is damaged.
        IntegrityError: With `verify`, bytes differ from their digest; names all of them.
    """
    members = reader.contents.training
    if members is None:
        return None
    stored = [*reader.contents.arrays, *reader.contents.aliases]
    names = [name for name in stored if name.startswith(TRAINING)]
    arrays = reader.views(names) if mmap else reader.load(names, verify=verify)
    return assembled(reader, members, arrays, TRAINING)


def assembled(reader: Reader, members: dict[str, str], arrays: dict[str, np.ndarray], prefix: str = "") -> Any:
    """A structure out of its arrays and the texts of a file.

    Args:
        reader: The open file.
        members: The structure's members.
        arrays: Name -> array.
        prefix: What the names of its arrays begin with.

    Raises:
        FormatError: The structure is damaged.
    """
    if not prefix and members[""] == "dict" and len(members) == len(arrays) + 1:
        together = "".join(arrays)
        if "/" not in together and "%" not in together:
            return arrays  # a dict of them, none deeper, no name encoded
    root = f"/{prefix}" if prefix else "/arrays/"

    def leaf(path: str) -> Any:
        return arrays[prefix + path] if prefix + path in arrays else reader.text(root + path)

    try:
        return put_together(members, leaf)
    except FormatError as error:
        error.file = str(reader.source.path)
        raise
