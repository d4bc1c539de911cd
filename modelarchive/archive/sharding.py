"""Write a model in several files, each an archive: which arrays go into which is the caller's."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from modelarchive.archive.saving import generator
from modelarchive.archive.training import Training
from modelarchive.store import writer
from modelarchive.store.contents import TRAINING, Contents, Piece, block_group, members_of
from modelarchive.store.deferred import Deferred
from modelarchive.store.layout import Layout

Arrays = Mapping[str, np.ndarray | Deferred]


def write_shard(
    path: str | os.PathLike[str],
    parameters: Arrays,
    training: Training,
    names: Container[str],
    *,
    with_texts: bool,
    kinds: Mapping[str, str] | None = None,
    texts: Mapping[str, Any] | None = None,
    pieces: Mapping[str, Piece] | None = None,
    durable: bool = True,
) -> Contents:
    """Write one shard of a model.

    Args:
        path: The file.
        parameters: All parameters of the model, shared ones as one object.
        training: All of what lies beside them.
        names: The arrays that go into this shard, by the first names of shared ones.
        with_texts: Whether the texts and plain values go into it: in one shard only.
        kinds: With them: path of a block -> its kind.
        texts: With them: HDF5 path -> encoded text, of an architecture.
        pieces: Name of an array that is a part of a whole -> which part.
        durable: As in :func:`modelarchive.save`.

    Returns:
        What the file holds, with all digests.
    """
    first: dict[int, str] = {}
    arrays: dict[str, np.ndarray | Deferred] = {}
    aliases: dict[str, str] = {}
    for name, array in parameters.items():
        canonical = first.setdefault(id(array), name)
        if canonical in names:
            if canonical == name:
                arrays[name] = array
            else:
                aliases[name] = canonical
    order = [name for name in parameters if name in arrays or name in aliases]
    arrays |= {name: array for name, array in training.arrays.items() if name in names}
    aliases |= {name: canonical for name, canonical in training.aliases.items() if canonical in names}
    layout = Layout(
        section="parameters",
        generator=generator(),
        arrays=arrays,
        aliases=aliases,
        texts={**training.texts, **(texts or {})} if with_texts else {},
        training=_members(training, {*arrays, *aliases}, with_texts=with_texts),
        order=order,
        kinds={block_group(block): kind for block, kind in (kinds or {}).items()} if with_texts else {},
        pieces=dict(pieces or {}),
    )
    return writer.write(path, layout, durable=durable)


def _members(training: Training, names: Container[str], *, with_texts: bool) -> dict[str, str] | None:
    """The members of the training structure that are in a shard, and the containers above them."""
    own = {
        path
        for path, kind in training.members.items()
        if TRAINING + path in names or (with_texts and (f"/{TRAINING}{path}" in training.texts or _is_empty(kind)))
    }
    return members_of(training.members, own) if own or with_texts else None


def _is_empty(kind: str) -> bool:
    """Whether it may be a container without members: those are told with the texts."""
    return kind not in ("array", "literal")
