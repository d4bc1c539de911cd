"""What an archive shall hold, in which order its data lies, and how much room HDF5 and the index need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from modelarchive.store import compressing, index
from modelarchive.store.contents import Contents, Entry
from modelarchive.store.deferred import Deferred
from modelarchive.store.text import EncodedText

#: The data begins at a multiple of this, so that mapped arrays are aligned to pages.
DATA_ALIGNMENT: Final = 4096
#: Arrays whose size is a multiple of this come first: each of them is then aligned to it.
ARRAY_ALIGNMENT: Final = 64

#: What HDF5 spends at most, in bytes, on: the file itself, a group, a dataset, an attribute. Measured with
#: HDF5 2.0; where it ever spends more the file is laid out again with a quarter more room.
_FILE_COST: Final = 1024
_GROUP_COST: Final = 140
_DATASET_COST: Final = 300
_ATTRIBUTE_COST: Final = 44
#: What the index spends at most on declaring bytes that are no array.
_REGION_COST: Final = 160


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
        order: Every name, aliases included, in the model's own order.
        attributes: HDF5 path of a group -> its attributes; "/" is the root.
        stream: Gives the arrays, in any order and also in parts; `arrays` then only announces them.
        compressed: Names of arrays to compress; those of them that shrink are.
    """

    section: str
    generator: str
    arrays: Mapping[str, np.ndarray | Deferred]
    aliases: dict[str, str] = field(default_factory=dict)
    texts: dict[str, EncodedText] = field(default_factory=dict)
    members: dict[str, str] | None = None
    order: list[str] = field(default_factory=list)
    attributes: dict[str, dict[str, str | int]] = field(default_factory=dict)
    stream: Iterable[tuple[str, np.ndarray]] | None = None
    compressed: frozenset[str] = frozenset()


#: Dtypes whose HDF5 type alone does not tell them: an attribute `dtype` does.
STORED_DTYPE: Final = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def index_bound(contents: Contents) -> int:
    """The length of the index if every offset were as long as the largest."""
    largest = contents.size
    rendered = index.render(
        Contents(
            **{
                **vars(contents),
                "user_block": 0,
                "texts": {path: text._replace(offset=largest) for path, text in contents.texts.items()},
                "chunks": {name: chunks._replace(offset=largest) for name, chunks in contents.chunks.items()},
            }
        )
    )
    # Nothing has a place yet, so all is one region without arrays; chunks behind the arrays are a second one.
    return len(rendered) + (_REGION_COST if contents.chunks else 0)


def data_order(array: np.ndarray | Deferred) -> tuple[int, int]:
    """Multiples of 64 bytes first, in the model's order; then by falling item size. No gaps are needed."""
    if array.nbytes == 0:
        return (2, 0)
    if array.nbytes % ARRAY_ALIGNMENT == 0:
        return (0, 0)
    return (1, -array.itemsize)


def metadata_bound(contents: Contents, layout: Layout) -> int:
    """Room for all HDF5 objects, a tenth or two more than they need."""
    names = [*contents.arrays, *contents.aliases]
    datasets = [*map(contents.hdf5_path, names), *contents.texts]
    groups = {*layout.attributes}
    for path in datasets:
        parent = path.rpartition("/")[0]
        while parent and parent not in groups:
            groups.add(parent)
            parent = parent.rpartition("/")[0]
    links = sum(len(path.rpartition("/")[2].encode()) for path in (*datasets, *groups))
    attributes = [item for owner in layout.attributes.values() for item in owner.items()]
    attributes += [("dtype", "float8_e4m3fn")] * len(contents.texts)
    for entry in contents.arrays.values():
        attributes += [("dtype", entry.dtype)] * (entry.dtype in STORED_DTYPE)
        attributes += [("interpretation", "image")] * is_drawable(entry)
    return (
        _FILE_COST
        + _GROUP_COST * len(groups)
        + _DATASET_COST * len(datasets)
        + 2 * links
        + sum(_ATTRIBUTE_COST + len(key) + len(str(value).encode()) for key, value in attributes)
        + sum(
            _DATASET_COST + compressing.tree_bytes(len(chunks.sizes), len(chunks.shape))
            for chunks in contents.chunks.values()
        )
    )


def is_drawable(entry: Entry) -> bool:
    """Whether viewers shall draw the array as an image."""
    return len(entry.shape) == 2 and min(entry.shape) > 1 and not entry.dtype.startswith(("complex", "bool", "float8"))
