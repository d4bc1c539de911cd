"""What an archive shall hold, and in which order its data lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from modelarchive.store.contents import Piece
from modelarchive.store.deferred import Deferred
from modelarchive.store.text import EncodedText

#: The data begins at a multiple of this, so that mapped arrays are aligned to pages.
DATA_ALIGNMENT: Final = 4096
#: Arrays whose size is a multiple of this come first: each of them is then aligned to it.
ARRAY_ALIGNMENT: Final = 64


@dataclass
class Layout:
    """What an archive shall hold.

    Attributes:
        section: "parameters" or "arrays".
        generator: Name and version of the writing program.
        arrays: Canonical name -> dense array of any byte order and strides, or one to be read; in the model's order.
        aliases: Name of a shared parameter -> its canonical name.
        texts: HDF5 path -> what :func:`text` made.
        members: Members of a saved structure, as in the index; None for parameters.
        training: Members of a training structure, whose arrays and texts are among the others; None: there is none.
        order: Every name, aliases included, in the model's own order.
        kinds: HDF5 path of a block's group -> its kind.
        stream: Gives the arrays, in any order and also in parts; `arrays` then only announces them.
        pieces: Name of an array that is a part of a whole -> which part.
        compressed: Names of arrays to compress; those of them that shrink are.
    """

    section: str
    generator: str
    arrays: Mapping[str, np.ndarray | Deferred]
    aliases: dict[str, str] = field(default_factory=dict)
    texts: dict[str, EncodedText] = field(default_factory=dict)
    members: dict[str, str] | None = None
    training: dict[str, str] | None = None
    order: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    stream: Iterable[tuple[str, np.ndarray]] | None = None
    pieces: dict[str, Piece] = field(default_factory=dict)
    compressed: frozenset[str] = frozenset()


def data_order(array: np.ndarray | Deferred) -> tuple[int, int]:
    """Multiples of 64 bytes first, in the model's order; then by falling item size. No gaps are needed."""
    if array.nbytes == 0:
        return (2, 0)
    if array.nbytes % ARRAY_ALIGNMENT == 0:
        return (0, 0)
    return (1, -array.itemsize)
